//! The naive model: documents of whole numbers in maps, and what each operation does to them. It is small enough to be
//! seen to be right.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The caller's fields of a document.
pub type Fields = BTreeMap<String, i64>;

/// A condition on a document before it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pre {
    /// None.
    Any,
    /// It exists and has this revision.
    Revision(u64),
    /// It exists.
    Exists,
    /// It does not exist.
    Absent,
}

/// An operation that writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Creates a collection.
    Create {
        /// Its name.
        name: String,
        /// Seconds of history.
        retention_seconds: u64,
    },
    /// Inserts documents, all or none.
    Insert {
        /// Where.
        collection: String,
        /// Their ids and fields.
        documents: Vec<(String, Fields)>,
    },
    /// Replaces or creates a document.
    Put {
        /// Where.
        collection: String,
        /// Which.
        id: String,
        /// Its fields.
        fields: Fields,
        /// When.
        pre: Pre,
    },
    /// Changes fields of a document; `None` removes one.
    Patch {
        /// Where.
        collection: String,
        /// Which.
        id: String,
        /// What changes.
        changes: BTreeMap<String, Option<i64>>,
        /// When.
        pre: Pre,
    },
    /// Deletes a document.
    Delete {
        /// Where.
        collection: String,
        /// Which.
        id: String,
        /// When.
        pre: Pre,
    },
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

/// The versions of one document, each with the revision that wrote or deleted it.
type Versions = Vec<(u64, Option<Doc>)>;

/// What a write of a document leaves: its fields, or nothing.
pub type Written = (String, String, Option<Fields>);

/// What an operation comes to at one place in the order of all writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It writes these documents.
    Writes(Vec<Written>),
    /// It changes the catalog.
    Catalog(String),
    /// It succeeds and changes nothing.
    Noop,
    /// It is refused with this code.
    Refused(&'static str),
}

/// An event of a collection's feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The revision.
    pub revision: u64,
    /// The place within the revision.
    pub position: u32,
    /// The document.
    pub id: String,
    /// Its version before.
    pub before: Option<Doc>,
    /// Its version after.
    pub after: Option<Doc>,
}

/// All versions of all documents.
#[derive(Default)]
pub struct Model {
    revision: u64,
    /// Names and the revision at which each came to be.
    collections: BTreeMap<String, u64>,
    versions: BTreeMap<(String, String), Versions>,
    feeds: BTreeMap<String, Vec<Event>>,
}

impl Model {
    /// The last revision.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether the collection exists at `revision`.
    pub fn has(&self, collection: &str, revision: u64) -> bool {
        self.collections.get(collection).is_some_and(|made| *made <= revision)
    }

    /// The document as of `revision`.
    pub fn at(&self, collection: &str, id: &str, revision: u64) -> Option<&Doc> {
        let versions = self.versions.get(&(collection.to_owned(), id.to_owned()))?;
        let behind = versions.partition_point(|(from, _)| *from <= revision);
        versions.get(behind.checked_sub(1)?)?.1.as_ref()
    }

    /// All documents of a collection as of `revision`, by id.
    pub fn list(&self, collection: &str, revision: u64) -> Vec<(&str, &Doc)> {
        let own = self.versions.keys().filter(|(name, _)| name == collection);
        own.filter_map(|(name, id)| Some((id.as_str(), self.at(name, id, revision)?))).collect()
    }

    /// The feed of a collection behind `since`.
    pub fn feed(&self, collection: &str, since: u64) -> &[Event] {
        let feed = self.feeds.get(collection).map_or(&[][..], Vec::as_slice);
        &feed[feed.partition_point(|event| event.revision <= since)..]
    }

