//! Decimals: from Postgres's digits to the shortest big-endian two's complement number.
//!
//! Postgres prints a `numeric` without an exponent. Up to 38 digits the unscaled value fits in an
//! `i128`; longer ones (Postgres allows 147 455 digits) go through limbs of 64 bits, on the stack up to
//! 600 digits. The work is quadratic in the number of digits, about 30 ms for the longest.

use super::integer::digit;
use super::primitive::{write_length, write_long};
use crate::avro::RowErrorKind;

/// Writes a decimal of a fixed scale as `bytes`.
#[inline]
pub(crate) fn encode(text: &[u8], scale: u32, out: &mut Vec<u8>) -> Result<(), RowErrorKind> {
    let number = Number::parse(text)?;
    number.write(scale as usize, out)
}

/// Writes the record of scale and value, the scale being the smallest that holds the value.
pub(crate) fn encode_variable(text: &[u8], out: &mut Vec<u8>) -> Result<(), RowErrorKind> {
    let mut number = Number::parse(text)?;
    while let [fraction @ .., b'0'] = number.fraction {
        number.fraction = fraction;
    }
    let scale = number.fraction.len();
    write_length(scale, out);
    number.write(scale, out)
}

/// Writes `-$1,234.50` (the C locale's form) as a decimal of scale 2.
pub(crate) fn encode_money(text: &[u8], out: &mut Vec<u8>) -> Result<(), RowErrorKind> {
    let mut plain = [0; 32];
    let length = plain_money(text, &mut plain).ok_or(RowErrorKind::Malformed)?;
    encode(plain.get(..length).unwrap_or_default(), MONEY_SCALE, out)
}

/// Debezium's `money.fraction.digits`.
pub(crate) const MONEY_SCALE: u32 = 2;

/// Copies the text without currency sign and group separators; `None` when it is too long.
pub(crate) fn plain_money(text: &[u8], plain: &mut [u8; 32]) -> Option<usize> {
    let mut length = 0;
    for &byte in text.iter().filter(|byte| !matches!(byte, b'$' | b',')) {
        *plain.get_mut(length)? = byte;
        length += 1;
    }
    Some(length)
}

/// The digits of a decimal, without leading zeros.
#[derive(Debug, Clone, Copy)]
struct Number<'a> {
    negative: bool,
    integer: &'a [u8],
    fraction: &'a [u8],
}

