//! The few schemas that operations here set.

use serde_json::Value;

/// Whether the fields fit the schema: its `required`, and of its `properties` the `type` number or string, and `maximum`.
pub(crate) fn fits(schema: &Value, fields: &Value) -> bool {
    let required = schema["required"].as_array().into_iter().flatten();
    let properties = schema["properties"].as_object().into_iter().flatten();
    let is_there = |name: &Value| name.as_str().is_some_and(|name| fields.get(name).is_some());
    { required }.all(is_there) && { properties }
        .all(|(name, wanted)| fields.get(name).is_none_or(|value| is(wanted, value)))
}

fn is(wanted: &Value, value: &Value) -> bool {
    let of_type = match wanted["type"].as_str() {
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        Some(other) => panic!("the model knows no type {other}"),
        None => true,
    };
    let in_bounds = match (wanted["maximum"].as_f64(), value.as_f64()) {
        (Some(maximum), Some(number)) => number <= maximum,
        _ => true,
    };
    of_type && in_bounds
}
