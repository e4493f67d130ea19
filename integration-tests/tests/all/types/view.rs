//! Decoded values in the form in which SQL can compute them.

use serde_json::{Value as Json, json};

/// How a decoded value is compared with what SQL computed.
#[derive(Clone, Debug)]
pub enum View {
    /// As it is.
    Same,
    /// A float, as the hexadecimal digits of its bits.
    Float,
    /// Bytes of an unscaled number, as text with this many digits after the point.
    Decimal(usize),
    /// Debezium's record of scale and bytes, as text.
    VariableDecimal,
    /// Little-endian bytes, as binary digits without leading zeros.
    Bits,
    /// The JSON in a string.
    Parsed,
    /// Each element of an array.
    Each(Box<View>),
}

impl View {
    pub fn of(&self, value: &Json) -> Json {
        match (self, value) {
            (_, Json::Null) => Json::Null,
            (Self::Same, _) => value.clone(),
            (Self::Float, _) => {
                let name = |text: &str| text.parse().expect("a number");
                let number = value.as_str().map_or_else(|| value.as_f64(), |text| Some(name(text)));
                json!(format!("{:016x}", f64::to_bits(number.expect("a number"))))
            }
            (Self::Decimal(scale), _) => json!(decimal(&bytes(value), *scale)),
            (Self::VariableDecimal, _) => {
                let scale = value["scale"].as_u64().expect("a scale");
                json!(decimal(&bytes(&value["value"]), usize::try_from(scale).expect("a size")))
            }
            (Self::Bits, _) => {
                let digits: String =
                    bytes(value).iter().rev().map(|byte| format!("{byte:08b}")).collect();
                json!(digits.trim_start_matches('0'))
            }
            (Self::Parsed, _) => {
                serde_json::from_str(value.as_str().expect("a string")).expect("JSON")
            }
            (Self::Each(view), _) => {
                value.as_array().expect("an array").iter().map(|element| view.of(element)).collect()
            }
        }
    }
}

/// Equality, where a float and an integer of the same value are one number and 0 is not -0.
pub fn same(left: &Json, right: &Json) -> bool {
    match (left, right) {
        (Json::Number(a), Json::Number(b)) if a.is_f64() || b.is_f64() => {
            a.as_f64().map(f64::to_bits) == b.as_f64().map(f64::to_bits)
        }
        (Json::Array(a), Json::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        _ => left == right,
    }
}

fn bytes(value: &Json) -> Vec<u8> {
    let hex = value["bytes"].as_str().unwrap_or_else(|| panic!("bytes, not {value}"));
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits");
    (0..hex.len()).step_by(2).map(digit).collect()
}

/// Big-endian two's complement as Postgres prints a number.
fn decimal(bytes: &[u8], scale: usize) -> String {
    let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    // Decimal digits, the lowest first, of the magnitude; of its complement while negative.
    let mut digits = vec![0u8];
    for byte in bytes {
        let mut carry = u32::from(if negative { !byte } else { *byte });
        for digit in &mut digits {
            carry += u32::from(*digit) * 256;
            *digit = (carry % 10) as u8;
            carry /= 10;
        }
        while carry > 0 {
            digits.push((carry % 10) as u8);
            carry /= 10;
        }
    }
    if negative {
        let mut at = 0;
        loop {
            if at == digits.len() {
                digits.push(0);
            }
            digits[at] += 1;
            if digits[at] < 10 {
                break;
            }
            digits[at] = 0;
            at += 1;
        }
    }
    while digits.len() > scale + 1 && digits.last() == Some(&0) {
        digits.pop();
    }
    digits.resize(digits.len().max(scale + 1), 0);
    let text: String = digits.iter().rev().map(|digit| char::from(b'0' + digit)).collect();
    let (whole, fraction) = text.split_at(text.len() - scale);
    let sign = if negative { "-" } else { "" };
    let point = if scale > 0 { "." } else { "" };
    format!("{sign}{whole}{point}{fraction}")
}

#[test]
fn two_s_complement_reads_as_postgres_prints() {
    for (hex, scale, text) in [
        ("00", 0, "0"),
        ("00", 2, "0.00"),
        ("ff", 2, "-0.01"),
        ("80", 0, "-128"),
        ("0080", 1, "12.8"),
        ("ff7f", 0, "-129"),
        ("ff00", 3, "-0.256"),
        ("0de0b6b3a7640000", 18, "1.000000000000000000"),
        ("ff0000000000000000", 0, "-18446744073709551616"),
    ] {
        let value = json!({ "bytes": hex });
        assert_eq!(decimal(&bytes(&value), scale), text, "{hex}");
    }
}
