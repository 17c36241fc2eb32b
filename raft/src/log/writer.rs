//! The one writer: everything that queued up becomes one batch, one fsync, and then the answers, in order.
//!
//! It runs on a thread of its own. Its only await is for a job; everything else blocks.

use std::sync::Arc;

use aerodb_engine::kv::WriteBatch;
use aerodb_engine::planted;
use openraft::storage::IOFlushed;
use tokio::sync::{mpsc, oneshot};

use super::records::{
    COMMITTED, ENTRY, META, PURGED, VOTE, encode_entry, encode_log_id, encode_vote, entry_key, read_entry, weight,
};
use super::shared::Shared;
use super::{Error, LogOptions};
use crate::types::{Entry, LogId, TypeConfig, Vote};

/// A change that memory has seen already.
pub(super) enum Work {
    /// Entries, and the bytes of log up to the first and up to the end of the last.
    Append { entries: Vec<Entry>, begins_at: u64, ends_at: u64 },
    /// A vote, which no one may see before it is durable.
    Vote(Vote),
    /// Entries in `from..to` go: another leader has others.
    Truncate { from: u64, to: u64 },
    /// Entries from `from` up to `upto`, inclusive, go: the durable state has them.
    Purge {
        upto: LogId,
        from: u64,
        /// The new first entry is on disk only: look up how many bytes of log lie before it.
        measure: bool,
    },
    /// Nothing, but everything before it is durable when it is done.
    Sync,
}

impl Work {
    fn bytes(&self) -> u64 {
        match self {
            Work::Append { begins_at, ends_at, .. } => ends_at - begins_at,
            _ => 0,
        }
    }
}

/// Who wants to know when a job is done.
pub(super) enum Done {
    Nobody,
    Flushed(IOFlushed<TypeConfig>),
    Waiter(oneshot::Sender<Result<(), Error>>),
}

impl Done {
    pub(super) fn answer(self, result: Result<(), Error>) {
        match self {
            Done::Nobody => {}
            Done::Flushed(callback) => callback.io_completed(result.map_err(Into::into)),
            // Whoever waited may have given up.
            Done::Waiter(waiter) => drop(waiter.send(result)),
        }
    }
}

/// Work in the queue.
pub(super) struct Job {
    number: u64,
    /// News of what is committed, from before `work`. It may be lost, and it is never ahead of the log: its entries are in
    /// earlier jobs. It comes with work that is there anyway: of its own it would wake the writer once more for each entry.
    committed: Option<Committed>,
    work: Work,
    done: Done,
}

/// The way to the writer. Jobs are numbered in the order in which they are sent: send under the state's lock.
#[derive(Clone)]
pub(super) struct Queue {
    jobs: mpsc::UnboundedSender<Job>,
}

impl Queue {
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Job>) {
        let (jobs, receiver) = mpsc::unbounded_channel();
        (Self { jobs }, receiver)
    }

    /// Hands `work` over. The queue is bounded by what openraft keeps in flight; sending never waits.
    pub(super) fn send(
        &self,
        shared: &Shared,
        number: u64,
        committed: Option<Committed>,
        work: Work,
        done: Done,
    ) -> Result<(), (Error, Done)> {
        let bytes = work.bytes();
        let sent = self.jobs.send(Job { number, committed, work, done });
        sent.map_err(|refused| (Error::WriterGone, refused.0.done))?;
        shared.hooks.metrics.queue_depth.inc();
        shared.hooks.metrics.queue_bytes.add(bytes as i64);
        Ok(())
    }
}

/// Writes until the last [`Queue`] is gone. After an error it only answers, with that error.
pub(super) async fn run(shared: Arc<Shared>, mut jobs: mpsc::UnboundedReceiver<Job>) {
    while let Some(first) = jobs.recv().await {
        let fold = gather(first, &mut jobs, &shared.options);
        let metrics = &shared.hooks.metrics;
        metrics.queue_depth.sub(fold.len() as i64);
        metrics.queue_bytes.sub(fold.iter().map(|job| job.work.bytes()).sum::<u64>() as i64);

        let written = shared.check().and_then(|()| write(&shared, &fold));
        let result = written.map_err(|error| shared.fail(error));
        for job in fold {
            job.done.answer(result.clone());
        }
    }
}

