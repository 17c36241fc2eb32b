//! The simulated storage: the ordered key-value interface over disks that outlive their nodes.
//!
//! A write is pending until it is synced (stores with a write-ahead log) or flushed (stores without one, all families at
//! once, also in the background when nobody asked). A power cut keeps what is durable and, of a log, a prefix of the rest.
//! Real files appear only where the product moves files: checkpoints, and the folder that says which state is in force.
//! They count as durable when they are written; that is a limit of this model.

mod content;
mod disk;
mod faults;
mod file;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use aerodb_engine::kv::{Cf, Env, Error, ErrorKind, Logging, Pair, Result, Scan, Snapshot, Spec, Store, WriteBatch};
use bytes::Bytes;
use rand::RngExt;

pub use content::Content;
pub use disk::{Disk, Nobody, Role, Watch};
pub use faults::Faults;

use content::range;
use disk::{Volume, check_damage, unknown};
use file::Found;

/// Opens stores on one node's disk, for one life of the node.
pub struct SimEnv {
    disk: Disk,
    life: u64,
}

impl SimEnv {
    /// The stores of `disk`, until its next crash.
    pub fn new(disk: Disk) -> Self {
        let life = disk.inner.lock().life;
        Self { disk, life }
    }
}

impl Env for SimEnv {
    fn open(&self, dir: &Path, spec: &Spec) -> Result<Arc<dyn Store>> {
        let id = match file::look(dir)? {
            Found::Live(id) => id,
            found => {
                let content = match found {
                    Found::Checkpoint => file::read(dir, Volume::new(spec.logging, Content::default()).digested())?,
                    _ => Content::new(spec.families.len()),
                };
                let id = self.disk.add(Volume::new(spec.logging, content));
                file::mark_live(dir, id)?;
                id
            }
        };
        let content = {
            let mut inner = self.disk.inner.lock();
            let (volume, ..) = inner.volume(id, self.life)?;
            if volume.open {
                return Err(Error::new(ErrorKind::Busy, "opening the store", "it is open already"));
            }
            if volume.unreadable {
                return Err(Error::corruption("opening the store", "checksum mismatch in the write-ahead log"));
            }
            volume.open = true;
            volume.now.clone()
        };
        self.disk.watch.opened(Role::of(spec.logging), &content);
        let families = spec.families.len();
        Ok(Arc::new(SimStore { disk: self.disk.clone(), id, life: self.life, logging: spec.logging, families }))
    }

    fn open_read_only(&self, dir: &Path, spec: &Spec) -> Result<Arc<dyn Store>> {
        match file::look(dir)? {
            Found::Checkpoint => {
                let content = file::read(dir, |_, _| false)?;
                Ok(Arc::new(ReadOnly(View { content, damaged: BTreeSet::new() })))
            }
            Found::Live(id) => {
                let mut inner = self.disk.inner.lock();
                let (volume, ..) = inner.volume(id, self.life)?;
                let view = View { content: volume.now.clone(), damaged: volume.damaged.clone() };
                Ok(Arc::new(ReadOnly(view)))
            }
            Found::Nothing => {
                let problem = format!("{} holds no store of {} families", dir.display(), spec.families.len());
                Err(Error::new(ErrorKind::Io, "opening the store for reading", problem))
            }
        }
    }
}

/// An open store.
struct SimStore {
    disk: Disk,
    id: u64,
    life: u64,
    logging: Logging,
    families: usize,
}

impl SimStore {
    fn role(&self) -> Role {
        Role::of(self.logging)
    }

    fn check(&self, cf: Cf) -> Result<()> {
        if usize::from(cf.0) < self.families { Ok(()) } else { Err(unknown(cf)) }
    }
}

