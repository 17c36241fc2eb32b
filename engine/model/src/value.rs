//! JSON values: how they compare, and what a path reaches in them.

use std::cmp::Ordering;

use serde_json::Value;

/// Null, booleans, numbers, strings, arrays, objects.
fn kind(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}

/// Whether both are of one kind.
pub(crate) fn same_kind(a: &Value, b: &Value) -> bool {
    kind(a) == kind(b)
}

/// The order of all values. Numbers here are small: as floats they are what they are.
pub(crate) fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => {
            let differs = a.iter().zip(b).map(|(a, b)| compare(a, b)).find(|order| order.is_ne());
            differs.unwrap_or(a.len().cmp(&b.len()))
        }
        (Value::Object(a), Value::Object(b)) => {
            let pair = |(name, value): (&String, &Value)| (name.clone(), value.clone());
            let sorted = |object: &serde_json::Map<String, Value>| {
                let mut pairs: Vec<_> = object.iter().map(pair).collect();
                pairs.sort_by(|a, b| a.0.cmp(&b.0));
                pairs
            };
            let (a, b) = (sorted(a), sorted(b));
            let each = a.iter().zip(&b).map(|(a, b)| a.0.cmp(&b.0).then_with(|| compare(&a.1, &b.1)));
            { each }.find(|order| order.is_ne()).unwrap_or(a.len().cmp(&b.len()))
        }
        _ => kind(a).cmp(&kind(b)),
    }
}

/// Whether both are the same value, whatever way their numbers are written.
pub(crate) fn equal(a: &Value, b: &Value) -> bool {
    compare(a, b).is_eq()
}

/// What a path of names leads to, through objects. No array here holds objects.
pub(crate) fn at<'v>(document: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(document, |value, name| value.as_object()?.get(name))
}

/// What a condition looks at: what the path leads to, and the elements of that if it is an array.
pub(crate) fn reached<'v>(document: &'v Value, path: &str) -> Vec<&'v Value> {
    let found = at(document, path);
    found.into_iter().chain(found.and_then(Value::as_array).into_iter().flatten()).collect()
}
