//! Snapshots: a checkpoint directory, described by a manifest, sent file by file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aerodb_engine::Folder;
use aerodb_proto as proto;

use crate::types::TypeConfig;

pub(crate) mod manifest;
mod store;
pub(crate) mod transfer;

pub(crate) use store::SnapshotStore;

/// A snapshot as openraft knows it.
pub(crate) type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotDir>;

/// A snapshot on disk. Whoever holds one can read all of its files, also after a newer one has taken its place.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotDir {
    /// The directory that holds its files.
    folder: Arc<Folder>,
    /// What the files are.
    pub(crate) manifest: proto::SnapshotManifest,
}

impl SnapshotDir {
    pub(crate) fn new(path: PathBuf, manifest: proto::SnapshotManifest) -> Self {
        Self { folder: Arc::new(Folder::new(path)), manifest }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Says that a newer one is there: the last who reads this one removes it.
    fn retire(&self) {
        self.folder.retire();
    }
}
