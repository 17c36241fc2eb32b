//! A look at RocksDB's logs before RocksDB opens them: at its write-ahead logs and MANIFESTs.
//!
//! RocksDB (seen in 11.8) does not come back from opening a log in which one flipped bit makes a record look like one of a
//! recycled file: it reports the record as bad, and reads the same one again, for ever. No log of ours is recycled, so such
//! a record is damage, which we say instead of opening it.
//!
//! The format, from RocksDB's description of it: blocks of 32 KiB, in which each record has a header of seven bytes
//! (CRC-32C of type and content, masked; length; type) and none begins in a block's last six bytes.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::Path;

use super::super::{Error, ErrorKind, Result};

const BLOCK_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 7;
/// What is added to a checksum after it was rotated, so that a checksum of data with checksums in it is no trouble.
const MASK: u32 = 0xa282_ead8;
/// Records of recycled files.
const RECYCLED: [u8; 6] = [5, 6, 7, 8, 11, 131];

/// Finds a record that RocksDB would read for ever in the folder of a store.
///
/// # Errors
/// Damage if there is one; else what went wrong while looking.
pub(super) fn check(dir: &Path) -> Result<()> {
    let failed = |error: std::io::Error| Error::new(ErrorKind::Io, "looking at the store's logs", error.to_string());
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        // There is no store yet.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_log = name.starts_with("MANIFEST-") || path.extension().is_some_and(|extension| extension == "log");
        if !is_log {
            continue;
        }
        let mut file = BufReader::with_capacity(BLOCK_BYTES, File::open(&path).map_err(failed)?);
        if let Some(at) = recycled(&mut file).map_err(failed)? {
            let text = format!("{}: the record at byte {at} is damaged in its type", path.display());
            return Err(Error::corruption("opening the store", text));
        }
    }
    Ok(())
}

/// Where a record says that it is of a recycled file. What else may be wrong with a log is for RocksDB to say; nothing
/// is looked at behind the first such thing, as it looks at nothing there either.
fn recycled(log: &mut impl Read) -> std::io::Result<Option<u64>> {
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    let mut begin = 0;
    loop {
        block.clear();
        log.take(BLOCK_BYTES as u64).read_to_end(&mut block)?;
        let mut rest = block.as_slice();
        while let Some((header, body)) = rest.split_first_chunk::<HEADER_BYTES>() {
            let [c0, c1, c2, c3, l0, l1, kind] = *header;
            if RECYCLED.contains(&kind) {
                return Ok(Some(begin + (block.len() - rest.len()) as u64));
            }
            let length = usize::from(u16::from_le_bytes([l0, l1]));
            let Some((content, after)) = body.split_at_checked(length) else { return Ok(None) };
            let crc = crc32c::crc32c_append(crc32c::crc32c(&[kind]), content);
            if crc.rotate_right(15).wrapping_add(MASK) != u32::from_le_bytes([c0, c1, c2, c3]) {
                return Ok(None);
            }
            rest = after;
        }
        if block.len() < BLOCK_BYTES {
            return Ok(None);
        }
        begin += BLOCK_BYTES as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log with these records, as RocksDB writes it.
    fn log(records: &[(u8, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, content) in records {
            let left = BLOCK_BYTES - bytes.len() % BLOCK_BYTES;
            if left < HEADER_BYTES {
                bytes.resize(bytes.len() + left, 0);
            }
            let crc = crc32c::crc32c_append(crc32c::crc32c(&[*kind]), content).rotate_right(15).wrapping_add(MASK);
            bytes.extend(crc.to_le_bytes());
            bytes.extend((content.len() as u16).to_le_bytes());
            bytes.push(*kind);
            bytes.extend(*content);
        }
        bytes
    }

    #[test]
    fn a_recycled_record_is_found_wherever_it_is() {
        // Thirty-one to a block, with a gap at its end that is too short for a header.
        let content = vec![7; BLOCK_BYTES / 31 - HEADER_BYTES];
        let records: Vec<(u8, &[u8])> = vec![(1, &content); 100];
        let whole = log(&records);
        assert_eq!(recycled(&mut whole.as_slice()).unwrap(), None);
        let mut at = 0;
        for _ in &records {
            if BLOCK_BYTES - at % BLOCK_BYTES < HEADER_BYTES {
                at = at.next_multiple_of(BLOCK_BYTES);
            }
            let mut damaged = whole.clone();
            damaged[at + 6] ^= 4;
            assert_eq!(recycled(&mut damaged.as_slice()).unwrap(), Some(at as u64));
            at += HEADER_BYTES + content.len();
        }
    }

    #[test]
    fn whatever_else_is_wrong_is_left_to_rocksdb() {
        let whole = log(&[(1, b"one"), (1, b"two"), (5, b"three")]);
        assert_eq!(recycled(&mut whole.as_slice()).unwrap(), Some(20));
        let mut damaged = whole.clone();
        damaged[8] ^= 1;
        assert_eq!(recycled(&mut damaged.as_slice()).unwrap(), None);
        assert_eq!(recycled(&mut &whole[..12]).unwrap(), None);
        assert_eq!(recycled(&mut [0_u8; 100].as_slice()).unwrap(), None);
    }
}
