//! The Raft log on disk: entries, the vote, what is committed and what was purged.
//!
//! `append` makes entries readable at once, out of a ring in memory, and hands them to one writer. The writer folds
//! everything that queued up into one batch and one fsync, so the time of an fsync is the batching window. Votes,
//! truncations and purges travel in the same queue: what is durable is always a prefix of what was asked for.
//!
//! **The first error is the last word** (A7): the store is poisoned, every later call fails with that error, the
//! process is told to end, and nothing is tried again.

mod error;
mod metrics;
mod reader;
mod records;
mod ring;
mod shared;
mod state;
mod store;
mod writer;

#[cfg(test)]
mod model;
#[cfg(test)]
pub(crate) mod suite;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use aerodb_engine::kv;

use crate::clock::Clock;

pub(crate) use error::Error;
pub(crate) use metrics::LogMetrics;
pub(crate) use reader::LogReader;
pub(crate) use records::LOG_FAMILIES;
pub(crate) use store::LogStore;

/// The bounds of the log store (A6).
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Memory for recent entries, bytes. Entries that are not written yet are kept beyond it.
    pub ring_bytes_max: u64,
    /// What one read for replication, or one step of a stream, returns at most, bytes; at least one entry.
    pub replication_read_bytes_max: u64,
    /// Entries that one step of a stream reads at most.
    pub stream_step_entries_max: usize,
    /// The writer stops adding to a batch once it holds this many bytes. The last job may carry it beyond.
    pub write_batch_bytes_max: u64,
    /// Jobs that the writer folds into one batch at most.
    pub write_batch_jobs_max: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            ring_bytes_max: 8 << 20,
            replication_read_bytes_max: 4 << 20,
            stream_step_entries_max: 1024,
            write_batch_bytes_max: 16 << 20,
            write_batch_jobs_max: 4096,
        }
    }
}

/// The applied index that a power cut would leave of the state.
pub(crate) type DurableApplied = dyn Fn() -> kv::Result<Option<u64>> + Send + Sync;

/// What the log store needs of its surroundings.
#[derive(Clone)]
pub(crate) struct LogHooks {
    /// The state's durable applied index. Purging beyond it would lose acknowledged writes, so the writer asks before
    /// each purge and refuses. It is called on the writer's thread and may read from disk.
    pub(crate) durable_applied: Arc<DurableApplied>,
    /// Told once, with the reason, when this store can no longer vouch for its data: end the process.
    pub(crate) fatal: Arc<dyn Fn(&str) + Send + Sync>,
    /// Measures how long fsyncs take.
    pub(crate) clock: Arc<dyn Clock>,
    /// Where figures go.
    pub(crate) metrics: LogMetrics,
}

impl fmt::Debug for LogHooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogHooks").finish_non_exhaustive()
    }
}
