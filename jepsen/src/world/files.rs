//! Damage to files of a node that is down: a flipped bit or a lost end, in a file of one class.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A class of files in a node's data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Tables of the log's store.
    LogTable,
    /// The write-ahead log of the log's store: the newest entries and votes.
    LogWal,
    /// The list of files of the log's store.
    LogManifest,
    /// The name of that list.
    LogCurrent,
    /// Tables of the state in force.
    StateTable,
    /// The list of files of the state.
    StateManifest,
    /// The name of that list.
    StateCurrent,
    /// Which generation of the state is in force.
    Pointer,
    /// Files of a snapshot.
    Snapshot,
}

/// All classes.
pub const CLASSES: [Class; 9] = [
    Class::LogTable,
    Class::LogWal,
    Class::LogManifest,
    Class::LogCurrent,
    Class::StateTable,
    Class::StateManifest,
    Class::StateCurrent,
    Class::Pointer,
    Class::Snapshot,
];

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// One bit is not what it was.
    Flip {
        /// Where, counted in bits.
        bit: u64,
    },
    /// The end is gone.
    Truncate {
        /// How many bytes are left.
        left: u64,
    },
}

impl Class {
    /// The file names for this class below a data folder, in order: what is not empty and so can be damaged.
    pub fn files(self, data_dir: &Path) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        walk(data_dir, &mut found)?;
        let of_class = |path: &PathBuf| {
            let inside = path.strip_prefix(data_dir).unwrap_or(path);
            class_of(inside) == Some(self)
        };
        found.retain(of_class);
        found.retain(|path| path.metadata().is_ok_and(|file| file.len() > 0));
        found.sort();
        Ok(found)
    }
}

/// The class of a file, by its path inside of the data folder.
fn class_of(inside: &Path) -> Option<Class> {
    let parts: Vec<&str> = inside.iter().filter_map(|part| part.to_str()).collect();
    let name = *parts.last()?;
    let table = name.ends_with(".sst");
    let manifest = name.starts_with("MANIFEST-");
    match (*parts.first()?, parts.len()) {
        ("log", _) if table => Some(Class::LogTable),
        ("log", _) if name.ends_with(".log") => Some(Class::LogWal),
        ("log", _) if manifest => Some(Class::LogManifest),
        ("log", _) if name == "CURRENT" => Some(Class::LogCurrent),
        ("state", 2) if name == "CURRENT" => Some(Class::Pointer),
        ("state", 3) if table => Some(Class::StateTable),
        ("state", 3) if manifest => Some(Class::StateManifest),
        ("state", 3) if name == "CURRENT" => Some(Class::StateCurrent),
        ("snapshots", 3) => Some(Class::Snapshot),
        _ => None,
    }
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("list {folder:?}"))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { walk(&entry.path(), found)? } else { found.push(entry.path()) }
    }
    Ok(())
}

/// Damages a file in place, and makes sure that it is: the node must find it so.
///
/// A name that is linked elsewhere (a table shared with a snapshot) shares the damage, as blocks on a disk would.
pub fn damage(path: &Path, damage: Damage) -> Result<()> {
    let mut file = File::options().read(true).write(true).open(path).with_context(|| format!("open {path:?}"))?;
    match damage {
        Damage::Flip { bit } => {
            let mut byte = [0];
            file.seek(SeekFrom::Start(bit / 8))?;
            file.read_exact(&mut byte)?;
            byte[0] ^= 1 << (bit % 8);
            file.seek(SeekFrom::Start(bit / 8))?;
            file.write_all(&byte)?;
        }
        Damage::Truncate { left } => file.set_len(left)?,
    }
    Ok(file.sync_all()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_told_apart() {
        for (path, class) in [
            ("log/000012.sst", Some(Class::LogTable)),
            ("log/000013.log", Some(Class::LogWal)),
            ("log/MANIFEST-000005", Some(Class::LogManifest)),
            ("log/CURRENT", Some(Class::LogCurrent)),
            ("log/LOCK", None),
            ("state/CURRENT", Some(Class::Pointer)),
            ("state/g-3/CURRENT", Some(Class::StateCurrent)),
            ("state/g-3/000001.sst", Some(Class::StateTable)),
            ("state/g-3/MANIFEST-000001", Some(Class::StateManifest)),
            ("state/g-3/OPTIONS-000001", None),
            ("snapshots/s-1-2/000001.sst", Some(Class::Snapshot)),
        ] {
            assert_eq!(class_of(Path::new(path)), class, "{path}");
        }
    }

    #[test]
    fn damage_is_exactly_what_was_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log").join("1.sst");
        fs::create_dir(folder.path().join("log")).unwrap();
        fs::write(&path, [0, 0, 0, 0]).unwrap();
        fs::write(folder.path().join("log").join("2.sst"), []).unwrap();
        assert_eq!(
            Class::LogTable.files(folder.path()).unwrap(),
            std::slice::from_ref(&path),
            "an empty file has nothing to lose"
        );
        damage(&path, Damage::Flip { bit: 17 }).unwrap();
        assert_eq!(fs::read(&path).unwrap(), [0, 0, 2, 0]);
        damage(&path, Damage::Truncate { left: 3 }).unwrap();
        assert_eq!(fs::read(&path).unwrap(), [0, 0, 2]);
    }
}
