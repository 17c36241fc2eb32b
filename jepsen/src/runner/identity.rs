//! Which programs a run was of: results of one build say nothing about another.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use xxhash_rust::xxh3::Xxh3;

/// The hash of a file, as hexadecimal digits.
///
/// # Errors
/// When the file cannot be read.
pub fn hash_of(path: &Path) -> Result<String> {
    let reading = || format!("reading {}", path.display());
    let mut file = File::open(path).with_context(reading)?;
    let (mut hash, mut part) = (Xxh3::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut part).with_context(reading)? {
            0 => return Ok(format!("{:032x}", hash.digest128())),
            read => hash.update(&part[..read]),
        }
    }
}

/// What a program says about itself.
pub(super) fn version(binary: &Path) -> Result<String> {
    let output = std::process::Command::new(binary).arg("version").output();
    let output = output.with_context(|| format!("running {}", binary.display()))?;
    ensure!(output.status.success(), "{} version: {}", binary.display(), output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_content_has_another_hash() {
        let folder = tempfile::tempdir().unwrap();
        let hash = |content: &[u8]| {
            let path = folder.path().join("program");
            std::fs::write(&path, content).unwrap();
            hash_of(&path).unwrap()
        };
        assert_ne!(hash(b"one"), hash(b"two"));
        assert_eq!(hash(b"one"), hash(b"one"));
        assert!(hash_of(&folder.path().join("none")).is_err());
    }
}
