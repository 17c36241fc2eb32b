//! Changes of many documents at once: all that match a filter, at one revision (rule 7).
//!
//! The node that took the request looked for what matches, at some revision; that may take long and is not done here.
//! Decided here is what has become of it (`matching.rs`).

mod matching;

use aerodb_proto as proto;
use proto::bulk_write::Action;
use proto::{BulkWrite, outcome};

use self::matching::Matching;
use super::change::Change;
use super::documents::{CREATE_IT, Stop, Target, Writer};
use super::overlay::FETCHED_MAX;
use super::{Decision, references, refusal};

pub(super) fn write(writer: &mut Writer<'_>, bulk: &BulkWrite) -> Result<Decision, Stop> {
    let to = Target::of(writer.overlay, &bulk.collection, CREATE_IT)?;
    if to.id != bulk.collection_id {
        // Dropped and made again since.
        return Err(refusal("prepared_too_early", "the collection is another one").into());
    }
    let filter = writer.filter(&bulk.filter)?;
    let Matching { ids: matching, more } = matching::now(writer, &to, bulk, &filter)?;
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
    if more {
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
