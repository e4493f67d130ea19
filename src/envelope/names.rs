//! The names of records, adjusted to what Avro allows.
//!
//! Debezium builds the full name `<name>.<schema>.<table>` and adjusts it as one string, character
//! by character (UTF-16 units, as Java counts): a dot stays, a foreign character becomes `_`
//! (`avro`) or `_uXXXX` (`avro_unicode`, where the underscore itself is foreign, so that no two
//! names collide). It looks for a leading digit only at the start of the whole string, so that a
//! table called `2024_sales` gives a schema which registries refuse; here every part between dots
//! gets the rule for first characters, which changes no name that Debezium can register.

use crate::config::settings::NameAdjustment;

/// The namespace of a table's `Envelope`, `Value` and `Key`, adjusted.
#[must_use]
pub fn namespace(name: &str, schema: &str, table: &str, adjustment: NameAdjustment) -> String {
    adjust(&format!("{name}.{schema}.{table}"), adjustment)
}

/// Adjusts a dotted full name.
#[must_use]
pub fn adjust(full_name: &str, adjustment: NameAdjustment) -> String {
    match adjustment {
        NameAdjustment::None => full_name.to_owned(),
        NameAdjustment::Avro | NameAdjustment::AvroUnicode => {
            let parts: Vec<String> =
                full_name.split('.').map(|part| adjust_part(part, adjustment)).collect();
            parts.join(".")
        }
    }
}

fn adjust_part(part: &str, adjustment: NameAdjustment) -> String {
    let unicode = adjustment == NameAdjustment::AvroUnicode;
    let mut adjusted = String::with_capacity(part.len());
    for (index, unit) in part.encode_utf16().enumerate() {
        let plain = u8::try_from(unit).ok().map(char::from);
        match plain {
            Some(c) if c.is_ascii_alphabetic() => adjusted.push(c),
            Some('_') if !unicode => adjusted.push('_'),
            Some(c) if c.is_ascii_digit() && index > 0 => adjusted.push(c),
            Some(c) if c.is_ascii_digit() && !unicode => {
                // Keeps `1st` and `2st` apart.
                adjusted.push('_');
                adjusted.push(c);
            }
            _ if unicode => adjusted.push_str(&escape(unit)),
            _ => adjusted.push('_'),
        }
    }
    adjusted
}

/// Debezium pads one and two hexadecimal digits with two zeros and three with none.
fn escape(unit: u16) -> String {
    if unit <= 0xFF { format!("_u00{unit:x}") } else { format!("_u{unit:x}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_stay() {
        for adjustment in [NameAdjustment::None, NameAdjustment::Avro] {
            assert_eq!(
                namespace("srv", "public", "cash_table", adjustment),
                "srv.public.cash_table"
            );
        }
    }

    #[test]
    fn foreign_characters_become_underscores() {
        let avro = |name| adjust(name, NameAdjustment::Avro);
        assert_eq!(avro("srv.inventory.Weird-Name"), "srv.inventory.Weird_Name");
        assert_eq!(avro("srv.public.naïve"), "srv.public.na_ve");
        assert_eq!(avro("srv.public.a b.c"), "srv.public.a_b.c");
        assert_eq!(avro("1srv.public.t"), "_1srv.public.t");
        // Two UTF-16 units, two underscores.
        assert_eq!(avro("srv.public.😀"), "srv.public.__");
    }

    #[test]
    fn a_leading_digit_of_any_part_is_escaped() {
        assert_eq!(adjust("srv.public.2024_sales", NameAdjustment::Avro), "srv.public._2024_sales");
        assert_eq!(adjust("srv.public.2nd", NameAdjustment::AvroUnicode), "srv.public._u0032nd");
    }

    #[test]
    fn unicode_escapes_the_underscore_too() {
        let unicode = |name| adjust(name, NameAdjustment::AvroUnicode);
        assert_eq!(unicode("srv.public.cash_table"), "srv.public.cash_u005ftable");
        assert_eq!(unicode("srv.public.œ"), "srv.public._u153");
        assert_eq!(unicode("srv.public.中"), "srv.public._u4e2d");
    }

    #[test]
    fn none_leaves_everything() {
        assert_eq!(adjust("srv.public.Weird-Name", NameAdjustment::None), "srv.public.Weird-Name");
    }
}
