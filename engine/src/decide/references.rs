//! References: ids in the documents of one collection that are ids of documents of another, or of the same.
//!
//! They are decided on what a command leaves in all: a transaction may insert a document before the one that it refers to, or
//! delete both. First whoever refers to what is deleted is dealt with ([`deletions`]); then every id that a document has
//! and did not have before must be that of a document which is there in the end. So a command that makes a document refer
//! to one that it deletes is refused, whatever the reference says of deletions.
//!
//! Who refers to a document is found by entries in the reference's index, and by those that are decided and not applied
//! yet ([`pending`]). Either may lead to a document that has changed since: each is looked at as it is.

mod declare;
mod deletions;
mod pending;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use aerodb_proto as proto;
use proto::{Refusal, Violation};

pub(super) use declare::{first, replace};
pub(super) use pending::{Found, PendingReferrers, entries, referring};

use super::documents::{Stop, Writer, read};
use super::overlay::Overlay;
use super::refusal;
use crate::catalog::Catalog;
use crate::error::Error;
use crate::index::reference::Ids;
use crate::index::{INDEX_ENTRIES_MAX, Index};
use crate::kv::Snapshot;
use crate::limits::Limits;
use crate::state::record::Document;

/// An id is at most so long: what is longer needs no look.
const ID_BYTES_MAX: usize = 128;

/// Settles the references of a command whose operations are all staged.
///
/// # Errors
/// When one stands against it.
pub(super) fn settle(writer: &mut Writer<'_>) -> Result<(), Stop> {
    if !writer.overlay.catalog().has_references() || writer.overlay.staged_count() == 0 {
        return Ok(());
    }
    let mut settlement = Settlement::default();
    let deleted = writer.overlay.staged_deletions();
    settlement.delete(writer, deleted)?;
    settlement.check_new_ids(writer)
}

/// What one command has found out about references, and what it may still look up.
#[derive(Default)]
pub(super) struct Settlement {
    /// Taken when it is first needed.
    snapshot: Option<Arc<dyn Snapshot>>,
    lookups: usize,
    /// The ids that a document had before the command and still has, by collection, index and document.
    kept: HashMap<(u32, u32, String), Ids>,
    /// Documents that are there.
    there: HashSet<(u32, String)>,
}

impl Settlement {
    /// True once it has looked anything up.
    pub(super) fn has_looked(&self) -> bool {
        self.lookups > 0
    }

    /// One more look-up; a refusal when it is one too many.
    fn count(&mut self, limits: &Limits) -> Result<(), Refusal> {
        self.lookups += 1;
        let max = limits.reference_lookups_max;
        if self.lookups <= max {
            return Ok(());
        }
        let detail = format!("its references take more than {max} look-ups: write or delete fewer documents at once");
        Err(refusal("too_large", detail))
    }

    /// Checks that every id which the command brings is that of a document.
    fn check_new_ids(&mut self, writer: &Writer<'_>) -> Result<(), Stop> {
        for ((collection, id), base, now) in writer.overlay.staged_writes() {
            for index in writer.overlay.catalog().indexes(*collection) {
                let Some(reference) = index.reference() else { continue };
                let found = index.ids(&read(now, &index.members)?);
                if let Some(kind) = found.stranger {
                    let message = format!("a {} is neither an id, nor an array of ids, nor null", kind.name());
                    return Err(violation(writer, *collection, id, index, message).into());
                }
                if found.ids.len() > INDEX_ENTRIES_MAX {
                    let detail = format!(
                        "the document would refer to more than {INDEX_ENTRIES_MAX} others at {:?}",
                        index.path()
                    );
                    return Err(Stop::from(refusal("index_entry_too_large", detail)).of_document(id));
                }
                let before = match base.filter(|base| !found.ids.is_empty() && is_vouched_for(index, base)) {
                    Some(base) => index.ids(&read(base, &index.members)?),
                    None => Ids::default(),
                };
                for missing in found.ids.difference(&before.ids) {
                    if !self.is_there(writer, reference.collection_id, missing)? {
                        let message = no_target(missing, reference);
                        return Err(violation(writer, *collection, id, index, message).into());
                    }
                }
            }
        }
        Ok(())
    }

