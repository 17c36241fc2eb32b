//! A node's disk. It outlives the node: a crash leaves what is durable, and of the rest what chance leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aerodb_engine::kv::{Cf, Error, ErrorKind, Logging, Result, WriteBatch};
use bytes::Bytes;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::content::{Content, Digested};
use super::faults::Faults;

/// Told of what happens on disks, as it happens.
pub trait Watch: Send + Sync + 'static {
    /// `batch` was written to the store `role`; `content` is what it holds now. `durable` says whether the write, and
    /// all before it, would be found after a power cut.
    fn wrote(&self, role: Role, batch: &WriteBatch, content: &Content, durable: bool);

    /// Writing `batch` to the store `role` failed: after a power cut it may be found all the same.
    fn failed(&self, role: Role, batch: &WriteBatch);

    /// All of `content` is durable in the store `role`.
    fn durable(&self, role: Role, content: &Content);

    /// The store `role` was opened and holds `content`.
    fn opened(&self, role: Role, content: &Content);
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Watch for Nobody {
    fn wrote(&self, _: Role, _: &WriteBatch, _: &Content, _: bool) {}
    fn failed(&self, _: Role, _: &WriteBatch) {}
    fn durable(&self, _: Role, _: &Content) {}
    fn opened(&self, _: Role, _: &Content) {}
}

/// What a store is to its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Raft's log.
    Log,
    /// The state.
    State,
}

impl Role {
    pub(super) fn of(logging: Logging) -> Self {
        match logging {
            Logging::WriteAhead => Self::Log,
            Logging::None => Self::State,
        }
    }

    /// What of a state is the same on all nodes at the same applied index. History and the feed are left out: each node
    /// trims them by itself, and the engine's own digest covers them.
    fn digested(self) -> Digested {
        const DOC: Cf = Cf(0);
        const META: Cf = Cf(5);
        match self {
            Self::Log => |_, _| false,
            Self::State => |cf, key| cf == DOC || (cf == META && !matches!(key.first(), Some(b'r' | b'd'))),
        }
    }
}

/// A disk. Clones are the same disk.
#[derive(Clone)]
pub struct Disk {
    pub(super) inner: Arc<Mutex<Inner>>,
    pub(super) watch: Arc<dyn Watch>,
}

pub(super) struct Inner {
    pub(super) volumes: BTreeMap<u64, Volume>,
    next: u64,
    /// Counts the lives of the node: what an earlier one opened is gone.
    pub(super) life: u64,
    pub(super) faults: Faults,
    /// Something has failed in this life.
    failed: bool,
    pub(super) rng: SmallRng,
}

/// What one store has on the disk.
pub(super) struct Volume {
    pub(super) logging: Logging,
    pub(super) open: bool,
    pub(super) now: Content,
    durable: Content,
    /// Written since the last sync.
    pending: Vec<WriteBatch>,
    /// A background flush under way.
    flushing: Option<Content>,
    /// Records that a bit flip has hit.
    pub(super) damaged: BTreeSet<(Cf, Bytes)>,
    /// The write-ahead log is damaged: the store does not open.
    pub(super) unreadable: bool,
    /// A write has failed: the store takes no more until it is opened again, as RocksDB does.
    failed: bool,
}

impl Volume {
    pub(super) fn new(logging: Logging, content: Content) -> Self {
        Self {
            logging,
            open: false,
            durable: content.clone(),
            now: content,
            pending: Vec::new(),
            flushing: None,
            damaged: BTreeSet::new(),
            unreadable: false,
            failed: false,
        }
    }

    pub(super) fn digested(&self) -> Digested {
        Role::of(self.logging).digested()
    }

    /// What a power cut now would certainly leave.
    pub(super) fn durable(&self) -> &Content {
        &self.durable
    }

    fn sync(&mut self) {
        self.durable = self.now.clone();
        self.pending.clear();
        self.flushing = None;
    }

    /// A power cut. Of what was not synced a prefix survives, never anything behind a hole.
    fn cut(&mut self, rng: &mut SmallRng) {
        let survive = match rng.random_range(0..3) {
            0 => 0,
            1 => self.pending.len(),
            _ => rng.random_range(0..=self.pending.len()),
        };
        let digested = self.digested();
        for batch in self.pending.drain(..).take(survive) {
            batch.writes().iter().for_each(|write| self.durable.apply(write, digested));
        }
        if let Some(flushing) = self.flushing.take()
            && rng.random_bool(0.5)
        {
            self.durable = flushing;
        }
        self.now = self.durable.clone();
        self.open = false;
        self.failed = false;
    }
}

