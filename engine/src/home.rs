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
const PREFIX: &str = "g-";

/// The folder that holds the generations of a state.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    dir: PathBuf,
}

impl Home {
    /// Opens the folder, creating it when missing.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let new = !dir.exists();
        fs::create_dir_all(dir).map_err(Error::files("creating the folder of the state"))?;
        if let Some(parent) = dir.parent().filter(|_| new) {
            sync_dir(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
        }
        Ok(Self { dir: dir.to_path_buf() })
    }

    /// Removes the generations that are not in force. Only for who has the one in force open: nobody else is at work here.
    pub(crate) fn clean(&self) -> Result<(), Error> {
        let current = self.current()?;
        for generation in self.generations()? {
            if generation != current {
                fs::remove_dir_all(generation).map_err(Error::files("removing a former state"))?;
            }
        }
        Ok(())
    }

    fn generations(&self) -> Result<Vec<PathBuf>, Error> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(Error::files("listing the folder of the state"))? {
            let entry = entry.map_err(Error::files("listing the folder of the state"))?;
            if entry.file_name().to_str().is_some_and(|name| number(name).is_some()) {
                found.push(entry.path());
            }
        }
        Ok(found)
    }

    /// The number of the generation in force; `None` before the first one.
    fn pointer(&self) -> Result<Option<u64>, Error> {
        match fs::read_to_string(self.dir.join(POINTER)) {
            Ok(name) => match number(name.trim()) {
                Some(number) => Ok(Some(number)),
                None => Err(unsure(format!("{POINTER} holds {name:?}, which is no name of a state"))),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::files("reading which state is in force")(error)),
        }
    }

    fn generation(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{PREFIX}{number}"))
    }

    /// The generation in force; the first one when there is none yet. A state that should be there and is not is an
    /// error, never an empty state (A7).
    pub(crate) fn current(&self) -> Result<PathBuf, Error> {
        let generation = match self.pointer()? {
            Some(number) => self.generation(number),
            None => return self.first(),
        };
        match generation.is_dir() {
            true => Ok(generation),
            false => Err(unsure(format!("{} is in force and does not exist", generation.display()))),
        }
    }

    fn first(&self) -> Result<PathBuf, Error> {
        let first = self.generation(1);
        for other in self.generations()? {
            // A first start that was cut off left it empty.
            let empty = fs::read_dir(&other).map_err(Error::files("listing a state"))?.next().is_none();
            if other != first || !empty {
                return Err(unsure(format!("{} exists, and {POINTER} does not", other.display())));
            }
        }
        fs::create_dir_all(&first).map_err(Error::files("creating the first state"))?;
        self.flip(&first)?;
        Ok(first)
    }

    /// The folder of the generation after the one in force; whatever an earlier attempt left there is removed.
    pub(crate) fn next(&self) -> Result<PathBuf, Error> {
        let next = self.generation(self.pointer()?.unwrap_or(0) + 1);
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

fn number(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

fn unsure(detail: String) -> Error {
    Error::Files { what: "finding which state is in force", detail }
}

fn sync_file(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|file| file.sync_all()).map_err(Error::files("making a file durable"))
}

fn sync_dir(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(Error::files("making a folder durable"))
}
