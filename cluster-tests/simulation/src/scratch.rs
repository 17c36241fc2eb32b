//! Where the real files of simulations lie: in memory, where the machine has a folder for that. A folder is named after
//! the process that made it, so that whoever comes next can clear away what a process has left that was killed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

const PREFIX: &str = "aerodb-simulation-";

/// A folder of this process, gone when it is dropped.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn folder() -> Result<TempDir> {
    let parent = parent();
    sweep(&parent);
    let made = tempfile::Builder::new().prefix(&format!("{PREFIX}{}-", std::process::id())).tempdir_in(&parent);
    made.with_context(|| format!("making a folder for files below {}", parent.display()))
}

fn parent() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

/// Removes the folders of processes that are no more.
fn sweep(parent: &Path) {
    let alive = |pid: u32| !Path::new("/proc/self").exists() || Path::new(&format!("/proc/{pid}")).exists();
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok());
        if pid.is_some_and(|pid| !alive(pid)) {
            // Another one may be sweeping too.
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_dead_left_is_cleared_away() {
        let parent = tempfile::tempdir().unwrap();
        let folder = |pid: u32| parent.path().join(format!("{PREFIX}{pid}-x"));
        let (own, dead) = (std::process::id(), u32::MAX);
        for path in [folder(own), folder(dead), parent.path().join("other")] {
            std::fs::create_dir(path).unwrap();
        }
        sweep(parent.path());
        assert!(folder(own).exists() && parent.path().join("other").exists());
        assert!(!folder(dead).exists());
    }
}
