//! What a number or some bytes mean: dates, times, decimals, and how they read.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

use super::Json;

/// The meaning of an int, a long, bytes or a fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Plain,
    /// Days since 1970-01-01.
    Date,
    /// Ticks since midnight.
    Time(Ticks),
    /// Ticks since 1970-01-01 00:00:00, of which zone the schema does not say.
    Local(Ticks),
    /// Ticks since 1970-01-01 00:00:00 UTC.
    Instant(Ticks),
    /// A two's complement number, big-endian, of units of ten to the minus `scale`.
    Decimal {
        scale: i64,
    },
}

/// Ticks per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ticks {
    Millis,
    Micros,
    Nanos,
}

impl Meaning {
    /// The meaning that a schema's attributes give it, Debezium's and Kafka Connect's before Avro's:
    /// theirs is the narrower.
    pub(super) fn of(attributes: &Map<String, Value>) -> Meaning {
        let text = |name: &str| attributes.get(name).and_then(Value::as_str);
        let scale = attributes.get("scale").and_then(Value::as_i64).unwrap_or(0);
        let connect = match text("connect.name") {
            Some("io.debezium.time.Date") => Some(Meaning::Date),
            Some("io.debezium.time.Time") => Some(Meaning::Time(Ticks::Millis)),
            Some("io.debezium.time.MicroTime") => Some(Meaning::Time(Ticks::Micros)),
            Some("io.debezium.time.NanoTime") => Some(Meaning::Time(Ticks::Nanos)),
            Some("io.debezium.time.Timestamp") => Some(Meaning::Local(Ticks::Millis)),
            Some("io.debezium.time.MicroTimestamp") => Some(Meaning::Local(Ticks::Micros)),
            Some("io.debezium.time.NanoTimestamp") => Some(Meaning::Local(Ticks::Nanos)),
            _ => None,
        };
        let avro = || match text("logicalType") {
            Some("date") => Meaning::Date,
            Some("time-millis") => Meaning::Time(Ticks::Millis),
            Some("time-micros") => Meaning::Time(Ticks::Micros),
            Some("timestamp-millis") => Meaning::Instant(Ticks::Millis),
            Some("timestamp-micros") => Meaning::Instant(Ticks::Micros),
            Some("timestamp-nanos") => Meaning::Instant(Ticks::Nanos),
            Some("local-timestamp-millis") => Meaning::Local(Ticks::Millis),
            Some("local-timestamp-micros") => Meaning::Local(Ticks::Micros),
            Some("local-timestamp-nanos") => Meaning::Local(Ticks::Nanos),
            Some("decimal") => Meaning::Decimal { scale },
            _ => Meaning::Plain,
        };
        connect.unwrap_or_else(avro)
    }

    /// A number as it reads.
    pub(super) fn number(self, number: i64) -> Json {
        match self {
            Meaning::Plain | Meaning::Decimal { .. } => Json::Integer(number),
            Meaning::Date => Json::Text(date(number)),
            Meaning::Time(ticks) if (0..=ticks.per_second() * 86_400).contains(&number) => {
                Json::Text(time(number, ticks))
            }
            Meaning::Time(_) => Json::Integer(number),
            Meaning::Local(ticks) => Json::Text(timestamp(number, ticks, "")),
            Meaning::Instant(ticks) => Json::Text(timestamp(number, ticks, "Z")),
        }
    }

    /// Bytes as they read: a decimal, or base64.
    pub(super) fn bytes(self, bytes: &[u8]) -> Json {
        match self {
            Meaning::Decimal { scale } => match decimal(bytes, scale) {
                Some(text) => Json::Text(text),
                None => Json::Text(BASE64.encode(bytes)),
            },
            _ => Json::Text(BASE64.encode(bytes)),
        }
    }
}

impl Ticks {
    fn per_second(self) -> i64 {
        10_i64.pow(self.digits())
    }

    fn digits(self) -> u32 {
        match self {
            Ticks::Millis => 3,
            Ticks::Micros => 6,
            Ticks::Nanos => 9,
        }
    }
}

fn timestamp(number: i64, ticks: Ticks, zone: &str) -> String {
    if ticks == Ticks::Micros {
        match number {
            DEBEZIUM_INFINITY => return "infinity".to_owned(),
            DEBEZIUM_MINUS_INFINITY => return "-infinity".to_owned(),
            _ => {}
        }
    }
    let per_day = ticks.per_second() * 86_400;
    let (day, rest) = (number.div_euclid(per_day), number.rem_euclid(per_day));
    format!("{}T{}{zone}", date(day), time(rest, ticks))
}

/// `hh:mm:ss`, with as many digits after the point as are not zero at the end.
fn time(number: i64, ticks: Ticks) -> String {
    let (seconds, fraction) = (number / ticks.per_second(), number % ticks.per_second());
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut text = format!("{hours:02}:{minutes:02}:{seconds:02}");
    if fraction != 0 {
        let width = ticks.digits() as usize;
        let digits = format!("{fraction:0width$}");
        _ = write!(text, ".{}", digits.trim_end_matches('0'));
    }
    text
}

