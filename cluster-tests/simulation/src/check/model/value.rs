//! What documents are made of: whole numbers and lists of them.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, bail};
use serde_json::Value as Json;

/// A field's value. Numbers stand before lists, as everywhere.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(untagged)]
pub enum Value {
    /// A whole number.
    Whole(i64),
    /// A list of them.
    List(Vec<i64>),
}

/// The caller's fields of a document.
pub type Fields = BTreeMap<String, Value>;

/// What a patch does to fields; `None` removes one.
pub type Changes = BTreeMap<String, Option<Value>>;

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => number.fmt(f),
            Self::List(numbers) => numbers.fmt(f),
        }
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Whole(number)
    }
}

impl Value {
    /// What a condition looks at: the value, and the elements of a list.
    pub fn reached(&self) -> impl Iterator<Item = i64> {
        let (one, many) = match self {
            Self::Whole(number) => (Some(*number), &[][..]),
            Self::List(numbers) => (None, &numbers[..]),
        };
        one.into_iter().chain(many.iter().copied())
    }
}

/// A version of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doc {
    /// The revision that wrote it.
    pub revision: u64,
    /// The caller's fields.
    pub fields: Fields,
    /// `_created_at`, as the first version said.
    pub created_at: String,
}

/// Reads a stored document: its id, and what the model keeps of it.
///
/// # Errors
/// When the body is not one that a node may give.
pub fn read(body: &[u8]) -> Result<(String, Doc)> {
    let value: Json = serde_json::from_slice(body).context("a body is no JSON")?;
    let Json::Object(object) = value else { bail!("a body is no object") };
    let (mut id, mut doc) = (String::new(), Doc { revision: 0, fields: Fields::new(), created_at: String::new() });
    let mut updated_at = String::new();
    for (name, value) in object {
        match (name.as_str(), &value) {
            ("id", Json::String(text)) => id = text.clone(),
            ("_revision", Json::Number(n)) => doc.revision = n.as_u64().context("a revision is no number")?,
            ("_created_at", Json::String(text)) => doc.created_at = text.clone(),
            ("_updated_at", Json::String(text)) => updated_at = text.clone(),
            _ => {
                let found = field(&value).with_context(|| format!("a body has {name:?}: {value}"))?;
                doc.fields.insert(name, found);
            }
        }
    }
    if id.is_empty() || doc.revision == 0 || updated_at < doc.created_at {
        bail!("a body lacks a system field, or was updated before it was created");
    }
    Ok((id, doc))
}

fn field(value: &Json) -> Option<Value> {
    match value {
        Json::Number(number) => number.as_i64().map(Value::Whole),
        Json::Array(items) => items.iter().map(Json::as_i64).collect::<Option<_>>().map(Value::List),
        _ => None,
    }
}
