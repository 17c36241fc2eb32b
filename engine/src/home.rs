//! The folder of the state: generations, and a pointer to the one in force.
//!
//! ```text
//! state/CURRENT     the name of the generation in force; replaced by rename
//! state/g-7/        one store
//! ```
//!
//! A snapshot is installed as a new generation beside the old one, then the pointer is flipped: a crash at any moment
//! leaves either the old state or the new one, never a mixture.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::Error;

const POINTER: &str = "CURRENT";
const POINTER_NEW: &str = "CURRENT.new";

/// The folder that holds the generations of a state.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    dir: PathBuf,
}

impl Home {
    /// Opens the folder, creating it when missing, and removes generations that are not in force.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(Error::files("creating the folder of the state"))?;
        let home = Self { dir: dir.to_path_buf() };
        let current = home.pointer()?;
        for entry in fs::read_dir(dir).map_err(Error::files("listing the folder of the state"))? {
            let entry = entry.map_err(Error::files("listing the folder of the state"))?;
            let name = entry.file_name();
            let generation = name.to_str().is_some_and(|name| name.starts_with("g-"));
            if generation && Some(&*name) != current.as_deref().map(std::ffi::OsStr::new) {
                fs::remove_dir_all(entry.path()).map_err(Error::files("removing a former state"))?;
            }
        }
        Ok(home)
    }

    fn pointer(&self) -> Result<Option<String>, Error> {
        match fs::read_to_string(self.dir.join(POINTER)) {
            Ok(name) => Ok(Some(name.trim().to_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::files("reading which state is in force")(error)),
        }
    }

    /// The generation in force; the first one when there is none yet.
    pub(crate) fn current(&self) -> Result<PathBuf, Error> {
        if let Some(name) = self.pointer()? {
            return Ok(self.dir.join(name));
        }
        let first = self.dir.join("g-1");
        fs::create_dir_all(&first).map_err(Error::files("creating the first state"))?;
        self.flip(&first)?;
        Ok(first)
    }

    /// The folder of the generation after the one in force; whatever an earlier attempt left there is removed.
    pub(crate) fn next(&self) -> Result<PathBuf, Error> {
        let current = self.pointer()?.and_then(|name| name.strip_prefix("g-")?.parse::<u64>().ok()).unwrap_or(0);
        let next = self.dir.join(format!("g-{}", current + 1));
        if next.exists() {
            fs::remove_dir_all(&next).map_err(Error::files("removing a half-made state"))?;
        }
        Ok(next)
    }

    /// Makes `generation` the one in force; durable on return.
    pub(crate) fn flip(&self, generation: &Path) -> Result<(), Error> {
        let name = generation.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        sync_dir(generation)?;
        let new = self.dir.join(POINTER_NEW);
        fs::write(&new, name).map_err(Error::files("writing which state is in force"))?;
        sync_file(&new)?;
        fs::rename(&new, self.dir.join(POINTER)).map_err(Error::files("switching to the new state"))?;
        sync_dir(&self.dir)
    }
}

/// Copies the store in `from` to the new folder `to`: its immutable files by hard link, the others by content.
pub(crate) fn copy_store(from: &Path, to: &Path) -> Result<(), Error> {
    fs::create_dir_all(to).map_err(Error::files("creating a state's folder"))?;
    for entry in fs::read_dir(from).map_err(Error::files("listing a snapshot"))? {
        let path = entry.map_err(Error::files("listing a snapshot"))?.path();
        let Some(name) = path.file_name() else { continue };
        let target = to.join(name);
        let immutable = path.extension().is_some_and(|extension| extension == "sst");
        if !(immutable && fs::hard_link(&path, &target).is_ok()) {
            fs::copy(&path, &target).map_err(Error::files("copying a snapshot's file"))?;
            sync_file(&target)?;
        }
    }
    sync_dir(to)
}

fn sync_file(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|file| file.sync_all()).map_err(Error::files("making a file durable"))
}

fn sync_dir(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(Error::files("making a folder durable"))
}
