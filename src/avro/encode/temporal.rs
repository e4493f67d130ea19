//! Dates, times and timestamps.
//!
//! Infinity has no place in a number: the sentinels are the ones that Debezium emits, all of them
//! outside what Postgres allows for finite values but the two of microsecond timestamps, which
//! are instants of the year 294247.

use super::calendar::{
    Day, MICROS_PER_DAY, MICROS_PER_SECOND, parse_day, parse_offset, parse_time, split_era,
};
use super::primitive::{write_bytes, write_long};
use crate::avro::RowErrorKind;
use crate::avro::types::TimeUnit;

/// Writes a `date` as days since 1970-01-01.
#[inline]
pub(crate) fn encode_date(text: &[u8], out: &mut Vec<u8>) -> Result<(), RowErrorKind> {
    let days = match text {
        b"infinity" => DATE_INFINITY,
        b"-infinity" => DATE_MINUS_INFINITY,
        _ => date_number(text)?,
    };
    write_long(days, out);
    Ok(())
}

/// The number of a finite date.
#[inline]
pub(crate) fn date_number(text: &[u8]) -> Result<i64, RowErrorKind> {
    let (text, before_christ) = split_era(text);
    match parse_day(text, before_christ) {
        Some((day, [])) => {
            let days = day.since_epoch();
            i32::try_from(days).map(i64::from).map_err(|_| RowErrorKind::Unrepresentable)
        }
        _ => Err(RowErrorKind::Malformed),
    }
}

/// Writes a `time` as milliseconds or microseconds since midnight.
#[inline]
pub(crate) fn encode_time(
    text: &[u8],
    unit: TimeUnit,
    out: &mut Vec<u8>,
) -> Result<(), RowErrorKind> {
    write_long(time_number(text, unit)?, out);
    Ok(())
}

/// The number of a time of day.
#[inline]
pub(crate) fn time_number(text: &[u8], unit: TimeUnit) -> Result<i64, RowErrorKind> {
    match parse_time(text) {
        Some((micros, [])) => Ok(unit.of_micros(micros)),
        _ => Err(RowErrorKind::Malformed),
    }
}

/// Writes a `timestamp` as milliseconds or microseconds since 1970-01-01.
#[inline]
pub(crate) fn encode_timestamp(
    text: &[u8],
    unit: TimeUnit,
    out: &mut Vec<u8>,
) -> Result<(), RowErrorKind> {
    let value = match text {
        b"infinity" => unit.of_micros(TIMESTAMP_INFINITY),
        b"-infinity" => unit.of_micros(TIMESTAMP_MINUS_INFINITY),
        _ => timestamp_number(text, unit)?,
    };
    write_long(value, out);
    Ok(())
}

/// The number of a finite timestamp: `2016-11-04 13:51:30.123456`, with ` BC` before Christ.
pub(crate) fn timestamp_number(text: &[u8], unit: TimeUnit) -> Result<i64, RowErrorKind> {
    let (text, before_christ) = split_era(text);
    let (day, micros) = match parse_day(text, before_christ) {
        Some((day, [b' ', time @ ..])) => match parse_time(time) {
            Some((micros, [])) => (day, micros),
            _ => return Err(RowErrorKind::Malformed),
        },
        _ => return Err(RowErrorKind::Malformed),
    };
    let per_day = unit.of_micros(MICROS_PER_DAY);
    // Microseconds end in the year 294247, Postgres in 294276.
    day.since_epoch()
        .checked_mul(per_day)
        .and_then(|number| number.checked_add(unit.of_micros(micros)))
        .ok_or(RowErrorKind::Unrepresentable)
}

/// Writes a `timetz`, shifted to UTC: `02:05:06.5Z`.
pub(crate) fn encode_zoned_time(text: &[u8], out: &mut Vec<u8>) -> Result<(), RowErrorKind> {
    let (micros, offset) = parse_time(text)
        .and_then(|(micros, rest)| Some((micros, parse_offset(rest)?)))
        .ok_or(RowErrorKind::Malformed)?;
    let utc = (micros - offset * MICROS_PER_SECOND).rem_euclid(MICROS_PER_DAY);
    let mut iso = IsoText::default();
    iso.time(utc);
    iso.shortest_fraction(utc);
    iso.push(b'Z');
    write_bytes(iso.as_bytes(), out);
    Ok(())
}

