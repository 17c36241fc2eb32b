//! Everything that AeroDB writes to disk or sends between nodes: commands, log records, effects, snapshot manifests
//! and peer messages, as protobuf that this project owns. The text of the format is in `proto/aerodb/v1/*.proto`.
//!
//! Nothing here knows a database, a network or a consensus library; see A9 in ARCHITECTURE.md.

/// Version 1 of the formats. Fields are only ever added and numbers never used again.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod v1 {
    tonic::include_proto!("aerodb.v1");
}

pub use v1::*;

/// The set of operations that this program understands in a log entry. A node that meets a higher level stops (A9).
pub const FEATURE_LEVEL: u32 = 4;
/// The level from which on events say how many bytes of history were written up to them: below it, no node writes that down.
pub const FEATURE_LEVEL_HISTORY_BYTES: u32 = 4;

impl Outcome {
    /// The documents that it carries, each with the id of its collection.
    pub fn documents_mut(&mut self) -> Box<dyn Iterator<Item = (u32, &mut DocumentRef)> + '_> {
        match &mut self.result {
            Some(outcome::Result::Documents(documents)) => {
                let collection = documents.collection_id;
                Box::new(documents.documents.iter_mut().map(move |document| (collection, document)))
            }
            Some(outcome::Result::Transacted(transacted)) => {
                let operated = transacted.operations.iter_mut();
                Box::new(operated.filter_map(|one| Some((one.collection_id, one.document.as_mut()?))))
            }
            _ => Box::new(std::iter::empty()),
        }
    }
}
