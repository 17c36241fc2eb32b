//! Snapshots on disk: `snapshots/s-<name>/`, a checkpoint of the state with its manifest. The newest is the current one.
//! A snapshot appears by rename, whole and durable, or not at all.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aerodb_engine::Engine;
use aerodb_proto as proto;
use parking_lot::Mutex;

use super::{SnapshotDir, manifest};

const BUILDING: &str = "building";
const PREFIX: &str = "s-";

/// The snapshots of a node. Its methods block on the disk.
pub(crate) struct SnapshotStore {
    root: PathBuf,
    engine: Arc<Engine>,
    current: Mutex<Option<SnapshotDir>>,
    /// One snapshot is built or adopted at a time.
    changing: Mutex<()>,
}

impl SnapshotStore {
    /// Opens the folder `root`; removes what is not a whole snapshot, and all but the newest.
    pub(crate) fn open(root: PathBuf, engine: Arc<Engine>) -> io::Result<Self> {
        fs::create_dir_all(&root)?;
        remove(&root.join(BUILDING))?;
        let mut found = Vec::new();
        for entry in fs::read_dir(&root)? {
            let path = entry?.path();
            if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX)) {
                match manifest::read(&path) {
                    Ok(manifest) => found.push(SnapshotDir::new(path, manifest)),
                    Err(_) => remove(&path)?,
                }
            }
        }
        found.sort_by_key(|snapshot| index(&snapshot.manifest));
        let current = found.pop();
        for old in found {
            remove(old.path())?;
        }
        Ok(Self { root, engine, current: Mutex::new(current), changing: Mutex::new(()) })
    }

    /// The newest snapshot.
    pub(crate) fn current(&self) -> Option<SnapshotDir> {
        self.current.lock().clone()
    }

    /// Builds a snapshot of the state as it is now. On return it would be found after a crash, and the live state is
    /// durable up to it.
    pub(crate) fn build(&self) -> io::Result<SnapshotDir> {
        let _changing = self.changing.lock();
        let dir = self.root.join(BUILDING);
        remove(&dir)?;
        let contents = self.engine.checkpoint(&dir)?;
        remove_notes(&dir)?;
        let manifest = proto::SnapshotManifest {
            last_log_id: contents.meta.applied,
            membership: Some(contents.membership),
            files: manifest::scan(&dir)?,
            revision: contents.meta.revision,
            cluster_id: contents.cluster_id,
        };
        manifest::write(&dir, &manifest)?;
        self.take(&dir, manifest)
    }

    /// Takes a received snapshot over: moves it here and makes it the current one.
    pub(crate) fn adopt(&self, snapshot: SnapshotDir) -> io::Result<SnapshotDir> {
        let _changing = self.changing.lock();
        if snapshot.path().parent() == Some(&self.root) {
            return Ok(snapshot);
        }
        self.take(snapshot.path(), snapshot.manifest.clone())
    }

    fn take(&self, dir: &Path, manifest: proto::SnapshotManifest) -> io::Result<SnapshotDir> {
        let path = self.root.join(format!("{PREFIX}{}", manifest::name(&manifest)));
        if let Some(same) = self.current().filter(|current| current.path() == path) {
            remove(dir)?;
            return Ok(same);
        }
        // A snapshot may be installed while one is being built: the older of the two is of no use to anybody.
        if let Some(newer) = self.current().filter(|current| index(&current.manifest) > index(&manifest)) {
            remove(dir)?;
            return Ok(newer);
        }
        remove(&path)?;
        fs::rename(dir, &path)?;
        manifest::sync_dir(&self.root)?;
        let taken = SnapshotDir::new(path, manifest);
        // One that is being sent is needed for as long as that takes.
        if let Some(former) = self.current.lock().replace(taken.clone()) {
            former.retire();
        }
        Ok(taken)
    }

    /// Lets the current snapshot go if it ends before `first`, the first entry that the log still has: nobody could go
    /// on from it. openraft makes a new one then.
    pub(crate) fn forget_before(&self, first: u64) -> io::Result<()> {
        let mut current = self.current.lock();
        if let Some(useless) = current.take_if(|snapshot| index(&snapshot.manifest) + 1 < first) {
            remove(useless.path())?;
        }
        Ok(())
    }
}

fn index(manifest: &proto::SnapshotManifest) -> u64 {
    manifest.last_log_id.map_or(0, |id| id.index)
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes what opening the checkpoint left in it: RocksDB's own log and lock are no part of the snapshot.
fn remove_notes(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name == "LOCK" || name == "LOG" || name.starts_with("LOG.old") {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