/// Writes a `timestamptz` as ISO text in UTC with that many digits of fraction.
#[inline]
pub(crate) fn encode_zoned_timestamp(
    text: &[u8],
    fraction: u8,
    out: &mut Vec<u8>,
) -> Result<(), RowErrorKind> {
    if matches!(text, b"infinity" | b"-infinity") {
        write_bytes(text, out);
        return Ok(());
    }
    let (day, micros) = parse_zoned(text).ok_or(RowErrorKind::Malformed)?;
    if let Some((date, time)) = plain_utc(text, micros) {
        write_plain(date, time, fraction, out);
        return Ok(());
    }
    let mut iso = IsoText::default();
    iso.day(day);
    iso.push(b'T');
    iso.time(micros);
    iso.fraction(micros, fraction);
    iso.push(b'Z');
    write_bytes(iso.as_bytes(), out);
    Ok(())
}

/// Day and microseconds of the day, in UTC.
#[inline]
fn parse_zoned(text: &[u8]) -> Option<(Day, i64)> {
    let (text, before_christ) = split_era(text);
    let (day, rest) = parse_day(text, before_christ)?;
    let (micros, rest) = parse_time(rest.strip_prefix(b" ")?)?;
    let offset = parse_offset(rest)?;
    if offset == 0 && micros < MICROS_PER_DAY {
        return Some((day, micros));
    }
    let micros = micros - offset * MICROS_PER_SECOND;
    let days = day.since_epoch() + micros.div_euclid(MICROS_PER_DAY);
    Some((Day::from_epoch(days), micros.rem_euclid(MICROS_PER_DAY)))
}

/// Date and time as they stand in the text of a timestamp that is in UTC already, with a year of
/// four digits: nearly all are. `text` was parsed.
#[inline]
fn plain_utc(text: &[u8], micros: i64) -> Option<(&[u8; 10], &[u8])> {
    let (date, rest) = text.strip_suffix(b"+00")?.split_first_chunk::<10>()?;
    let time = rest.strip_prefix(b" ")?;
    // 24:00:00 is the next day's midnight.
    (micros > 0 || time.starts_with(b"00")).then_some((date, time))
}

#[inline]
fn write_plain(date: &[u8; 10], time: &[u8], fraction: u8, out: &mut Vec<u8>) {
    let mut iso = *b"0000-00-00T00:00:00.000000Z";
    let (seconds, digits) = time.split_at(time.len().min(8));
    let digits = digits.get(1..).unwrap_or_default();
    let length = if fraction == 0 { 20 } else { 21 + usize::from(fraction.min(6)) };
    for (place, &byte) in iso.iter_mut().zip(date) {
        *place = byte;
    }
    for (place, &byte) in iso.iter_mut().skip(11).zip(seconds) {
        *place = byte;
    }
    for (place, &byte) in iso.iter_mut().skip(20).zip(digits) {
        *place = byte;
    }
    if let Some(last) = iso.get_mut(length - 1) {
        *last = b'Z';
    }
    write_bytes(iso.get(..length).unwrap_or(&iso), out);
}

impl TimeUnit {
    #[inline]
    fn of_micros(self, micros: i64) -> i64 {
        match self {
            TimeUnit::Millis => micros.div_euclid(1_000),
            TimeUnit::Micros => micros,
        }
    }
}

/// ISO text under construction, on the stack. The longest is `+5874897-12-31T23:59:59.999999Z`.
#[derive(Default)]
struct IsoText {
    bytes: [u8; 32],
    length: usize,
}

impl IsoText {
    #[inline]
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// The last `count` digits.
    #[inline]
    fn digits(&mut self, value: u64, count: u32) {
        let mut power = 10u64.pow(count);
        for _ in 0..count {
            power /= 10;
            self.push(b'0' + (value / power % 10) as u8);
        }
    }

