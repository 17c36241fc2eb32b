//! Errors of the log store. Each ends the node (A7).

use std::io;

use aerodb_engine::kv;

use crate::convert::Malformed;

/// Why the log store can no longer be used.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The storage beneath failed: what was asked may or may not be on disk.
    #[error("the log's storage failed: {0}")]
    Storage(#[from] kv::Error),
    /// A record is missing, or is not what was written.
    #[error("the log is damaged: {0}")]
    Damaged(String),
    /// A call that would break the log. Our own mistake, or openraft's.
    #[error("a call that would break the log: {0}")]
    Misuse(String),
    /// The log is all that would be left of these entries after a power cut.
    #[error("refused to purge the log up to {upto}: the state is durable up to {durable:?} only")]
    PurgeBeyondDurable {
        /// The last index that was to go.
        upto: u64,
        /// The durable applied index.
        durable: Option<u64>,
    },
    /// The writer ended without an answer.
    #[error("the log's writer has ended")]
    WriterGone,
}

impl From<Malformed> for Error {
    fn from(error: Malformed) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Storage(inner) => return io::Error::new(io::Error::from(inner.clone()).kind(), error),
            Error::Damaged(_) => io::ErrorKind::InvalidData,
            Error::Misuse(_) | Error::PurgeBeyondDurable { .. } => io::ErrorKind::InvalidInput,
            Error::WriterGone => io::ErrorKind::BrokenPipe,
        };
        io::Error::new(kind, error)
    }
}