    fn is_there(&mut self, writer: &Writer<'_>, collection: u32, id: &str) -> Result<bool, Stop> {
        let key = (collection, id.to_owned());
        if self.there.contains(&key) {
            return Ok(true);
        }
        self.count(writer.limits)?;
        let there = exists(writer.overlay, collection, id)?;
        if there {
            self.there.insert(key);
        }
        Ok(there)
    }

    /// Whether a document refers to `target`, and did so before the command. Within one command a document loses ids only as
    /// their targets go, and none is asked about behind that: what was found holds.
    fn refers(
        &mut self,
        overlay: &Overlay,
        (collection, index): (u32, &Index),
        id: &str,
        target: &str,
    ) -> Result<bool, Error> {
        let Some(now) = overlay.document(collection, id)? else { return Ok(false) };
        let key = (collection, index.definition.id, id.to_owned());
        if let Some(kept) = self.kept.get(&key) {
            return Ok(kept.ids.contains(target));
        }
        let mut kept = index.ids(&read(&now, &index.members)?);
        if let Some((base, _)) = overlay.written(collection, id) {
            let before = base.map(|base| read(&base, &index.members)).transpose()?;
            let before = before.map_or_else(Ids::default, |base| index.ids(&base));
            kept.ids.retain(|id| before.ids.contains(id));
        }
        let refers = kept.ids.contains(target);
        self.kept.insert(key, kept);
        Ok(refers)
    }
}

/// Whether what a version refers to is there: what is from before a reference that is still being built was looked at by nobody.
fn is_vouched_for(index: &Index, version: &Document) -> bool {
    !index.is_building() || version.revision >= index.definition.created_revision
}

/// Why a document that is there already stands against a reference, if it does; `lookups` counts what was looked up.
pub(super) fn offence(
    overlay: &Overlay,
    (collection, index): (u32, &Index),
    id: &str,
    lookups: &mut usize,
) -> Result<Option<String>, Stop> {
    let Some(reference) = index.reference() else { return Ok(None) };
    let Some(document) = overlay.document(collection, id)? else { return Ok(None) };
    let found = index.ids(&read(&document, &index.members)?);
    if let Some(kind) = found.stranger {
        let what = format!("an id, an array of ids or null, and holds a {}", kind.name());
        return Ok(Some(format!("{:?} of the document {id:?} is {what}", index.path())));
    }
    if found.ids.len() > INDEX_ENTRIES_MAX {
        return Ok(Some(format!(
            "the document {id:?} refers to more than {INDEX_ENTRIES_MAX} others at {:?}",
            index.path()
        )));
    }
    for missing in &found.ids {
        *lookups += 1;
        if !exists(overlay, reference.collection_id, missing)? {
            let why = no_target(missing, reference);
            return Ok(Some(format!("the document {id:?} has {missing:?} at {:?}, and {why}", index.path())));
        }
    }
    Ok(None)
}

fn exists(overlay: &Overlay, collection: u32, id: &str) -> Result<bool, Error> {
    Ok(!id.is_empty() && id.len() <= ID_BYTES_MAX && overlay.document(collection, id)?.is_some())
}

fn no_target(id: &str, reference: &proto::Reference) -> String {
    let id: String = id.chars().take(ID_BYTES_MAX).collect();
    format!("there is no document {id:?} in {:?}", reference.collection)
}

fn violation(writer: &Writer<'_>, collection: u32, id: &str, index: &Index, message: String) -> Refusal {
    let name = name(writer.overlay.catalog(), collection);
    let detail = format!("the document {id:?} of {name:?} refers to nothing at {:?}: {message}", index.path());
    let path = format!("/{}", index.path().replace('~', "~0").replace('/', "~1").replace('.', "/"));
    let violations = vec![Violation { path, keyword: "reference_violation".into(), message }];
    Refusal { violations, document_id: id.to_owned(), ..refusal("reference_violation", detail) }
}

/// What a collection is called.
fn name(catalog: &Catalog, collection: u32) -> &str {
    catalog.by_id(collection).map_or("", |collection| &collection.name)
}
