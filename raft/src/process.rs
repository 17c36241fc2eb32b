//! Figures of this process and its disk, for the topology. They decide nothing, but they travel to the other nodes, so a
//! simulation hands in its own: bytes on the wire must not depend on the machine that it runs on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a machine says of this process. Figures that it does not give are 0.
pub trait Machine: Send + Sync + 'static {
    /// CPU time used so far, microseconds.
    fn cpu_micros(&self) -> u64;

    /// Resident memory.
    fn memory_bytes(&self) -> u64;

    /// Room left on the disk that holds `dir`.
    fn disk_free_bytes(&self, dir: &Path) -> u64;

    /// What the files below `dir` take; blocks.
    fn disk_used_bytes(&self, dir: &Path) -> u64;
}

/// The machine that this runs on, as the operating system describes it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemMachine;

impl Machine for SystemMachine {
    fn cpu_micros(&self) -> u64 {
        let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        used.tv_sec as u64 * 1_000_000 + used.tv_nsec as u64 / 1_000
    }

    fn memory_bytes(&self) -> u64 {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
        pages * rustix::param::page_size() as u64
    }

    fn disk_free_bytes(&self, dir: &Path) -> u64 {
        rustix::fs::statvfs(dir).map_or(0, |found| found.f_bavail * found.f_frsize)
    }

    fn disk_used_bytes(&self, dir: &Path) -> u64 {
        folder_bytes(dir)
    }
}

/// The figures of this process, the costly ones as of the last look.
pub(crate) struct Process {
    machine: Arc<dyn Machine>,
    disk_free_bytes: AtomicU64,
    disk_used_bytes: AtomicU64,
}

impl Process {
    pub(crate) fn new(machine: Arc<dyn Machine>) -> Self {
        Self { machine, disk_free_bytes: AtomicU64::new(0), disk_used_bytes: AtomicU64::new(0) }
    }

    pub(crate) fn cpu_micros(&self) -> u64 {
        self.machine.cpu_micros()
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.machine.memory_bytes()
    }

    /// Room left on the disk, as of the last look: a disk that hangs must not hold up whoever is asked for it.
    pub(crate) fn disk_free_bytes(&self) -> u64 {
        self.disk_free_bytes.load(Ordering::Relaxed)
    }

    /// What the data takes, as of the last look.
    pub(crate) fn disk_used_bytes(&self) -> u64 {
        self.disk_used_bytes.load(Ordering::Relaxed)
    }

    /// Adds up the files below `dir` and looks at their disk, blocking.
    pub(crate) fn measure(&self, dir: &Path) {
        self.disk_free_bytes.store(self.machine.disk_free_bytes(dir), Ordering::Relaxed);
        self.disk_used_bytes.store(self.machine.disk_used_bytes(dir), Ordering::Relaxed);
    }
}

fn folder_bytes(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let sizes = entries.filter_map(Result::ok).map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => folder_bytes(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    sizes.sum()
}
