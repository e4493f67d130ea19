//! One-dimensional arrays, and the blank-separated vectors of the catalog.

use super::Encoder;
use super::hstore::unescape;
use super::integer;
use super::primitive::{write_length, write_long};
use crate::avro::RowErrorKind;

/// How elements are written.
#[derive(Debug)]
pub(crate) struct Elements {
    pub(crate) encoder: Encoder,
    /// Whether they are a union with null.
    pub(crate) nullable: bool,
}

/// Writes `{1,NULL,"a \"b\""}`, also with bounds in front, as one block of elements.
///
/// # Errors
/// [`RowErrorKind::Unrepresentable`] for more than one dimension (Postgres does not tell
/// `int[][]` from `int[]`, and the schema says one), [`RowErrorKind::UnexpectedNull`] for a NULL
/// where elements are not nullable.
pub(crate) fn encode(
    text: &[u8],
    elements: &Elements,
    out: &mut Vec<u8>,
) -> Result<(), RowErrorKind> {
    let inside = strip_bounds(text)?
        .strip_prefix(b"{")
        .and_then(|text| text.strip_suffix(b"}"))
        .ok_or(RowErrorKind::Malformed)?;
    let mut count = 0;
    for element in Reader::new(inside) {
        element?;
        count += 1;
    }
    write_length(count, out);
    if count == 0 {
        return Ok(());
    }
    let mut scratch = Vec::new();
    for element in Reader::new(inside) {
        encode_element(element?, elements, &mut scratch, out)?;
    }
    write_long(0, out);
    Ok(())
}

/// Writes `1 2 3`.
pub(crate) fn encode_vector(
    text: &[u8],
    min: i64,
    max: i64,
    out: &mut Vec<u8>,
) -> Result<(), RowErrorKind> {
    if text.is_empty() {
        write_long(0, out);
        return Ok(());
    }
    write_length(text.split(|&byte| byte == b' ').count(), out);
    for word in text.split(|&byte| byte == b' ') {
        integer::encode(word, min, max, out)?;
    }
    write_long(0, out);
    Ok(())
}