/// `yyyy-mm-dd` in the proleptic Gregorian calendar; years before 1 as ISO 8601 has them.
///
/// Counts in eras of 400 years that begin on the first of March, so that leap days come last.
fn date(days_since_1970: i64) -> String {
    let days = i128::from(days_since_1970) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + i128::from(month <= 2);
    if year < 0 {
        format!("-{:04}-{month:02}-{day:02}", -year)
    } else {
        format!("{year:04}-{month:02}-{day:02}")
    }
}

/// `None` when it is too long to be anybody's number.
fn decimal(bytes: &[u8], scale: i64) -> Option<String> {
    if bytes.len() > MAX_DECIMAL_BYTES || scale.unsigned_abs() > MAX_SCALE {
        return None;
    }
    let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let mut digits = magnitude(bytes, negative);
    if scale < 0 {
        if digits != "0" {
            digits.extend(std::iter::repeat_n('0', usize::try_from(-scale).ok()?));
        }
    } else {
        let scale = usize::try_from(scale).ok()?;
        if digits.len() <= scale {
            digits.insert_str(0, &"0".repeat(scale + 1 - digits.len()));
        }
        if scale > 0 {
            digits.insert(digits.len() - scale, '.');
        }
    }
    if negative {
        digits.insert(0, '-');
    }
    Some(digits)
}

/// The decimal digits of the absolute value of a big-endian two's complement number.
fn magnitude(bytes: &[u8], negative: bool) -> String {
    // Little-endian limbs in base 10^9: multiply by 256 and add, byte by byte.
    let mut limbs: Vec<u32> = vec![0];
    for byte in bytes {
        let mut carry = u64::from(if negative { !byte } else { *byte });
        for limb in &mut limbs {
            let value = u64::from(*limb) * 256 + carry;
            *limb = (value % LIMB) as u32;
            carry = value / LIMB;
        }
        if carry > 0 {
            limbs.push(carry as u32);
        }
    }
    if negative {
        // The absolute value is the complement plus one.
        let mut carry = 1u32;
        for limb in &mut limbs {
            let value = u64::from(*limb) + u64::from(carry);
            *limb = (value % LIMB) as u32;
            carry = (value / LIMB) as u32;
        }
        if carry > 0 {
            limbs.push(carry);
        }
    }
    let mut text = String::new();
    for limb in limbs.iter().rev() {
        if text.is_empty() {
            if *limb != 0 {
                _ = write!(text, "{limb}");
            }
        } else {
            _ = write!(text, "{limb:09}");
        }
    }
    if text.is_empty() { "0".to_owned() } else { text }
}

const LIMB: u64 = 1_000_000_000;

/// Debezium's image of a timestamp that Postgres calls infinite, in microseconds.
const DEBEZIUM_INFINITY: i64 = 9_223_372_036_825_200_000;
const DEBEZIUM_MINUS_INFINITY: i64 = -9_223_372_036_832_400_000;

/// Postgres has at most 131 072 digits before the point and 16 383 after it.
const MAX_DECIMAL_BYTES: usize = 64 * 1024;
const MAX_SCALE: u64 = 20_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_follow_the_calendar() {
        for (days, text) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (-25_508, "1900-03-01"),
            (20_781, "2026-11-24"),
            (-719_162, "0001-01-01"),
            (-719_528, "0000-01-01"),
            (-719_529, "-0001-12-31"),
        ] {
            assert_eq!(date(days), text);
        }
        assert!(date(i64::MAX).starts_with('2'));
    }

    #[test]
    fn times_show_the_digits_that_count() {
        assert_eq!(timestamp(0, Ticks::Millis, "Z"), "1970-01-01T00:00:00Z");
        assert_eq!(timestamp(-1, Ticks::Micros, ""), "1969-12-31T23:59:59.999999");
        assert_eq!(timestamp(1_500, Ticks::Millis, ""), "1970-01-01T00:00:01.5");
        assert_eq!(timestamp(1, Ticks::Nanos, ""), "1970-01-01T00:00:00.000000001");
        assert_eq!(timestamp(DEBEZIUM_INFINITY, Ticks::Micros, ""), "infinity");
        assert_eq!(
            Meaning::Time(Ticks::Micros).number(86_400_000_000),
            Json::Text("24:00:00".to_owned())
        );
        assert_eq!(Meaning::Time(Ticks::Millis).number(-1), Json::Integer(-1));
    }

    #[test]
    fn decimals_have_their_scale() {
        for (bytes, scale, text) in [
            (&[][..], 0, "0"),
            (&[0x04, 0xd2], 2, "12.34"),
            (&[0xfb, 0x2e], 2, "-12.34"),
            (&[0x05], 3, "0.005"),
            (&[0xff], 0, "-1"),
            (&[0x80], 1, "-12.8"),
            (&[0x0c], -2, "1200"),
            (&[0x00], -2, "0"),
        ] {
            assert_eq!(decimal(bytes, scale).as_deref(), Some(text));
        }
        assert_eq!(decimal(&[1; MAX_DECIMAL_BYTES + 1], 0), None);
    }

    proptest! {
        #[test]
        fn decimals_agree_with_integers(number: i128) {
            prop_assert_eq!(decimal(&number.to_be_bytes(), 0), Some(number.to_string()));
        }
    }
}
