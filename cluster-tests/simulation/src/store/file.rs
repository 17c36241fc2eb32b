//! A store as files, for snapshots: they travel between nodes as files, are checked as files and are moved by rename.
//!
//! ```text
//! CURRENT       `checkpoint`, or `live N` where the store lives on the simulated disk under that number
//! 000001.sst    the families, behind a checksum
//! ```

use std::fs;
use std::io;
use std::path::Path;

use aerodb_engine::kv::{Cf, Error, ErrorKind, Result};
use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::content::{Content, Digested};

const CURRENT: &str = "CURRENT";
const DATA: &str = "000001.sst";
const CHECKPOINT: &str = "checkpoint\n";

/// What lies in a folder.
pub(super) enum Found {
    Nothing,
    Checkpoint,
    Live(u64),
}

pub(super) fn look(dir: &Path) -> Result<Found> {
    match fs::read_to_string(dir.join(CURRENT)) {
        Ok(text) if text == CHECKPOINT => Ok(Found::Checkpoint),
        Ok(text) => match text.strip_prefix("live ").and_then(|id| id.trim().parse().ok()) {
            Some(id) => Ok(Found::Live(id)),
            None => Err(Error::corruption("opening the store", format!("{CURRENT} holds {text:?}"))),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) => Err(failed("opening the store", &error)),
    }
}

/// Notes in `dir` that its store lives on the disk as `id`.
pub(super) fn mark_live(dir: &Path, id: u64) -> Result<()> {
    let written = fs::create_dir_all(dir).and_then(|()| fs::write(dir.join(CURRENT), format!("live {id}\n")));
    written.map_err(|e| failed("creating the store", &e))
}

pub(super) fn write(dir: &Path, content: &Content) -> Result<()> {
    let mut body = BytesMut::new();
    body.put_u64(content.families().len() as u64);
    for family in content.families() {
        body.put_u64(family.size() as u64);
        for (key, value) in family {
            body.put_u64(key.len() as u64);
            body.put_slice(key);
            body.put_u64(value.len() as u64);
            body.put_slice(value);
        }
    }
    let mut file = crc32c::crc32c(&body).to_le_bytes().to_vec();
    file.extend_from_slice(&body);
    let written = fs::create_dir(dir)
        .and_then(|()| fs::write(dir.join(DATA), file))
        .and_then(|()| fs::write(dir.join(CURRENT), CHECKPOINT));
    written.map_err(|e| failed("writing a checkpoint", &e))
}

pub(super) fn read(dir: &Path, digested: Digested) -> Result<Content> {
    let file = fs::read(dir.join(DATA)).map_err(|e| failed("opening a checkpoint", &e))?;
    let damaged = || Error::corruption("opening a checkpoint", "its checksum does not hold");
    let (crc, body) = file.split_first_chunk::<4>().ok_or_else(damaged)?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return Err(damaged());
    }
    let mut body = Bytes::copy_from_slice(body);
    let families = body.get_u64();
    let mut content = Content::new(families as usize);
    for family in 0..families {
        for _ in 0..body.get_u64() {
            let (key, value) = (take(&mut body), take(&mut body));
            content.put(Cf(family as u8), key, value, digested);
        }
    }
    Ok(content)
}

fn take(body: &mut Bytes) -> Bytes {
    let length = body.get_u64() as usize;
    body.split_to(length)
}

fn failed(what: &'static str, error: &io::Error) -> Error {
    Error::new(ErrorKind::Io, what, error.to_string())
}
