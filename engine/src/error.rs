//! Errors that end a node: storage that failed, data that is damaged, a log that this version cannot apply.

use crate::kv;

/// Why the engine can no longer vouch for its state (A7). None of these is ever retried.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The storage failed or is damaged.
    #[error(transparent)]
    Storage(#[from] kv::Error),
    /// The log holds an operation of a newer version (A9).
    #[error("the log holds an operation that this version does not know ({0}): run the newer version on this node")]
    UnknownOperation(String),
    /// The log and the state contradict each other: a bug, or damage that checksums did not show.
    #[error("the log does not fit the state: {0}")]
    Inconsistent(String),
    /// Files around the storage could not be moved or read.
    #[error("{what}: {detail}")]
    Files {
        /// What was being done.
        what: &'static str,
        /// The operating system's words.
        detail: String,
    },
}

impl Error {
    pub(crate) fn files(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::Files { what, detail: error.to_string() }
    }

    pub(crate) fn malformed(what: &str, error: impl std::fmt::Display) -> Self {
        Self::Storage(kv::Error::corruption("reading the state", format!("{what}: {error}")))
    }
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Storage(error) => error.into(),
            other => std::io::Error::new(std::io::ErrorKind::InvalidData, other),
        }
    }
}
