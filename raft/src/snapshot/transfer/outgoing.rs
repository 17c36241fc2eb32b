//! The sending side: reads what the other node does not have yet.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use aerodb_engine::planted;
use aerodb_proto as proto;
use bytes::Bytes;

use crate::snapshot::SnapshotDir;

use super::CHUNK_BYTES_MAX;

/// Why a snapshot cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// It was replaced by a newer one under way.
    #[error("the snapshot is not there any more: {0}")]
    Gone(io::Error),
    /// The other node says that it has what cannot be.
    #[error("the other node's answer does not fit the snapshot: {0}")]
    Offer(String),
    /// The bytes are not those that were written.
    #[error("the snapshot on this node is damaged: {0}")]
    Damaged(String),
    /// The disk failed.
    #[error("the snapshot cannot be read: {0}")]
    Io(io::Error),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound { Self::Gone(error) } else { Self::Io(error) }
    }
}

/// A piece of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Position of the file in the manifest.
    pub(crate) file: u32,
    /// Where in the file the piece begins.
    pub(crate) offset: u64,
    /// Its bytes.
    pub(crate) data: Bytes,
}

/// Reads a snapshot's files in order, each from where the other node's copy ends.
#[derive(Debug)]
pub(crate) struct Reader {
    snapshot: SnapshotDir,
    /// Bytes of each file that the other node has.
    have: Vec<u64>,
    /// The file that is being read.
    current: usize,
    open: Option<Open>,
}

/// A file that is being read.
#[derive(Debug)]
struct Open {
    file: File,
    offset: u64,
    /// The checksum so far; None when the file is not read from its beginning.
    crc: Option<u32>,
}

impl Reader {
    /// Reads what is missing when the other node has `have` bytes of each file.
    pub(crate) fn new(snapshot: &SnapshotDir, have: Vec<u64>) -> Result<Self, ReadError> {
        let files = &snapshot.manifest.files;
        if have.len() != files.len() {
            return Err(ReadError::Offer(format!("it has {} files, not {}", have.len(), files.len())));
        }
        if let Some((file, _)) = files.iter().zip(&have).find(|(file, have)| **have > file.size_bytes) {
            return Err(ReadError::Offer(format!("it has more of {} than there is", file.name)));
        }
        Ok(Self { snapshot: snapshot.clone(), have, current: 0, open: None })
    }

    /// The next piece; None after the last. Blocks.
    pub(crate) fn next(&mut self) -> Result<Option<Piece>, ReadError> {
        while let Some(file) = self.snapshot.manifest.files.get(self.current) {
            let mut open = match self.open.take() {
                Some(open) => open,
                None if self.have[self.current] == file.size_bytes => {
                    self.current += 1;
                    continue;
                }
                None => {
                    let offset = self.have[self.current];
                    let path = self.snapshot.path().join(&file.name);
                    Open { file: File::open(path)?, offset, crc: (offset == 0).then_some(0) }
                }
            };
            let piece = open.read(file, self.current)?;
            if open.offset == file.size_bytes {
                open.check(file)?;
                self.current += 1;
            } else {
                self.open = Some(open);
            }
            return Ok(Some(piece));
        }
        Ok(None)
    }
}

impl Open {
    fn read(&mut self, file: &proto::SnapshotFile, index: usize) -> Result<Piece, ReadError> {
        let length = (file.size_bytes - self.offset).min(CHUNK_BYTES_MAX as u64) as usize;
        let mut data = vec![0; length];
        self.file.read_exact_at(&mut data, self.offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ReadError::Damaged(format!("{} is too short", file.name)),
            _ => ReadError::Io(error),
        })?;
        let piece = Piece { file: index as u32, offset: self.offset, data: data.into() };
        self.offset += length as u64;
        self.crc = self.crc.map(|crc| crc32c::crc32c_append(crc, &piece.data));
        Ok(piece)
    }

    /// The file as it was read is the one that the manifest describes.
    fn check(&self, file: &proto::SnapshotFile) -> Result<(), ReadError> {
        match self.crc {
            Some(crc) if crc != file.crc32c && !planted!("checksum-ignored") => {
                Err(ReadError::Damaged(format!("{} has another checksum", file.name)))
            }
            _ => Ok(()),
        }
    }
}
