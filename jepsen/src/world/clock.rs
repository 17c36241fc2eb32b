//! The wall clocks of the nodes, through libfaketime: a file for each node says how far its clock is off.
//!
//! The monotonic clock is left alone. On a real machine a jump of the wall clock does not touch it, and a program that
//! measures spans by the wall clock is exactly what is to be found.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::packages;

/// How a node's wall clock differs from the machine's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Skew {
    /// How many milliseconds it is ahead (behind if negative).
    pub ahead_ms: i64,
    /// How fast it runs: 1.0 is right.
    pub rate: f64,
}

impl Default for Skew {
    fn default() -> Self {
        Self { ahead_ms: 0, rate: 1.0 }
    }
}

/// The file that a node's clock is read from.
pub(crate) fn file(folder: &Path, node: u64) -> PathBuf {
    folder.join(format!("node-{node}.clock"))
}

/// The environment of a process whose clock the file governs.
pub(crate) fn environment(file: &Path) -> Result<Vec<(String, String)>> {
    let library = packages::faketime_library().context("libfaketime is not installed")?;
    set(file, Skew::default())?;
    let pairs = [
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
        // Looks at the file with each call: a strobe is quicker than any cache.
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("FAKETIME_DONT_RESET", "1".to_owned()),
        ("NO_FAKE_STAT", "1".to_owned()),
    ];
    Ok(pairs.map(|(name, value)| (name.to_owned(), value)).into())
}

/// Sets a clock. Takes effect with the next look at it.
pub(crate) fn set(file: &Path, skew: Skew) -> Result<()> {
    let seconds = Duration::from_millis(skew.ahead_ms.unsigned_abs()).as_secs_f64();
    let sign = if skew.ahead_ms < 0 { '-' } else { '+' };
    let mut text = format!("{sign}{seconds:.3}");
    if (skew.rate - 1.0).abs() > f64::EPSILON {
        text.push_str(&format!(" x{:.3}", skew.rate));
    }
    // By rename, so that no look finds half a line.
    let new = file.with_extension("clock.new");
    fs::write(&new, text).and_then(|()| fs::rename(&new, file)).with_context(|| format!("set the clock in {file:?}"))
}

/// Where libfaketime keeps what the threads of a process share. A process that is killed leaves it there, and another one
/// that is given the same number would trip over it.
const SHARED: &str = "/dev/shm";

/// Removes what libfaketime left of a process that is gone.
pub(crate) fn forget(pid: u32) {
    for name in [format!("faketime_shm_{pid}"), format!("sem.faketime_sem_{pid}")] {
        // Most nodes have no such clock.
        let _ = fs::remove_file(Path::new(SHARED).join(name));
    }
}

/// Removes what libfaketime left of all processes that are gone.
pub(crate) fn forget_dead() {
    for entry in fs::read_dir(SHARED).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().filter(|name| name.contains("faketime_s")).and_then(|name| name.rsplit('_').next());
        if let Some(pid) = pid.and_then(|pid| pid.parse::<u32>().ok())
            && !Path::new(&format!("/proc/{pid}")).exists()
        {
            forget(pid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_process_left_goes() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let (dead, alive) = (child.id(), std::process::id());
        let path = |pid| Path::new(SHARED).join(format!("sem.faketime_sem_{pid}"));
        fs::write(path(dead), "").unwrap();
        fs::write(path(alive), "").unwrap();
        forget_dead();
        assert!(!path(dead).exists() && path(alive).exists());
        forget(alive);
        assert!(!path(alive).exists());
    }

    #[test]
    fn a_skew_is_what_libfaketime_reads() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path(), 1);
        for (skew, text) in [
            (Skew::default(), "+0.000"),
            (Skew { ahead_ms: -1_500, rate: 1.0 }, "-1.500"),
            (Skew { ahead_ms: 60_000, rate: 1.05 }, "+60.000 x1.050"),
        ] {
            set(&file, skew).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
    }
}
