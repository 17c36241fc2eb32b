//! Which documents a bulk write's filter matches now.
//!
//! Where an index says all of the filter, its entries are the answer, with what is decided and not applied yet. Otherwise each
//! candidate of the look that has changed since is checked again, and whatever else changed in the collection since is checked
//! for the first time, in the feed and in what is decided and not applied yet.

use std::collections::{BTreeSet, HashSet};

use aerodb_proto::BulkWrite;

use crate::decide::documents::{Stop, Target, Writer};
use crate::decide::overlay::{FETCHED_MAX, Overlay};
use crate::decide::since;
use crate::error::Error;
use crate::filter::Filter;
use crate::index::{Index, Through};
use crate::matcher::Matcher;
use crate::state::{self, INDEX, META, keys};

/// Events since the look that are gone through; more, and the look has to be taken anew.
const EVENTS_MAX: usize = 2_000;

/// What matches.
pub(super) struct Matching {
    pub(super) ids: BTreeSet<String>,
    /// There may be others.
    pub(super) more: bool,
}

pub(super) fn now(writer: &Writer<'_>, to: &Target, bulk: &BulkWrite, filter: &Filter) -> Result<Matching, Stop> {
    match by_index(writer, to, filter)? {
        Some(ids) => Ok(Matching { ids, more: false }),
        None => Ok(Matching { ids: since_the_look(writer, to, bulk, filter)?, more: bulk.more }),
    }
}

/// The same, where the entries of an index tell: what they lead to in the state, and instead of that what is decided.
fn by_index(writer: &Writer<'_>, to: &Target, filter: &Filter) -> Result<Option<BTreeSet<String>>, Stop> {
    let overlay = &*writer.overlay;
    let mut found = None;
    for index in overlay.catalog().indexes(to.id) {
        found = entries_within(overlay, to, index, filter, writer.limits.bulk_documents_max)?;
        if found.is_some() {
            break;
        }
    }
    let Some(mut matching) = found else { return Ok(None) };
    if overlay.pending_since(to.id, 0).next().is_some() {
        matching.retain(|id| !overlay.is_pending(to.id, id));
    }
    let mut matcher = Matcher::new(filter);
    for (id, document) in overlay.pending_since(to.id, 0) {
        if let Some(document) = document
            && matcher.matches(&document.body)?
        {
            matching.insert(id.to_owned());
        }
    }
    Ok(Some(matching))
}

/// What the entries of `index` lead to, if they say all of the filter and are no more than may change, or become so by what is
/// decided.
fn entries_within(
    overlay: &Overlay,
    to: &Target,
    index: &std::sync::Arc<Index>,
    filter: &Filter,
    documents_max: usize,
) -> Result<Option<BTreeSet<String>>, Stop> {
    let (revision, snapshot) = overlay.applied();
    let counts = state::index_counts(&|key| snapshot.get(META, key), to.id, index.definition.id)?;
    let Ok(through) = Through::find(index, Some(filter), &counts, revision) else { return Ok(None) };
    if !through.covers || through.bounded == 0 {
        return Ok(None);
    }
    let entries_max = documents_max + overlay.pending_since(to.id, 0).count();
    let key = |values: &[u8]| keys::index_entry(to.id, index.definition.id, values, &[]);
    let mut ids = BTreeSet::new();
    for (from, end) in &through.stretches {
        let mut entries = snapshot.scan(INDEX, &key(from), &key(end), false);
        while let Some((key, _)) = entries.next().map_err(Error::from)? {
            if ids.len() > entries_max {
                return Ok(None);
            }
            let damaged = || Error::malformed("an index entry", "its values are damaged");
            let entry = keys::index_parts(key);
            let id = entry.get(index.values_length(entry).ok_or_else(damaged)?..).ok_or_else(damaged)?;
            ids.insert(String::from_utf8(id.to_vec()).map_err(|e| Error::malformed("an id", e))?);
        }
    }
    Ok(Some(ids))
}

/// The same by what was found at some revision, and all that has changed after it.
fn since_the_look(
    writer: &Writer<'_>,
    to: &Target,
    bulk: &BulkWrite,
    filter: &Filter,
) -> Result<BTreeSet<String>, Stop> {
    let overlay = &*writer.overlay;
    let mut matcher = Matcher::new(filter);
    let (mut matching, mut changed) = (BTreeSet::new(), HashSet::new());
    for (id, document) in overlay.pending_since(to.id, bulk.read_revision) {
        changed.insert(id);
        if let Some(document) = document
            && matcher.matches(&document.body)?
        {
            matching.insert(id.to_owned());
        }
    }
    let applied = since::changed(overlay, to.id, bulk.read_revision, EVENTS_MAX)?;
    let others: Vec<&str> = applied.iter().map(String::as_str).filter(|id| !changed.contains(id)).collect();
    for ids in others.chunks(FETCHED_MAX) {
        for (id, document) in ids.iter().zip(overlay.documents(to.id, ids)?) {
            changed.insert(id);
            if let Some(document) = document
                && matcher.matches(&document.body)?
            {
                matching.insert((*id).to_owned());
            }
        }
    }
    let unchanged = bulk.candidates.iter().filter(|candidate| !changed.contains(candidate.id.as_str()));
    matching.extend(unchanged.map(|candidate| candidate.id.clone()));
    Ok(matching)
}
