//! Documents whose time is over: ordinary deletes that the leader proposes (A5), decided by the leader's clock.
//!
//! A document that others refer to may have to stay. It stands in nobody's way: each is dealt with by itself, and the answer
//! says which stay, so that the leader need not ask again at once.

use aerodb_proto as proto;
use proto::outcome;

use super::Decision;
use super::documents::{Stop, Writer, stored};
use super::references::Settlement;
use crate::state::record::Document;

/// Deletes those documents that are still as they were seen, and whose time is over.
pub(super) fn expire(writer: &mut Writer<'_>, expire: &proto::ExpireDocuments) -> Result<Decision, Stop> {
    let indexes = writer.overlay.catalog().indexes(expire.collection_id);
    let index = indexes.iter().find(|index| index.definition.id == expire.index_id && index.expires()).cloned();
    let is_referred_to = !writer.overlay.catalog().referrers(expire.collection_id).is_empty();
    let mut settlement = Settlement::default();
    let mut done = proto::Done::default();
    for seen in &expire.documents {
        // The index may have been dropped meanwhile.
        let Some(index) = &index else { break };
        let document = writer.overlay.document(expire.collection_id, &seen.id)?;
        let Some(document) = document.filter(|document| document.revision == seen.revision) else { continue };
        if index.expires_ms(&stored(&document)?).is_none_or(|end_ms| end_ms > writer.place.time_ms) {
            continue;
        }
        if !is_referred_to {
            writer.overlay.stage_document(expire.collection_id, &seen.id, Some(document), None);
            continue;
        }
        let alone = writer.overlay.staged_count() == 0 && !settlement.has_looked();
        let Err(refusal) = delete(writer, &mut settlement, (expire.collection_id, &seen.id), document)? else {
            continue;
        };
        if refusal.code == "too_large" && !alone {
            // It is so only together with those before it: the rest has its turn with the next command.
            break;
        }
        if done.kept.is_empty() {
            done.kept_because = refusal.detail;
        }
        done.kept.push(seen.id.clone());
    }
    writer.finish(outcome::Result::Done(done))
}

/// Deletes one document with all that follows from it, or nothing: then the refusal says why.
fn delete(
    writer: &mut Writer<'_>,
    settlement: &mut Settlement,
    (collection, id): (u32, &str),
    document: Document,
) -> Result<Result<(), proto::Refusal>, Stop> {
    writer.overlay.set_savepoint();
    writer.overlay.stage_document(collection, id, Some(document), None);
    match settlement.delete(writer, vec![(collection, id.to_owned())]) {
        Ok(()) => Ok(Ok(())),
        Err(Stop::Refused(refusal)) => {
            writer.overlay.roll_back();
            Ok(Err(refusal))
        }
        Err(failed) => Err(failed),
    }
}
