//! A folder that is there for as long as somebody reads from it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// A folder on disk, shared behind an `Arc` by all who read from it. Once it is [retired](Folder::retire), the last of
/// them removes it with all that is in it: files are opened only when they are needed, so their names must last as long
/// as a reader does.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    retired: AtomicBool,
}

impl Folder {
    /// Takes care of the folder at `path`, which stays until it is retired.
    pub fn new(path: PathBuf) -> Self {
        Self { path, retired: AtomicBool::new(false) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says that another folder has taken its place.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.retired.load(Ordering::Acquire) {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a folder that nobody needs could not be removed; the next start will");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retired_folder_goes_with_its_last_reader() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("x");
        fs::create_dir(&path).unwrap();
        drop(Folder::new(path.clone()));
        assert!(path.is_dir(), "in force: it stays");
        let (one, other) = {
            let folder = std::sync::Arc::new(Folder::new(path.clone()));
            (folder.clone(), folder)
        };
        one.retire();
        drop(one);
        assert!(path.is_dir(), "it is still read from");
        drop(other);
        assert!(!path.exists());
    }
}
