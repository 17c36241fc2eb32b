//! Filters, as far as operations here use them.

use serde_json::Value;

use crate::value::{at, compare, equal, reached, same_kind};

/// Whether the document satisfies the filter.
///
/// # Panics
/// With a filter that uses more of the language than is known here.
pub fn matches(filter: &Value, document: &Value) -> bool {
    let conditions = filter.as_object().expect("a filter is an object");
    conditions.iter().all(|(name, wanted)| {
        let several = || wanted.as_array().expect("an array of filters");
        match name.as_str() {
            "$and" => several().iter().all(|one| matches(one, document)),
            "$or" => several().iter().any(|one| matches(one, document)),
            "$not" => !matches(wanted, document),
            path => holds(document, path, wanted),
        }
    })
}

fn holds(document: &Value, path: &str, wanted: &Value) -> bool {
    match wanted.as_object().filter(|tests| tests.keys().any(|name| name.starts_with('$'))) {
        None => is(document, path, wanted),
        Some(tests) => tests.iter().all(|(operator, operand)| test(document, path, operator, operand)),
    }
}

fn is(document: &Value, path: &str, wanted: &Value) -> bool {
    reached(document, path).iter().any(|value| equal(value, wanted))
        || (wanted.is_null() && at(document, path).is_none())
}

fn test(document: &Value, path: &str, operator: &str, operand: &Value) -> bool {
    let any = |holds: fn(std::cmp::Ordering) -> bool| {
        let values = reached(document, path);
        { values }.iter().any(|value| same_kind(value, operand) && holds(compare(value, operand)))
    };
    match operator {
        "$eq" => is(document, path, operand),
        "$ne" => !is(document, path, operand),
        "$gt" => any(std::cmp::Ordering::is_gt),
        "$gte" => any(std::cmp::Ordering::is_ge),
        "$lt" => any(std::cmp::Ordering::is_lt),
        "$lte" => any(std::cmp::Ordering::is_le),
        "$in" => operand.as_array().expect("an array of values").iter().any(|one| is(document, path, one)),
        "$exists" => at(document, path).is_some() == operand.as_bool().expect("true or false"),
        other => panic!("the model knows no {other}"),
    }
}
