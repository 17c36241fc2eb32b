//! What the world has been told so far. Whoever asks later must not be told less (linearizability's real-time order).

use std::sync::atomic::{AtomicU64, Ordering};

/// The highest revisions that any answer has shown.
#[derive(Debug)]
pub(super) struct Known {
    /// Of anything.
    revision: AtomicU64,
    /// Of each shared document.
    shared: Vec<AtomicU64>,
}

/// What was known when a request began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) revision: u64,
}

impl Known {
    pub(super) fn new(shared: usize) -> Self {
        Self { revision: AtomicU64::new(0), shared: (0..shared).map(|_| AtomicU64::new(0)).collect() }
    }

    /// To be taken before a request is sent.
    pub(super) fn mark(&self) -> Mark {
        Mark { revision: self.revision.load(Ordering::SeqCst) }
    }

    /// An answer has arrived that was read, or written, at `revision`.
    pub(super) fn told(&self, revision: u64) {
        self.revision.fetch_max(revision, Ordering::SeqCst);
    }

    /// The same for a shared document: to be taken before a request is sent.
    pub(super) fn mark_shared(&self, document: usize) -> u64 {
        self.shared[document].load(Ordering::SeqCst)
    }

    /// An answer has shown a shared document at `revision`.
    pub(super) fn told_shared(&self, document: usize, revision: u64) {
        self.shared[document].fetch_max(revision, Ordering::SeqCst);
    }
}
