//! What load is put on.

use std::future::Future;

use bytes::Bytes;

/// Something that load can be put on. Shared by all workers.
pub trait Target: Send + Sync + 'static {
    /// How one worker talks to it.
    type Session: Session;

    /// A session for the worker with this number, from 0, by which workers are spread over nodes. It need not be connected.
    ///
    /// # Errors
    /// When the target can never be reached as it is described; a word for the report.
    fn session(&self, worker: u32) -> Result<Self::Session, String>;
}

/// A worker's way to the target, with one request at a time on it.
pub trait Session: Send + 'static {
    /// Makes the connection, if there is none: done before the clock starts. Whether it worked shows in the first request.
    fn open(&mut self) -> impl Future<Output = ()> + Send;

    /// Does a request and reads its answer to the end; connects before if it has to.
    fn perform(&mut self, request: &Request) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Leaves this node for the next one, if there is one: nothing came back on this connection.
    fn move_on(&mut self);
}

/// One request.
#[derive(Clone, Debug)]
pub enum Request {
    /// Reads the document with this number.
    Read {
        /// Its number; [`crate::id`] makes an id of it.
        number: u64,
    },
    /// Puts a document in the place of the one with this number, whether that is there or not.
    Write {
        /// Its number.
        number: u64,
        /// JSON.
        document: Bytes,
    },
    /// Inserts a document, whose id the target chooses.
    Insert {
        /// JSON.
        document: Bytes,
    },
}

/// Why a request did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no connection, or it broke.
    Broken(&'static str),
    /// It was refused: an answer came, and the connection is good. A word for the report.
    Refused(String),
}

impl Failure {
    /// The node cannot be connected to.
    pub const CONNECT: Self = Self::Broken("connect");
    /// The connection broke while the request was under way.
    pub const LOST: Self = Self::Broken("connection_lost");
    /// No answer came in time.
    pub const TIMEOUT: Self = Self::Broken("timeout");

    /// A word for the report.
    pub fn code(&self) -> &str {
        match self {
            Self::Broken(code) => code,
            Self::Refused(code) => code,
        }
    }
}
