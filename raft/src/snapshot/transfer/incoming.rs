//! The receiving side: one transfer at a time, written to a folder that may be thrown away at any moment.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aerodb_proto as proto;
use parking_lot::Mutex;
use tonic::Status;

use crate::snapshot::{Snapshot, SnapshotDir, manifest};
use crate::spawn::{Spawner, run_blocking};
use crate::types::Vote;

use super::{CHUNK_BYTES_MAX, TransferProgress};

/// Why something was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// The sender asks for what must not be.
    #[error("{0}")]
    Invalid(String),
    /// The transfer was replaced by another, or the node has been started anew: offer again.
    #[error("the transfer {0} is not known any more")]
    Superseded(String),
    /// A snapshot is being installed.
    #[error("another snapshot is being installed")]
    Busy,
    /// A piece is not the next one, or was damaged on its way: offer again.
    #[error("{0}")]
    Broken(String),
    /// A file is not what the manifest says. It was deleted: offer again.
    #[error("the received file {0} is damaged and was deleted")]
    Damaged(String),
    /// This node's disk.
    #[error("the snapshot cannot be stored: {0}")]
    Io(#[from] io::Error),
}

impl From<manifest::Invalid> for Refused {
    fn from(error: manifest::Invalid) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        let said = refused.to_string();
        match refused {
            Refused::Invalid(_) => Status::invalid_argument(said),
            Refused::Superseded(_) | Refused::Broken(_) => Status::aborted(said),
            Refused::Damaged(_) => Status::data_loss(said),
            Refused::Busy => Status::unavailable(said),
            Refused::Io(_) => {
                tracing::error!(error = %said, "a snapshot could not be received");
                Status::unavailable(said)
            }
        }
    }
}

/// What a sender needs to know to begin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Offered {
    /// Names the transfer.
    pub(crate) transfer: String,
    /// Bytes of each file that are there already.
    pub(crate) have_bytes: Vec<u64>,
}

/// A snapshot that is here, whole, verified and durable.
#[derive(Debug)]
pub(crate) struct Received {
    /// The vote of the leader that sent it.
    pub(crate) vote: Vote,
    /// It lies under `incoming/` and must be moved away from there by whoever installs it.
    pub(crate) snapshot: Snapshot,
}

/// Receives snapshots, one at a time.
pub(crate) struct Incoming {
    store: Arc<Mutex<Store>>,
    /// How far the current transfer is.
    progress: Arc<Mutex<Option<Arc<TransferProgress>>>>,
    spawner: Arc<dyn Spawner>,
}

impl Incoming {
    /// Receives into `root` (`<data>/snapshots/incoming`). What an earlier run left there is kept when it can be
    /// resumed.
    pub(crate) async fn open(root: PathBuf, spawner: Arc<dyn Spawner>) -> io::Result<Self> {
        let store = run_blocking(spawner.as_ref(), move || Store::open(root)).await?;
        Ok(Self { store: Arc::new(Mutex::new(store)), progress: Arc::default(), spawner })
    }

    /// A leader offers a snapshot. A transfer of another snapshot ends with that.
    pub(crate) async fn offer(&self, vote: Vote, manifest: proto::SnapshotManifest) -> Result<Offered, Refused> {
        let progress = self.progress.clone();
        self.with_store(move |store| {
            let offered = store.offer(vote, &manifest)?;
            let total = manifest.files.iter().map(|file| file.size_bytes).sum();
            let done = offered.have_bytes.iter().sum();
            *progress.lock() = Some(Arc::new(TransferProgress::new(total, done)));
            Ok(offered)
        })
        .await
    }

    /// Writes one piece.
    pub(crate) async fn write(&self, chunk: proto::SnapshotChunk) -> Result<(), Refused> {
        let bytes = chunk.data.len() as u64;
        self.with_store(move |store| store.write(&chunk)).await?;
        if let Some(progress) = &*self.progress.lock() {
            progress.add(bytes);
        }
        Ok(())
    }

    /// Everything was sent: verifies it and makes it durable. Nothing else is received until [`Self::installed`].
    pub(crate) async fn finish(&self, transfer: &str) -> Result<Received, Refused> {
        let transfer = transfer.to_owned();
        self.with_store(move |store| store.finish(&transfer)).await
    }

    /// The snapshot was installed (or `done` is false). What is left of the transfer goes away.
    pub(crate) async fn installed(&self, transfer: &str, done: bool) {
        let transfer = transfer.to_owned();
        let progress = self.progress.clone();
        let cleaned = self.with_store(move |store| {
            *progress.lock() = None;
            store.installed(&transfer, done)
        });
        if let Err(error) = cleaned.await {
            tracing::warn!(%error, "a received snapshot could not be cleaned up");
        }
    }

