//! A mutex that a panic elsewhere does not close: what it guards here are plain facts, still good to read.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A mutex without poison.
#[derive(Debug, Default)]
pub(crate) struct Guarded<T>(Mutex<T>);

impl<T> Guarded<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