impl Disk {
    /// An empty disk; what chance decides on it follows from `seed`.
    pub fn new(seed: u64, watch: Arc<dyn Watch>) -> Self {
        let inner = Inner {
            volumes: BTreeMap::new(),
            next: 1,
            life: 0,
            faults: Faults::none(),
            failed: false,
            rng: SmallRng::seed_from_u64(seed),
        };
        Self { inner: Arc::new(Mutex::new(inner)), watch }
    }

    /// From now on these faults happen.
    pub fn set_faults(&self, faults: Faults) {
        self.inner.lock().faults = faults;
    }

    /// The faults that happen now.
    pub fn faults(&self) -> Faults {
        self.inner.lock().faults.clone()
    }

    /// Whether a read or a write has failed in this life of the node, other than on what a bit flip has hit.
    pub fn has_failed(&self) -> bool {
        self.inner.lock().failed
    }

    /// The node's process ended, or its machine lost power: what was not durable is gone, or some of it.
    pub fn crash(&self) {
        let inner = &mut *self.inner.lock();
        inner.life += 1;
        inner.failed = false;
        for volume in inner.volumes.values_mut() {
            volume.cut(&mut inner.rng);
        }
    }

    /// Everything on the disk is gone. The node must not be running.
    pub fn wipe(&self) {
        let mut inner = self.inner.lock();
        inner.life += 1;
        inner.volumes.clear();
    }

    /// Flips a bit in the newest store of `role`: in a block of a few neighbouring records, or in the write-ahead log.
    /// Says what was hit. The node must not be running.
    pub fn flip(&self, role: Role) -> Option<String> {
        let inner = &mut *self.inner.lock();
        let found = inner.volumes.iter_mut().rev().find(|(_, volume)| Role::of(volume.logging) == role);
        let (_, volume) = found?;
        if role == Role::Log && inner.rng.random_bool(0.5) {
            volume.unreadable = true;
            return Some("the write-ahead log".to_owned());
        }
        let families: Vec<usize> =
            (0..volume.durable.families().len()).filter(|&n| !volume.durable.families()[n].is_empty()).collect();
        let family = *families.get(inner.rng.random_range(0..families.len().max(1)))?;
        let (cf, records) = (Cf(family as u8), volume.durable.families()[family].size());
        let (at, block) = (inner.rng.random_range(0..records), inner.rng.random_range(1..=8));
        let hit = volume.durable.families()[family].iter().skip(at).take(block);
        volume.damaged.extend(hit.map(|(key, _)| (cf, key.clone())));
        Some(format!("{block} records of family {family} from the {at}th of {records}"))
    }

    /// True when the node's log holds a vote, and not the note that it is still learning what it had forgotten.
    pub fn has_learned(&self) -> bool {
        const META: Cf = Cf(1);
        let inner = self.inner.lock();
        let log = inner.volumes.values().rev().find(|volume| volume.logging == Logging::WriteAhead);
        log.is_some_and(|log| {
            log.durable.get(META, b"vote").is_some() && log.durable.get(META, b"relearning").is_none()
        })
    }

    pub(super) fn add(&self, volume: Volume) -> u64 {
        let mut inner = self.inner.lock();
        let id = inner.next;
        inner.next += 1;
        inner.volumes.insert(id, volume);
        id
    }
}

/// What a call to a store works with.
struct Open<'a> {
    volume: &'a mut Volume,
    rng: &'a mut SmallRng,
    faults: &'a Faults,
    failed: &'a mut bool,
}

impl Inner {
    pub(super) fn volume(&mut self, id: u64, life: u64) -> Result<(&mut Volume, &mut SmallRng, &Faults)> {
        let Open { volume, rng, faults, .. } = self.open(id, life)?;
        Ok((volume, rng, faults))
    }

