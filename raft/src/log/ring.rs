//! The newest entries, in memory: what is not written yet, and as much behind it as there is room for.

use std::collections::VecDeque;

use super::records::weight;
use crate::types::Entry;

/// An entry in the ring.
pub(super) struct Slot {
    pub(super) entry: Entry,
    /// Bytes of log up to the end of this entry.
    pub(super) position: u64,
    /// The job that writes it. Jobs are counted, not indexes: after a truncation an index comes a second time.
    job: u64,
    bytes: u64,
}

/// Consecutive entries that end with the log's last one.
pub(super) struct Ring {
    slots: VecDeque<Slot>,
    bytes: u64,
    bytes_max: u64,
}

impl Ring {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { slots: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Adds the log's next entry and gives its position, when the log had `end` bytes before it.
    pub(super) fn push(&mut self, entry: Entry, end: u64, job: u64) -> u64 {
        let bytes = weight(&entry);
        let position = end + bytes;
        debug_assert!(self.slots.back().is_none_or(|last| last.entry.log_id.index() + 1 == entry.log_id.index()));
        self.slots.push_back(Slot { entry, position, job, bytes });
        self.bytes += bytes;
        position
    }

    /// The index of the oldest entry here, or `None` when the ring is empty.
    pub(super) fn first(&self) -> Option<u64> {
        self.slots.front().map(|slot| slot.entry.log_id.index())
    }

    pub(super) fn get(&self, index: u64) -> Option<&Slot> {
        let offset = index.checked_sub(self.first()?)?;
        self.slots.get(usize::try_from(offset).ok()?)
    }

    /// Copies entries from `from` on, which must be here, to `into`, up to `to` and the bounds on `into`.
    pub(super) fn read(&self, from: u64, to: u64, bytes_max: u64, entries_max: usize, into: &mut Vec<Entry>) {
        let Some(offset) = self.first().and_then(|first| from.checked_sub(first)) else {
            return;
        };
        let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(self.slots.len());
        let mut bytes = if into.is_empty() { 0 } else { into.iter().map(weight).sum() };
        for slot in self.slots.range(offset..) {
            bytes += slot.bytes;
            let full = into.len() >= entries_max || (!into.is_empty() && bytes > bytes_max);
            if full || slot.entry.log_id.index() >= to {
                break;
            }
            into.push(slot.entry.clone());
        }
    }

    /// Drops the entries from `index` on.
    pub(super) fn truncate(&mut self, index: u64) {
        while self.slots.back().is_some_and(|slot| slot.entry.log_id.index() >= index) {
            let dropped = self.slots.pop_back();
            self.bytes -= dropped.map_or(0, |slot| slot.bytes);
        }
    }

    /// Drops the entries before `index`.
    pub(super) fn purge(&mut self, index: u64) {
        while self.slots.front().is_some_and(|slot| slot.entry.log_id.index() < index) {
            self.pop_front();
        }
    }

    /// Makes room, by dropping entries that `written`, the last job that is done, and those before it have written.
    pub(super) fn evict(&mut self, written: u64) {
        while self.bytes > self.bytes_max && self.slots.front().is_some_and(|slot| slot.job <= written) {
            self.pop_front();
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn pop_front(&mut self) {
        let dropped = self.slots.pop_front();
        self.bytes -= dropped.map_or(0, |slot| slot.bytes);
    }
}
