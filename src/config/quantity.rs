//! Durations and sizes as people write them: `"500us"`, `"10s"`, `"16MiB"`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::problem::Fault;

/// A duration with its unit, inside `range`.
pub(super) fn duration(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, Fault> {
    let value = humantime::parse_duration(text.trim()).map_err(|_| {
        Fault::new("not a duration").remedy("a number and a unit: `\"500us\"`, `\"10s\"`, `\"2m\"`")
    })?;
    if range.contains(&value) {
        return Ok(value);
    }
    let bound = |bound: &Duration| humantime::format_duration(*bound).to_string();
    Err(Fault::new(format!(
        "out of range: from {} to {}",
        bound(range.start()),
        bound(range.end())
    )))
}

/// A number of bytes: digits, and a decimal (`kB`, `MB`, `GB`) or binary (`KiB`, `MiB`, `GiB`)
/// unit, whose letters may be in either case.
pub(super) fn bytes(text: &str) -> Result<u64, Fault> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "kib" => 1 << 10,
        "mb" => 1_000_000,
        "mib" => 1 << 20,
        "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        _ => return Err(not_a_size()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(not_a_size)
}

fn not_a_size() -> Fault {
    Fault::new("not a size")
        .remedy("a whole number of bytes, or one with a unit: `\"500kB\"`, `\"16MiB\"`")
}

/// Whether `value` is inside `range`.
pub(super) fn in_range(value: u64, range: &RangeInclusive<u64>) -> Result<u64, Fault> {
    if range.contains(&value) {
        return Ok(value);
    }
    Err(Fault::new(format!("out of range: from {} to {}", range.start(), range.end())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_with_units() {
        let all = [
            ("0", 0),
            ("1000", 1000),
            ("10B", 10),
            ("64KiB", 65_536),
            ("1MB", 1_000_000),
            ("16 MiB", 16_777_216),
            ("2gb", 2_000_000_000),
            ("1GiB", 1_073_741_824),
        ];
        for (text, value) in all {
            assert_eq!(bytes(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_is_no_size() {
        for text in
            ["", "MB", "-1", "1.5MB", "1TB", "99999999999999999999", "18446744073709551615GB"]
        {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit_and_keep_their_range() {
        let range = Duration::ZERO..=Duration::from_secs(60);
        assert_eq!(duration("500us", &range), Ok(Duration::from_micros(500)));
        assert_eq!(duration("1m", &range), Ok(Duration::from_secs(60)));
        assert!(duration("10", &range).is_err());
        assert!(duration("-1s", &range).is_err());
        assert_eq!(duration("61s", &range).unwrap_err().message, "out of range: from 0s to 1m");
    }
}
