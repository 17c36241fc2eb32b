//! The one filter language (A5): queries, row-level security, subscriptions, triggers and partial indexes all read the
//! same filter and evaluate it here.
//!
//! A [`Filter`] is a list of conditions that must all hold. It mirrors what was written, operator by operator, so that
//! it prints as the text that it came from and a plan can point at the clause that it uses. To add an operator: a
//! variant of [`Test`], a line in the parser's table, one in the printer's, and what it means in the evaluator.

mod eval;
mod parse;
mod pattern;
mod print;

#[cfg(test)]
mod tests;

pub use parse::{Error, ErrorKind, FILTER_DEPTH_MAX, FILTER_LIST_LEN_MAX, FILTER_NODES_MAX, FILTER_OPERAND_DEPTH_MAX};
pub use pattern::{REGEX_PATTERN_BYTES_MAX, REGEXES_PER_FILTER_MAX, Regex};

use crate::json::{Kind, Path, Value};

/// Conditions that must all hold; none hold for every document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// The conditions, as they were written.
    pub conditions: Vec<Condition>,
}

impl Filter {
    /// Whether it has a pattern, which takes time by the length of a text.
    pub fn has_pattern(&self) -> bool {
        self.conditions.iter().any(|condition| match condition {
            Condition::And(filters) | Condition::Or(filters) | Condition::Nor(filters) => {
                filters.iter().any(Filter::has_pattern)
            }
            Condition::Not(filter) => filter.has_pattern(),
            Condition::Field { tests, .. } => tests.iter().any(Test::has_pattern),
        })
    }

    /// Calls `visit` with every path into the document that it asks for.
    pub fn each_path(&self, visit: &mut dyn FnMut(&Path)) {
        for condition in &self.conditions {
            match condition {
                Condition::And(filters) | Condition::Or(filters) | Condition::Nor(filters) => {
                    filters.iter().for_each(|filter| filter.each_path(visit));
                }
                Condition::Not(filter) => filter.each_path(visit),
                Condition::Field { path, .. } => visit(path),
            }
        }
    }
}

/// One condition on a document.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// `$and`: every one of these.
    And(Vec<Filter>),
    /// `$or`: at least one of these.
    Or(Vec<Filter>),
    /// `$nor`: none of these.
    Nor(Vec<Filter>),
    /// `$not` at the top of a filter: not this.
    Not(Filter),
    /// What must hold for a field.
    Field {
        /// Which field.
        path: Path,
        /// The tests that must all hold, each for itself: different elements of an array may satisfy different ones.
        tests: Vec<Test>,
    },
}

/// One test of a field.
///
/// Unless it says otherwise, a test holds if it does for a value that the path reaches or, where that is an array, for
/// one of its elements, and never for a missing field.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// `$eq`: equal to this; `null` is also equal to missing.
    Eq(Value),
    /// `$ne`: exactly not `$eq`.
    Ne(Value),
    /// `$gt`: of the same type and greater.
    Gt(Value),
    /// `$gte`: of the same type and not less.
    Gte(Value),
    /// `$lt`: of the same type and less.
    Lt(Value),
    /// `$lte`: of the same type and not greater.
    Lte(Value),
    /// `$in`: `$eq` to one of these.
    In(ValueSet),
    /// `$nin`: exactly not `$in`.
    Nin(ValueSet),
    /// `$exists`: whether the path reaches anything, be it null.
    Exists(bool),
    /// `$type`: of one of these types.
    Type(Vec<Kind>),
    /// `$not` on a field: exactly not all of these.
    Not(Vec<Test>),
    /// `$all`: `$eq` to each of these.
    All(ValueSet),
    /// `$elemMatch`: an array of which one element satisfies all of this by itself.
    ElemMatch(ElemMatch),
    /// `$size`: an array of this length.
    Size(u64),
    /// `$contains`: a string in which this one occurs.
    Contains(String),
    /// `$startsWith`: a string that begins so.
    StartsWith(String),
    /// `$regex`: a string in which this pattern is found.
    Regex(Regex),
}

impl Test {
    fn has_pattern(&self) -> bool {
        match self {
            Test::Regex(_) => true,
            Test::Not(tests) | Test::ElemMatch(ElemMatch::Value(tests)) => tests.iter().any(Test::has_pattern),
            Test::ElemMatch(ElemMatch::Object(filter)) => filter.has_pattern(),
            _ => false,
        }
    }
}

/// What `$elemMatch` asks of an element.
#[derive(Clone, Debug, PartialEq)]
pub enum ElemMatch {
    /// Tests of the element itself, which is not looked into if it is an array.
    Value(Vec<Test>),
    /// A filter on an element that is an object.
    Object(Filter),
}

/// Values, each once, in the total order; so that a long list costs a binary search.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueSet(Vec<Value>);

impl ValueSet {
    /// The set of `values`; of equal ones the first is kept.
    pub fn new(mut values: Vec<Value>) -> Self {
        values.sort_by(Value::compare);
        values.dedup_by(|later, earlier| later.equals(earlier));
        Self(values)
    }

    /// Its values, sorted.
    pub fn as_slice(&self) -> &[Value] {
        &self.0
    }

    /// Whether one of them equals `value`.
    pub fn contains(&self, value: &Value) -> bool {
        self.position(value).is_some()
    }

    /// Where in [`ValueSet::as_slice`] the value that equals `value` is.
    pub fn position(&self, value: &Value) -> Option<usize> {
        self.0.binary_search_by(|member| member.compare(value)).ok()
    }

    /// Whether null is one of them. It sorts first.
    pub fn contains_null(&self) -> bool {
        self.0.first().is_some_and(Value::is_null)
    }
}
