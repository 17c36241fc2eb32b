//! Changes of many documents at once: all that match a filter, at one revision (rule 7).
//!
//! The node that took the request looked for what matches, at some revision; that may take long and is not done here.
//! Decided here is what has become of it: each candidate that has changed since is checked again, and whatever else changed
//! in the collection since is checked for the first time, in the feed and in what is decided and not applied yet.

use std::collections::{BTreeSet, HashSet};

use aerodb_proto as proto;
use proto::bulk_write::Action;
use proto::{BulkWrite, outcome};

use super::change::Change;
use super::documents::{CREATE_IT, Stop, Target, Writer};
use super::overlay::FETCHED_MAX;
use super::{Decision, references, refusal};
use crate::body;
use crate::error::Error;
use crate::filter::Filter;
use crate::json::Members;
use crate::state::record::{self, Document};
use crate::state::{CHANGE, keys};

/// Events since the look that are gone through; more, and the look has to be taken anew.
const EVENTS_MAX: usize = 2_000;

pub(super) fn write(writer: &mut Writer<'_>, bulk: &BulkWrite) -> Result<Decision, Stop> {
    let to = Target::of(writer.overlay, &bulk.collection, CREATE_IT)?;
    if to.id != bulk.collection_id {
        // Dropped and made again since.
        return Err(refusal("prepared_too_early", "the collection is another one").into());
    }
    let filter = writer.filter(&bulk.filter)?;
    let matching = matching(writer, &to, bulk, &filter)?;
    let max = match bulk.max_affected {
        0 => writer.limits.bulk_documents_max,
        max => usize::try_from(max).unwrap_or(usize::MAX).min(writer.limits.bulk_documents_max),
    };
    if matching.len() > max {
        let detail = format!("more than {max} documents match: nothing was changed");
        let asked = bulk.max_affected == max as u64;
        let code = if asked { "too_many_affected" } else { "too_large" };
        return Err(refusal(code, detail).into());
    }
    if bulk.more {
        // Some of those that were found match no more, and others may, which nobody has looked at.
        return Err(refusal("prepared_too_early", "more matched than were looked at").into());
    }
    let change = match &bulk.action {
        Some(Action::Patch(patch)) => Some(Change::parse(patch, writer.limits)?),
        Some(Action::Delete(_)) => None,
        None => return Err(refusal("unknown_operation", "this version does not know the operation").into()),
    };
    let ids: Vec<&str> = matching.iter().map(String::as_str).collect();
    let mut bytes = 0;
    for ids in ids.chunks(FETCHED_MAX) {
        for (id, existing) in ids.iter().zip(writer.overlay.documents(to.id, ids)?) {
            match &change {
                Some(change) => bytes += writer.change(&to, id, change, existing)?.reference.body.len(),
                None => writer.remove(&to, id, existing)?,
            }
            let max = writer.limits.transaction_bytes_max;
            if bytes > max || writer.overlay.staged_bytes() > 2 * max {
                let detail = format!("the changed documents would take more than {max} bytes: narrow the filter");
                return Err(refusal("too_large", detail).into());
            }
        }
    }
    references::settle(writer)?;
    let modified = writer.overlay.staged_count() as u64;
    writer.finish(outcome::Result::Affected(proto::Affected { matched: matching.len() as u64, modified }))
}

/// The ids of what matches now: the candidates that have not changed since they were found, and of what has changed whatever
/// matches.
fn matching(writer: &Writer<'_>, to: &Target, bulk: &BulkWrite, filter: &Filter) -> Result<BTreeSet<String>, Stop> {
    let overlay = &*writer.overlay;
    let mut members = Members::default();
    filter.each_path(&mut |path| members.add(path));
    let mut reader = body::Reader::new(members);
    let mut matches = |document: &Document| -> Result<bool, Stop> {
        let document = reader.read(&document.body).map_err(|e| Error::malformed("a document", e))?;
        Ok(filter.matches(document))
    };
    let (mut matching, mut changed) = (BTreeSet::new(), HashSet::new());
    for (id, document) in overlay.pending_since(to.id, bulk.read_revision) {
        changed.insert(id);
        if let Some(document) = document
            && matches(document)?
        {
            matching.insert(id.to_owned());
        }
    }
    let applied = changed_since(writer, to, bulk.read_revision)?;
    let others: Vec<&str> = applied.iter().map(String::as_str).filter(|id| !changed.contains(id)).collect();
    for ids in others.chunks(FETCHED_MAX) {
        for (id, document) in ids.iter().zip(overlay.documents(to.id, ids)?) {
            changed.insert(id);
            if let Some(document) = document
                && matches(&document)?
            {
                matching.insert((*id).to_owned());
            }
        }
    }
    let unchanged = bulk.candidates.iter().filter(|candidate| !changed.contains(candidate.id.as_str()));
    matching.extend(unchanged.map(|candidate| candidate.id.clone()));
    Ok(matching)
}

/// The documents that changed after `revision`, as far as that is applied.
fn changed_since(writer: &Writer<'_>, to: &Target, revision: u64) -> Result<BTreeSet<String>, Stop> {
    let snapshot = writer.overlay.snapshot();
    if revision < crate::state::watermark(&*snapshot, to.id)? {
        return Err(refusal("prepared_too_early", "what has changed since is no longer kept").into());
    }
    let (from, end) = (keys::change(to.id, revision.saturating_add(1), 0), keys::collection_end(to.id));
    let mut scan = snapshot.scan(CHANGE, &from, &end, false);
    let (mut ids, mut events) = (BTreeSet::new(), 0);
    while let Some((_, value)) = scan.next().map_err(Error::from)? {
        events += 1;
        if events > EVENTS_MAX {
            return Err(refusal("prepared_too_early", "too much has changed since").into());
        }
        let id = String::from_utf8(record::Change::decode(value).map_err(Error::from)?.id);
        ids.insert(id.map_err(|e| Error::malformed("a change", e))?);
    }
    Ok(ids)
}