    /// What `op` comes to when it is decided right after `revision`.
    pub fn decide(&self, op: &Op, revision: u64) -> Verdict {
        // Before the first revision the cluster has no keys, so it knows nobody.
        if revision == 0 {
            return Verdict::Refused("unauthorized");
        }
        let collection = match op {
            Op::Create { name, .. } => {
                return if self.has(name, revision) {
                    Verdict::Refused("collection_exists")
                } else {
                    Verdict::Catalog(name.clone())
                };
            }
            Op::Insert { collection, .. }
            | Op::Put { collection, .. }
            | Op::Patch { collection, .. }
            | Op::Delete { collection, .. } => collection,
        };
        if !self.has(collection, revision) {
            return Verdict::Refused("collection_not_found");
        }
        let write = |id: &String, fields: Option<Fields>| (collection.clone(), id.clone(), fields);
        match op {
            Op::Create { .. } => Verdict::Noop,
            Op::Insert { documents, .. } => {
                if documents.iter().any(|(id, _)| self.at(collection, id, revision).is_some()) {
                    return Verdict::Refused("already_exists");
                }
                Verdict::Writes(documents.iter().map(|(id, fields)| write(id, Some(fields.clone()))).collect())
            }
            Op::Put { id, fields, pre, .. } => match holds(*pre, self.at(collection, id, revision)) {
                true => Verdict::Writes(vec![write(id, Some(fields.clone()))]),
                false => Verdict::Refused("precondition_failed"),
            },
            Op::Patch { id, changes, pre, .. } => {
                let found = self.at(collection, id, revision);
                let Some(doc) = found.filter(|_| holds(*pre, found)) else {
                    return Verdict::Refused(if holds(*pre, found) { "not_found" } else { "precondition_failed" });
                };
                let mut fields = doc.fields.clone();
                for (name, value) in changes {
                    match value {
                        Some(value) => fields.insert(name.clone(), *value),
                        None => fields.remove(name),
                    };
                }
                if fields == doc.fields { Verdict::Noop } else { Verdict::Writes(vec![write(id, Some(fields))]) }
            }
            Op::Delete { id, pre, .. } => {
                let found = self.at(collection, id, revision);
                match (holds(*pre, found), found) {
                    (false, _) => Verdict::Refused("precondition_failed"),
                    (true, None) => Verdict::Refused("not_found"),
                    (true, Some(_)) => Verdict::Writes(vec![write(id, None)]),
                }
            }
        }
    }

    /// Adds the next revision: what it did to the catalog and to documents, in the order of their positions.
    pub fn push(&mut self, created: Vec<String>, written: Vec<(String, String, Option<Doc>)>) {
        self.revision += 1;
        let revision = self.revision;
        for name in created {
            self.collections.insert(name, revision);
        }
        for (position, (collection, id, after)) in written.into_iter().enumerate() {
            let before = self.at(&collection, &id, revision - 1).cloned();
            let event = Event { revision, position: position as u32, id: id.clone(), before, after: after.clone() };
            self.feeds.entry(collection.clone()).or_default().push(event);
            self.versions.entry((collection, id)).or_default().push((revision, after));
        }
    }
}

fn holds(pre: Pre, found: Option<&Doc>) -> bool {
    match pre {
        Pre::Any => true,
        Pre::Revision(wanted) => found.is_some_and(|doc| doc.revision == wanted),
        Pre::Exists => found.is_some(),
        Pre::Absent => found.is_none(),
    }
}

/// Reads a stored document: its id, and what the model keeps of it.
///
/// # Errors
/// When the body is not one that a node may give.
pub fn read(body: &[u8]) -> Result<(String, Doc)> {
    let value: Value = serde_json::from_slice(body).context("a body is no JSON")?;
    let Value::Object(object) = value else { bail!("a body is no object") };
    let (mut id, mut doc) = (String::new(), Doc { revision: 0, fields: Fields::new(), created_at: String::new() });
    let mut updated_at = String::new();
    for (name, value) in object {
        match (name.as_str(), &value) {
            ("id", Value::String(text)) => id = text.clone(),
            ("_revision", Value::Number(n)) => doc.revision = n.as_u64().context("a revision is no number")?,
            ("_created_at", Value::String(text)) => doc.created_at = text.clone(),
            ("_updated_at", Value::String(text)) => updated_at = text.clone(),
            (_, Value::Number(n)) => {
                doc.fields.insert(name, n.as_i64().context("a field is no whole number")?);
            }
            _ => bail!("a body has {name:?}: {value}"),
        }
    }
    if id.is_empty() || doc.revision == 0 || updated_at < doc.created_at {
        bail!("a body lacks a system field, or was updated before it was created");
    }
    Ok((id, doc))
}
