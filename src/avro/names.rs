//! Names in Avro: what is legal, and how other names are adjusted.
//!
//! Avro allows `[A-Za-z_][A-Za-z0-9_]*`. The three adjustments are Debezium's
//! (`field.name.adjustment.mode`), character by character in UTF-16 code units as Java sees them, so that a name outside the basic plane becomes two.

use std::borrow::Cow;

use crate::config::settings::NameAdjustment;

/// The name of a record field for a column of this name.
#[must_use]
pub(super) fn field(name: &str, adjustment: NameAdjustment) -> Cow<'_, str> {
    match adjustment {
        NameAdjustment::None => Cow::Borrowed(name),
        NameAdjustment::Avro if is_legal(name) => Cow::Borrowed(name),
        NameAdjustment::Avro => Cow::Owned(underscores(name)),
        NameAdjustment::AvroUnicode => unicode(name),
    }
}

/// Whether Avro takes `name` as the name of a field.
#[must_use]
pub(super) fn is_legal(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn underscores(name: &str) -> String {
    let mut adjusted = String::with_capacity(name.len() + 1);
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        adjusted.push('_');
    }
    for unit in name.encode_utf16() {
        match ascii(unit).filter(char::is_ascii_alphanumeric) {
            Some(c) => adjusted.push(c),
            None => adjusted.push('_'),
        }
    }
    adjusted
}

/// `_` is the escape character, so it is escaped itself.
fn unicode(name: &str) -> Cow<'_, str> {
    let mut adjusted = String::with_capacity(name.len() + 8);
    for (index, unit) in name.encode_utf16().enumerate() {
        let plain =
            ascii(unit).filter(|&c| c.is_ascii_alphabetic() || (c.is_ascii_digit() && index > 0));
        match plain {
            Some(c) => adjusted.push(c),
            None => adjusted.push_str(&format!("_u{unit:04x}")),
        }
    }
    if adjusted == name { Cow::Borrowed(name) } else { Cow::Owned(adjusted) }
}

fn ascii(unit: u16) -> Option<char> {
    u8::try_from(unit).ok().filter(u8::is_ascii).map(char::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn avro_replaces_what_is_illegal() {
        let adjust = |name| field(name, NameAdjustment::Avro).into_owned();
        assert_eq!(adjust("naïve"), "na_ve");
        assert_eq!(adjust("a.b"), "a_b");
        assert_eq!(adjust("Weird-Name"), "Weird_Name");
        assert_eq!(adjust("2nd"), "_2nd");
        assert_eq!(adjust("_ok1"), "_ok1");
        assert_eq!(adjust("😀"), "__");
    }

    #[test]
    fn avro_unicode_escapes_the_underscore_too() {
        let adjust = |name| field(name, NameAdjustment::AvroUnicode).into_owned();
        assert_eq!(adjust("ts_ms"), "ts_u005fms");
        assert_eq!(adjust("é"), "_u00e9");
        assert_eq!(adjust("plain"), "plain");
        assert_eq!(adjust("9x"), "_u0039x");
        assert_eq!(adjust("😀"), "_ud83d_ude00");
    }

    #[test]
    fn none_leaves_names_alone() {
        assert_eq!(field("a b", NameAdjustment::None), "a b");
        assert!(!is_legal("a b") && !is_legal("") && !is_legal("1a") && !is_legal("é"));
        assert!(is_legal("_a1") && is_legal("A"));
    }
}
