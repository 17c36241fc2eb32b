//! Operations, as clients ask for them.

use serde_json::{Value, json};

/// An operation. Collections are named without the prefix that keeps sequences apart.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Makes a collection.
    Create(String),
    /// Drops one.
    Drop(String),
    /// Makes an index.
    CreateIndex(String, Index),
    /// Drops one.
    DropIndex(String, String),
    /// Sets a schema; nothing: there is to be none.
    SetSchema(String, Option<Value>, &'static str),
    /// Inserts documents: their ids and fields.
    Insert(String, Vec<(String, Value)>),
    /// Does something with one document.
    One(Step),
    /// Changes all that match a filter, or deletes them; no more than so many, if that is said.
    Bulk(String, Value, Option<Value>, Option<u64>),
    /// Does all of these or none; with so many revisions before now as what it has read at.
    Transact(Vec<Step>, Option<u64>),
}

/// An operation on one document.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Where.
    pub collection: String,
    /// Which.
    pub id: String,
    /// Under which condition.
    pub condition: Option<Condition>,
    /// What.
    pub what: What,
}

/// What is done with a document.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// It comes to be, with these fields. Only in a transaction: by itself that is [`Op::Insert`].
    Insert(Value),
    /// It has these fields.
    Put(Value),
    /// A merge patch, or update operators.
    Patch(Value),
    /// It goes.
    Delete,
    /// It is read. Only in a transaction.
    Get,
}

/// A condition on a document.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// It exists.
    Exists,
    /// It does not.
    Absent,
    /// It is of the revision so many before now.
    Revision(u64),
    /// It matches this filter. Only in a transaction.
    Matches(Value),
}

/// An index, as its owner describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Index {
    /// Its name.
    pub name: String,
    /// Its fields, as `path` or `path.desc`.
    pub fields: Vec<String>,
    /// Values belong to one document each.
    pub unique: bool,
    /// Only documents that match have entries.
    pub filter: Option<Value>,
}

impl Index {
    /// The body that asks for it.
    pub fn body(&self) -> Value {
        json!({ "name": self.name, "fields": self.fields, "unique": self.unique, "filter": self.filter })
    }
}

/// Bodies of requests, as both doors take them.
pub mod pieces {
    use super::{Condition, Step, Value, What, json};

    /// The revision so many before `revision`, at least 1.
    pub fn before(revision: u64, back: u64) -> u64 {
        revision.saturating_sub(back).max(1)
    }

    /// A document with its id.
    pub fn document(id: &str, fields: &Value) -> Value {
        let mut document = fields.clone();
        document["id"] = json!(id);
        document
    }

    /// The body of a transaction at `revision`, in collections whose names begin with `prefix`.
    pub fn transaction(steps: &[Step], read_back: Option<u64>, prefix: &str, revision: u64) -> Value {
        let operations: Vec<Value> = steps.iter().map(|step| operation(step, prefix, revision)).collect();
        let mut body = json!({ "operations": operations });
        if let Some(back) = read_back {
            body["read_revision"] = json!(before(revision, back));
        }
        body
    }

    fn operation(step: &Step, prefix: &str, revision: u64) -> Value {
        let mut body = json!({ "collection": format!("{prefix}{}", step.collection), "id": step.id });
        let (op, key, value) = match &step.what {
            What::Insert(fields) => ("insert", "document", fields.clone()),
            What::Put(fields) => ("put", "document", fields.clone()),
            What::Patch(change) => ("patch", "patch", change.clone()),
            What::Delete => ("delete", "", Value::Null),
            What::Get => ("get", "", Value::Null),
        };
        body["op"] = json!(op);
        if !key.is_empty() {
            body[key] = value;
        }
        match &step.condition {
            None => {}
            Some(Condition::Exists) => body["if_exists"] = json!(true),
            Some(Condition::Absent) => body["if_absent"] = json!(true),
            Some(Condition::Revision(back)) => body["if_revision"] = json!(before(revision, *back)),
            Some(Condition::Matches(filter)) => body["if"] = filter.clone(),
        }
        body
    }
}
