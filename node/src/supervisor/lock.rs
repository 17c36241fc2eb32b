//! One supervisor a folder: a lock that ends with the process that holds it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use crate::exit::Advice;

/// The lock of a folder; it lasts as long as this value.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Takes the lock, or says who has it.
pub(super) fn take(dir: &Path) -> Result<Lock, Advice> {
    let path = dir.join("up.lock");
    let wrong = |why: String| Advice::failed(format!("cannot lock the folder {}", dir.display())).why(why);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| wrong(error.to_string()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            // Who it is helps, but is not needed.
            let _ = file.read_to_string(&mut owner);
            return Err(wrong(format!("another `aerodb cluster up` (process {}) runs a cluster in it", owner.trim()))
                .remedy("stop that one, or choose another folder with --dir and other ports"));
        }
        Err(TryLockError::Error(error)) => return Err(wrong(error.to_string())),
    }
    let mut note = || {
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())
    };
    note().map_err(|error| wrong(error.to_string()))?;
    Ok(Lock { _file: file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_is_first() {
        let folder = tempfile::tempdir().unwrap();
        let first = take(folder.path()).unwrap();
        let error = take(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(first);
        take(folder.path()).unwrap();
    }
}
