//! The manifest of a snapshot: which files it has, how long they are, and their checksums.
//!
//! It lies beside the files as `MANIFEST.aerodb`, and it travels ahead of them, so what it says is checked before
//! anything is done with it. RocksDB's own `CURRENT`, `MANIFEST-*` and `OPTIONS-*` are files like any other.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use aerodb_proto as proto;
use prost::Message;

use crate::convert;
use crate::types::SnapshotMeta;

/// The manifest's own file, which is not part of the snapshot.
pub(crate) const FILE_NAME: &str = "MANIFEST.aerodb";

/// Files of one snapshot.
pub(crate) const FILES_MAX: usize = 100_000;

/// Bytes of a file's name.
pub(crate) const NAME_BYTES_MAX: usize = 128;

/// Bytes of one file, and of all together.
pub(crate) const SIZE_BYTES_MAX: u64 = 1 << 50;

/// Bytes that are read at once while a checksum is computed.
const READ_BYTES: usize = 256 << 10;

/// What the manifest's file begins with.
const MAGIC: &[u8; 8] = b"AERODBS1";

/// A manifest that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the snapshot's manifest is not valid: {0}")]
pub(crate) struct Invalid(String);

impl From<Invalid> for io::Error {
    fn from(error: Invalid) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// The files of the snapshot in `dir`, sorted by name, with their checksums. Reads all of them.
pub(crate) fn scan(dir: &Path) -> io::Result<Vec<proto::SnapshotFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().ok_or_else(|| Invalid(format!("a file is called {name:?}")))?;
        if name == FILE_NAME {
            continue;
        }
        if !entry.file_type()?.is_file() {
            return Err(Invalid(format!("{name} is not a plain file")).into());
        }
        check_name(name)?;
        let (size_bytes, crc32c) = checksum(&entry.path())?;
        files.push(proto::SnapshotFile { name: name.to_owned(), size_bytes, crc32c });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// The size and CRC-32C of a file.
pub(crate) fn checksum(path: &Path) -> io::Result<(u64, u32)> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; READ_BYTES];
    let (mut size, mut crc) = (0, 0);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((size, crc)),
            Ok(n) => {
                size += n as u64;
                crc = crc32c::crc32c_append(crc, &buffer[..n]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes the manifest into the snapshot's directory: whole or not at all, and durable when this returns.
pub(crate) fn write(dir: &Path, manifest: &proto::SnapshotManifest) -> io::Result<()> {
    let body = manifest.encode_to_vec();
    let temporary = dir.join(format!("{FILE_NAME}.new"));
    let mut file = File::create(&temporary)?;
    file.write_all(MAGIC)?;
    file.write_all(&crc32c::crc32c(&body).to_le_bytes())?;
    file.write_all(&body)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, dir.join(FILE_NAME))?;
    sync_dir(dir)
}

/// The manifest in a snapshot's directory, valid by itself; the files are not looked at.
pub(crate) fn read(dir: &Path) -> io::Result<proto::SnapshotManifest> {
    let bytes = fs::read(dir.join(FILE_NAME))?;
    let damaged = || Invalid("its file is damaged".to_owned());
    let (magic, rest) = bytes.split_first_chunk::<8>().ok_or_else(damaged)?;
    let (crc, body) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
    if magic != MAGIC || crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return Err(damaged().into());
    }
    let manifest = proto::SnapshotManifest::decode(body).map_err(|error| Invalid(error.to_string()))?;
    check(&manifest)?;
    Ok(manifest)
}

/// Compares the files in `dir` with the manifest: all there, nothing else, and every byte as it was. Reads all of them.
#[cfg(test)]
pub(crate) fn verify(dir: &Path, manifest: &proto::SnapshotManifest) -> io::Result<()> {
    let mut expected = manifest.files.clone();
    expected.sort_by(|a, b| a.name.cmp(&b.name));
    let found = scan(dir)?;
    if found == expected {
        return Ok(());
    }
    let odd =
        expected.iter().find(|file| !found.contains(file)).or_else(|| found.iter().find(|f| !expected.contains(f)));
    let name = odd.map_or("", |file| file.name.as_str());
    Err(Invalid(format!("the snapshot's file {name} is missing, damaged or not part of it")).into())
}

