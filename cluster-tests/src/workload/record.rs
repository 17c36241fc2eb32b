//! What happened to each request.

use std::time::{Duration, Instant};

use crate::NodeId;

/// A write that was answered with success.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// Names the write; it stands in what was written.
    pub token: String,
    /// The collection.
    pub collection: String,
    /// What was asked, in a word.
    pub kind: &'static str,
    /// The documents that it left, as answered.
    pub documents: Vec<Left>,
    /// The revision that it was given.
    pub revision: u64,
    /// Who answered.
    pub node: NodeId,
    /// How often it was sent.
    pub attempts: u32,
}

/// A document as a write left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its id.
    pub id: String,
    /// A fingerprint of its content; `None` when it was deleted.
    pub content: Option<u64>,
}

/// A write that nobody answered for: it may be there or not, whole.
#[derive(Clone, Debug)]
pub struct Unresolved {
    /// Names the write.
    pub token: String,
    /// The collection.
    pub collection: String,
    /// What was asked, in a word.
    pub kind: &'static str,
    /// The documents that it would change; empty when the cluster was to name it.
    pub ids: Vec<String>,
    /// How many documents it would leave.
    pub documents: usize,
}

/// An attempt that was not answered with success.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was asked.
    pub what: String,
    /// Of whom.
    pub node: NodeId,
    /// When it was sent.
    pub begun: Instant,
    /// When it failed.
    pub ended: Instant,
    /// The status, if there was an answer.
    pub status: Option<u16>,
    /// The problem's code; `connect` when the request never left, `broken` when its answer never came.
    pub code: String,
    /// All there is to say about it.
    pub detail: String,
}

/// When a request was answered: from its first attempt to its success.
#[derive(Clone, Copy, Debug)]
pub struct Timed {
    /// When its first attempt was sent.
    pub begun: Instant,
    /// When it was answered.
    pub ended: Instant,
    /// Who answered.
    pub node: NodeId,
}

impl Timed {
    /// How long the client waited.
    pub fn took(&self) -> Duration {
        self.ended - self.begun
    }
}

/// Everything, as it comes in.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) acknowledged: Vec<Acknowledged>,
    pub(super) unresolved: Vec<Unresolved>,
    pub(super) failures: Vec<Failure>,
    pub(super) writes: Vec<Timed>,
    pub(super) reads: Vec<Timed>,
    /// Answers that must never be given.
    pub(super) violations: Vec<String>,
}

/// A fingerprint of a document's content, with its system fields.
pub(super) fn fingerprint(document: &serde_json::Value) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hash = DefaultHasher::new();
    // Maps are sorted, so equal documents have equal texts.
    document.to_string().hash(&mut hash);
    hash.finish()
}
