//! The naive model: documents of whole numbers and lists in maps, and what each operation does to them. It is small enough
//! to be seen to be right.

pub mod catalog;
mod op;
pub mod query;
mod transact;
mod value;

use std::collections::{BTreeMap, BTreeSet};

use catalog::{Catalog, Change, State};

pub use op::{Act, Op, Pre, Step};
pub use transact::{Shown, Transacted};
pub use value::{Changes, Doc, Fields, Value, read};

/// The versions of one document, each with the revision that wrote or deleted it.
type Versions = Vec<(u64, Option<Doc>)>;

/// What a write of a document leaves: its fields, or nothing.
pub type Written = (String, String, Option<Fields>);

/// What an operation comes to at one place in the order of all writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It writes these documents.
    Writes(Vec<Written>),
    /// It does, or is refused as `unique_violation`: the values are another document's, and the index that stands against
    /// that is still being built, so that it may not know yet.
    Contested(Vec<Written>),
    /// It changes the catalog.
    Catalog(Change),
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
    /// Collections and indexes.
    pub catalog: Catalog,
    versions: BTreeMap<(String, String), Versions>,
    feeds: BTreeMap<String, Vec<Event>>,
}

impl Model {
    /// The last revision.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The document as of `revision`.
    pub fn at(&self, collection: &str, id: &str, revision: u64) -> Option<&Doc> {
        self.last(collection, id, revision)?.1.as_ref()
    }

    /// The revision at or before `revision` that last wrote or deleted the document; 0 when none has.
    fn changed(&self, collection: &str, id: &str, revision: u64) -> u64 {
        self.last(collection, id, revision).map_or(0, |(from, _)| *from)
    }