impl Store for SimStore {
    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.check(cf)?;
        let mut inner = self.disk.inner.lock();
        inner.check_read(self.id, self.life, cf, key)?;
        let (volume, ..) = inner.volume(self.id, self.life)?;
        Ok(volume.now.get(cf, key).map(|value| value.to_vec()))
    }

    fn get_durable(&self, cf: Cf, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.check(cf)?;
        let mut inner = self.disk.inner.lock();
        inner.check_read(self.id, self.life, cf, key)?;
        let (volume, ..) = inner.volume(self.id, self.life)?;
        // As RocksDB: where there is a log, everything written counts as persisted.
        let content = if volume.logging == Logging::WriteAhead { &volume.now } else { volume.durable() };
        Ok(content.get(cf, key).map(|value| value.to_vec()))
    }

    fn write(&self, batch: WriteBatch, sync: bool) -> Result<()> {
        let written = {
            let mut inner = self.disk.inner.lock();
            let flushed = inner.write(self.id, self.life, &batch, sync);
            flushed.and_then(|flushed| Ok((flushed, inner.volume(self.id, self.life)?.0.now.clone())))
        };
        let (flushed, content) = written.inspect_err(|_| self.disk.watch.failed(self.role(), &batch))?;
        if let Some(flushed) = flushed {
            self.disk.watch.durable(self.role(), &flushed);
        }
        self.disk.watch.wrote(self.role(), &batch, &content, sync);
        Ok(())
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        let mut inner = self.disk.inner.lock();
        match inner.volume(self.id, self.life) {
            Ok((volume, ..)) => Arc::new(View { content: volume.now.clone(), damaged: volume.damaged.clone() }),
            Err(error) => Arc::new(Broken(error)),
        }
    }

    fn flush(&self) -> Result<()> {
        let content = self.disk.inner.lock().flush(self.id, self.life)?;
        self.disk.watch.durable(self.role(), &content);
        Ok(())
    }

    fn checkpoint(&self, dir: &Path) -> Result<()> {
        if dir.exists() {
            return Err(Error::new(ErrorKind::Io, "beginning a checkpoint", "the folder exists"));
        }
        let content = self.disk.inner.lock().flush(self.id, self.life)?;
        self.disk.watch.durable(self.role(), &content);
        let mut inner = self.disk.inner.lock();
        let (volume, ..) = inner.volume(self.id, self.life)?;
        // A checkpoint copies files as they are: damage travels with them and is found where they are read.
        if let Some((cf, key)) = volume.damaged.first() {
            return check_damage(&volume.damaged, *cf, key);
        }
        file::write(dir, &content)
    }

    fn is_stalled(&self) -> bool {
        let mut inner = self.disk.inner.lock();
        inner
            .volume(self.id, self.life)
            .is_ok_and(|(_, rng, faults)| faults.stalls > 0.0 && rng.random_bool(faults.stalls))
    }

    fn background_errors(&self) -> u64 {
        0
    }

    fn figures(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }
}

impl Drop for SimStore {
    fn drop(&mut self) {
        if let Ok((volume, ..)) = self.disk.inner.lock().volume(self.id, self.life) {
            volume.open = false;
        }
    }
}

/// A consistent view.
#[derive(Clone)]
struct View {
    content: Content,
    damaged: BTreeSet<(Cf, Bytes)>,
}

impl Snapshot for View {
    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Vec<u8>>> {
        check_damage(&self.damaged, cf, key)?;
        let family = self.content.family(cf).ok_or_else(|| unknown(cf))?;
        Ok(family.get(key).map(|value| value.to_vec()))
    }

    fn scan<'a>(&'a self, cf: Cf, from: &[u8], to: &[u8], reverse: bool) -> Box<dyn Scan + 'a> {
        let Some(family) = self.content.family(cf) else { return Box::new(Broken(unknown(cf))) };
        let pairs = range(family, from, to);
        let pairs: Ordered<'a> = if reverse { Box::new(pairs.rev()) } else { Box::new(pairs) };
        Box::new(Pairs { view: self, cf, pairs })
    }

    fn in_memory(&self) -> Arc<dyn Snapshot> {
        Arc::new(self.clone())
    }
}

type Ordered<'a> = Box<dyn Iterator<Item = (&'a Bytes, &'a Bytes)> + 'a>;

struct Pairs<'a> {
    view: &'a View,
    cf: Cf,
    pairs: Ordered<'a>,
}

impl Scan for Pairs<'_> {
    fn next(&mut self) -> Result<Option<Pair<'_>>> {
        let Some((key, value)) = self.pairs.next() else { return Ok(None) };
        check_damage(&self.view.damaged, self.cf, key)?;
        Ok(Some((key, value)))
    }
}

/// A store that cannot be used any more.
struct Broken(Error);

impl Snapshot for Broken {
    fn get(&self, _cf: Cf, _key: &[u8]) -> Result<Option<Vec<u8>>> {
        Err(self.0.clone())
    }

    fn scan<'a>(&'a self, _cf: Cf, _from: &[u8], _to: &[u8], _reverse: bool) -> Box<dyn Scan + 'a> {
        Box::new(Broken(self.0.clone()))
    }

    fn in_memory(&self) -> Arc<dyn Snapshot> {
        Arc::new(Self(self.0.clone()))
    }
}

impl Scan for Broken {
    fn next(&mut self) -> Result<Option<Pair<'_>>> {
        Err(self.0.clone())
    }
}

/// A store opened for reading only.
struct ReadOnly(View);

impl Store for ReadOnly {
    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.0.get(cf, key)
    }

    fn get_durable(&self, cf: Cf, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.0.get(cf, key)
    }

    fn write(&self, _batch: WriteBatch, _sync: bool) -> Result<()> {
        Err(read_only("writing"))
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        Arc::new(View { content: self.0.content.clone(), damaged: self.0.damaged.clone() })
    }

    fn flush(&self) -> Result<()> {
        Err(read_only("flushing"))
    }

    fn checkpoint(&self, _dir: &Path) -> Result<()> {
        Err(read_only("beginning a checkpoint"))
    }

    fn is_stalled(&self) -> bool {
        false
    }

    fn background_errors(&self) -> u64 {
        0
    }

    fn figures(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }
}

fn read_only(what: &'static str) -> Error {
    Error::new(ErrorKind::Io, what, "the store is open for reading only")
}
