//! Intervals in microseconds.
//!
//! A month counts as a twelfth of 365.25 days, which is a whole number of microseconds, so the
//! sum is exact (Debezium goes through floating point and gives 1234999 for `1.235 s`).

use super::calendar::{MICROS_PER_DAY, MICROS_PER_SECOND, parse_fraction};
use super::integer;
use super::primitive::write_long;
use crate::avro::RowErrorKind;

/// Writes an `interval` in its `IntervalStyle = postgres` form,
/// `1 year -2 mons +3 days -04:05:06.789`.
pub(crate) fn encode(text: &[u8], out: &mut Vec<u8>) -> Result<(), RowErrorKind> {
    write_long(micros(text)?, out);
    Ok(())
}

/// The interval as a number of microseconds.
///
/// # Errors
/// [`RowErrorKind::Unrepresentable`] for infinity and for what microseconds cannot count.
fn micros(text: &[u8]) -> Result<i64, RowErrorKind> {
    let parts = Parts::parse(text)?;
    // Few terms, each below 2^63 * 2^45: no overflow within 128 bits.
    let total = parts.months * i128::from(MICROS_PER_MONTH)
        + parts.days * i128::from(MICROS_PER_DAY)
        + i128::from(parts.seconds) * i128::from(MICROS_PER_SECOND)
        + i128::from(parts.micros);
    i64::try_from(total).map_err(|_| RowErrorKind::Unrepresentable)
}

/// The interval as Debezium computes it in floating point, for the schema's defaults alone.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "as in Java")]
pub(crate) fn rounded_micros(text: &[u8]) -> Result<i64, RowErrorKind> {
    let parts = Parts::parse(text)?;
    let days = parts.months as f64 * (365.25 / 12.0) + parts.days as f64;
    let (minutes, seconds) = (parts.seconds / 60, parts.seconds % 60);
    let seconds = seconds as f64 + parts.micros as f64 / 1e6;
    let total = (days * 24.0 * 60.0 + minutes as f64) * 60.0 + seconds;
    Ok((total * 1e6) as i64)
}

/// What an interval is made of.
#[derive(Debug, Default)]
struct Parts {
    months: i128,
    days: i128,
    /// Hours, minutes and seconds.
    seconds: i64,
    /// The fraction of a second; of the sign of the time.
    micros: i64,
}

impl Parts {
    fn parse(text: &[u8]) -> Result<Parts, RowErrorKind> {
        if matches!(text, b"infinity" | b"-infinity") {
            return Err(RowErrorKind::Unrepresentable);
        }
        let mut parts = Parts::default();
        let mut words = text.split(|&byte| byte == b' ');
        while let Some(word) = words.next() {
            if word.contains(&b':') {
                let time = parse_time(word).filter(|_| words.next().is_none());
                (parts.seconds, parts.micros) = time.ok_or(RowErrorKind::Malformed)?;
                break;
            }
            let digits = word.strip_prefix(b"+").unwrap_or(word);
            let count = i128::from(integer::parse(digits).ok_or(RowErrorKind::Malformed)?);
            match words.next() {
                Some(b"year" | b"years") => parts.months += 12 * count,
                Some(b"mon" | b"mons") => parts.months += count,
                Some(b"day" | b"days") => parts.days += count,
                _ => return Err(RowErrorKind::Malformed),
            }
            // No text from Postgres repeats a unit; a hostile one must not overflow.
            if parts.months.abs() > LIMIT || parts.days.abs() > LIMIT {
                return Err(RowErrorKind::Malformed);
            }
        }
        Ok(parts)
    }
}

/// `-123456:07:08.000001`, any number of hours, in seconds and microseconds.
fn parse_time(word: &[u8]) -> Option<(i64, i64)> {
    let (negative, word) = match word {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, word),
    };
    let mut parts = word.splitn(3, |&byte| byte == b':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    let (seconds, fraction) = match seconds.iter().position(|&byte| byte == b'.') {
        Some(point) => {
            let (fraction, rest) = parse_fraction(seconds.get(point + 1..)?)?;
            (seconds.get(..point)?, Some(fraction).filter(|_| rest.is_empty())?)
        }
        None => (seconds, 0),
    };
    let field = |digits: &[u8]| integer::parse(digits).filter(|&value| value >= 0);
    let seconds = field(hours)?
        .checked_mul(3_600)?
        .checked_add(field(minutes)?.checked_mul(60)?)?
        .checked_add(field(seconds)?)?;
    Some(if negative { (-seconds, -fraction) } else { (seconds, fraction) })
}

/// 365.25 / 12 days.
const MICROS_PER_MONTH: i64 = 2_629_800 * MICROS_PER_SECOND;

/// Far above Postgres's 178 million years, far below overflow.
const LIMIT: i128 = 1 << 72;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_what_debezium_emits() {
        for (text, value) in [
            ("1 year", 31_557_600_000_000),
            ("1 mon", 2_629_800_000_000),
            ("1 day", 86_400_000_000),
            ("1 mon -1 days +03:00:00", 2_554_200_000_000),
            ("-1 years -2 mons +3 days -04:05:06.789", -36_572_706_789_000),
            ("1 year 2 mons 3 days 04:05:06.789", 37_091_106_789_000),
            ("00:00:00", 0),
            ("123456:07:08.000001", 444_442_028_000_001),
            ("11 mons 30 days", 31_519_800_000_000),
        ] {
            assert_eq!(micros(text.as_bytes()), Ok(value), "{text}");
        }
    }

    #[test]
    fn is_exact_where_debezium_rounds() {
        assert_eq!(micros(b"00:00:01.235"), Ok(1_235_000));
        assert_eq!(micros(b"-00:00:01.235"), Ok(-1_235_000));
        assert_eq!(rounded_micros(b"00:00:01.235"), Ok(1_234_999));
        assert_eq!(rounded_micros(b"1 year 2 mons 3 days 04:05:06.789"), Ok(37_091_106_789_000));
    }

    #[test]
    fn what_has_no_place_is_not_replaced() {
        for text in ["infinity", "-infinity", "178000000 years"] {
            assert_eq!(micros(text.as_bytes()), Err(RowErrorKind::Unrepresentable), "{text}");
        }
        for text in
            ["", "1", "1 week", "P1D", "1 day x", "01:02", "01:02:03 1 day", "1:2:3.", "--1 day"]
        {
            assert_eq!(micros(text.as_bytes()), Err(RowErrorKind::Malformed), "{text}");
        }
    }
}