    fn open(&mut self, id: u64, life: u64) -> Result<Open<'_>> {
        if life != self.life {
            return Err(Error::new(ErrorKind::Misuse, "using a store", "its process has ended"));
        }
        let volume = self.volumes.get_mut(&id);
        let volume = volume.ok_or_else(|| Error::new(ErrorKind::Misuse, "using a store", "it was wiped"))?;
        Ok(Open { volume, rng: &mut self.rng, faults: &self.faults, failed: &mut self.failed })
    }

    /// Fails now and then, and always on a record that a bit flip has hit.
    pub(super) fn check_read(&mut self, id: u64, life: u64, cf: Cf, key: &[u8]) -> Result<()> {
        let Open { volume, rng, faults, failed } = self.open(id, life)?;
        if faults.read_fails > 0.0 && rng.random_bool(faults.read_fails) {
            *failed = true;
            return Err(Error::new(ErrorKind::Io, "reading", "input/output error"));
        }
        check_damage(&volume.damaged, cf, key)
    }

    /// Writes `batch`; gives what a background flush made durable meanwhile.
    pub(super) fn write(&mut self, id: u64, life: u64, batch: &WriteBatch, sync: bool) -> Result<Option<Content>> {
        let Open { volume, rng, faults, failed } = self.open(id, life)?;
        if sync && volume.logging == Logging::None {
            return Err(Error::new(ErrorKind::Misuse, "writing", "a store without a log cannot sync a write"));
        }
        if volume.failed {
            return Err(Error::new(ErrorKind::Io, "writing", "an earlier write has failed"));
        }
        if faults.full {
            (volume.failed, *failed) = (true, true);
            return Err(Error::new(ErrorKind::NoSpace, "writing", "no space left on device"));
        }
        if faults.write_fails > 0.0 && rng.random_bool(faults.write_fails) {
            (volume.failed, *failed) = (true, true);
            if rng.random_bool(0.5) && volume.logging == Logging::WriteAhead {
                volume.pending.push(batch.clone());
            }
            return Err(Error::new(ErrorKind::Io, "writing", "input/output error"));
        }
        let digested = volume.digested();
        for write in batch.writes() {
            if let Some(cf) = [write].into_iter().map(family_of).find(|cf| volume.now.family(*cf).is_none()) {
                return Err(unknown(cf));
            }
        }
        let mut flushed = None;
        if volume.logging == Logging::None {
            if rng.random_bool(faults.flush_ends)
                && let Some(done) = volume.flushing.take()
            {
                volume.durable = done.clone();
                flushed = Some(done);
            }
            if volume.flushing.is_none() && rng.random_bool(faults.flushes) {
                volume.flushing = Some(volume.now.clone());
            }
        }
        for write in batch.writes() {
            volume.heal(write);
            volume.now.apply(write, digested);
        }
        let lies = faults.lies;
        if volume.logging == Logging::WriteAhead {
            volume.pending.push(batch.clone());
        }
        if sync && !lies {
            volume.sync();
        }
        Ok(flushed)
    }

    pub(super) fn flush(&mut self, id: u64, life: u64) -> Result<Content> {
        let Open { volume, rng, faults, failed } = self.open(id, life)?;
        if faults.full {
            *failed = true;
            return Err(Error::new(ErrorKind::NoSpace, "flushing", "no space left on device"));
        }
        if volume.failed || (faults.write_fails > 0.0 && rng.random_bool(faults.write_fails)) {
            (volume.failed, *failed) = (true, true);
            return Err(Error::new(ErrorKind::Io, "flushing", "input/output error"));
        }
        volume.sync();
        Ok(volume.now.clone())
    }
}

impl Volume {
    /// A record that is written anew is read from where it was written.
    fn heal(&mut self, write: &aerodb_engine::kv::Write) {
        use aerodb_engine::kv::Write;
        if self.damaged.is_empty() {
            return;
        }
        match write {
            Write::Put { cf, key, .. } | Write::Delete { cf, key } => {
                self.damaged.remove(&(*cf, Bytes::copy_from_slice(key)));
            }
            Write::DeleteRange { cf, from, to } => {
                self.damaged.retain(|(family, key)| family != cf || **key < **from || **key >= **to);
            }
        }
    }
}

pub(super) fn check_damage(damaged: &BTreeSet<(Cf, Bytes)>, cf: Cf, key: &[u8]) -> Result<()> {
    if !damaged.is_empty() && damaged.contains(&(cf, Bytes::copy_from_slice(key))) {
        return Err(Error::corruption("reading", "block checksum mismatch"));
    }
    Ok(())
}

pub(super) fn unknown(cf: Cf) -> Error {
    Error::new(ErrorKind::Misuse, "finding a column family", format!("{cf:?} does not exist"))
}

fn family_of(write: &aerodb_engine::kv::Write) -> Cf {
    use aerodb_engine::kv::Write;
    match write {
        Write::Put { cf, .. } | Write::Delete { cf, .. } | Write::DeleteRange { cf, .. } => *cf,
    }
}
