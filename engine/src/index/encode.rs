//! Values as bytes whose order is the order of the values: what an index is sorted by.
//!
//! Two values have the same bytes exactly if [`Value::equals`] says that they are equal, and otherwise the bytes compare
//! as [`Value::compare`] does. No encoding is a prefix of another, so encodings can follow each other.
//!
//! ```text
//! null    10
//! false   20          true 21
//! number  30 float:8 rest:2    the greatest float that is not above the number, and what is left of an integer
//! string  40 bytes 00 01       00 within is 00 ff
//! array   50 elements 01
//! object  60 (key value)… 01   pairs by key; keys as strings
//! ```
//!
//! In a descending field every byte is inverted.

use crate::json::Value;

const END: u8 = 0x01;
const NULL: u8 = 0x10;
const FALSE: u8 = 0x20;
const TRUE: u8 = 0x21;
const NUMBER: u8 = 0x30;
const STRING: u8 = 0x40;
const ARRAY: u8 = 0x50;
const OBJECT: u8 = 0x60;
/// How the encoding of a string ends.
pub(crate) const STRING_END: &[u8] = &[0, END];

/// Appends `value`.
pub(crate) fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(NULL),
        Value::Bool(false) => out.push(FALSE),
        Value::Bool(true) => out.push(TRUE),
        Value::Int(int) => integer(i128::from(*int), out),
        Value::UInt(int) => integer(i128::from(*int), out),
        Value::Float(float) => number(*float, 0, out),
        Value::String(text) => string(text, out),
        Value::Array(items) => {
            out.push(ARRAY);
            items.iter().for_each(|item| encode(item, out));
            out.push(END);
        }
        Value::Object(entries) => {
            out.push(OBJECT);
            let mut pairs: Vec<_> = entries.iter().collect();
            pairs.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            for (key, value) in pairs {
                string(key, out);
                encode(value, out);
            }
            out.push(END);
        }
    }
}

fn integer(int: i128, out: &mut Vec<u8>) {
    // Every integer value is below 2^64: far within what converts exactly back.
    let nearest = int as f64;
    let below = if nearest as i128 > int { nearest.next_down() } else { nearest };
    // Between two floats below 2^64 lie at most 2^11 integers.
    number(below, (int - below as i128) as u16, out);
}

fn number(float: f64, rest: u16, out: &mut Vec<u8>) {
    debug_assert!(float.is_finite(), "a float value is finite");
    // Zero has a sign and is nevertheless one number.
    let bits = if float == 0.0 { 0 } else { float.to_bits() };
    // The sign bit set for what is not negative, all bits inverted for what is: then the bits compare as the numbers do.
    let ordered = if bits >> 63 == 0 { bits | (1 << 63) } else { !bits };
    out.push(NUMBER);
    out.extend_from_slice(&ordered.to_be_bytes());
    out.extend_from_slice(&rest.to_be_bytes());
}

fn string(text: &str, out: &mut Vec<u8>) {
    string_start(text, out);
    out.extend_from_slice(STRING_END);
}

/// Whether an encoding begins with a string.
pub(crate) fn is_string(bytes: &[u8]) -> bool {
    bytes.first() == Some(&STRING)
}

/// Where the strings that begin with `text` begin: an encoding without its end.
pub(crate) fn string_start(text: &str, out: &mut Vec<u8>) {
    out.push(STRING);
    for &byte in text.as_bytes() {
        out.push(byte);
        if byte == 0 {
            out.push(0xff);
        }
    }
}

/// The first and the last tag of the values that have the type of `value`.
pub(crate) fn tags(value: &Value) -> (u8, u8) {
    match value {
        Value::Null => (NULL, NULL),
        Value::Bool(_) => (FALSE, TRUE),
        Value::Int(_) | Value::UInt(_) | Value::Float(_) => (NUMBER, NUMBER),
        Value::String(_) => (STRING, STRING),
        Value::Array(_) => (ARRAY, ARRAY),
        Value::Object(_) => (OBJECT, OBJECT),
    }
}

