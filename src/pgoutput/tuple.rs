//! Rows on the wire.

use super::Error;
use super::reader::Reader;

/// One column of a row as pgoutput sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell<'a> {
    Null,
    /// A TOASTed value that the update did not touch and the server did not send.
    Unchanged,
    /// The type's text form in the client encoding.
    Text(&'a [u8]),
    /// The type's binary form; walferry never asks for it.
    Binary(&'a [u8]),
}

/// The cells of one row. All lengths were checked when the tuple was parsed, so iteration cannot
/// fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuple<'a> {
    count: u16,
    /// The cells, exactly.
    bytes: &'a [u8],
}

/// Iterates the cells of a [`Tuple`] in column order.
#[derive(Debug, Clone)]
pub struct Cells<'a> {
    left: u16,
    rest: &'a [u8],
}

impl<'a> Tuple<'a> {
    /// Reads a tuple, walking over all its cells once.
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Tuple<'a>, Error> {
        let count = reader.u16()?;
        let start = reader.rest();
        let mut rest = start;
        for _ in 0..count {
            rest = after_cell(rest)?;
        }
        let bytes = reader.bytes(start.len() - rest.len())?;
        Ok(Tuple { count, bytes })
    }

    /// How many cells it has.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether it has no cell (a table without columns).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The cells in column order.
    #[must_use]
    pub fn iter(&self) -> Cells<'a> {
        Cells { left: self.count, rest: self.bytes }
    }

    /// The cell at `index`, found by walking.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Cell<'a>> {
        self.iter().nth(index)
    }

    /// Bytes on the wire.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        self.bytes.len()
    }
}

/// What follows the first cell. Plain slices instead of the reader: this runs for every cell.
#[inline]
fn after_cell(bytes: &[u8]) -> Result<&[u8], Error> {
    let (&tag, rest) = bytes.split_first().ok_or(Error::Truncated)?;
    match tag {
        b't' | b'b' => {
            let (length, rest) = rest.split_first_chunk().ok_or(Error::Truncated)?;
            let length = i32::from_be_bytes(*length);
            let length = usize::try_from(length).map_err(|_| Error::NegativeLength)?;
            rest.get(length..).ok_or(Error::Truncated)
        }
        b'n' | b'u' => Ok(rest),
        tag => Err(Error::UnknownCell(tag)),
    }
}

impl<'a> IntoIterator for Tuple<'a> {
    type Item = Cell<'a>;
    type IntoIter = Cells<'a>;

    fn into_iter(self) -> Cells<'a> {
        self.iter()
    }
}

impl<'a> Iterator for Cells<'a> {
    type Item = Cell<'a>;

    #[inline]
    fn next(&mut self) -> Option<Cell<'a>> {
        self.left = self.left.checked_sub(1)?;
        // `Tuple::read` walked over exactly these bytes with the same steps, so `None` cannot come
        // from a short slice here; ending early is merely the harmless answer to the impossible.
        let (&tag, rest) = self.rest.split_first()?;
        self.rest = rest;
        match tag {
            b'n' => Some(Cell::Null),
            b'u' => Some(Cell::Unchanged),
            _ => {
                let (length, rest) = self.rest.split_first_chunk::<4>()?;
                let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
                let (value, rest) = rest.split_at_checked(length)?;
                self.rest = rest;
                Some(if tag == b't' { Cell::Text(value) } else { Cell::Binary(value) })
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for Cells<'_> {}

/// Writes a tuple as the server would: for tests, benches and values that come from elsewhere.
#[derive(Debug, Clone, Default)]
pub struct TupleBuilder {
    count: u16,
    bytes: Vec<u8>,
}

impl TupleBuilder {
    /// Forgets all cells; keeps the memory.
    pub fn clear(&mut self) {
        self.count = 0;
        self.bytes.clear();
    }

    /// Appends a text whose bytes `write` appends.
    ///
    /// # Errors
    /// That of `write`; the tuple is then of no use.
    pub fn push_text_with<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.count = self.count.saturating_add(1);
        self.bytes.push(b't');
        let length_at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        write(&mut self.bytes)?;
        let length = i32::try_from(self.bytes.len() - length_at - 4).unwrap_or(i32::MAX);
        if let Some(place) = self.bytes.get_mut(length_at..length_at + 4) {
            place.copy_from_slice(&length.to_be_bytes());
        }
        Ok(())
    }

    /// Appends a cell.
    pub fn push(&mut self, cell: Cell<'_>) -> &mut TupleBuilder {
        self.count = self.count.saturating_add(1);
        match cell {
            Cell::Null => self.bytes.push(b'n'),
            Cell::Unchanged => self.bytes.push(b'u'),
            Cell::Text(value) => self.value(b't', value),
            Cell::Binary(value) => self.value(b'b', value),
        }
        self
    }

    fn value(&mut self, tag: u8, value: &[u8]) {
        self.bytes.push(tag);
        let length = i32::try_from(value.len()).unwrap_or(i32::MAX);
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(value);
    }

    /// The tuple as it stands.
    #[must_use]
    pub fn tuple(&self) -> Tuple<'_> {
        Tuple { count: self.count, bytes: &self.bytes }
    }

    /// The tuple's bytes on the wire, its cell count first.
    #[must_use]
    pub fn wire_bytes(&self) -> Vec<u8> {
        [&self.count.to_be_bytes()[..], &self.bytes].concat()
    }
}

impl<'a> FromIterator<Cell<'a>> for TupleBuilder {
    fn from_iter<I: IntoIterator<Item = Cell<'a>>>(cells: I) -> TupleBuilder {
        let mut tuple = TupleBuilder::default();
        for cell in cells {
            tuple.push(cell);
        }
        tuple
    }
}