impl<'a> Number<'a> {
    #[inline]
    fn parse(text: &'a [u8]) -> Result<Number<'a>, RowErrorKind> {
        let (negative, rest) = match text {
            b"NaN" | b"Infinity" | b"-Infinity" => return Err(RowErrorKind::Unrepresentable),
            [b'-', rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let point = rest.iter().position(|&byte| byte == b'.').unwrap_or(rest.len());
        let (mut integer, fraction) = rest.split_at(point);
        let fraction = fraction.get(1..).unwrap_or_default();
        if (integer.is_empty() && fraction.is_empty()) || rest.len() > MAX_DIGITS + 1 {
            return Err(RowErrorKind::Malformed);
        }
        while let [b'0', shorter @ ..] = integer {
            integer = shorter;
        }
        Ok(Number { negative, integer, fraction })
    }

    /// Writes the value times ten to the power of `scale`, which must be a whole number.
    #[inline]
    fn write(&self, scale: usize, out: &mut Vec<u8>) -> Result<(), RowErrorKind> {
        let (kept, cut) = self.fraction.split_at(scale.min(self.fraction.len()));
        if cut.iter().any(|&byte| byte != b'0') {
            let is_number = self.fraction.iter().all(|&byte| digit(byte).is_some());
            return Err(if is_number {
                RowErrorKind::Unrepresentable
            } else {
                RowErrorKind::Malformed
            });
        }
        let zeros = scale - kept.len();
        let total = self.integer.len() + scale;
        if total <= 18 {
            let value = accumulate::<i64>(self.integer, 0)
                .and_then(|value| accumulate(kept, value))
                .ok_or(RowErrorKind::Malformed)?;
            let value = value * 10i64.pow(u32::try_from(zeros).unwrap_or(0));
            write_i64(if self.negative { -value } else { value }, out);
        } else if total <= 38 {
            let value = accumulate::<i128>(self.integer, 0)
                .and_then(|value| accumulate(kept, value))
                .ok_or(RowErrorKind::Malformed)?;
            let value = value * 10i128.pow(u32::try_from(zeros).unwrap_or(0));
            write_i128(if self.negative { -value } else { value }, out);
        } else {
            self.write_large(kept, zeros, out)?;
        }
        Ok(())
    }

    #[cold]
    fn write_large(
        &self,
        kept: &[u8],
        zeros: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), RowErrorKind> {
        let digits = self.integer.len() + kept.len() + zeros;
        // A limb holds more than 19 decimal digits.
        let (mut stack, mut heap) = ([0; STACK_LIMBS], Vec::new());
        let room = digits / 19 + 1;
        let limbs = match stack.get_mut(..room) {
            Some(limbs) => limbs,
            None => {
                heap.resize(room, 0);
                &mut heap[..]
            }
        };
        let mut large = Magnitude { limbs, used: 0 };
        let all = self.integer.iter().chain(kept).copied();
        large.add_digits(all.chain(std::iter::repeat_n(b'0', zeros)))?;
        large.write(self.negative, out);
        Ok(())
    }
}

/// Continues `value` with decimal digits; the caller knows that it cannot overflow.
#[inline]
fn accumulate<T>(digits: &[u8], mut value: T) -> Option<T>
where
    T: std::ops::Mul<Output = T> + std::ops::Add<Output = T> + From<u8>,
{
    for &byte in digits {
        value = value * T::from(10) + T::from(digit(byte)?);
    }
    Some(value)
}

#[inline]
fn write_i64(value: i64, out: &mut Vec<u8>) {
    let bits = 65 - (value ^ (value >> 63)).leading_zeros() as usize;
    let length = bits.div_ceil(8);
    write_long(length as i64, out);
    let bytes = value.to_be_bytes();
    out.extend_from_slice(bytes.get(bytes.len() - length..).unwrap_or(&bytes));
}

fn write_i128(value: i128, out: &mut Vec<u8>) {
    let bits = 129 - (value ^ (value >> 127)).leading_zeros() as usize;
    let length = bits.div_ceil(8);
    write_length(length, out);
    let bytes = value.to_be_bytes();
    out.extend_from_slice(bytes.get(bytes.len() - length..).unwrap_or(&bytes));
}

/// An unsigned number in limbs of 64 bits, the lowest first; limbs from `used` on are zero.
struct Magnitude<'a> {
    limbs: &'a mut [u64],
    used: usize,
}

impl Magnitude<'_> {
    fn add_digits(&mut self, digits: impl Iterator<Item = u8>) -> Result<(), RowErrorKind> {
        let (mut chunk, mut factor) = (0u64, 1u64);
        for byte in digits {
            chunk = chunk * 10 + u64::from(digit(byte).ok_or(RowErrorKind::Malformed)?);
            factor *= 10;
            if factor == 10u64.pow(19) {
                self.multiply_add(factor, chunk);
                (chunk, factor) = (0, 1);
            }
        }
        self.multiply_add(factor, chunk);
        Ok(())
    }

    fn multiply_add(&mut self, factor: u64, add: u64) {
        let mut carry = add;
        for limb in self.limbs.iter_mut().take(self.used) {
            (*limb, carry) = multiply_add(*limb, factor, carry);
        }
        if carry != 0
            && let Some(limb) = self.limbs.get_mut(self.used)
        {
            *limb = carry;
            self.used += 1;
        }
    }

    fn write(&mut self, negative: bool, out: &mut Vec<u8>) {
        // -m is the complement of m - 1.
        let negative = negative && self.used > 0;
        if negative {
            self.decrement();
        }
        let used = self.limbs.iter().take(self.used);
        let top = used.clone().rposition(|&limb| limb != 0);
        let bits = match top.and_then(|top| self.limbs.get(top).map(|limb| (top, limb))) {
            Some((top, limb)) => top * 64 + 64 - limb.leading_zeros() as usize,
            None => 0,
        };
        let length = bits / 8 + 1;
        write_length(length, out);
        let flip = if negative { 0xFF } else { 0 };
        for index in (0..length).rev() {
            let limb = self.limbs.get(index / 8).copied().unwrap_or(0);
            let byte = limb.to_le_bytes().get(index % 8).copied().unwrap_or(0);
            out.push(byte ^ flip);
        }
    }

    fn decrement(&mut self) {
        for limb in self.limbs.iter_mut().take(self.used) {
            let borrow;
            (*limb, borrow) = limb.overflowing_sub(1);
            if !borrow {
                break;
            }
        }
    }
}

/// `limb * factor + carry`, the low half and the high one.
#[expect(clippy::cast_possible_truncation, reason = "the two halves of a u128")]
fn multiply_add(limb: u64, factor: u64, carry: u64) -> (u64, u64) {
    let wide = u128::from(limb) * u128::from(factor) + u128::from(carry);
    (wide as u64, (wide >> 64) as u64)
}

/// Postgres: 131 072 digits before the point and 16 383 after it.
const MAX_DIGITS: usize = 131_072 + 16_383;

/// 32 limbs are 256 bytes of stack and 608 digits.
const STACK_LIMBS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use num_bigint::BigInt;
    use proptest::prelude::*;