/// `first` and what has queued up behind it, up to the bounds.
fn gather(first: Job, jobs: &mut mpsc::UnboundedReceiver<Job>, options: &LogOptions) -> Vec<Job> {
    let mut bytes = first.work.bytes();
    let mut fold = vec![first];
    while bytes < options.write_batch_bytes_max && fold.len() < options.write_batch_jobs_max {
        let Ok(job) = jobs.try_recv() else { break };
        bytes += job.work.bytes();
        fold.push(job);
    }
    fold
}

/// Makes all of `fold` durable, then lets memory know.
fn write(shared: &Shared, fold: &[Job]) -> Result<(), Error> {
    let mut batch = Batch::default();
    for job in fold {
        batch.committed = job.committed.or(batch.committed);
        batch.add(shared, &job.work)?;
    }
    batch.put_committed();
    let Batch { writes, sync, entries, bytes, vote, start_bytes, .. } = batch;
    if !writes.is_empty() {
        let (clock, metrics) = (&shared.hooks.clock, &shared.hooks.metrics);
        let began = clock.monotonic();
        shared.store.write(writes, sync)?;
        if sync {
            metrics.fsync_seconds.observe(clock.monotonic().saturating_sub(began).as_secs_f64());
            metrics.batch_entries.observe(entries as f64);
            metrics.batch_bytes.observe(bytes as f64);
        }
    }
    let last = fold.last().map_or(0, |job| job.number);
    let mut state = shared.state.lock();
    state.set_jobs_done(last, vote, start_bytes);
    let metrics = &shared.hooks.metrics;
    metrics.log_bytes.set(state.bytes() as i64);
    metrics.log_entries.set(state.entries() as i64);
    metrics.ring_bytes.set(state.ring_bytes() as i64);
    Ok(())
}

/// What is committed, if anything is.
pub(super) type Committed = Option<LogId>;

/// A batch in the making.
#[derive(Default)]
struct Batch {
    writes: WriteBatch,
    /// False while there is nothing in it that must survive a power cut.
    sync: bool,
    entries: usize,
    bytes: u64,
    vote: Option<Vote>,
    /// The newest word on what is committed.
    committed: Option<Committed>,
    /// Bytes of log before the first entry, where a purge had to look that up.
    start_bytes: Option<u64>,
}

impl Batch {
    fn add(&mut self, shared: &Shared, work: &Work) -> Result<(), Error> {
        self.sync |= match work {
            Work::Append { .. } => !planted!("append-without-fsync"),
            Work::Vote(_) => !planted!("vote-without-fsync"),
            Work::Truncate { .. } | Work::Purge { .. } | Work::Sync => true,
        };
        self.bytes += work.bytes();
        match work {
            Work::Append { entries, begins_at, .. } => {
                let mut position = *begins_at;
                for entry in entries {
                    position += weight(entry);
                    self.writes.put(ENTRY, entry_key(entry.log_id.index()), encode_entry(entry, position));
                }
                self.entries += entries.len();
            }
            Work::Vote(vote) => {
                self.writes.put(META, VOTE, encode_vote(vote));
                self.vote = Some(*vote);
            }
            Work::Truncate { .. } if planted!("truncation-in-memory-only") => {}
            Work::Truncate { from, to } => self.writes.delete_range(ENTRY, entry_key(*from), entry_key(*to)),
            Work::Purge { upto, from, measure } => self.purge(shared, *upto, *from, *measure)?,
            // All that was written before is durable already.
            Work::Sync => {}
        }
        Ok(())
    }

    /// The last guard before acknowledged writes could be lost: the state must have them, durably.
    fn purge(&mut self, shared: &Shared, upto: LogId, from: u64, measure: bool) -> Result<(), Error> {
        let durable = (shared.hooks.durable_applied)()?;
        if durable.is_none_or(|durable| durable < upto.index()) {
            return Err(Error::PurgeBeyondDurable { upto: upto.index(), durable });
        }
        let next = upto.index() + 1;
        if measure {
            self.start_bytes = Some(read_entry(shared.store.as_ref(), next)?.begins_at());
        }
        if from < next {
            self.writes.delete_range(ENTRY, entry_key(from), entry_key(next));
        }
        self.writes.put(META, PURGED, encode_log_id(&upto));
        Ok(())
    }

    /// Adds what is committed, once, behind the entries that it speaks of.
    fn put_committed(&mut self) {
        match self.committed {
            None => {}
            Some(Some(id)) => self.writes.put(META, COMMITTED, encode_log_id(&id)),
            Some(None) => self.writes.delete(META, COMMITTED),
        }
    }
}