    fn last(&self, collection: &str, id: &str, revision: u64) -> Option<&(u64, Option<Doc>)> {
        let versions = self.versions.get(&(collection.to_owned(), id.to_owned()))?;
        let behind = versions.partition_point(|(from, _)| *from <= revision);
        versions.get(behind.checked_sub(1)?)
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
                return match self.catalog.has(name, revision) {
                    true => Verdict::Refused("collection_exists"),
                    false => Verdict::Catalog(Change::Collection(name.clone())),
                };
            }
            Op::Transact { steps, read_revision } => {
                return match self.transact(steps, *read_revision, revision) {
                    Err(code) => Verdict::Refused(code),
                    Ok(Transacted { written, .. }) => self.written(written, revision),
                };
            }
            Op::Insert { collection, .. }
            | Op::Put { collection, .. }
            | Op::Patch { collection, .. }
            | Op::Delete { collection, .. }
            | Op::CreateIndex { collection, .. }
            | Op::DropIndex { collection, .. } => collection,
        };
        if !self.catalog.has(collection, revision) {
            return Verdict::Refused("collection_not_found");
        }
        let has_index = |name: &str| {
            let indexes = self.catalog.indexes(collection, revision);
            indexes.iter().any(|(index, _)| index.name == name)
        };
        let write = |id: &String, fields: Option<Fields>| (collection.clone(), id.clone(), fields);
        match op {
            Op::Create { .. } | Op::Transact { .. } => Verdict::Noop,
            Op::CreateIndex { index, .. } => match has_index(&index.name) {
                true => Verdict::Refused("index_exists"),
                false => Verdict::Catalog(Change::Index(collection.clone(), index.clone())),
            },
            Op::DropIndex { name, .. } => match has_index(name) {
                true => Verdict::Catalog(Change::NoIndex(collection.clone(), name.clone())),
                false => Verdict::Refused("index_not_found"),
            },
            Op::Insert { documents, .. } => {
                if documents.iter().any(|(id, _)| self.at(collection, id, revision).is_some()) {
                    return Verdict::Refused("already_exists");
                }
                let written = documents.iter().map(|(id, fields)| write(id, Some(fields.clone())));
                self.written(written.collect(), revision)
            }
            Op::Put { id, fields, pre, .. } => match holds(*pre, self.at(collection, id, revision)) {
                true => self.written(vec![write(id, Some(fields.clone()))], revision),
                false => Verdict::Refused("precondition_failed"),
            },
            Op::Patch { id, changes, pre, .. } => {
                let found = self.at(collection, id, revision);
                let Some(doc) = found.filter(|_| holds(*pre, found)) else {
                    return Verdict::Refused(if holds(*pre, found) { "not_found" } else { "precondition_failed" });
                };
                let fields = patched(&doc.fields, changes);
                match fields == doc.fields {
                    true => Verdict::Noop,
                    false => self.written(vec![write(id, Some(fields))], revision),
                }
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

    /// What becomes of writes that nothing but unique indexes may stand against.
    fn written(&self, written: Vec<Written>, revision: u64) -> Verdict {
        if written.is_empty() {
            return Verdict::Noop;
        }
        let collections: BTreeSet<&String> = written.iter().map(|(collection, ..)| collection).collect();
        let mut contested = false;
        for collection in collections {
            let indexes = self.catalog.indexes(collection, revision);
            if !indexes.iter().any(|(index, state)| index.unique && *state != State::Failed) {
                continue;
            }
            let of_it = written.iter().filter(|one| one.0 == *collection);
            let new: BTreeMap<&str, Option<&Fields>> = of_it.map(|one| (&*one.1, one.2.as_ref())).collect();
            let old = self.list(collection, revision).into_iter().filter(|(id, _)| !new.contains_key(id));
            let left: Vec<&Fields> = old.map(|(_, doc)| &doc.fields).chain(new.values().copied().flatten()).collect();
            for (index, state) in indexes {
                match state {
                    State::Ready if has_twice(index, &left) => return Verdict::Refused("unique_violation"),
                    State::Building => contested |= has_twice(index, &left),
                    _ => {}
                }
            }
        }
        if contested { Verdict::Contested(written) } else { Verdict::Writes(written) }
    }

    /// Whether two documents have at `revision` what the index of this name allows only one to have.
    pub fn breaks_unique(&self, collection: &str, name: &str, revision: u64) -> bool {
        let documents = self.list(collection, revision);
        let fields: Vec<&Fields> = documents.iter().map(|(_, doc)| &doc.fields).collect();
        let indexes = self.catalog.indexes(collection, revision);
        indexes.iter().any(|(index, _)| index.name == name && has_twice(index, &fields))
    }

    /// Adds the next revision: what it did to the catalog and to documents, in the order of their positions. Says what it
    /// may not have done, whoever asked for it.
    pub fn push(&mut self, changes: &[Change], written: Vec<(String, String, Option<Doc>)>) -> Option<String> {
        self.revision += 1;
        let revision = self.revision;
        for change in changes {
            self.catalog.push(change, revision);
        }
        let mut touched: BTreeSet<String> =
            changes.iter().filter_map(Change::ends_a_build).map(|c| c.0.to_owned()).collect();
        for (position, (collection, id, after)) in written.into_iter().enumerate() {
            let before = self.at(&collection, &id, revision - 1).cloned();
            let event = Event { revision, position: position as u32, id: id.clone(), before, after: after.clone() };
            touched.insert(collection.clone());
            self.feeds.entry(collection.clone()).or_default().push(event);
            self.versions.entry((collection, id)).or_default().push((revision, after));
        }
        touched.iter().find_map(|collection| {
            let ready = self.catalog.indexes(collection, revision).iter().filter(|(_, state)| *state == State::Ready);
            let name =
                ready.map(|(index, _)| &index.name).find(|name| self.breaks_unique(collection, name, revision))?;
            Some(format!("two documents of {collection} have the same values in the unique index {name}"))
        })
    }
}

/// Whether two of these have the same values in a unique index.
fn has_twice(index: &catalog::Index, documents: &[&Fields]) -> bool {
    let mut seen = BTreeSet::new();
    documents.iter().filter_map(|fields| index.claim(fields)).any(|claim| !seen.insert(claim))
}

fn holds(pre: Pre, found: Option<&Doc>) -> bool {
    match pre {
        Pre::Any => true,
        Pre::Revision(wanted) => found.is_some_and(|doc| doc.revision == wanted),
        Pre::Exists => found.is_some(),
        Pre::Absent => found.is_none(),
    }
}

fn patched(fields: &Fields, changes: &Changes) -> Fields {
    let mut fields = fields.clone();
    for (name, value) in changes {
        match value {
            Some(value) => fields.insert(name.clone(), value.clone()),
            None => fields.remove(name),
        };
    }
    fields
}
