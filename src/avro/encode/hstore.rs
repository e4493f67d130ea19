//! `hstore` as the text of a JSON object, and JSON strings in general.

use super::primitive::write_length;
use crate::avro::RowErrorKind;

/// Writes `"a"=>"1", "b"=>NULL` as `{"a":"1","b":null}`, in Postgres's order of keys.
pub(crate) fn encode(text: &[u8], out: &mut Vec<u8>) -> Result<(), RowErrorKind> {
    if std::str::from_utf8(text).is_err() {
        return Err(RowErrorKind::InvalidUtf8);
    }
    let start = out.len();
    write_object(text, out).ok_or(RowErrorKind::Malformed)?;
    prefix_length(start, out);
    Ok(())
}

/// Puts the length of what was written since `start` in front of it.
pub(crate) fn prefix_length(start: usize, out: &mut Vec<u8>) {
    let end = out.len();
    write_length(end - start, out);
    let length_bytes = out.len() - end;
    if let Some(written) = out.get_mut(start..) {
        written.rotate_right(length_bytes);
    }
}

/// Writes `text` as a JSON string, quotes included.
pub(crate) fn write_json_string(text: impl Iterator<Item = u8>, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0C => out.extend_from_slice(b"\\f"),
            0..0x20 => {
                let hex = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'A' + nibble - 10 };
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[hex(byte >> 4), hex(byte & 0xF)]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

fn write_object(mut rest: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.push(b'{');
    while !rest.is_empty() {
        rest = write_quoted(rest, out)?.strip_prefix(b"=>")?;
        out.push(b':');
        rest = match rest.strip_prefix(b"NULL") {
            Some(after) => {
                out.extend_from_slice(b"null");
                after
            }
            None => write_quoted(rest, out)?,
        };
        if !rest.is_empty() {
            rest = rest.strip_prefix(b", ").filter(|rest| !rest.is_empty())?;
            out.push(b',');
        }
    }
    out.push(b'}');
    Some(())
}

/// Writes the quoted string at the start as a JSON string and gives what follows.
fn write_quoted<'a>(text: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let text = text.strip_prefix(b"\"")?;
    let mut escaped = false;
    let end = text.iter().position(|&byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })?;
    let (inside, rest) = text.split_at_checked(end)?;
    write_json_string(unescape(inside), out);
    rest.get(1..)
}

/// The bytes without the backslashes that escape them.
pub(crate) fn unescape(text: &[u8]) -> impl Iterator<Item = u8> {
    let mut escaped = false;
    text.iter().copied().filter(move |&byte| {
        escaped = byte == b'\\' && !escaped;
        !escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(text: &str) -> Result<String, RowErrorKind> {
        let mut out = Vec::new();
        encode(text.as_bytes(), &mut out)?;
        let skip = if out[0] & 0x80 == 0 { 1 } else { 2 };
        Ok(String::from_utf8(out.split_off(skip)).unwrap())
    }

    #[test]
    fn equals_what_debezium_emits() {
        assert_eq!(json(r#""a"=>"1", "b"=>NULL"#).unwrap(), r#"{"a":"1","b":null}"#);
        assert_eq!(json("").unwrap(), "{}");
        assert_eq!(json(r#""a\"\\"=>"NULL""#).unwrap(), r#"{"a\"\\":"NULL"}"#);
    }

    #[test]
    fn other_forms_are_malformed() {
        for text in
            [r#"a=>1"#, r#""a""#, r#""a"=>"#, r#""a"=>"1","#, r#""a"=>"1", "#, r#""a"=>"1\""#]
        {
            assert_eq!(json(text), Err(RowErrorKind::Malformed), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_map_survives(pairs: Vec<(String, Option<String>)>) {
            let quote = |s: &str| format!("\"{}\"", s.replace('\\', "\\\\").replace('"', "\\\""));
            let text: Vec<String> = pairs.iter().map(|(key, value)| {
                format!("{}=>{}", quote(key), value.as_deref().map_or_else(|| "NULL".to_owned(), quote))
            }).collect();
            let mut out = Vec::new();
            encode(text.join(", ").as_bytes(), &mut out).unwrap();
            let start = out.iter().position(|&b| b == b'{').unwrap();
            let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&out[start..]).unwrap();
            // The last of equal keys wins in serde_json.
            for (key, _) in &pairs {
                let last = pairs.iter().rev().find(|(other, _)| other == key).unwrap();
                prop_assert_eq!(object[key].as_str(), last.1.as_deref());
            }
        }
    }
}