    /// As Java does: at least four digits, a sign before more than four and before Christ.
    #[inline]
    fn day(&mut self, day: Day) {
        let years = day.year.unsigned_abs();
        if day.year < 0 {
            self.push(b'-');
        } else if years > 9_999 {
            self.push(b'+');
        }
        self.digits(years, years.checked_ilog10().map_or(4, |log| (log + 1).max(4)));
        self.push(b'-');
        self.digits(day.month.into(), 2);
        self.push(b'-');
        self.digits(day.day.into(), 2);
    }

    #[inline]
    fn time(&mut self, micros: i64) {
        let seconds = (micros / MICROS_PER_SECOND).unsigned_abs();
        self.digits(seconds / 3_600, 2);
        self.push(b':');
        self.digits(seconds / 60 % 60, 2);
        self.push(b':');
        self.digits(seconds % 60, 2);
    }

    #[inline]
    fn fraction(&mut self, micros: i64, count: u8) {
        let count = u32::from(count.min(6));
        if count > 0 {
            let fraction = (micros % MICROS_PER_SECOND).unsigned_abs();
            self.push(b'.');
            self.digits(fraction / 10u64.pow(6 - count), count);
        }
    }

    fn shortest_fraction(&mut self, micros: i64) {
        let mut fraction = micros % MICROS_PER_SECOND;
        let mut count = 6;
        while count > 0 && fraction % 10 == 0 {
            fraction /= 10;
            count -= 1;
        }
        self.fraction(micros, count);
    }
}

