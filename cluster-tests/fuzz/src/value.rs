//! Values out of bytes: few different keys and scalars, so that equal ones meet, and numbers at the edges of their ranges.

use aerodb_engine::json::Value;
use arbitrary::{Result, Unstructured};

/// How deep values lie within each other.
const DEPTH_MAX: u32 = 4;

/// The next value that the bytes hold.
pub(crate) fn value(bytes: &mut Unstructured<'_>) -> Result<Value> {
    nested(bytes, DEPTH_MAX)
}

fn nested(bytes: &mut Unstructured<'_>, depth: u32) -> Result<Value> {
    Ok(match bytes.int_in_range(0..=if depth == 0 { 8 } else { 10 })? {
        0 => Value::Null,
        1 => Value::Bool(bytes.arbitrary()?),
        2 => Value::Int(bytes.int_in_range(-3..=3)?),
        3 => Value::Int(bytes.arbitrary()?),
        4 => Value::from(bytes.arbitrary::<u64>()?),
        5 => near_an_edge(bytes)?,
        6 => float(f64::from_bits(bytes.arbitrary()?)),
        7 => Value::String(bytes.arbitrary()?),
        8 => Value::from(*bytes.choose(&["", "a", "b", "ab", "\0", "a\0", "a\u{1}", "\u{ff}"])?),
        9 => {
            let items = (0..bytes.int_in_range(0..=3)?).map(|_| nested(bytes, depth - 1));
            Value::Array(items.collect::<Result<_>>()?)
        }
        _ => {
            let mut entries: Vec<(String, Value)> = Vec::new();
            for _ in 0..bytes.int_in_range(0..=3)? {
                let key = (*bytes.choose(&["a", "b", "c", "0", "", "\0", "a\0"])?).to_owned();
                let value = nested(bytes, depth - 1)?;
                if entries.iter().all(|(known, _)| *known != key) {
                    entries.push((key, value));
                }
            }
            Value::Object(entries)
        }
    })
}

/// Whole numbers and floats around powers of two, where the one may be rounded to the other.
fn near_an_edge(bytes: &mut Unstructured<'_>) -> Result<Value> {
    let edge = 1_i128 << *bytes.choose(&[52, 53, 54, 62, 63, 64])?;
    let near = edge + bytes.int_in_range(-3..=3)?;
    let near = if bytes.arbitrary()? { -near } else { near };
    if bytes.arbitrary()? {
        return Ok(float(near as f64));
    }
    Ok(match (i64::try_from(near), u64::try_from(near)) {
        (Ok(int), _) => Value::Int(int),
        (_, Ok(int)) => Value::UInt(int),
        _ => float(near as f64),
    })
}

fn float(float: f64) -> Value {
    Value::Float(if float.is_finite() { float } else { 0.5 })
}
