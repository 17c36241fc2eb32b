//! Values as keys of an index: their bytes are in the order of the values, equal exactly if those are, and know where they
//! end; and what a filter bounds holds whatever matches it.

use std::cmp::Ordering;

use aerodb_engine::filter::Filter;
use aerodb_engine::fuzzing::{self, KeyRange};
use aerodb_engine::json::{Path, Value};
use arbitrary::{Result, Unstructured};

use crate::value::value;

pub(crate) fn run(data: &[u8]) {
    // What the bytes are too short for says nothing.
    let _ = check(&mut Unstructured::new(data));
    for descending in [false, true] {
        // Whatever is stored: a length lies within it.
        if let Some(length) = fuzzing::key_length(data, descending) {
            assert!(length <= data.len());
        }
    }
}

fn check(bytes: &mut Unstructured<'_>) -> Result<()> {
    let (a, b) = (value(bytes)?, value(bytes)?);
    for descending in [false, true] {
        let (x, y) = (fuzzing::key(&a, descending), fuzzing::key(&b, descending));
        let wanted = if descending { b.compare(&a) } else { a.compare(&b) };
        assert_eq!(x.cmp(&y), wanted, "{a} and {b}, descending: {descending}");
        assert!(wanted == Ordering::Equal || (!x.starts_with(&y) && !y.starts_with(&x)), "{a} and {b}");
        let both = [&x[..], &y].concat();
        assert_eq!(fuzzing::key_length(&both, descending), Some(x.len()), "{a}");
        assert_eq!(fuzzing::key_length(&x[..x.len() - 1], descending), None, "{a}, cut short");
    }
    bounds(&a, &b, bytes)
}

/// What matches has a value within the bounds.
fn bounds(stored: &Value, operand: &Value, bytes: &mut Unstructured<'_>) -> Result<()> {
    let other = value(bytes)?;
    let mut test = || -> Result<(String, Value)> {
        let operator =
            *bytes.choose(&["$eq", "$gt", "$gte", "$lt", "$lte", "$in", "$all", "$startsWith", "$exists"])?;
        let operand = if bytes.arbitrary()? { operand.clone() } else { other.clone() };
        let operand = match operator {
            "$in" | "$all" => Value::Array(vec![operand, other.clone()]),
            "$exists" => Value::Bool(operand.is_null()),
            _ => operand,
        };
        Ok((operator.to_owned(), operand))
    };
    let (first, second) = (test()?, test()?);
    let tests = if first.0 == second.0 { vec![first] } else { vec![first, second] };
    let named = |value: Value| Value::Object(vec![("a".to_owned(), value)]);
    let Ok(filter) = Filter::parse(&named(Value::Object(tests))) else { return Ok(()) };
    if !filter.matches(&named(stored.clone())) {
        return Ok(());
    }
    let path = Path::parse("a").unwrap();
    let values: Vec<&Value> = std::iter::once(stored).chain(stored.as_array().unwrap_or_default()).collect();
    for descending in [false, true] {
        // Where documents have several values, each may pass another test.
        let Some(ranges) = fuzzing::bounds(&filter, &path, values.len() == 1, descending) else { continue };
        let lies_in = |key: &Vec<u8>| ranges.iter().any(|KeyRange { from, to }| from <= key && key < to);
        let found = values.iter().any(|value| lies_in(&fuzzing::key(value, descending)));
        assert!(found, "{filter} matches {stored} outside of its bounds");
    }
    Ok(())
}
