//! What a filter means.
//!
//! Every test is asked of a [`Subject`], which knows how a field with an array differs from a single element; the
//! tests themselves do not.

use std::cell::Cell;
use std::cmp::Ordering;

use super::{Condition, ElemMatch, Filter, Test, ValueSet};
use crate::json::{Path, Value};

impl Filter {
    /// Whether `document` satisfies every condition.
    pub fn matches(&self, document: &Value) -> bool {
        self.conditions.iter().all(|condition| condition.matches(document))
    }
}

impl Condition {
    /// Whether `document` satisfies this condition.
    pub fn matches(&self, document: &Value) -> bool {
        match self {
            Condition::And(filters) => filters.iter().all(|filter| filter.matches(document)),
            Condition::Or(filters) => filters.iter().any(|filter| filter.matches(document)),
            Condition::Nor(filters) => !filters.iter().any(|filter| filter.matches(document)),
            Condition::Not(filter) => !filter.matches(document),
            Condition::Field { path, tests } => all_hold(tests, Subject::Field { path, document }),
        }
    }
}

/// What a test is about.
#[derive(Clone, Copy)]
enum Subject<'v> {
    /// All that a path reaches, and the elements of arrays among it.
    Field { path: &'v Path, document: &'v Value },
    /// One element of an array, as it is.
    Element(&'v Value),
}

impl<'v> Subject<'v> {
    /// Whether `test` holds for any value in question.
    fn any(self, test: impl Fn(&'v Value) -> bool) -> bool {
        match self {
            Subject::Field { path, document } => path.any(document, &mut |value| {
                test(value) || value.as_array().is_some_and(|items| items.iter().any(&test))
            }),
            Subject::Element(value) => test(value),
        }
    }

    fn is_missing(self) -> bool {
        match self {
            Subject::Field { path, document } => !path.reaches(document),
            Subject::Element(_) => false,
        }
    }

    fn equals(self, operand: &Value) -> bool {
        self.any(|value| value.equals(operand)) || (operand.is_null() && self.is_missing())
    }

    fn is_in(self, operands: &ValueSet) -> bool {
        self.any(|value| operands.contains(value)) || (operands.contains_null() && self.is_missing())
    }

    /// Whether each operand is equalled by some value. One pass, so that a long list and a long array do not multiply.
    fn covers(self, operands: &ValueSet) -> bool {
        let found = vec![Cell::new(false); operands.as_slice().len()];
        let missing = Cell::new(found.len());
        let find = |position: usize| {
            if !found[position].replace(true) {
                missing.set(missing.get() - 1);
            }
        };
        if self.is_missing() && operands.contains_null() {
            find(0);
        }
        self.any(|value| {
            operands.position(value).into_iter().for_each(find);
            missing.get() == 0
        }) || missing.get() == 0
    }

    /// Whether a value of the operand's type stands to it as `wanted` says.
    fn compares(self, operand: &Value, wanted: fn(Ordering) -> bool) -> bool {
        self.any(|value| value.kind() == operand.kind() && wanted(value.compare(operand)))
    }

    fn any_string(self, test: impl Fn(&str) -> bool) -> bool {
        self.any(|value| value.as_str().is_some_and(&test))
    }
}

fn all_hold(tests: &[Test], subject: Subject<'_>) -> bool {
    tests.iter().all(|test| holds(test, subject))
}

fn holds(test: &Test, subject: Subject<'_>) -> bool {
    match test {
        Test::Eq(operand) => subject.equals(operand),
        Test::Ne(operand) => !subject.equals(operand),
        Test::Gt(operand) => subject.compares(operand, Ordering::is_gt),
        Test::Gte(operand) => subject.compares(operand, Ordering::is_ge),
        Test::Lt(operand) => subject.compares(operand, Ordering::is_lt),
        Test::Lte(operand) => subject.compares(operand, Ordering::is_le),
        Test::In(operands) => subject.is_in(operands),
        Test::Nin(operands) => !subject.is_in(operands),
        Test::Exists(wanted) => subject.is_missing() != *wanted,
        Test::Type(kinds) => subject.any(|value| kinds.contains(&value.kind())),
        Test::Not(tests) => !all_hold(tests, subject),
        Test::All(operands) => subject.covers(operands),
        Test::ElemMatch(wanted) => {
            subject.any(|value| value.as_array().is_some_and(|items| items.iter().any(|item| wanted.matches(item))))
        }
        Test::Size(len) => subject.any(|value| value.as_array().is_some_and(|items| items.len() as u64 == *len)),
        Test::Contains(part) => subject.any_string(|text| text.contains(part.as_str())),
        Test::StartsWith(start) => subject.any_string(|text| text.starts_with(start.as_str())),
        Test::Regex(pattern) => subject.any_string(|text| pattern.is_match(text)),
    }
}

impl ElemMatch {
    /// Whether `element`, which stands in an array, is such a one.
    pub fn matches(&self, element: &Value) -> bool {
        match self {
            ElemMatch::Value(tests) => all_hold(tests, Subject::Element(element)),
            ElemMatch::Object(filter) => matches!(element, Value::Object(_)) && filter.matches(element),
        }
    }
}
