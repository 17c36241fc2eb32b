//! A file system that fails when it is told to: a FUSE layer over a folder, served by threads of this process.
//!
//! What a node writes goes to the folder below at once; only what it is told about that goes wrong. A failed fsync has
//! synced nothing that it would not have synced anyway, so a node that starts again afterwards must find all that it was
//! ever promised.

mod inodes;
mod layer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use fuser::{BackgroundSession, Config, Errno, MountOption, SessionACL};

use self::layer::Layer;
use super::sync::Guarded;

/// Threads that serve one mount: a slow fsync must not hold up reads.
const THREADS: usize = 4;

/// What is wrong with a node's disk. Each figure is out of 1,000 calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskFaults {
    /// fsync and fdatasync that fail with EIO.
    pub sync_fails_permille: u32,
    /// How long each fsync takes longer.
    pub sync_delay: Duration,
    /// Reads that fail with EIO.
    pub read_fails_permille: u32,
    /// Writes that fail with EIO.
    pub write_fails_permille: u32,
    /// Whether there is no room: writes that make a file longer fail with ENOSPC, and no file is made.
    pub full: bool,
}

/// How often the layer made something go wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskToll {
    /// Calls of fsync that failed.
    pub syncs_failed: u64,
    /// Calls of fsync that were slow.
    pub syncs_slowed: u64,
    /// Reads that failed.
    pub reads_failed: u64,
    /// Writes that failed.
    pub writes_failed: u64,
    /// Calls that found no room.
    pub no_room: u64,
    /// All calls of fsync.
    pub syncs: u64,
}

/// The control of one mounted layer.
#[derive(Debug, Default)]
pub(crate) struct Control {
    faults: Guarded<DiskFaults>,
    seed: u64,
    drawn: AtomicU64,
    syncs: AtomicU64,
    syncs_failed: AtomicU64,
    syncs_slowed: AtomicU64,
    reads_failed: AtomicU64,
    writes_failed: AtomicU64,
    no_room: AtomicU64,
}

impl Control {
    /// What an fsync comes to; waits if it is to be slow.
    fn sync(&self) -> Result<(), Errno> {
        let faults = *self.faults.lock();
        self.syncs.fetch_add(1, Ordering::Relaxed);
        if !faults.sync_delay.is_zero() {
            std::thread::sleep(faults.sync_delay);
            self.syncs_slowed.fetch_add(1, Ordering::Relaxed);
        }
        self.fails(faults.sync_fails_permille, &self.syncs_failed)
    }

    fn read(&self) -> Result<(), Errno> {
        self.fails(self.faults.lock().read_fails_permille, &self.reads_failed)
    }

    /// What a write comes to that leaves the file longer or not.
    fn write(&self, longer: bool) -> Result<(), Errno> {
        let faults = *self.faults.lock();
        if longer {
            self.room()?;
        }
        self.fails(faults.write_fails_permille, &self.writes_failed)
    }

    fn room(&self) -> Result<(), Errno> {
        if self.faults.lock().full {
            self.no_room.fetch_add(1, Ordering::Relaxed);
            return Err(Errno::ENOSPC);
        }
        Ok(())
    }

    fn fails(&self, permille: u32, counter: &AtomicU64) -> Result<(), Errno> {
        if permille > 0 && self.draw() % 1_000 < u64::from(permille) {
            counter.fetch_add(1, Ordering::Relaxed);
            return Err(Errno::EIO);
        }
        Ok(())
    }

    /// A number that follows from the seed and how many were drawn (SplitMix64).
    fn draw(&self) -> u64 {
        let drawn = self.drawn.fetch_add(1, Ordering::Relaxed);
        let mut x = self.seed.wrapping_add(drawn.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}

/// A mounted layer. Unmounted with its drop.
#[derive(Debug)]
pub(crate) struct Fuse {
    point: PathBuf,
    control: Arc<Control>,
    session: Guarded<Option<BackgroundSession>>,
}

impl Fuse {
    /// Mounts a layer over `below` at `point`; both folders are made.
    pub(crate) fn mount(below: &Path, point: &Path, seed: u64) -> Result<Self> {
        std::fs::create_dir_all(below).with_context(|| format!("create {below:?}"))?;
        std::fs::create_dir_all(point).with_context(|| format!("create {point:?}"))?;
        let control = Arc::new(Control { seed, ..Control::default() });
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("aerodb-jepsen".into()), MountOption::NoAtime];
        config.acl = SessionACL::Owner;
        config.n_threads = Some(THREADS);
        config.clone_fd = true;
        let layer = Layer::new(below, control.clone()).with_context(|| format!("open {below:?}"))?;
        let session = fuser::spawn_mount(layer, point, &config).with_context(|| format!("mount {point:?}"))?;
        Ok(Self { point: point.to_owned(), control, session: Guarded::new(Some(session)) })
    }

    /// Where it is mounted.
    pub(crate) fn point(&self) -> &Path {
        &self.point
    }

    /// Sets what is wrong from now on.
    pub(crate) fn set(&self, faults: DiskFaults) {
        *self.control.faults.lock() = faults;
    }

    /// How often something went wrong since the start.
    pub(crate) fn toll(&self) -> DiskToll {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DiskToll {
            syncs_failed: read(&self.control.syncs_failed),
            syncs_slowed: read(&self.control.syncs_slowed),
            reads_failed: read(&self.control.reads_failed),
            writes_failed: read(&self.control.writes_failed),
            no_room: read(&self.control.no_room),
            syncs: read(&self.control.syncs),
        }
    }

    fn unmount(&self) -> io::Result<()> {
        match self.session.lock().take() {
            Some(session) => session.umount_and_join(),
            None => Ok(()),
        }
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        // Nobody waits for a slow fsync at the end.
        self.set(DiskFaults::default());
        // The slot's clean-up unmounts what cannot be unmounted here.
        let _ = self.unmount();
    }
}
