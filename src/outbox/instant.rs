//! The time column of an outbox row, as the record's timestamp.

/// Unix milliseconds of a `timestamp` (taken as UTC, as Debezium does) or `timestamptz` in ISO
/// style, rounded down. `None` for infinities, text of another form, and times that `i64`
/// milliseconds cannot hold.
///
/// ```text
/// 2026-11-24 17:43:05.123456+05:30 BC
/// ```
pub(super) fn unix_millis(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (text, bc) = match text.strip_suffix(" BC") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let (date, time) = text.split_once(' ')?;
    let (time, offset) = match time.find(['+', '-']) {
        Some(at) => (time.get(..at)?, offset_seconds(time.get(at..)?)?),
        None => (time, 0),
    };
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let seconds = days(date, bc)?
        .checked_mul(86_400)?
        .checked_add(seconds_of(clock)?)?
        .checked_sub(offset)?;
    // Of at most six digits the first three count: rounding down is cutting off, as the fraction
    // is never negative.
    let millis = match fraction.get(..3).unwrap_or(fraction) {
        "" => 0,
        digits => number(digits)? * 10_i64.checked_pow(3_u32.checked_sub(digits.len() as u32)?)?,
    };
    seconds.checked_mul(1_000)?.checked_add(millis)
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar.
fn days(date: &str, bc: bool) -> Option<i64> {
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let (year, month, day) = (number(year)?, number(month)?, number(day)?);
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if bc { 1_i64.checked_sub(year)? } else { year };
    // Counted in years that begin in March, so that the leap day is the last one.
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era.checked_mul(146_097)?.checked_add(day_of_era - 719_468)
}

/// `HH:MM:SS`, of which the later parts may be missing.
fn seconds_of(clock: &str) -> Option<i64> {
    let mut seconds: i64 = 0;
    let mut unit = 3_600;
    for part in clock.split(':') {
        if unit == 0 || part.len() != 2 {
            return None;
        }
        seconds += number(part)? * unit;
        unit /= 60;
    }
    Some(seconds)
}

fn offset_seconds(offset: &str) -> Option<i64> {
    match offset.strip_prefix('-') {
        Some(west) => Some(-seconds_of(west)?),
        None => seconds_of(offset.strip_prefix('+')?),
    }
}

/// A number of digits only.
fn number(digits: &str) -> Option<i64> {
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_instants() {
        for (text, millis) in [
            ("1970-01-01 00:00:00", 0),
            ("1970-01-01 00:00:00.9999", 999),
            ("1970-01-01 00:00:00.5", 500),
            ("1969-12-31 23:59:59.001", -999),
            ("2000-01-01 00:00:00+00", 946_684_800_000),
            ("2000-02-29 12:34:56.789123", 951_827_696_789),
            ("2000-01-01 05:30:00+05:30", 946_684_800_000),
            ("1999-12-31 19:00:00-05", 946_684_800_000),
            ("0001-01-01 00:00:00", -62_135_596_800_000),
            ("0001-01-01 00:00:00 BC", -62_167_219_200_000),
            ("294276-12-31 23:59:59.999999", 9_224_318_015_999_999),
        ] {
            assert_eq!(unix_millis(text.as_bytes()), Some(millis), "{text}");
        }
    }

    #[test]
    fn anything_else_has_no_instant() {
        for text in [
            "",
            "infinity",
            "-infinity",
            "2000-01-01",
            "2000-13-01 00:00:00",
            "2000-01-00 00:00:00",
            "2000-01-01 1:00:00",
            "2000-01-01 00:00:00.x",
            "2000-01-01 00:00:00+",
            "a b",
            "99999999999999999999-01-01 00:00:00",
            "2000-01-01 00:00:00:00",
            "2000-01-01-01 00:00",
            "9223372036854775807-01-01 00:00:00",
            "\u{e9} 00:00:00",
        ] {
            assert_eq!(unix_millis(text.as_bytes()), None, "{text}");
        }
        assert_eq!(unix_millis(b"\xff 00:00:00"), None);
    }

    proptest! {
        #[test]
        fn days_follow_each_other(year in -5_000_i64..300_000, month in 1_u8..=12) {
            let (bc, written) = if year <= 0 { (true, 1 - year) } else { (false, year) };
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 if leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            let first = days(&format!("{written:04}-{month:02}-01"), bc).unwrap();
            let last = days(&format!("{written:04}-{month:02}-{length}"), bc).unwrap();
            prop_assert_eq!(last - first, length - 1);
            if month < 12 {
                let next = days(&format!("{written:04}-{:02}-01", month + 1), bc).unwrap();
                prop_assert_eq!(next - last, 1);
            }
        }

        #[test]
        fn no_text_panics(text: Vec<u8>) {
            unix_millis(&text);
        }
    }
}
