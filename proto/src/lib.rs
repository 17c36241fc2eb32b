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
pub const FEATURE_LEVEL: u32 = 1;
