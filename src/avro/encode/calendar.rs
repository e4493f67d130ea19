//! Dates and times of day as Postgres prints them with `DateStyle = ISO`, in the proleptic
//! Gregorian calendar that Postgres and Java share.

use super::integer::digit;

/// A day of the calendar; year 0 is 1 BC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Day {
    pub(crate) year: i64,
    pub(crate) month: u8,
    pub(crate) day: u8,
}

pub(crate) const MICROS_PER_SECOND: i64 = 1_000_000;
pub(crate) const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

impl Day {
    /// Days since 1970-01-01. The year is counted from March, so that a leap day is the last of
    /// its year, and months of 30.6 days are cut to whole ones.
    #[inline]
    pub(crate) fn since_epoch(self) -> i64 {
        let (month, day) = (i64::from(self.month), i64::from(self.day));
        let year = if month > 2 { self.year } else { self.year - 1 };
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * DAYS_PER_ERA + day_of_era - EPOCH_DAY
    }

    /// The inverse of [`since_epoch`](Day::since_epoch), for any day that fits in 60 bits.
    pub(crate) fn from_epoch(days: i64) -> Day {
        let days = days + EPOCH_DAY;
        let era = days.div_euclid(DAYS_PER_ERA);
        let day_of_era = days.rem_euclid(DAYS_PER_ERA);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        let small = |value: i64| u8::try_from(value).unwrap_or(1);
        Day { year, month: small(month), day: small(day) }
    }
}

const DAYS_PER_ERA: i64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAY: i64 = 719_468;

/// Takes ` BC` off the end.
#[inline]
pub(crate) fn split_era(text: &[u8]) -> (&[u8], bool) {
    match text {
        [rest @ .., b' ', b'B', b'C'] => (rest, true),
        _ => (text, false),
    }
}

/// Parses `2016-11-04` (a year of four to seven digits) and gives what follows.
#[inline]
pub(crate) fn parse_day(text: &[u8], before_christ: bool) -> Option<(Day, &[u8])> {
    let (count, rest) = parse_year(text)?;
    let (&[b'-', m1, m0, b'-', d1, d0], rest) = rest.split_first_chunk::<6>()? else {
        return None;
    };
    let (month, day) = (two_digits(m1, m0)?, two_digits(d1, d0)?);
    if count == 0 || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    let year = if before_christ { 1 - count } else { count };
    (day <= days_in(year, month)).then_some((Day { year, month, day }, rest))
}

/// Parses a year of four to seven digits, up to the dash.
#[inline]
fn parse_year(text: &[u8]) -> Option<(i64, &[u8])> {
    // Nearly all.
    if let &[y3, y2, y1, y0, b'-', ..] = text {
        let (high, low) = (two_digits(y3, y2)?, two_digits(y1, y0)?);
        return Some((i64::from(high) * 100 + i64::from(low), text.get(4..)?));
    }
    let dash = text.iter().position(|&byte| byte == b'-')?;
    if !(4..=7).contains(&dash) {
        return None;
    }
    let (year, rest) = text.split_at_checked(dash)?;
    let mut count = 0;
    for &byte in year {
        count = count * 10 + i64::from(digit(byte)?);
    }
    Some((count, rest))
}

/// Parses `13:51:30.123456` at the start, in microseconds, and gives what follows. The largest is
/// `24:00:00`.
#[inline]
pub(crate) fn parse_time(text: &[u8]) -> Option<(i64, &[u8])> {
    let (&[h1, h0, b':', m1, m0, b':', s1, s0], mut rest) = text.split_first_chunk::<8>()? else {
        return None;
    };
    let (hours, minutes, seconds) = (two_digits(h1, h0)?, two_digits(m1, m0)?, two_digits(s1, s0)?);
    if minutes > 59 || seconds > 59 {
        return None;
    }
    let mut micros = 0;
    if let [b'.', fraction @ ..] = rest {
        (micros, rest) = parse_fraction(fraction)?;
    }
    let seconds = i64::from(hours) * 3_600 + i64::from(minutes) * 60 + i64::from(seconds);
    let total = seconds * MICROS_PER_SECOND + micros;
    (total <= MICROS_PER_DAY).then_some((total, rest))
}

/// Parses one to six digits as a fraction of a second, in microseconds.
#[inline]
pub(crate) fn parse_fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let (mut micros, mut count) = (0, 0usize);
    for value in text.iter().map_while(|&byte| digit(byte)) {
        micros = micros * 10 + i64::from(value);
        count += 1;
        if count > 6 {
            return None;
        }
    }
    let missing = u32::try_from(6usize.checked_sub(count)?).ok()?;
    let rest = text.get(count..)?;
    (count > 0).then_some((micros * 10i64.pow(missing), rest))
}

