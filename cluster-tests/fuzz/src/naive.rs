//! What a filter means, said a second time and as plainly as can be: everything that a path reaches is put in a list, and
//! every test is asked of each of it.

use aerodb_engine::filter::{Condition, ElemMatch, Filter, Test};
use aerodb_engine::json::{Path, Segment, Value};

/// Whether `document` satisfies the filter.
pub(crate) fn matches(filter: &Filter, document: &Value) -> bool {
    filter.conditions.iter().all(|condition| condition_holds(condition, document))
}

/// All that a path reaches.
pub(crate) fn reached<'v>(path: &Path, document: &'v Value) -> Vec<&'v Value> {
    let mut found = Vec::new();
    reach(path.segments(), document, &mut found);
    found
}

fn reach<'v>(segments: &[Segment], value: &'v Value, found: &mut Vec<&'v Value>) {
    let [first, rest @ ..] = segments else {
        found.push(value);
        return;
    };
    match value {
        Value::Object(entries) => {
            for (name, value) in entries {
                if name == first.name() {
                    reach(rest, value, found);
                }
            }
        }
        Value::Array(items) => match position(first.name()) {
            Some(position) => {
                for (at, item) in items.iter().enumerate() {
                    if at.to_string() == position {
                        reach(rest, item, found);
                    }
                }
            }
            None => {
                for item in items {
                    if let Value::Object(_) = item {
                        reach(segments, item, found);
                    }
                }
            }
        },
        _ => {}
    }
}

/// A segment that names an element of an array, which has to be a number that some array may have.
fn position(name: &str) -> Option<&str> {
    name.parse::<usize>().ok().filter(|number| number.to_string() == name).map(|_| name)
}

fn condition_holds(condition: &Condition, document: &Value) -> bool {
    match condition {
        Condition::And(filters) => filters.iter().filter(|filter| !matches(filter, document)).count() == 0,
        Condition::Or(filters) => filters.iter().filter(|filter| matches(filter, document)).count() > 0,
        Condition::Nor(filters) => filters.iter().filter(|filter| matches(filter, document)).count() == 0,
        Condition::Not(filter) => !matches(filter, document),
        Condition::Field { path, tests } => {
            let reached = reached(path, document);
            let mut all = reached.clone();
            for value in &reached {
                if let Value::Array(items) = value {
                    all.extend(items);
                }
            }
            tests.iter().all(|test| test_holds(test, &all, reached.is_empty()))
        }
    }
}

fn test_holds(test: &Test, values: &[&Value], missing: bool) -> bool {
    let any = |holds: &dyn Fn(&Value) -> bool| values.iter().any(|value| holds(value));
    let equals = |operand: &Value| any(&|value| value.equals(operand)) || (missing && *operand == Value::Null);
    let same = |value: &Value, operand: &Value| value.kind() == operand.kind();
    match test {
        Test::Eq(operand) => equals(operand),
        Test::Ne(operand) => !equals(operand),
        Test::Gt(operand) => any(&|value| same(value, operand) && value.compare(operand).is_gt()),
        Test::Gte(operand) => any(&|value| same(value, operand) && !value.compare(operand).is_lt()),
        Test::Lt(operand) => any(&|value| same(value, operand) && value.compare(operand).is_lt()),
        Test::Lte(operand) => any(&|value| same(value, operand) && !value.compare(operand).is_gt()),
        Test::In(operands) => operands.as_slice().iter().any(equals),
        Test::Nin(operands) => !operands.as_slice().iter().any(equals),
        Test::Exists(wanted) => missing != *wanted,
        Test::Type(kinds) => any(&|value| kinds.contains(&value.kind())),
        Test::Not(tests) => !tests.iter().all(|test| test_holds(test, values, missing)),
        Test::All(operands) => operands.as_slice().iter().all(equals),
        Test::ElemMatch(wanted) => any(&|value| match value {
            Value::Array(items) => items.iter().any(|item| is_wanted(wanted, item)),
            _ => false,
        }),
        Test::Size(len) => any(&|value| matches!(value, Value::Array(items) if items.len() as u64 == *len)),
        Test::Contains(part) => any(&|value| matches!(value, Value::String(text) if text.contains(part.as_str()))),
        Test::StartsWith(start) => {
            any(&|value| matches!(value, Value::String(text) if text.starts_with(start.as_str())))
        }
        Test::Regex(pattern) => any(&|value| matches!(value, Value::String(text) if pattern.is_match(text))),
        // An operator that is new: say here what it means, in the plainest way there is.
        #[allow(unreachable_patterns, reason = "there is none today")]
        other => panic!("the naive evaluation does not know {other:?}"),
    }
}

fn is_wanted(wanted: &ElemMatch, item: &Value) -> bool {
    match wanted {
        ElemMatch::Value(tests) => tests.iter().all(|test| test_holds(test, &[item], false)),
        ElemMatch::Object(filter) => matches!(item, Value::Object(_)) && matches(filter, item),
    }
}
