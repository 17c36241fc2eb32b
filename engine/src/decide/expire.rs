//! Documents whose time is over: ordinary deletes that the leader proposes (A5), decided by the leader's clock.

use aerodb_proto as proto;
use proto::outcome;

use super::Decision;
use super::documents::{Stop, Writer, stored};

/// Deletes those documents that are still as they were seen, and whose time is over.
pub(super) fn expire(writer: &mut Writer<'_>, expire: &proto::ExpireDocuments) -> Result<Decision, Stop> {
    let indexes = writer.overlay.catalog().indexes(expire.collection_id);
    let index = indexes.iter().find(|index| index.definition.id == expire.index_id && index.expires()).cloned();
    for seen in &expire.documents {
        // The index may have been dropped meanwhile.
        let Some(index) = &index else { break };
        let document = writer.overlay.document(expire.collection_id, &seen.id)?;
        let Some(document) = document.filter(|document| document.revision == seen.revision) else { continue };
        if index.expires_ms(&stored(&document)?).is_some_and(|end_ms| end_ms <= writer.place.time_ms) {
            writer.overlay.stage_document(expire.collection_id, &seen.id, Some(document), None);
        }
    }
    writer.conclude(outcome::Result::Done(proto::Done {}))
}
