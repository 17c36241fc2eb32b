//! Disks of a run: an ext4 image for each node, all on one btrfs that lies in a file.
//!
//! A clone of the image (a reflink, some milliseconds) holds what the node's file system had handed to its disk at that
//! instant, and so everything that was fsynced; what was only written and still in the page cache is not in it. Mounting
//! the clone is what a machine finds when its power comes back.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::slot::Slot;
use super::sync::Guarded;
use super::tool;

/// The size of the file that holds all disks. It is sparse: it takes what was written to it.
const POOL_BYTES: u64 = 48 << 30;
/// Memory that stays free for everything else.
const MEMORY_BYTES_LEFT: u64 = 2 << 30;
/// The size of one node's disk, sparse too.
const DISK_BYTES: u64 = 2 << 30;
/// Seconds between the flushes that ext4 does by itself: long, so that what nobody fsynced is really not there.
const COMMIT_SECONDS: u32 = 300;

/// The disks of a run.
#[derive(Debug)]
pub(crate) struct Disks {
    pool: PathBuf,
    disks: Vec<Disk>,
}

#[derive(Debug)]
struct Disk {
    node: u64,
    /// Where it is mounted.
    point: PathBuf,
    /// Which clone of the image is mounted, or will be.
    generation: Guarded<u32>,
}

impl Disks {
    /// Makes and mounts a disk for each node below `folder`, at `node-K/disk`.
    pub(crate) fn start(slot: &Slot, folder: &Path, nodes: &[u64]) -> Result<Self> {
        let bytes_max = nodes.len() as u64 * DISK_BYTES;
        let (file, pool) = (pool_folder(slot, folder, bytes_max)?.join(pool_name()), folder.join("disks"));
        File::create(&file)?.set_len(POOL_BYTES).context("make the file of the disks")?;
        std::fs::create_dir_all(&pool)?;
        tool::run_args(["mkfs.btrfs".as_ref(), "-q".as_ref(), file.as_os_str()])?;
        tool::run_args(["mount".as_ref(), "-o".as_ref(), "loop,noatime".as_ref(), file.as_os_str(), pool.as_os_str()])?;
        // Nobody needs its name; it goes when the last mount does.
        std::fs::remove_file(&file)?;
        let disk = |node: &u64| Disk {
            node: *node,
            point: folder.join(format!("node-{node}")).join("disk"),
            generation: Guarded::new(0),
        };
        let disks = Self { pool, disks: nodes.iter().map(disk).collect() };
        for disk in &disks.disks {
            let image = disks.image(disk);
            File::create(&image)?.set_len(DISK_BYTES)?;
            // Root's reserve is off: the nodes are root's here, and a disk that is full must be full for them.
            let format =
                ["mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1"].map(AsRef::as_ref);
            tool::run_args(format.into_iter().chain([image.as_os_str()]))?;
            std::fs::create_dir_all(&disk.point)?;
            disks.mount(disk)?;
        }
        Ok(disks)
    }

    /// Where a node's disk is mounted.
    pub(crate) fn point(&self, node: u64) -> Result<PathBuf> {
        Ok(self.of(node)?.point.clone())
    }

    /// Takes a clone of the node's disk as it is at this instant. The next [`Disks::swap`] mounts it.
    pub(crate) fn clone_now(&self, node: u64) -> Result<()> {
        let disk = self.of(node)?;
        let old = self.image(disk);
        *disk.generation.lock() += 1;
        let new = self.image(disk);
        tool::run_args(["cp".as_ref(), "--reflink=always".as_ref(), old.as_os_str(), new.as_os_str()]).map(drop)
    }

    /// Puts the clone in the place of the disk that it was taken from. Nothing may use the disk.
    pub(crate) fn swap(&self, node: u64) -> Result<()> {
        let disk = self.of(node)?;
        tool::run_args(["umount".as_ref(), disk.point.as_os_str()])?;
        let before = *disk.generation.lock() - 1;
        std::fs::remove_file(self.image_of(node, before))?;
        self.mount(disk)
    }

    fn mount(&self, disk: &Disk) -> Result<()> {
        let options = format!("loop,noatime,commit={COMMIT_SECONDS}");
        let image = self.image(disk);
        let args = ["mount".as_ref(), "-o".as_ref(), options.as_ref(), image.as_os_str(), disk.point.as_os_str()];
        tool::run_args(args).map(drop)
    }

    /// Fills the node's disk until about `left_bytes` are free.
    pub(crate) fn fill(&self, node: u64, left_bytes: u64) -> Result<u64> {
        let point = self.point(node)?;
        let ballast = File::options().create(true).write(true).truncate(true).open(point.join(BALLAST))?;
        let (mut filled, mut step) = (0, DISK_BYTES);
        // The file system needs some room for itself, so the last part is found by trying.
        while step >= 4_096 {
            let stat = rustix::fs::statvfs(&point)?;
            let room = (stat.f_bavail * stat.f_frsize).saturating_sub(left_bytes);
            step = step.min(room / 4_096 * 4_096);
            if step == 0 {
                break;
            }
            match rustix::fs::fallocate(&ballast, rustix::fs::FallocateFlags::empty(), filled, step) {
                Ok(()) => filled += step,
                Err(rustix::io::Errno::NOSPC) => step /= 2,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(filled)
    }

    /// Gives the room back.
    pub(crate) fn unfill(&self, node: u64) -> Result<()> {
        match std::fs::remove_file(self.point(node)?.join(BALLAST)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn of(&self, node: u64) -> Result<&Disk> {
        self.disks.iter().find(|disk| disk.node == node).with_context(|| format!("node {node} has no disk"))
    }

    fn image(&self, disk: &Disk) -> PathBuf {
        self.image_of(disk.node, *disk.generation.lock())
    }

    fn image_of(&self, node: u64, generation: u32) -> PathBuf {
        self.pool.join(format!("node-{node}.{generation}"))
    }
}

/// Where the file of all disks lies: in memory if there is room for all that may be written to it, beside what other runs may
/// write to theirs. What a power cut loses is decided by the node's own file system above it, so nothing changes but the
/// speed: each fsync goes through four layers and two journals.
fn pool_folder(slot: &Slot, folder: &Path, bytes_max: u64) -> Result<PathBuf> {
    let memory = Path::new("/dev/shm");
    let free = rustix::fs::statvfs(memory).map_or(0, |stat| stat.f_bavail * stat.f_frsize);
    let in_memory = slot.reserve(bytes_max, free.min(memory_free()).saturating_sub(MEMORY_BYTES_LEFT))?;
    Ok(if in_memory { memory.to_owned() } else { folder.to_owned() })
}

/// Memory that can be had: what a file system in memory calls free may be in use by programs.
fn memory_free() -> u64 {
    let told = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = told.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.map_or(u64::MAX, |kilobytes| kilobytes << 10)
}

/// A name that no other run has: the file is there only until it is mounted.
fn pool_name() -> String {
    format!("aerodb-jepsen-{}-{:x}.btrfs", std::process::id(), rand::random::<u64>())
}

/// The file that takes up the room of a full disk.
const BALLAST: &str = "ballast";