    fn encoded(text: &str, scale: u32) -> Result<Vec<u8>, RowErrorKind> {
        let mut out = Vec::new();
        encode(text.as_bytes(), scale, &mut out).map(|()| out)
    }

    /// The slow reference: shift the point in the text, then let num-bigint do it.
    fn reference(text: &str, scale: usize) -> Vec<u8> {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", text),
        };
        let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let shifted: BigInt = format!("{sign}{integer}{fraction:0<scale$}").parse().unwrap();
        let mut out = Vec::new();
        super::super::primitive::write_bytes(&shifted.to_signed_bytes_be(), &mut out);
        out
    }

    #[test]
    fn equals_what_debezium_emits() {
        assert_eq!(encoded("1234.51", 2).unwrap(), b"\x06\x01\xE2\x3B");
        assert_eq!(encoded("0", 2).unwrap(), [2, 0]);
        assert_eq!(encoded("-0.01", 2).unwrap(), [2, 0xFF]);
        assert_eq!(encoded("1.28", 2).unwrap(), [4, 0, 0x80]);
        assert_eq!(encoded("12300", 2046).unwrap(), reference("12300", 2046));
    }

    #[test]
    fn variable_scale_drops_trailing_zeros() {
        for (text, scale, unscaled) in [
            ("100.250", 2, 10025),
            ("0", 0, 0),
            ("0.000", 0, 0),
            ("100", 0, 100),
            ("-1.2300", 2, -123),
            ("0.00000000000000000001", 20, 1),
        ] {
            let (mut out, mut expected) = (Vec::new(), Vec::new());
            encode_variable(text.as_bytes(), &mut out).unwrap();
            write_long(scale, &mut expected);
            expected.extend(reference(&format!("{unscaled}"), 0));
            assert_eq!(out, expected, "{text}");
        }
    }

    #[test]
    fn money_is_a_decimal() {
        for (text, plain) in [
            ("$1,234.50", "1234.50"),
            ("-$92,233,720,368,547,758.08", "-92233720368547758.08"),
            ("$0.00", "0"),
        ] {
            let mut out = Vec::new();
            encode_money(text.as_bytes(), &mut out).unwrap();
            assert_eq!(out, reference(plain, 2), "{text}");
        }
        for wrong in ["", "$", "EUR 1", &"1".repeat(40)] {
            assert!(encode_money(wrong.as_bytes(), &mut Vec::new()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_has_no_place_is_not_replaced() {
        for special in ["NaN", "Infinity", "-Infinity", "1.005"] {
            assert_eq!(encoded(special, 2), Err(RowErrorKind::Unrepresentable), "{special}");
        }
        assert_eq!(encoded("1.500", 1).unwrap(), encoded("1.5", 1).unwrap());
        for wrong in ["", "-", ".", "1e5", "1.2.3", "+1", "1,5", " 1", "0.0x0"] {
            assert_eq!(encoded(wrong, 2), Err(RowErrorKind::Malformed), "{wrong:?}");
        }
    }

    #[test]
    fn takes_the_longest_that_postgres_prints() {
        let text = format!("-{}.{}", "9".repeat(131_072), "1".repeat(16_383));
        assert_eq!(encoded(&text, 16_383).unwrap(), reference(&text, 16_383));
        assert_eq!(encoded(&"1".repeat(200_000), 0), Err(RowErrorKind::Malformed));
    }

    proptest! {
        #[test]
        fn agrees_with_the_reference(
            sign in "-?",
            integer in prop_oneof!["0{0,3}[0-9]{1,20}", "[0-9]{15,60}", "[0-9]{590,640}"],
            fraction in "[0-9]{0,25}",
            more in 0..20usize,
        ) {
            let scale = fraction.len() + more;
            let text = match fraction.as_str() {
                "" => format!("{sign}{integer}"),
                _ => format!("{sign}{integer}.{fraction}"),
            };
            prop_assert_eq!(encoded(&text, scale as u32).unwrap(), reference(&text, scale));
        }

        #[test]
        fn agrees_near_powers_of_two(shift in 0usize..400, off in -2i64..3, negative: bool) {
            let value = (BigInt::from(1) << shift) + off;
            let value = if negative { -value } else { value };
            prop_assert_eq!(encoded(&value.to_string(), 0).unwrap(), reference(&value.to_string(), 0));
        }
    }
}