/// Parses `+02`, `-05:30`, `+01:02:03` in seconds east of Greenwich.
#[inline]
pub(crate) fn parse_offset(text: &[u8]) -> Option<i64> {
    let (sign, rest) = match text {
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let seconds = match *rest {
        [h1, h0] => hms(two_digits(h1, h0)?, 0, 0)?,
        [h1, h0, b':', m1, m0] => hms(two_digits(h1, h0)?, two_digits(m1, m0)?, 0)?,
        [h1, h0, b':', m1, m0, b':', s1, s0] => {
            hms(two_digits(h1, h0)?, two_digits(m1, m0)?, two_digits(s1, s0)?)?
        }
        _ => return None,
    };
    Some(sign * seconds)
}

/// Postgres takes offsets below 16 hours.
fn hms(hours: u8, minutes: u8, seconds: u8) -> Option<i64> {
    let fits = hours < 16 && minutes < 60 && seconds < 60;
    fits.then_some(i64::from(hours) * 3_600 + i64::from(minutes) * 60 + i64::from(seconds))
}

#[inline]
fn two_digits(tens: u8, ones: u8) -> Option<u8> {
    Some(digit(tens)? * 10 + digit(ones)?)
}

#[inline]
fn days_in(year: i64, month: u8) -> u8 {
    match month {
        2 if year.rem_euclid(4) == 0
            && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0) =>
        {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn days(text: &str, before_christ: bool) -> i64 {
        parse_day(text.as_bytes(), before_christ).unwrap().0.since_epoch()
    }

    #[test]
    fn days_equal_postgres() {
        assert_eq!(days("1970-01-01", false), 0);
        assert_eq!(days("2016-11-04", false), 17_109);
        assert_eq!(days("0001-01-01", true), -719_528);
        assert_eq!(days("4713-01-01", true), -2_440_550);
        assert_eq!(days("5874897-12-31", false), 2_145_042_905);
        assert_eq!(days("1500-02-28", false), -171_606);
    }

    #[test]
    fn what_is_no_day_is_refused() {
        for text in [
            "",
            "2016",
            "2016-11",
            "2016-13-01",
            "2016-00-01",
            "2016-01-00",
            "2016-02-30",
            "2015-02-29",
            "1900-02-29",
            "0000-01-01",
            "16-11-04",
            "12345678-01-01",
            "2016-1-04",
            "20x6-11-04",
            "+016-11-04",
        ] {
            assert_eq!(parse_day(text.as_bytes(), false), None, "{text:?}");
        }
        // 1 BC is a leap year.
        assert!(parse_day(b"0001-02-29", true).is_some());
    }

    #[test]
    fn times_are_microseconds() {
        assert_eq!(parse_time(b"04:05:06.123456"), Some((14_706_123_456, &b""[..])));
        assert_eq!(parse_time(b"24:00:00+00"), Some((MICROS_PER_DAY, &b"+00"[..])));
        assert_eq!(parse_time(b"00:00:00.1 BC"), Some((100_000, &b" BC"[..])));
        for text in [
            "",
            "04:05",
            "04:60:00",
            "04:05:60",
            "24:00:00.1",
            "25:00:00",
            "04:05:06.",
            "04:05:06.1234567",
        ] {
            assert_eq!(parse_time(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn offsets_are_seconds() {
        assert_eq!(parse_offset(b"+00"), Some(0));
        assert_eq!(parse_offset(b"-05:30"), Some(-19_800));
        assert_eq!(parse_offset(b"+01:02:03"), Some(3_723));
        for text in ["", "+", "+1", "00", "+16", "+01:60", "+010203", "Z"] {
            assert_eq!(parse_offset(text.as_bytes()), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn days_and_dates_are_inverse(days in -2_500_000i64..2_200_000_000) {
            let day = Day::from_epoch(days);
            prop_assert_eq!(day.since_epoch(), days);
            let next = Day::from_epoch(days + 1);
            // The calendar only ever steps to the next day, the next month's first, or New Year.
            let steps = (next.year == day.year && next.month == day.month && next.day == day.day + 1)
                || (next.day == 1 && day.day == days_in(day.year, day.month)
                    && (next.month == day.month + 1 || (next.month == 1 && day.month == 12 && next.year == day.year + 1)));
            prop_assert!(steps, "{day:?} {next:?}");
        }
    }
}