/// `scratch` holds an element whose escapes must go before it can be parsed; it allocates once an
/// array, and only for such elements.
fn encode_element(
    element: Element<'_>,
    elements: &Elements,
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<(), RowErrorKind> {
    let text = match element {
        Element::Null if elements.nullable => {
            write_long(0, out);
            return Ok(());
        }
        Element::Null => return Err(RowErrorKind::UnexpectedNull),
        Element::Plain(text) => text,
        Element::Escaped(text) => {
            scratch.clear();
            scratch.extend(unescape(text));
            scratch
        }
    };
    if elements.nullable {
        write_long(1, out);
    }
    elements.encoder.encode(text, out)
}

/// Takes `[0:2]=` off the front. Bounds have no place in Avro, and the elements are all there.
fn strip_bounds(text: &[u8]) -> Result<&[u8], RowErrorKind> {
    if !text.starts_with(b"[") {
        return Ok(text);
    }
    let equals = text.iter().position(|&byte| byte == b'=').ok_or(RowErrorKind::Malformed)?;
    let (bounds, rest) = text.split_at(equals);
    if bounds.iter().filter(|&&byte| byte == b'[').count() > 1 {
        return Err(RowErrorKind::Unrepresentable);
    }
    rest.get(1..).ok_or(RowErrorKind::Malformed)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element<'a> {
    Null,
    Plain(&'a [u8]),
    /// With backslashes in it.
    Escaped(&'a [u8]),
}

/// Walks over the elements between the braces; ends after an error.
struct Reader<'a> {
    /// `None` once the last element was read.
    rest: Option<&'a [u8]>,
}

impl<'a> Reader<'a> {
    fn new(inside: &'a [u8]) -> Reader<'a> {
        Reader { rest: Some(inside).filter(|inside| !inside.is_empty()) }
    }

    /// Reads one element; `Ok` with what follows its comma.
    fn read(text: &'a [u8]) -> Result<(Element<'a>, Option<&'a [u8]>), RowErrorKind> {
        let (element, rest) = match text.first() {
            Some(b'"') => quoted(text)?,
            Some(b'{') => return Err(RowErrorKind::Unrepresentable),
            _ => bare(text)?,
        };
        match rest.split_first() {
            None => Ok((element, None)),
            Some((b',', rest)) => Ok((element, Some(rest))),
            Some(_) => Err(RowErrorKind::Malformed),
        }
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Element<'a>, RowErrorKind>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.rest.take()?;
        Some(Self::read(text).map(|(element, rest)| {
            self.rest = rest;
            element
        }))
    }
}

fn quoted(text: &[u8]) -> Result<(Element<'_>, &[u8]), RowErrorKind> {
    let text = text.get(1..).unwrap_or_default();
    let (mut escaped, mut escapes) = (false, false);
    let end = text.iter().position(|&byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        escapes |= escaped;
        ends
    });
    let (inside, rest) =
        end.and_then(|end| text.split_at_checked(end)).ok_or(RowErrorKind::Malformed)?;
    let element = if escapes { Element::Escaped(inside) } else { Element::Plain(inside) };
    Ok((element, rest.get(1..).unwrap_or_default()))
}

/// Postgres quotes an element that is empty or has braces, quotes, backslashes or blanks in it.
fn bare(text: &[u8]) -> Result<(Element<'_>, &[u8]), RowErrorKind> {
    let end = text.iter().position(|&byte| byte == b',').unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    match word {
        b"" => Err(RowErrorKind::Malformed),
        b"NULL" => Ok((Element::Null, rest)),
        _ if word.iter().any(|byte| matches!(byte, b'{' | b'}' | b'"' | b'\\')) => {
            Err(RowErrorKind::Malformed)
        }
        _ => Ok((Element::Plain(word), rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn strings(text: &str) -> Result<Vec<u8>, RowErrorKind> {
        let elements = Elements { encoder: Encoder::String, nullable: true };
        let mut out = Vec::new();
        encode(text.as_bytes(), &elements, &mut out).map(|()| out)
    }

    #[test]
    fn reads_nulls_quotes_and_bounds() {
        assert_eq!(
            strings(r#"{a,NULL,"NULL",""}"#).unwrap(),
            b"\x08\x02\x02a\x00\x02\x08NULL\x02\x00\x00"
        );
        assert_eq!(strings(r#"{"b c","q\"x\\"}"#).unwrap(), b"\x04\x02\x06b c\x02\x08q\"x\\\x00");
        assert_eq!(strings("[0:1]={a,b}").unwrap(), strings("{a,b}").unwrap());
        assert_eq!(strings("{}").unwrap(), [0]);
    }

    #[test]
    fn more_dimensions_have_no_place() {
        for text in ["{{a,b},{c,d}}", "[1:1][2:3]={{a,b}}"] {
            assert_eq!(strings(text), Err(RowErrorKind::Unrepresentable), "{text}");
        }
    }

    #[test]
    fn other_forms_are_malformed() {
        for text in [
            "", "{", "}", "a", "{a", "{a,}", "{,a}", "{\"a}", "{\"a\"b}", "{a}b", "[0:1]{a}",
            "{a}}",
        ] {
            assert_eq!(strings(text), Err(RowErrorKind::Malformed), "{text}");
        }
    }

    #[test]
    fn a_null_needs_a_place() {
        let elements = Elements { encoder: Encoder::String, nullable: false };
        let result = encode(b"{a,NULL}", &elements, &mut Vec::new());
        assert_eq!(result, Err(RowErrorKind::UnexpectedNull));
    }

    #[test]
    fn vectors_have_blanks() {
        let mut out = Vec::new();
        encode_vector(b"1 2", 0, 10, &mut out).unwrap();
        assert_eq!(out, [4, 2, 4, 0]);
        assert_eq!(encode_vector(b"1  2", 0, 10, &mut out), Err(RowErrorKind::Malformed));
        assert_eq!(encode_vector(b"11", 0, 10, &mut out), Err(RowErrorKind::Malformed));
    }

    proptest! {
        #[test]
        fn any_strings_survive(values: Vec<Option<String>>) {
            let text: Vec<String> = values.iter().map(|value| match value {
                None => "NULL".to_owned(),
                Some(value) => format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")),
            }).collect();
            let mut expected = Vec::new();
            write_length(values.len(), &mut expected);
            for value in &values {
                write_long(i64::from(value.is_some()), &mut expected);
                if let Some(value) = value {
                    super::super::primitive::write_bytes(value.as_bytes(), &mut expected);
                }
            }
            if !values.is_empty() {
                write_long(0, &mut expected);
            }
            prop_assert_eq!(strings(&format!("{{{}}}", text.join(","))).unwrap(), expected);
        }
    }
}
