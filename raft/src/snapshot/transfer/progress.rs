//! How far transfers are, for whoever watches the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// How far one transfer is.
#[derive(Debug, Default)]
pub(crate) struct TransferProgress {
    bytes_done: AtomicU64,
    bytes_total: AtomicU64,
}

impl TransferProgress {
    pub(crate) fn new(total: u64, done: u64) -> Self {
        Self { bytes_done: done.into(), bytes_total: total.into() }
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes done, and bytes in all.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.bytes_done.load(Ordering::Relaxed), self.bytes_total.load(Ordering::Relaxed))
    }
}

/// The transfers that this node sends, by the node that receives.
#[derive(Debug, Default)]
pub(crate) struct Transfers {
    running: Mutex<BTreeMap<u64, Arc<TransferProgress>>>,
}

impl Transfers {
    /// Shows a transfer of `total` bytes to `target`, of which `done` are there already, until the result is dropped.
    pub(crate) fn begin(&self, target: u64, total: u64, done: u64) -> Running<'_> {
        let progress = Arc::new(TransferProgress::new(total, done));
        self.running.lock().insert(target, progress.clone());
        Running { transfers: self, target, progress }
    }

    /// The transfers that are running: target, bytes done, bytes in all.
    pub(crate) fn running(&self) -> Vec<(u64, u64, u64)> {
        let running = self.running.lock();
        running.iter().map(|(target, progress)| (*target, progress.bytes().0, progress.bytes().1)).collect()
    }
}

/// A transfer that is shown until this is dropped.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    transfers: &'a Transfers,
    target: u64,
    progress: Arc<TransferProgress>,
}

impl std::ops::Deref for Running<'_> {
    type Target = TransferProgress;

    fn deref(&self) -> &TransferProgress {
        &self.progress
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut running = self.transfers.running.lock();
        // A newer transfer to the same node may have taken the place.
        if running.get(&self.target).is_some_and(|shown| Arc::ptr_eq(shown, &self.progress)) {
            running.remove(&self.target);
        }
    }
}
