//! What a plain YAML scalar means.
//!
//! Distribution reads its file with Go's yaml.v2, which follows YAML 1.1 where operators notice:
//! `yes`, `on` and friends are truth values, a leading zero makes a number octal, underscores may
//! group digits. Quoted scalars are always text and never come here.

use super::document::Meaning;

/// The meaning of an unquoted scalar.
pub(super) fn resolve(text: &str) -> Meaning {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Meaning::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Meaning::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Meaning::Bool(false);
        }
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Meaning::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Meaning::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Meaning::Float(f64::NAN),
        _ => {}
    }
    if !text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first)) {
        return Meaning::String;
    }
    let digits = text.replace('_', "");
    if let Some(integer) = integer(&digits) {
        return Meaning::Integer(integer);
    }
    match float(&digits) {
        Some(float) => Meaning::Float(float),
        None => Meaning::String,
    }
}

/// A whole number in decimal, or with the prefixes `0x`, `0b`, `0o` and `0` (octal).
fn integer(text: &str) -> Option<i64> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match unsigned.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &unsigned[2..]),
        [b'0', b'b' | b'B', ..] => (2, &unsigned[2..]),
        [b'0', b'o' | b'O', ..] => (8, &unsigned[2..]),
        [b'0', _, ..] => (8, &unsigned[1..]),
        _ => (10, unsigned),
    };
    // from_str_radix takes a sign of its own, which must not stand after ours or after a prefix.
    if !digits.starts_with(|first: char| first.is_digit(radix)) {
        return None;
    }
    let magnitude = i128::from_str_radix(digits, radix).ok()?;
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

/// A decimal fraction; the words Rust also reads as numbers (`inf`, `nan`) are text in YAML.
fn float(text: &str) -> Option<f64> {
    let plausible = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    if plausible { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_mean_what_distribution_takes_them_for() {
        let cases = [
            ("", Meaning::Null),
            ("~", Meaning::Null),
            ("null", Meaning::Null),
            ("true", Meaning::Bool(true)),
            ("yes", Meaning::Bool(true)),
            ("On", Meaning::Bool(true)),
            ("FALSE", Meaning::Bool(false)),
            ("no", Meaning::Bool(false)),
            ("off", Meaning::Bool(false)),
            ("tRue", Meaning::String),
            ("5000", Meaning::Integer(5000)),
            ("-1", Meaning::Integer(-1)),
            ("+7", Meaning::Integer(7)),
            ("1_000", Meaning::Integer(1000)),
            ("0x1F", Meaning::Integer(31)),
            ("0b101", Meaning::Integer(5)),
            ("0o17", Meaning::Integer(15)),
            ("017", Meaning::Integer(15)),
            ("0", Meaning::Integer(0)),
            ("9223372036854775807", Meaning::Integer(i64::MAX)),
            ("-9223372036854775808", Meaning::Integer(i64::MIN)),
            (
                "9223372036854775808",
                Meaning::Float(9_223_372_036_854_775_808.0),
            ),
            ("0.1", Meaning::Float(0.1)),
            ("1e3", Meaning::Float(1000.0)),
            ("08", Meaning::Float(8.0)),
            ("inf", Meaning::String),
            ("+-1", Meaning::String),
            ("0x+1", Meaning::String),
            ("10s", Meaning::String),
            (":5000", Meaning::String),
            ("1.2.3", Meaning::String),
            ("-", Meaning::String),
            (".", Meaning::String),
        ];
        for (text, meaning) in cases {
            assert_eq!(resolve(text), meaning, "{text:?}");
        }
    }
}
