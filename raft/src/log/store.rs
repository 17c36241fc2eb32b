//! The log store, as openraft calls it.

use std::io;
use std::sync::Arc;

use aerodb_engine::kv::Store;
use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::records::{self, COMMITTED, PURGED};
use super::shared::Shared;
use super::state::{Found, State};
use super::writer::{self, Done, Queue, Work};
use super::{Error, LogHooks, LogOptions, LogReader};
use crate::spawn::Spawner;
use crate::types::{Entry, LogId, TypeConfig, Vote};

/// A handle to the log; clones share it. The writer ends with the last one.
#[derive(Clone)]
pub(crate) struct LogStore {
    shared: Arc<Shared>,
    queue: Queue,
}

impl LogStore {
    /// Opens the log that lies in `store` and starts its writer. Reads a handful of records, blocking.
    ///
    /// # Errors
    /// When the store fails, or when what it holds is not a log that this store can have left behind.
    pub(crate) fn open(
        store: Arc<dyn Store>,
        spawner: Arc<dyn Spawner>,
        options: LogOptions,
        hooks: LogHooks,
    ) -> Result<Self, Error> {
        let state = State::restore(find(store.as_ref())?, options.ring_bytes_max)?;
        hooks.metrics.log_bytes.set(state.bytes() as i64);
        hooks.metrics.log_entries.set(state.entries() as i64);
        let (standing, state) = (state.standing(), Mutex::new(state));
        let shared = Arc::new(Shared { store, spawner, options, hooks, state, standing });
        let (queue, jobs) = Queue::new();
        shared.spawner.dedicated("aerodb-log", Box::pin(writer::run(shared.clone(), jobs)));
        Ok(Self { shared, queue })
    }

    /// A reader; it stays valid when the log changes.
    pub(crate) fn reader(&self) -> LogReader {
        LogReader::new(self.shared.clone())
    }

    /// The index of the first entry, or of the next one when the log holds none.
    pub(crate) fn first_index(&self) -> u64 {
        self.shared.state.lock().first()
    }

    /// The vote, as it is on disk.
    pub(crate) fn vote(&self) -> Option<Vote> {
        self.shared.standing.load().vote
    }

    /// The vote, as it is on disk, and how many memberships were written since this log was opened.
    pub(crate) fn standing(&self) -> (Option<Vote>, u64) {
        let standing = self.shared.standing.load();
        (standing.vote, standing.memberships)
    }

    /// Bytes of entries that the log holds. For a moment after a purge it may still count what went.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.shared.state.lock().bytes()
    }

    /// Bytes of those entries in `from..to` that the log holds; costs two look-ups, whatever lies between.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(crate) async fn bytes_between(&self, from: u64, to: u64) -> io::Result<u64> {
        let (first, next) = {
            let state = self.shared.state.lock();
            (state.first().max(from), state.next_index().min(to))
        };
        if first >= next {
            return Ok(0);
        }
        let (begin, end) = (self.shared.place(first).await?, self.shared.place(next - 1).await?);
        // Either is gone only if the log was purged or truncated meanwhile.
        Ok(begin.zip(end).map_or(0, |(begin, end)| end.ends_at.saturating_sub(begin.begins_at)))
    }

    /// The smallest index from which the entries up to `to`, exclusive, take at most `bytes_max`; the log's first when all
    /// of them do.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(crate) async fn keep_from(&self, to: u64, bytes_max: u64) -> io::Result<u64> {
        // Bytes fall as the index rises, so it is found by bisection.
        let (mut low, mut high) = (self.first_index(), to);
        if self.bytes_between(low, to).await? <= bytes_max {
            return Ok(low);
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if self.bytes_between(middle, to).await? <= bytes_max {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(low)
    }

    /// Returns once everything asked for so far, also what is committed, would be found after a power cut.
    ///
    /// # Errors
    /// When the log has failed.
    pub(crate) async fn sync(&self) -> io::Result<()> {
        Ok(self.wait_for(|_| Ok(Some(Work::Sync))).await?)
    }

    /// Bytes of recent entries in memory.
    #[cfg(test)]
    pub(super) fn ring_bytes(&self) -> u64 {
        self.shared.state.lock().ring_bytes()
    }

    /// Makes a change in memory and hands over, in the same order, the work that makes it durable.
    fn change(&self, done: Done, change: impl FnOnce(&mut State) -> Result<Option<Work>, Error>) -> Result<(), Error> {
        let refused = {
            let mut state = self.shared.state.lock();
            match state.check().and_then(|()| change(&mut state)) {
                Ok(Some(work)) => {
                    let (number, committed) = (state.give_job(), state.take_committed());
                    self.queue.send(&self.shared, number, committed, work, done).err()
                }
                // Nothing to do: it is as durable as it ever was.
                Ok(None) => {
                    drop(state);
                    done.answer(Ok(()));
                    None
                }
                Err(error) => Some((error, done)),
            }
        };
        let Some((error, done)) = refused else { return Ok(()) };
        let error = self.shared.fail(error);
        done.answer(Err(error.clone()));
        Err(error)
    }

    /// As [`LogStore::change`]; returns once the change is durable.
    async fn wait_for(&self, change: impl FnOnce(&mut State) -> Result<Option<Work>, Error>) -> Result<(), Error> {
        let (tx, rx) = oneshot::channel();
        self.change(Done::Waiter(tx), change)?;
        rx.await.unwrap_or(Err(Error::WriterGone)).map_err(|error| self.shared.fail(error))
    }
}

/// What `store` holds. The entries between the first and the last are checked when they are read.
fn find(store: &dyn Store) -> Result<Found, Error> {
    let purged = records::read_log_id(store, PURGED)?;
    let from = purged.map_or(0, |id| id.index() + 1);
    let view = store.snapshot();
    let first = records::read_end(view.as_ref(), from, false)?;
    let last = records::read_end(view.as_ref(), from, true)?;
    Ok(Found {
        vote: records::read_vote(store)?,
        committed: records::read_log_id(store, COMMITTED)?,
        purged,
        ends: first.zip(last),
    })
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let state = self.shared.state.lock();
        state.check()?;
        Ok(LogState { last_purged_log_id: state.purged(), last_log_id: state.last() })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        self.reader()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let vote = *vote;
        let saved = self.wait_for(|state| state.check_vote(&vote).map(|()| Some(Work::Vote(vote))));
        Ok(saved.await?)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        Ok(self.change(Done::Nobody, |state| state.set_committed(committed).map(|()| None))?)
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let state = self.shared.state.lock();
        state.check()?;
        Ok(state.committed())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        Ok(self.change(Done::Flushed(callback), |state| state.append(entries).map(Some))?)
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let place = match last_log_id {
            Some(id) => self.shared.place(id.index()).await?,
            None => None,
        };
        Ok(self.wait_for(|state| state.truncate_after(last_log_id, place.as_ref())).await?)
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        Ok(self.change(Done::Nobody, |state| Ok(state.purge(log_id)))?)
    }
}
