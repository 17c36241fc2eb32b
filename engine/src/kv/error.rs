//! Errors of the key-value store.

/// What went wrong, as far as it decides what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The data on disk is damaged: a checksum or a structure does not hold.
    Corruption,
    /// The disk has no room left.
    NoSpace,
    /// The folder is in use by another process.
    Busy,
    /// Reading or writing failed.
    Io,
    /// A call that this store does not take: our own mistake.
    Misuse,
    /// It would have taken the disk, or long, which was not wanted. The only kind that says nothing against the store.
    NotInMemory,
}

/// A storage error. It is never retried (A7): what was asked may or may not have happened.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}: {detail}")]
pub struct Error {
    /// What kind of error it is.
    pub kind: ErrorKind,
    /// What was being done.
    pub what: &'static str,
    /// The storage engine's own words.
    pub detail: String,
}

impl Error {
    /// An error of `kind` met while doing `what`.
    pub fn new(kind: ErrorKind, what: &'static str, detail: impl Into<String>) -> Self {
        Self { kind, what, detail: detail.into() }
    }

    /// Damaged data: `detail` says which.
    pub fn corruption(what: &'static str, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corruption, what, detail)
    }
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind {
            ErrorKind::Corruption => std::io::ErrorKind::InvalidData,
            ErrorKind::NoSpace => std::io::ErrorKind::StorageFull,
            ErrorKind::Busy => std::io::ErrorKind::ResourceBusy,
            ErrorKind::Io | ErrorKind::NotInMemory => std::io::ErrorKind::Other,
            ErrorKind::Misuse => std::io::ErrorKind::InvalidInput,
        };
        std::io::Error::new(kind, error)
    }
}
