//! The fence: a node that can no longer vouch for its data answers nothing more and ends (A7).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// Tells the whole node that it must end, and why. The first reason stands. Cheap to clone.
#[derive(Clone)]
pub struct Fence {
    reason: Arc<watch::Sender<Option<Arc<str>>>>,
    /// The same, for who asks with each request.
    fenced: Arc<AtomicBool>,
}

impl Default for Fence {
    fn default() -> Self {
        Self { reason: Arc::new(watch::Sender::new(None)), fenced: Arc::default() }
    }
}

impl Fence {
    /// Fences the node.
    pub fn fence(&self, reason: &str) {
        let first = self.reason.send_if_modified(|current| match current {
            Some(_) => false,
            None => {
                *current = Some(reason.into());
                true
            }
        });
        self.fenced.store(true, Ordering::Release);
        if first {
            tracing::error!(
                reason,
                "this node can no longer vouch for its data and ends; it is never retried in place"
            );
        }
    }

    /// Why the node is fenced, if it is.
    pub fn reason(&self) -> Option<Arc<str>> {
        if self.fenced.load(Ordering::Acquire) { self.reason.borrow().clone() } else { None }
    }

    /// Waits until the node is fenced; gives the reason.
    pub async fn fenced(&self) -> Arc<str> {
        let mut changes = self.reason.subscribe();
        loop {
            if let Some(reason) = changes.borrow_and_update().clone() {
                return reason;
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
