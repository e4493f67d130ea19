//! Numbers as Java prints them, because the texts of schemas and headers are compared byte for
//! byte with what a Java process wrote.

use std::fmt::{Display, LowerExp};

/// `Double.toString`.
#[must_use]
pub(super) fn double(value: f64) -> String {
    floating(value, value.abs())
}

/// `Float.toString`.
#[must_use]
pub(super) fn float(value: f32) -> String {
    floating(value, f64::from(value).abs())
}

/// Plain between 10^-3 and 10^7, scientific elsewhere, always with a digit after the point.
fn floating<F: Display + LowerExp>(value: F, magnitude: f64) -> String {
    if magnitude.is_nan() {
        return "NaN".to_owned();
    }
    if magnitude.is_infinite() {
        return if format!("{value}").starts_with('-') { "-Infinity" } else { "Infinity" }
            .to_owned();
    }
    if magnitude == 0.0 || (1e-3..1e7).contains(&magnitude) {
        return with_point(format!("{value}"));
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => format!("{}E{exponent}", with_point(digits.to_owned())),
        None => text,
    }
}

fn with_point(mut digits: String) -> String {
    if !digits.contains('.') {
        digits.push_str(".0");
    }
    digits
}

/// `BigDecimal.toString` of an unscaled value in two's complement, the highest byte first.
#[must_use]
pub(super) fn decimal(unscaled: &[u8], scale: usize) -> String {
    let (negative, digits) = digits(unscaled);
    let sign = if negative { "-" } else { "" };
    let exponent = digits.len() as i64 - 1 - scale as i64;
    let split = digits.len().saturating_sub(scale);
    if exponent < -6 {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        format!("{sign}{first}{point}{rest}E{exponent}")
    } else if scale == 0 {
        format!("{sign}{digits}")
    } else {
        let (integer, fraction) = digits.split_at(split);
        let integer = if integer.is_empty() { "0" } else { integer };
        format!("{sign}{integer}.{fraction:0>scale$}")
    }
}

/// Whether the number is negative, and its decimal digits (at least one).
fn digits(unscaled: &[u8]) -> (bool, String) {
    let negative = unscaled.first().is_some_and(|byte| byte & 0x80 != 0);
    // Groups of nine digits, the lowest first. -n is the complement of n, and one.
    let mut groups: Vec<u64> = vec![0];
    let flip = if negative { 0xFF } else { 0 };
    let mut carry_on = |factor: u64, add: u64| {
        let mut carry = add;
        for group in &mut groups {
            let value = *group * factor + carry;
            *group = value % 1_000_000_000;
            carry = value / 1_000_000_000;
        }
        if carry > 0 {
            groups.push(carry);
        }
    };
    for &byte in unscaled {
        carry_on(256, u64::from(byte ^ flip));
    }
    if negative {
        carry_on(1, 1);
    }
    let mut text = String::new();
    for group in groups.iter().rev() {
        text.push_str(&format!("{group:09}"));
    }
    let trimmed = text.trim_start_matches('0');
    (negative, if trimmed.is_empty() { "0".to_owned() } else { trimmed.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_print_as_in_java() {
        for (value, text) in [
            (10.0, "10.0"),
            (1234567.0, "1234567.0"),
            (12345678.0, "1.2345678E7"),
            (1e100, "1.0E100"),
            (-1.5e10, "-1.5E10"),
            (1e-4, "1.0E-4"),
            (0.001, "0.001"),
            (9.9e-4, "9.9E-4"),
            (123456789.125, "1.23456789125E8"),
            (-0.0, "-0.0"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(double(value), text);
        }
        assert_eq!(float(1.1), "1.1");
        assert_eq!(float(1e10), "1.0E10");
        assert_eq!(double(f64::from(1.1f32)), "1.100000023841858");
    }

    #[test]
    fn decimals_print_as_in_java() {
        for (unscaled, scale, printed) in [
            (150i128, 2, "1.50"),
            (0, 10, "0E-10"),
            (1, 10, "1E-10"),
            (-123, 11, "-1.23E-9"),
            (1, 6, "0.000001"),
            (1, 7, "1E-7"),
            (100_000_000_000_000, 0, "100000000000000"),
            (0, 2, "0.00"),
            (-1, 2, "-0.01"),
            (-256, 1, "-25.6"),
            (i128::MIN, 0, "-170141183460469231731687303715884105728"),
            (i128::MAX, 38, "1.70141183460469231731687303715884105727"),
        ] {
            assert_eq!(decimal(&unscaled.to_be_bytes(), scale), printed);
        }
        assert_eq!(decimal(&[], 0), "0");
    }
}
