//! Indexes: what a document's new version changes in them, whom their unique values belong to, and how they are built.
//!
//! An index is built while writes go on. From its creation on every write keeps it; documents from before are added by
//! steps that the leader proposes, in the order of ids. A step brings the entries of documents as they were at some revision;
//! what has changed since is passed over, because whoever changed it kept the index. All of this is in the state, so
//! that another leader goes on where the last one stopped.

use std::collections::HashSet;
use std::sync::Arc;

use aerodb_proto as proto;
use bytes::Bytes;
use proto::{Collection, Effect, IndexChange, IndexState, Refusal, effect::Kind, outcome};

use super::documents::{Place, Stop, Target};
use super::overlay::Overlay;
use super::{Decision, references, refusal, since};
use crate::body::Reader;
use crate::error::Error;
use crate::index::{Entries, Index, Role, Unfit};
use crate::json::{Members, Value};
use crate::limits::Limits;
use crate::planted;
use crate::state::keys;
use crate::state::record::Document;

/// Events since a step of a build was read that are gone through; more, and it has to be read anew.
const EVENTS_MAX: usize = 50_000;

/// What an entry takes beside its values: its place in a message, and the id in its key.
const ENTRY_OVERHEAD_BYTES: usize = 16;

/// What a command does to the indexes of one document.
pub(super) struct Changes {
    pub(super) indexes: Vec<IndexChange>,
    /// Values of unique indexes that the document gives up, and those that it claims.
    freed: Vec<Vec<u8>>,
    claimed: Vec<(Vec<u8>, String)>,
}

/// What a change takes in the log, about.
pub(super) fn bytes(change: &IndexChange) -> usize {
    change.removed.iter().chain(&change.added).map(|entry| entry.len() + ENTRY_OVERHEAD_BYTES).sum()
}

impl Changes {
    pub(super) fn is_unique(&self) -> bool {
        !self.freed.is_empty() || !self.claimed.is_empty()
    }
}

/// Reads what indexes ask for, of one document after the other.
#[derive(Default)]
pub(super) struct Reading {
    /// The collection of the last one; before and after the change.
    of: Option<(u32, Reader, Reader)>,
    entry: Vec<u8>,
}

impl Reading {
    fn of(&mut self, collection: u32, members: &Members) -> (&mut Reader, &mut Reader, &mut Vec<u8>) {
        let of = self.of.take().filter(|(of, ..)| *of == collection);
        let new = || (collection, Reader::new(members.clone()), Reader::new(members.clone()));
        let (_, base, now) = self.of.insert(of.unwrap_or_else(new));
        (base, now, &mut self.entry)
    }
}

fn read<'r>(reader: &'r mut Reader, document: Option<&Document>) -> Result<Option<&'r Value>, Error> {
    let read = document.map(|document| reader.read(&document.body)).transpose();
    read.map_err(|e| Error::malformed("a document", e))
}

/// What changes in the indexes of `collection` when a document goes from `base` to `now`.
pub(super) fn changes(
    overlay: &Overlay,
    reading: &mut Reading,
    collection: u32,
    base: Option<&Document>,
    now: Option<&Document>,
) -> Result<Changes, Stop> {
    let mut changes = Changes { indexes: Vec::new(), freed: Vec::new(), claimed: Vec::new() };
    let indexes = overlay.catalog().indexes(collection);
    let Some(members) = overlay.catalog().indexed_members(collection) else { return Ok(changes) };
    let (read_base, read_now, entry) = reading.of(collection, members);
    let (base, now) = (read(read_base, base)?, read(read_now, now)?);
    for index in indexes.iter().filter(|index| index.is_kept()) {
        if let (None, Some(now), false) = (base, now, index.definition.unique) {
            let added = index.new_entries(now, entry).map_err(|unfit| refused(&unfit))?;
            if !added.is_empty() {
                let (removed, building) = (Vec::new(), index.is_building());
                changes.indexes.push(IndexChange { index_id: index.definition.id, removed, added, building });
            }
            continue;
        }
        let entries = |document: Option<&Value>| match document {
            Some(document) => index.entries(document),
            None => Ok(Entries::new()),
        };
        // What was stored before the index may not fit it; a build that meets it fails, and there is nothing to remove.
        let (before, after) = (entries(base).unwrap_or_default(), entries(now).map_err(|unfit| refused(&unfit))?);
        let building = index.is_building();
        let without = |all: &Entries, other: &Entries| -> Vec<Bytes> {
            let differs = |(values, role): &(&Vec<u8>, &Role)| building || other.get(*values) != Some(*role);
            all.iter().filter(differs).map(|(values, role)| role.entry(values)).collect()
        };
        let (mut removed, added) = (without(&before, &after), without(&after, &before));
        if planted!("deleted-stays-indexed") && now.is_none() {
            removed.clear();
        }
        if index.definition.unique {
            let key = |values: &[u8]| keys::index_entry(collection, index.definition.id, values, &[]);
            let claims = |entries: &Entries, other: &Entries| -> Vec<Vec<u8>> {
                let new = entries.keys().filter(|values| building || !other.contains_key(*values));
                new.filter(|values| index.claims(values)).map(|values| key(values)).collect()
            };
            changes.freed.extend(claims(&before, &after));
            changes.claimed.extend(claims(&after, &before).into_iter().map(|key| (key, index.definition.name.clone())));
        }
        if !removed.is_empty() || !added.is_empty() {
            changes.indexes.push(IndexChange { index_id: index.definition.id, removed, added, building });
        }
    }
    Ok(changes)
}

