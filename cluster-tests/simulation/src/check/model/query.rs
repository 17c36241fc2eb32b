//! Queries, naively: every document is looked at, and everything is sorted.

use std::cmp::Ordering;

use serde_json::{Value as Json, json};

use super::value::{Doc, Fields};

/// A list that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// What must hold, all of it.
    pub wanted: Vec<Wanted>,
    /// By which fields it is sorted, and which of them descending; ties go by id, ascending.
    pub order: Vec<(String, bool)>,
}

/// A condition on a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// On one field.
    Field(String, Test),
    /// At least one of these holds.
    Any(Vec<Wanted>),
    /// It does not hold.
    Not(Box<Wanted>),
}

/// A condition on what a field has: on the value, or on any element of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// It is this; nothing: it is missing.
    Eq(Option<i64>),
    /// It is not.
    Ne(Option<i64>),
    /// It is more.
    Gt(i64),
    /// It is no less.
    Gte(i64),
    /// It is less.
    Lt(i64),
    /// It is no more.
    Lte(i64),
    /// It is one of these.
    In(Vec<i64>),
    /// It is there, or not.
    Exists(bool),
}

impl Query {
    /// The filter as a client writes it; nothing where all are wanted.
    pub fn filter(&self) -> Option<String> {
        match &self.wanted[..] {
            [] => None,
            [one] => Some(one.json().to_string()),
            several => Some(json!({ "$and": several.iter().map(Wanted::json).collect::<Vec<_>>() }).to_string()),
        }
    }

    /// The order as a client writes it.
    pub fn order(&self) -> String {
        let key = |(name, descending): &(String, bool)| format!("{name}{}", if *descending { ".desc" } else { "" });
        self.order.iter().map(key).collect::<Vec<_>>().join(",")
    }

    /// What is found among `documents`, which come by id.
    pub fn find<'a>(&self, mut documents: Vec<(&'a str, &'a Doc)>) -> Vec<(&'a str, &'a Doc)> {
        documents.retain(|(_, doc)| self.wanted.iter().all(|wanted| wanted.holds(&doc.fields)));
        documents.sort_by(|a, b| self.compare(&a.1.fields, &b.1.fields));
        documents
    }

    /// Missing stands first.
    fn compare(&self, a: &Fields, b: &Fields) -> Ordering {
        let by = |(name, descending): &(String, bool)| {
            let order = a.get(name).cmp(&b.get(name));
            if *descending { order.reverse() } else { order }
        };
        self.order.iter().map(by).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }
}

impl Wanted {
    fn json(&self) -> Json {
        match self {
            Self::Field(name, test) => json!({ name: test.json() }),
            Self::Any(several) => json!({ "$or": several.iter().map(Self::json).collect::<Vec<_>>() }),
            Self::Not(one) => json!({ "$not": one.json() }),
        }
    }

    fn holds(&self, fields: &Fields) -> bool {
        match self {
            Self::Field(name, test) => test.holds(fields, name),
            Self::Any(several) => several.iter().any(|one| one.holds(fields)),
            Self::Not(one) => !one.holds(fields),
        }
    }
}

impl Test {
    fn json(&self) -> Json {
        match self {
            Self::Eq(value) => json!({ "$eq": value }),
            Self::Ne(value) => json!({ "$ne": value }),
            Self::Gt(value) => json!({ "$gt": value }),
            Self::Gte(value) => json!({ "$gte": value }),
            Self::Lt(value) => json!({ "$lt": value }),
            Self::Lte(value) => json!({ "$lte": value }),
            Self::In(values) => json!({ "$in": values }),
            Self::Exists(wanted) => json!({ "$exists": wanted }),
        }
    }

    fn holds(&self, fields: &Fields, name: &str) -> bool {
        let found = fields.get(name);
        let any = |test: &dyn Fn(i64) -> bool| found.is_some_and(|found| found.reached().any(test));
        match self {
            Self::Eq(Some(wanted)) => any(&|value| value == *wanted),
            Self::Eq(None) => found.is_none(),
            Self::Ne(wanted) => !Self::Eq(*wanted).holds(fields, name),
            Self::Gt(bound) => any(&|value| value > *bound),
            Self::Gte(bound) => any(&|value| value >= *bound),
            Self::Lt(bound) => any(&|value| value < *bound),
            Self::Lte(bound) => any(&|value| value <= *bound),
            Self::In(wanted) => any(&|value| wanted.contains(&value)),
            Self::Exists(wanted) => found.is_some() == *wanted,
        }
    }
}
