//! One line of `COPY … TO STDOUT` in text form, as a tuple of the stream.
//!
//! The server writes what `COPY FROM` reads: columns apart by tabs, `\N` for null, and a backslash
//! before whatever would be mistaken. It never writes the octal and hexadecimal forms, so they are
//! errors here.

use crate::pgoutput::{Cell, TupleBuilder};

/// A line that is no row with this number of columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("it has {found} columns instead of {expected}")]
    Columns { expected: usize, found: usize },
    #[error("it has an escape that the server never writes")]
    Escape,
}

/// Reads a line, with or without its line end, into `tuple`, whose memory is used again.
///
/// # Errors
/// [`Error`]; the tuple is then of no use.
pub fn read_row(line: &[u8], columns: usize, tuple: &mut TupleBuilder) -> Result<(), Error> {
    tuple.clear();
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut found = 0;
    if columns == 0 && line.is_empty() {
        return Ok(());
    }
    for cell in line.split(|&byte| byte == b'\t') {
        found += 1;
        match cell {
            b"\\N" => {
                tuple.push(Cell::Null);
            }
            cell if !cell.contains(&b'\\') => {
                tuple.push(Cell::Text(cell));
            }
            cell => tuple.push_text_with(|value| unescape(cell, value))?,
        }
    }
    if found == columns { Ok(()) } else { Err(Error::Columns { expected: columns, found }) }
}

fn unescape(mut cell: &[u8], value: &mut Vec<u8>) -> Result<(), Error> {
    while let Some(at) = cell.iter().position(|&byte| byte == b'\\') {
        let (plain, rest) = cell.split_at(at);
        value.extend_from_slice(plain);
        let (byte, rest) = match rest {
            [_, b'b', rest @ ..] => (0x08, rest),
            [_, b'f', rest @ ..] => (0x0c, rest),
            [_, b'n', rest @ ..] => (b'\n', rest),
            [_, b'r', rest @ ..] => (b'\r', rest),
            [_, b't', rest @ ..] => (b'\t', rest),
            [_, b'v', rest @ ..] => (0x0b, rest),
            [_, b'\\', rest @ ..] => (b'\\', rest),
            _ => return Err(Error::Escape),
        };
        value.push(byte);
        cell = rest;
    }
    value.extend_from_slice(cell);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the server writes a cell.
    fn escaped(value: Option<&[u8]>, out: &mut Vec<u8>) {
        let Some(value) = value else { return out.extend_from_slice(b"\\N") };
        for &byte in value {
            match byte {
                0x08 => out.extend_from_slice(b"\\b"),
                0x0c => out.extend_from_slice(b"\\f"),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                0x0b => out.extend_from_slice(b"\\v"),
                b'\\' => out.extend_from_slice(b"\\\\"),
                byte => out.push(byte),
            }
        }
    }

    /// Bytes among which those with a meaning are frequent.
    fn value() -> impl Strategy<Value = Option<Vec<u8>>> {
        let byte = prop_oneof![
            any::<u8>(),
            proptest::sample::select(b"\\N\t\n\r\x08\x0b\x0cbfnrtv".to_vec())
        ];
        proptest::option::of(proptest::collection::vec(byte, 0..12))
    }

    proptest! {
        #[test]
        fn what_the_server_writes_is_read(row in proptest::collection::vec(value(), 1..6)) {
            let mut line = Vec::new();
            for (index, value) in row.iter().enumerate() {
                if index > 0 {
                    line.push(b'\t');
                }
                escaped(value.as_deref(), &mut line);
            }
            line.push(b'\n');
            let mut tuple = TupleBuilder::default();
            tuple.push(Cell::Text(b"left from another row"));
            read_row(&line, row.len(), &mut tuple).unwrap();
            let cells: Vec<_> = tuple.tuple().iter().collect();
            let expected: Vec<_> = row
                .iter()
                .map(|value| value.as_deref().map_or(Cell::Null, Cell::Text))
                .collect();
            prop_assert_eq!(cells, expected);
        }

        #[test]
        fn any_bytes_are_a_row_or_an_error(line: Vec<u8>, columns in 0..5usize) {
            let mut tuple = TupleBuilder::default();
            if read_row(&line, columns, &mut tuple).is_ok() {
                prop_assert_eq!(tuple.tuple().len(), columns);
            }
        }
    }

    #[test]
    fn a_row_has_as_many_columns_as_its_table() {
        let mut tuple = TupleBuilder::default();
        assert_eq!(read_row(b"\n", 0, &mut tuple), Ok(()));
        assert_eq!(read_row(b"\n", 1, &mut tuple), Ok(()));
        let error = Error::Columns { expected: 3, found: 2 };
        assert_eq!(read_row(b"a\tb\n", 3, &mut tuple), Err(error));
        assert_eq!(read_row(b"\\x41\n", 1, &mut tuple), Err(Error::Escape));
        assert_eq!(read_row(b"a\\", 1, &mut tuple), Err(Error::Escape));
    }
}