    /// Bytes done and bytes in all of the transfer that runs.
    pub(crate) fn progress(&self) -> Option<(u64, u64)> {
        self.progress.lock().as_ref().map(|progress| progress.bytes())
    }

    /// Runs `work` where it may block. It holds the store to its end, even when the caller goes away.
    async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, Refused> {
        let store = self.store.clone();
        run_blocking(self.spawner.as_ref(), move || work(&mut store.lock())).await
    }
}

/// The folder, and the transfer that is written to it. Its methods block.
struct Store {
    root: PathBuf,
    /// Offers taken so far: makes a transfer's name new for each.
    offers: u64,
    current: Option<Transfer>,
}

/// The transfer that is going on.
struct Transfer {
    name: String,
    vote: Vote,
    manifest: proto::SnapshotManifest,
    dir: PathBuf,
    files: Vec<Part>,
    /// The file that was written to last.
    open: Option<(usize, File)>,
    /// Handed over: not to be touched until that has ended.
    installing: bool,
}

/// What is here of one file.
struct Part {
    bytes: u64,
    /// The checksum of these bytes; None when an earlier run wrote some of them.
    crc: Option<u32>,
}

impl Store {
    fn open(root: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&root)?;
        // Names begin with the log index: the last one that can be resumed is the newest.
        let mut folders = entries(&root)?;
        folders.sort();
        let resumable = |path: &PathBuf| {
            manifest::read(path).is_ok_and(|found| path.file_name().is_some_and(|f| *f == *manifest::name(&found)))
        };
        let kept = folders.iter().rev().find(|path| resumable(path)).cloned();
        for path in folders.iter().filter(|path| Some(*path) != kept.as_ref()) {
            remove(path)?;
        }
        Ok(Self { root, offers: 0, current: None })
    }

    fn offer(&mut self, vote: Vote, offered: &proto::SnapshotManifest) -> Result<Offered, Refused> {
        manifest::check(offered)?;
        manifest::meta(offered)?;
        let last_term = offered.last_log_id.map_or(0, |id| id.term);
        if !vote.committed || last_term > vote.leader_id.term {
            return Err(Refused::Invalid(
                "the snapshot is not one that its sender could have as the leader".to_owned(),
            ));
        }
        match self.current.take() {
            Some(running) if running.installing => {
                self.current = Some(running);
                return Err(Refused::Busy);
            }
            // Its sender's next piece finds it gone; what it wrote is found again below.
            _ => {}
        }
        let name = manifest::name(offered);
        fs::create_dir_all(&self.root)?;
        let dir = self.root.join(&name);
        for other in entries(&self.root)?.iter().filter(|path| **path != dir) {
            remove(other)?;
        }
        let files = match manifest::read(&dir) {
            Ok(found) if found == *offered => resume(&dir, offered)?,
            _ => self.begin(&dir, offered)?,
        };
        self.offers += 1;
        let transfer = format!("{name}.{}", self.offers);
        let have_bytes = files.iter().map(|part| part.bytes).collect();
        self.current = Some(Transfer {
            name: transfer.clone(),
            vote,
            manifest: offered.clone(),
            dir,
            files,
            open: None,
            installing: false,
        });
        Ok(Offered { transfer, have_bytes })
    }

    fn begin(&self, dir: &Path, offered: &proto::SnapshotManifest) -> io::Result<Vec<Part>> {
        remove(dir)?;
        fs::create_dir(dir)?;
        manifest::write(dir, offered)?;
        manifest::sync_dir(&self.root)?;
        Ok(offered.files.iter().map(|_| Part { bytes: 0, crc: Some(0) }).collect())
    }

    fn write(&mut self, chunk: &proto::SnapshotChunk) -> Result<(), Refused> {
        let transfer = self.running(&chunk.transfer)?;
        // A piece without bytes names the transfer, and that is all.
        if chunk.data.is_empty() {
            return Ok(());
        }
        transfer.check(chunk)?;
        let written = transfer.write(chunk);
        if written.is_err() {
            // How much of it is there is not known: the next offer looks.
            self.current = None;
        }
        Ok(written?)
    }

    fn finish(&mut self, name: &str) -> Result<Received, Refused> {
        let transfer = self.running(name)?;
        let finished = transfer.finish();
        match finished {
            Ok(()) => {
                transfer.installing = true;
                let meta = manifest::meta(&transfer.manifest)?;
                let snapshot = SnapshotDir::new(transfer.dir.clone(), transfer.manifest.clone());
                Ok(Received { vote: transfer.vote, snapshot: Snapshot { meta, snapshot } })
            }
            Err(error) => {
                self.current = None;
                Err(error)
            }
        }
    }

    fn installed(&mut self, name: &str, done: bool) -> Result<(), Refused> {
        if self.current.as_ref().is_some_and(|transfer| transfer.name == name) {
            let transfer = self.current.take();
            if let Some(transfer) = transfer.filter(|_| done) {
                remove(&transfer.dir)?;
            }
        }
        Ok(())
    }

    fn running(&mut self, name: &str) -> Result<&mut Transfer, Refused> {
        match &mut self.current {
            Some(transfer) if transfer.name == name && !transfer.installing => Ok(transfer),
            _ => Err(Refused::Superseded(name.to_owned())),
        }
    }
}

