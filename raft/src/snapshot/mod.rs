//! Snapshots: a checkpoint directory, described by a manifest, sent file by file.

use std::path::PathBuf;

use aerodb_proto as proto;

use crate::types::TypeConfig;

pub(crate) mod manifest;
mod store;
pub(crate) mod transfer;

pub(crate) use store::SnapshotStore;

/// A snapshot as openraft knows it.
pub(crate) type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotDir>;

/// A snapshot on disk.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotDir {
    /// The directory that holds its files.
    pub(crate) path: PathBuf,
    /// What the files are.
    pub(crate) manifest: proto::SnapshotManifest,
}