/// How many bytes the encoding takes that `bytes` begins with; `None` when there is none. `inverted`: of a descending field.
pub(crate) fn length(bytes: &[u8], inverted: bool) -> Option<usize> {
    let flip = if inverted { 0xff } else { 0 };
    let mut at = 0;
    // Arrays and objects that are open; what stands in them is told apart by the tags alone.
    let mut open = 0_usize;
    loop {
        let tag = bytes.get(at)? ^ flip;
        at += 1;
        match tag {
            NULL | FALSE | TRUE => {}
            NUMBER => at += 10,
            STRING => loop {
                let (byte, next) = (bytes.get(at)? ^ flip, bytes.get(at + 1).map(|next| next ^ flip));
                match (byte, next) {
                    (0, Some(END)) => {
                        at += 2;
                        break;
                    }
                    (0, _) => at += 2,
                    _ => at += 1,
                }
            },
            ARRAY | OBJECT => {
                open += 1;
                continue;
            }
            END if open > 0 => open -= 1,
            _ => return None,
        }
        if open == 0 {
            return (at <= bytes.len()).then_some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::tests::{value, value_of};

    fn encoded(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        encode(value, &mut out);
        out
    }

    #[test]
    fn numbers_are_in_order_and_nothing_is_rounded() {
        let texts = [
            "-1e308",
            "-9223372036854775808",
            "-9007199254740993",
            "-9007199254740992.0",
            "-2.5",
            "-1",
            "-1e-300",
            "0",
            "1e-300",
            "0.5",
            "1",
            "1.5",
            "9007199254740991",
            "9007199254740992.0",
            "9007199254740993",
            "9007199254740994.0",
            "9223372036854775807",
            "9223372036854775808.0",
            "9223372036854775809",
            "18446744073709551615",
            "18446744073709551616.0",
            "1e300",
        ];
        let encodings: Vec<_> = texts.iter().map(|text| encoded(&value(text))).collect();
        for pair in encodings.windows(2) {
            assert!(pair[0] < pair[1]);
        }
        for (a, b) in [("1", "1.0"), ("0", "-0.0"), ("9007199254740992", "9007199254740992.0"), ("1e2", "100")] {
            assert_eq!(encoded(&value(a)), encoded(&value(b)), "{a} and {b}");
        }
    }

    #[test]
    fn kinds_and_strings_are_in_order() {
        let texts = [
            "null",
            "false",
            "true",
            "-1",
            "7",
            r#""""#,
            r#""\u0000""#,
            r#""\u0000a""#,
            r#""a""#,
            r#""a\u0000""#,
            r#""a\u0001""#,
            r#""ab""#,
            r#""ä""#,
            "[]",
            "[null]",
            "[[]]",
            "[[],1]",
            "{}",
            r#"{"a":1}"#,
            r#"{"a":1,"b":1}"#,
            r#"{"a":2}"#,
            r#"{"b":0}"#,
        ];
        let encodings: Vec<_> = texts.iter().map(|text| encoded(&value(text))).collect();
        for (pair, names) in encodings.windows(2).zip(texts.windows(2)) {
            assert!(pair[0] < pair[1], "{names:?}");
        }
    }

    proptest! {
        #[test]
        fn bytes_compare_as_values_do(a in value_of(3), b in value_of(3)) {
            let (x, y) = (encoded(&a), encoded(&b));
            prop_assert_eq!(x.cmp(&y), a.compare(&b));
            let inverted = |bytes: &[u8]| bytes.iter().map(|byte| !byte).collect::<Vec<_>>();
            prop_assert_eq!(inverted(&x).cmp(&inverted(&y)), b.compare(&a));
        }

        #[test]
        fn encodings_know_where_they_end(a in value_of(3), tail in proptest::collection::vec(any::<u8>(), 0..8)) {
            let mut bytes = encoded(&a);
            let end = bytes.len();
            bytes.extend(tail);
            prop_assert_eq!(length(&bytes, false), Some(end));
            for cut in 0..end {
                prop_assert_eq!(length(&bytes[..cut], false), None);
            }
            let inverted: Vec<_> = bytes.iter().map(|byte| !byte).collect();
            prop_assert_eq!(length(&inverted, true), Some(end));
        }

        #[test]
        fn integers_and_floats_compare_exactly(int in any::<i64>(), float in any::<f64>().prop_filter("finite", |f| f.is_finite())) {
            for (a, b) in [(Value::Int(int), Value::Float(float)), (Value::Int(int), Value::Float(int as f64))] {
                prop_assert_eq!(encoded(&a).cmp(&encoded(&b)), a.compare(&b));
            }
        }
    }
}