impl Transfer {
    /// The piece is the next one of its file, and arrived as it was sent.
    fn check(&self, chunk: &proto::SnapshotChunk) -> Result<(), Refused> {
        let index = chunk.file as usize;
        let (Some(file), Some(part)) = (self.manifest.files.get(index), self.files.get(index)) else {
            return Err(Refused::Invalid(format!("there is no file {index}")));
        };
        let length = chunk.data.len();
        if length > CHUNK_BYTES_MAX {
            return Err(Refused::Invalid(format!("a piece has {length} bytes; at most {CHUNK_BYTES_MAX} are taken")));
        }
        if chunk.offset != part.bytes {
            return Err(Refused::Broken(format!(
                "a piece of {} begins at {}, not at {}",
                file.name, chunk.offset, part.bytes
            )));
        }
        if length as u64 > file.size_bytes - part.bytes {
            return Err(Refused::Invalid(format!("a piece reaches beyond the end of {}", file.name)));
        }
        if crc32c::crc32c(&chunk.data) != chunk.crc32c {
            return Err(Refused::Broken(format!("a piece of {} was damaged on its way", file.name)));
        }
        Ok(())
    }

    fn write(&mut self, chunk: &proto::SnapshotChunk) -> io::Result<()> {
        let index = chunk.file as usize;
        let file = match &mut self.open {
            Some((open, file)) if *open == index => file,
            open => {
                let path = self.dir.join(&self.manifest.files[index].name);
                let file = OpenOptions::new().create(true).append(true).open(path)?;
                &mut open.insert((index, file)).1
            }
        };
        file.write_all(&chunk.data)?;
        let part = &mut self.files[index];
        part.bytes += chunk.data.len() as u64;
        part.crc = part.crc.map(|crc| crc32c::crc32c_append(crc, &chunk.data));
        if part.bytes == self.manifest.files[index].size_bytes {
            // Early, so that the end does not have to wait for all of them at once.
            file.sync_data()?;
            self.open = None;
        }
        Ok(())
    }

    /// Verifies every file and makes all of it durable. Deletes what is damaged.
    fn finish(&mut self) -> Result<(), Refused> {
        self.open = None;
        let mut damaged = None;
        for (file, part) in self.manifest.files.iter().zip(&self.files) {
            if part.bytes != file.size_bytes {
                return Err(Refused::Broken(format!(
                    "{} of {} bytes came of {}",
                    part.bytes, file.size_bytes, file.name
                )));
            }
            let path = self.dir.join(&file.name);
            if file.size_bytes == 0 {
                File::create(&path)?;
            }
            let found = match part.crc {
                Some(crc) => (fs::metadata(&path)?.len(), crc),
                None => manifest::checksum(&path)?,
            };
            if found == (file.size_bytes, file.crc32c) {
                // Also what an earlier run wrote: it may have ended before it was durable.
                File::open(&path)?.sync_all()?;
            } else {
                fs::remove_file(&path)?;
                damaged = Some(file.name.clone());
            }
        }
        if let Some(name) = damaged {
            return Err(Refused::Damaged(name));
        }
        Ok(manifest::sync_dir(&self.dir)?)
    }
}

/// What is already there of each file. Files that are too long, or that do not belong there, go away.
fn resume(dir: &Path, offered: &proto::SnapshotManifest) -> io::Result<Vec<Part>> {
    let known: std::collections::BTreeSet<&str> = offered.files.iter().map(|file| file.name.as_str()).collect();
    for path in entries(dir)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name != manifest::FILE_NAME && !known.contains(name) {
            remove(&path)?;
        }
    }
    let part = |file: &proto::SnapshotFile| {
        let path = dir.join(&file.name);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() && found.len() <= file.size_bytes => {
                let bytes = found.len();
                Ok(Part { bytes, crc: (bytes == 0).then_some(0) })
            }
            Ok(_) => remove(&path).map(|()| Part { bytes: 0, crc: Some(0) }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Part { bytes: 0, crc: Some(0) }),
            Err(error) => Err(error),
        }
    };
    offered.files.iter().map(part).collect()
}

/// The paths of what a directory holds.
fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect()
}

/// Removes a file or a directory with all that is in it, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