const DATE_INFINITY: i64 = -2_147_472_692;
const DATE_MINUS_INFINITY: i64 = -2_147_472_691;
const TIMESTAMP_INFINITY: i64 = 9_223_372_036_825_200_000;
const TIMESTAMP_MINUS_INFINITY: i64 = -9_223_372_036_832_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    type Encode = fn(&[u8], &mut Vec<u8>) -> Result<(), RowErrorKind>;

    fn number(text: &str, encode: Encode) -> i64 {
        let mut out = Vec::new();
        encode(text.as_bytes(), &mut out).unwrap();
        let zigzag = out.iter().rev().fold(0u64, |n, &b| n << 7 | u64::from(b & 0x7F));
        (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed()
    }

    fn string(text: &str, encode: Encode) -> String {
        let mut out = Vec::new();
        encode(text.as_bytes(), &mut out).unwrap();
        String::from_utf8(out.split_off(1)).unwrap()
    }

    fn micros(text: &[u8], out: &mut Vec<u8>) -> Result<(), RowErrorKind> {
        encode_timestamp(text, TimeUnit::Micros, out)
    }

    fn millis(text: &[u8], out: &mut Vec<u8>) -> Result<(), RowErrorKind> {
        encode_timestamp(text, TimeUnit::Millis, out)
    }

    #[test]
    fn dates_equal_what_debezium_emits() {
        for (text, days) in [
            ("2016-11-04", 17_109),
            ("1969-12-31", -1),
            ("infinity", -2_147_472_692),
            ("-infinity", -2_147_472_691),
            ("4713-01-01 BC", -2_440_550),
            ("5874897-12-31", 2_145_042_905),
        ] {
            assert_eq!(number(text, encode_date), days, "{text}");
        }
    }

    #[test]
    fn timestamps_equal_what_debezium_emits() {
        for (text, value) in [
            ("infinity", 9_223_372_036_825_200_000),
            ("-infinity", -9_223_372_036_832_400_000),
            ("0001-01-01 00:00:00 BC", -62_167_219_200_000_000),
            ("12016-01-01 00:00:00.5", 317_021_126_400_500_000),
            ("4713-11-24 00:00:00 BC", -210_835_180_800_000_000),
            ("1969-12-31 23:59:59.999999", -1),
            ("294246-12-31 23:59:59.999999", 9_223_371_244_799_999_999),
        ] {
            assert_eq!(number(text, micros), value, "{text}");
        }
        for (text, value) in [
            ("infinity", 9_223_372_036_825_200),
            ("-infinity", -9_223_372_036_832_400),
            ("1969-12-31 23:59:59.999", -1),
            ("294276-12-31 23:59:59.999", 9_224_318_015_999_999),
        ] {
            assert_eq!(number(text, millis), value, "{text}");
        }
    }

    #[test]
    fn an_instant_past_the_last_microsecond_is_not_replaced() {
        let past = b"294247-01-10 04:00:54.775808";
        assert_eq!(micros(past, &mut Vec::new()), Err(RowErrorKind::Unrepresentable));
        assert_eq!(number("294247-01-10 04:00:54.775807", micros), i64::MAX);
    }

    #[test]
    fn zoned_timestamps_equal_what_debezium_emits() {
        let six = |text: &str| string(text, |text, out| encode_zoned_timestamp(text, 6, out));
        for (text, iso) in [
            ("infinity", "infinity"),
            ("-infinity", "-infinity"),
            ("0001-01-01 00:00:00+00 BC", "0000-01-01T00:00:00.000000Z"),
            ("12016-01-01 00:00:00.5+00", "+12016-01-01T00:00:00.500000Z"),
            ("4713-11-24 00:00:00+00 BC", "-4712-11-24T00:00:00.000000Z"),
            ("0100-01-01 10:00:00+00 BC", "-0099-01-01T10:00:00.000000Z"),
            ("294276-12-31 23:59:59.999999+00", "+294276-12-31T23:59:59.999999Z"),
            ("2016-11-04 01:51:30.1+02", "2016-11-03T23:51:30.100000Z"),
            ("2016-12-31 22:30:00-05:30", "2017-01-01T04:00:00.000000Z"),
            ("2016-12-31 24:00:00+00", "2017-01-01T00:00:00.000000Z"),
            ("2016-12-31 00:00:00+00", "2016-12-31T00:00:00.000000Z"),
            ("2016-12-31 00:00:00.000001+00", "2016-12-31T00:00:00.000001Z"),
        ] {
            assert_eq!(six(text), iso, "{text}");
        }
        let none = |text: &[u8], out: &mut Vec<u8>| encode_zoned_timestamp(text, 0, out);
        assert_eq!(string("2016-11-04 11:51:30+00", none), "2016-11-04T11:51:30Z");
        assert_eq!(string("2016-11-04 12:51:30+01", none), "2016-11-04T11:51:30Z");
        let three = |text: &[u8], out: &mut Vec<u8>| encode_zoned_timestamp(text, 3, out);
        assert_eq!(string("2016-11-04 11:51:30.12+00", three), "2016-11-04T11:51:30.120Z");
    }

    #[test]
    fn times_equal_what_debezium_emits() {
        let micros = |text: &[u8], out: &mut Vec<u8>| encode_time(text, TimeUnit::Micros, out);
        let millis = |text: &[u8], out: &mut Vec<u8>| encode_time(text, TimeUnit::Millis, out);
        assert_eq!(number("24:00:00", micros), 86_400_000_000);
        assert_eq!(number("24:00:00", millis), 86_400_000);
        assert_eq!(number("04:05:06.123", millis), 14_706_123);
        for (text, iso) in [
            ("24:00:00+00", "00:00:00Z"),
            ("00:00:00+15:59", "08:01:00Z"),
            ("23:00:00-05:30", "04:30:00Z"),
            ("12:00:00.1-01", "13:00:00.1Z"),
            ("04:05:06.5+02", "02:05:06.5Z"),
            ("12:00:00.123456+01:02:03", "10:57:57.123456Z"),
        ] {
            assert_eq!(string(text, encode_zoned_time), iso, "{text}");
        }
    }

    #[test]
    fn other_forms_are_malformed() {
        let zoned: Encode = |text, out| encode_zoned_timestamp(text, 6, out);
        for (text, encode) in [
            ("04.11.2016", encode_date as Encode),
            ("2016-11-04 ", encode_date),
            ("2016-11-04T13:51:30", micros),
            ("2016-11-04 13:51:30+00", micros),
            ("2016-11-04 13:51:30", zoned),
            ("2016-11-04 13:51:30 UTC", zoned),
            ("13:51:30", encode_zoned_time),
        ] {
            assert_eq!(
                encode(text.as_bytes(), &mut Vec::new()),
                Err(RowErrorKind::Malformed),
                "{text}"
            );
        }
    }
}
