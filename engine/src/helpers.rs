//! Threads that may help a query that looks at very many documents: as many as there are processors beside its own, for all
//! queries of a node together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many threads may still help.
#[derive(Debug)]
pub(crate) struct Helpers {
    free: AtomicUsize,
}

/// Some of them, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Helping {
    helpers: Arc<Helpers>,
    threads: usize,
}

impl Helpers {
    /// So many at one time.
    pub(crate) fn new(threads_max: usize) -> Self {
        Self { free: AtomicUsize::new(threads_max) }
    }

    /// Those that are free, at most `wanted`.
    pub(crate) fn take(self: &Arc<Self>, wanted: usize) -> Helping {
        let left = |free: usize| Some(free - free.min(wanted));
        let free = self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).unwrap_or(0);
        Helping { helpers: self.clone(), threads: free.min(wanted) }
    }
}

impl Helping {
    pub(crate) fn threads(&self) -> usize {
        self.threads
    }
}

impl Drop for Helping {
    fn drop(&mut self) {
        self.helpers.free.fetch_add(self.threads, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_is_shared() {
        let helpers = Arc::new(Helpers::new(3));
        let (two, one) = (helpers.take(2), helpers.take(2));
        assert_eq!((two.threads(), one.threads(), helpers.take(2).threads()), (2, 1, 0));
        drop(two);
        assert_eq!(helpers.take(9).threads(), 2);
    }
}
