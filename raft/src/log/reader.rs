//! Reading the log, for replication and for applying.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use futures::stream::{self, Stream};
use openraft::{OptionalSend, RaftLogReader};

use super::Error;
use super::shared::{Request, Shared};
use crate::types::{Entry, TypeConfig, Vote};

/// Reads entries: the recent ones out of memory, older ones from disk, off the asynchronous threads. Clones are cheap.
#[derive(Clone)]
pub(crate) struct LogReader {
    shared: Arc<Shared>,
}

impl LogReader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let Range { start: from, end: to } = indexes(&range);
        let request = Request { from, to, skip_purged: true, bytes_max: u64::MAX, entries_max: usize::MAX };
        Ok(self.shared.read(request).await?)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        let state = self.shared.state.lock();
        state.check()?;
        Ok(state.vote())
    }

    /// Nothing when `start` was purged: entries that begin later would leave a hole in the follower's log. openraft
    /// sends a request without entries instead, and the network ends the stream at the second one (`pipeline`): only then
    /// does it send a snapshot.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        let bytes_max = self.shared.options.replication_read_bytes_max;
        let request = Request { from: start, to: end, skip_purged: false, bytes_max, entries_max: usize::MAX };
        Ok(self.shared.read(request).await?)
    }

    /// Reads in steps, so that replaying a long log takes the memory of one step.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let Range { start, end } = indexes(&range);
        // What is appended from now on is not part of it.
        let to = end.min(self.shared.state.lock().next_index());
        let steps = Steps { shared: self.shared.clone(), next: start, to, begun: false, step: Vec::new().into_iter() };
        stream::try_unfold(steps, |mut steps| async move {
            let entry = steps.next().await.map_err(io::Error::from)?;
            Ok(entry.map(|entry| (entry, steps)))
        })
    }
}

/// A stream in progress.
struct Steps {
    shared: Arc<Shared>,
    /// The index that the next step begins with.
    next: u64,
    to: u64,
    /// True once an entry was read: from then on none may be missing.
    begun: bool,
    step: std::vec::IntoIter<Entry>,
}

impl Steps {
    async fn next(&mut self) -> Result<Option<Entry>, Error> {
        if let Some(entry) = self.step.next() {
            return Ok(Some(entry));
        }
        let options = &self.shared.options;
        let request = Request {
            from: self.next,
            to: self.to,
            skip_purged: !self.begun,
            bytes_max: options.replication_read_bytes_max,
            entries_max: options.stream_step_entries_max,
        };
        let step = self.shared.read(request).await?;
        match step.last() {
            Some(last) => self.next = last.log_id.index() + 1,
            None if self.begun && self.next < self.to => {
                return Err(Error::Damaged(format!("entry {} vanished while it was to be read", self.next)));
            }
            None => return Ok(None),
        }
        self.begun = true;
        self.step = step.into_iter();
        Ok(self.step.next())
    }
}

/// The indexes that `range` spans.
fn indexes(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(&index) => index,
        Bound::Excluded(&index) => index.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&index) => index.saturating_add(1),
        Bound::Excluded(&index) => index,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}