/// Refuses a manifest that could not have come from [`scan`]: it may come from anywhere.
pub(crate) fn check(manifest: &proto::SnapshotManifest) -> Result<(), Invalid> {
    if manifest.last_log_id.is_none() {
        return Err(Invalid("it names no log id".to_owned()));
    }
    if manifest.files.len() > FILES_MAX {
        return Err(Invalid(format!("it has {} files; at most {FILES_MAX} are taken", manifest.files.len())));
    }
    let mut names = std::collections::BTreeSet::new();
    let mut total: u64 = 0;
    for file in &manifest.files {
        check_name(&file.name)?;
        if !names.insert(&file.name) {
            return Err(Invalid(format!("the file {} is there twice", file.name)));
        }
        total = total.saturating_add(file.size_bytes);
    }
    if total > SIZE_BYTES_MAX {
        return Err(Invalid(format!("it has {total} bytes; at most {SIZE_BYTES_MAX} are taken")));
    }
    Ok(())
}

/// A plain name: letters, digits, `.`, `_` and `-`, not hidden, and not the manifest's own.
fn check_name(name: &str) -> Result<(), Invalid> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let good = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.starts_with('.')
        && !name.starts_with(FILE_NAME)
        && name.bytes().all(plain);
    if good { Ok(()) } else { Err(Invalid(format!("{name:?} is not the name of a snapshot's file"))) }
}

/// A name for the snapshot that follows from its files: two snapshots up to the same log id differ in it when their
/// bytes do.
pub(crate) fn name(manifest: &proto::SnapshotManifest) -> String {
    let id = manifest.last_log_id.unwrap_or_default();
    let mut digest = 0;
    for file in &manifest.files {
        digest = crc32c::crc32c_append(digest, &file.encode_length_delimited_to_vec());
    }
    format!("{:020}-{:020}-{digest:08x}", id.index, id.term)
}

/// What openraft needs to know of the snapshot.
pub(crate) fn meta(manifest: &proto::SnapshotManifest) -> Result<SnapshotMeta, Invalid> {
    let stored = manifest.membership.clone().unwrap_or_default();
    let last_membership = convert::stored_membership(&stored).map_err(|error| Invalid(error.to_string()))?;
    Ok(SnapshotMeta { last_log_id: manifest.last_log_id.as_ref().map(convert::log_id), last_membership })
}

/// Makes durable which files a directory has.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(files: Vec<proto::SnapshotFile>) -> proto::SnapshotManifest {
        let last_log_id = Some(proto::LogId { term: 3, index: 17 });
        proto::SnapshotManifest { last_log_id, files, revision: 9, cluster_id: "c".to_owned(), membership: None }
    }

    fn file(name: &str) -> proto::SnapshotFile {
        proto::SnapshotFile { name: name.to_owned(), size_bytes: 1, crc32c: 0 }
    }

    #[test]
    fn a_manifest_comes_back_and_matches_its_files() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("CURRENT"), b"MANIFEST-000004\n").unwrap();
        fs::write(dir.path().join("000012.sst"), vec![7; READ_BYTES + 1]).unwrap();
        fs::write(dir.path().join("000013.log"), b"").unwrap();
        let made = manifest(scan(dir.path()).unwrap());
        assert_eq!(
            made.files.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(),
            ["000012.sst", "000013.log", "CURRENT"]
        );
        write(dir.path(), &made).unwrap();
        assert_eq!(read(dir.path()).unwrap(), made);
        verify(dir.path(), &made).unwrap();

        fs::write(dir.path().join("000012.sst"), vec![8; READ_BYTES + 1]).unwrap();
        assert!(verify(dir.path(), &made).unwrap_err().to_string().contains("000012.sst"));
    }

    #[test]
    fn a_damaged_manifest_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &manifest(vec![file("a")])).unwrap();
        let path = dir.path().join(FILE_NAME);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert!(read(dir.path()).is_err(), "byte {at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert!(read(dir.path()).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn hostile_file_names_are_refused() {
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for name in ["", ".", "..", "../x", "a/b", "/etc/passwd", "a\\b", "a\0b", ".hidden", "ü", FILE_NAME, &long] {
            assert!(check(&manifest(vec![file(name)])).is_err(), "{name:?}");
        }
        for name in ["CURRENT", "MANIFEST-000004", "OPTIONS-000007", "000012.sst", "IDENTITY"] {
            check(&manifest(vec![file(name)])).unwrap();
        }
        assert!(check(&manifest(vec![file("a"), file("a")])).is_err());
        let huge = proto::SnapshotFile { size_bytes: u64::MAX, ..file("a") };
        assert!(check(&manifest(vec![huge, file("b")])).is_err());
    }

    #[test]
    fn the_name_follows_from_the_files() {
        let first = manifest(vec![file("a")]);
        assert_eq!(name(&first), name(&first.clone()));
        assert_ne!(name(&first), name(&manifest(vec![file("b")])));
    }
}