/// Stages whom unique values belong to after the documents' changes; a refusal when one is another document's. All that
/// is given up is free before anything is claimed: two documents may exchange their values in one transaction.
pub(super) fn claim(overlay: &mut Overlay, documents: &[(String, Changes)]) -> Result<(), Stop> {
    for (id, changes) in documents {
        for key in &changes.freed {
            // While it is being built, what the index has of the document may not be there yet, or be another's.
            if overlay.owner(key)?.as_deref() == Some(id) {
                overlay.stage_owner(key.clone(), None);
            }
        }
    }
    for (id, changes) in documents {
        for (key, index) in &changes.claimed {
            if overlay.owner(key)?.is_some_and(|owner| owner != *id) && !planted!("unique-ignored") {
                let detail = format!("another document has the same values in the unique index {index:?}");
                return Err(Refusal { document_id: id.clone(), ..refusal("unique_violation", detail) }.into());
            }
            overlay.stage_owner(key.clone(), Some(id.clone()));
        }
    }
    Ok(())
}

fn refused(unfit: &Unfit) -> Refusal {
    refusal("index_entry_too_large", unfit.to_string())
}

/// Begins an index.
pub(super) fn create(
    overlay: &mut Overlay,
    create: &proto::CreateIndex,
    place: Place,
    limits: &Limits,
) -> Result<Decision, Stop> {
    let mut collection = writable(overlay, &create.collection, "create it first")?;
    let new = create.index.clone().unwrap_or_default();
    if collection.indexes.iter().any(|index| index.name == new.name) {
        let detail = format!("{:?} has an index called {:?} already", collection.name, new.name);
        return Err(refusal("index_exists", detail).into());
    }
    if collection.indexes.len() >= limits.indexes_max {
        let detail = format!("a collection has at most {} indexes: drop one first", limits.indexes_max);
        return Err(refusal("too_many_indexes", detail).into());
    }
    collection.next_index_id += 1;
    collection.indexes.push(proto::Index {
        id: collection.next_index_id,
        state: IndexState::Building.into(),
        created_revision: place.revision,
        ready_revision: 0,
        failure: String::new(),
        reference: None,
        ..new
    });
    changed(overlay, collection, Vec::new(), Vec::new())
}

/// Drops an index, at once.
pub(super) fn drop(overlay: &mut Overlay, drop: &proto::DropIndex) -> Result<Decision, Stop> {
    let mut collection = writable(overlay, &drop.collection, "nothing was dropped")?;
    let Some(at) = collection.indexes.iter().position(|index| index.name == drop.name) else {
        let detail = format!("{:?} has no index called {:?}", collection.name, drop.name);
        return Err(refusal("index_not_found", detail).into());
    };
    if collection.indexes.get(at).is_some_and(|index| index.reference.is_some()) {
        let detail = format!(
            "{:?} belongs to a reference: it goes once `references` of the collection have it no more",
            drop.name
        );
        return Err(refusal("index_of_reference", detail).into());
    }
    let index = collection.indexes.remove(at);
    overlay.forget_owners(&keys::index_prefix(collection.id, index.id));
    changed(overlay, collection, vec![index.id], Vec::new())
}

