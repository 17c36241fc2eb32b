//! A filter as JSON again: every operator spelled out, in the order in which they were written.

use std::fmt;

use super::{Condition, ElemMatch, Filter, Test, ValueSet};
use crate::json::{Kind, Value};

impl Filter {
    /// The filter as a value that [`Filter::parse`] reads as the same filter.
    pub fn to_value(&self) -> Value {
        Value::Object(self.conditions.iter().map(Condition::to_entry).collect())
    }
}

impl Condition {
    fn to_entry(&self) -> (String, Value) {
        let list = |filters: &[Filter]| Value::Array(filters.iter().map(Filter::to_value).collect());
        let (key, value) = match self {
            Condition::And(filters) => ("$and", list(filters)),
            Condition::Or(filters) => ("$or", list(filters)),
            Condition::Nor(filters) => ("$nor", list(filters)),
            Condition::Not(filter) => ("$not", filter.to_value()),
            Condition::Field { path, tests } => return (path.to_string(), tests_to_value(tests)),
        };
        (key.to_owned(), value)
    }
}

impl Test {
    fn to_entry(&self) -> (String, Value) {
        let set = |values: &ValueSet| Value::Array(values.as_slice().to_vec());
        let (key, value) = match self {
            Test::Eq(value) => ("$eq", value.clone()),
            Test::Ne(value) => ("$ne", value.clone()),
            Test::Gt(value) => ("$gt", value.clone()),
            Test::Gte(value) => ("$gte", value.clone()),
            Test::Lt(value) => ("$lt", value.clone()),
            Test::Lte(value) => ("$lte", value.clone()),
            Test::In(values) => ("$in", set(values)),
            Test::Nin(values) => ("$nin", set(values)),
            Test::Exists(wanted) => ("$exists", Value::Bool(*wanted)),
            Test::Type(kinds) => ("$type", kinds_to_value(kinds)),
            Test::Not(tests) => ("$not", tests_to_value(tests)),
            Test::All(values) => ("$all", set(values)),
            Test::ElemMatch(ElemMatch::Value(tests)) => ("$elemMatch", tests_to_value(tests)),
            Test::ElemMatch(ElemMatch::Object(filter)) => ("$elemMatch", filter.to_value()),
            Test::Size(len) => ("$size", Value::from(*len)),
            Test::Contains(part) => ("$contains", Value::from(part.as_str())),
            Test::StartsWith(start) => ("$startsWith", Value::from(start.as_str())),
            Test::Regex(pattern) => ("$regex", Value::from(pattern.as_str())),
        };
        (key.to_owned(), value)
    }
}

fn tests_to_value(tests: &[Test]) -> Value {
    Value::Object(tests.iter().map(Test::to_entry).collect())
}

fn kinds_to_value(kinds: &[Kind]) -> Value {
    match kinds {
        [kind] => Value::from(kind.name()),
        kinds => Value::Array(kinds.iter().map(|kind| Value::from(kind.name())).collect()),
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_value().fmt(f)
    }
}
