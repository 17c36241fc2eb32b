//! Figures of this process and its disk, from the operating system.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the operating system says of this process. Figures that it does not give are 0.
#[derive(Debug, Default)]
pub(crate) struct Process {
    disk_used_bytes: AtomicU64,
}

impl Process {
    /// CPU time used so far, microseconds.
    pub(crate) fn cpu_micros(&self) -> u64 {
        let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        used.tv_sec as u64 * 1_000_000 + used.tv_nsec as u64 / 1_000
    }

    /// Resident memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
        pages * rustix::param::page_size() as u64
    }

    /// Room left on the disk that holds `dir`.
    pub(crate) fn disk_free_bytes(&self, dir: &Path) -> u64 {
        rustix::fs::statvfs(dir).map_or(0, |found| found.f_bavail * found.f_frsize)
    }

    /// What the data takes, as of the last look.
    pub(crate) fn disk_used_bytes(&self) -> u64 {
        self.disk_used_bytes.load(Ordering::Relaxed)
    }

    /// Adds up the files below `dir`, blocking.
    pub(crate) fn measure(&self, dir: &Path) {
        self.disk_used_bytes.store(folder_bytes(dir), Ordering::Relaxed);
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