/// Adds documents from before the index.
pub(super) fn build(
    overlay: &mut Overlay,
    step: &proto::BuildIndex,
    place: Place,
    limits: &Limits,
) -> Result<Decision, Stop> {
    let noop = Decision::Noop { revision: place.revision - 1, result: outcome::Result::Done(proto::Done::default()) };
    let Some(collection) = overlay.catalog().by_id(step.collection_id).cloned() else { return Ok(noop) };
    let indexes = overlay.catalog().indexes(collection.id);
    let found = indexes.iter().find(|index| index.definition.id == step.index_id && index.is_building()).cloned();
    let Some(index) = found else { return Ok(noop) };
    let progress = overlay.walk_progress(collection.id, index.definition.id)?;
    if progress.after != step.after {
        // A step of a leader that did not know how far another had come.
        return Ok(noop);
    }
    let mut rewritten: HashSet<String> =
        overlay.pending_since(collection.id, step.read_revision).map(|(id, _)| id.to_owned()).collect();
    rewritten.extend(since::changed(overlay, collection.id, step.read_revision, EVENTS_MAX)?);
    let mut done = Step { progress, ..Step::default() };
    let mut added = 0;
    for document in &step.documents {
        let skipped = planted!("build-loses-a-document") && added == 0 && !step.after.is_empty();
        if !skipped && !rewritten.contains(&document.id) {
            if done.lookups > limits.reference_lookups_max {
                break;
            }
            if let Err(failure) = done.add(overlay, &collection, &index, document)? {
                return failed(overlay, &collection, &index, failure);
            }
        }
        added += 1;
        done.progress.after.clone_from(&document.id);
    }
    let whole = added == step.documents.len();
    if whole {
        done.progress.after.clone_from(&step.up_to);
    }
    let ready = step.last && whole;
    let effect = proto::IndexStep {
        collection_id: collection.id,
        index_id: index.definition.id,
        documents: done.documents,
        progress: (!ready).then(|| done.progress.clone()),
    };
    let effect = Effect { kind: Some(Kind::IndexStep(effect)) };
    overlay.stage_progress(collection.id, index.definition.id, done.progress);
    if !ready {
        return Ok(Decision::Internal { effects: vec![effect], result: outcome::Result::Done(proto::Done::default()) });
    }
    let change = |index: &mut proto::Index| {
        index.state = IndexState::Ready.into();
        index.ready_revision = place.revision;
    };
    changed(overlay, with(&collection, &index, change), Vec::new(), vec![effect])
}

/// A step of a build, as far as it has come.
#[derive(Default)]
struct Step {
    documents: Vec<proto::IndexedDocument>,
    progress: proto::WalkProgress,
    /// Documents that others refer to and that were looked up.
    lookups: usize,
}

impl Step {
    /// Adds a document that is as it was read; `Err` says why it cannot be in the index.
    fn add(
        &mut self,
        overlay: &mut Overlay,
        collection: &Collection,
        index: &Index,
        read: &proto::IndexableDocument,
    ) -> Result<Result<(), String>, Stop> {
        if let Some(offence) = references::offence(overlay, (collection.id, index), &read.id, &mut self.lookups)? {
            return Ok(Err(offence));
        }
        if !read.unfit.is_empty() {
            return Ok(Err(format!("{} (document {:?})", read.unfit, read.id)));
        }
        if index.definition.unique {
            let values = read.entries.iter().filter_map(|entry| entry.get(1..));
            for values in values.filter(|values| index.claims(values)) {
                let key = keys::index_entry(collection.id, index.definition.id, values, &[]);
                match overlay.owner(&key)? {
                    Some(owner) if owner != read.id => {
                        return Ok(Err(format!("the documents {owner:?} and {:?} have the same values", read.id)));
                    }
                    _ => overlay.stage_owner(key, Some(read.id.clone())),
                }
            }
        }
        self.progress.documents += 1;
        if !read.entries.is_empty() {
            overlay.stage_built(collection.id, index, &read.id, &read.entries);
            let id = Bytes::copy_from_slice(read.id.as_bytes());
            self.documents.push(proto::IndexedDocument { id, added: read.entries.clone() });
        }
        Ok(Ok(()))
    }
}

/// The index cannot be: it says why, and is kept no more.
fn failed(overlay: &mut Overlay, collection: &Collection, index: &Index, failure: String) -> Result<Decision, Stop> {
    overlay.forget_owners(&keys::index_prefix(collection.id, index.definition.id));
    let collection = with(collection, index, |index| {
        index.state = IndexState::Failed.into();
        index.failure = failure;
    });
    changed(overlay, collection, vec![index.definition.id], Vec::new())
}

fn with(collection: &Collection, index: &Index, change: impl FnOnce(&mut proto::Index)) -> Collection {
    let mut collection = collection.clone();
    collection.indexes.iter_mut().find(|found| found.id == index.definition.id).map(change);
    collection
}

/// The collection is `collection` from now on; the entries of `cleared_indexes` go.
pub(super) fn changed(
    overlay: &mut Overlay,
    collection: Collection,
    cleared_indexes: Vec<u32>,
    mut effects: Vec<Effect>,
) -> Result<Decision, Stop> {
    overlay.catalog_mut().insert(collection.clone())?;
    let info = proto::CollectionInfo { collection: Some(collection.clone()) };
    let change = proto::ChangeCollection { collection: Some(collection), cleared_indexes };
    effects.push(Effect { kind: Some(Kind::ChangeCollection(change)) });
    Ok(Decision::Change { effects, result: outcome::Result::Collection(info) })
}

pub(super) fn writable(overlay: &Overlay, name: &str, so: &str) -> Result<Collection, Stop> {
    let id = Target::of(overlay, name, so)?.id;
    let found = overlay.catalog().by_id(id).map(Arc::clone);
    let found = found.ok_or_else(|| Error::Inconsistent(format!("the catalog lost the collection {id}")))?;
    Ok(Collection::clone(&found))
}
