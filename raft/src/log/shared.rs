//! What the log store, its readers and its writer have in common.

use std::sync::Arc;

use aerodb_engine::kv::Store;
use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::records::{self, Stored};
use super::state::{Place, Plan, Standing, State};
use super::{Error, LogHooks, LogOptions};
use crate::spawn::{Spawner, run_blocking};
use crate::types::Entry;

pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) spawner: Arc<dyn Spawner>,
    pub(super) options: LogOptions,
    pub(super) hooks: LogHooks,
    /// Held for moments only, never across input or output.
    pub(super) state: Mutex<State>,
    /// Of that state, without its lock.
    pub(super) standing: Arc<ArcSwap<Standing>>,
}

/// What to read.
#[derive(Clone, Copy)]
pub(super) struct Request {
    pub(super) from: u64,
    /// The first index that is not asked for.
    pub(super) to: u64,
    /// Begin with the log's first entry when `from` was purged, instead of reading nothing.
    pub(super) skip_purged: bool,
    /// What may be read at most, bytes; one entry is always read.
    pub(super) bytes_max: u64,
    pub(super) entries_max: usize,
}

impl Shared {
    /// Ends this store with `error`, unless it has ended before. Gives the error that it ended with.
    pub(super) fn fail(&self, error: Error) -> Error {
        let (is_first, cause) = {
            let mut state = self.state.lock();
            let is_first = state.fail(&error);
            (is_first, state.check().err().unwrap_or(error))
        };
        if is_first {
            (self.hooks.fatal)(&cause.to_string());
        }
        cause
    }

    /// The error that ended this store, if one has.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.state.lock().check()
    }

    /// Reads entries without a hole, all of one history, from memory where possible.
    pub(super) async fn read(self: &Arc<Self>, request: Request) -> Result<Vec<Entry>, Error> {
        let Request { to, bytes_max, entries_max, .. } = request;
        let (mut found, mut next, mut truncations): (Vec<Entry>, u64, u64) = (Vec::new(), request.from, 0);
        loop {
            let plan = {
                let state = self.state.lock();
                state.check()?;
                if state.truncations() != truncations {
                    // What was read so far and what follows may not belong together: begin anew.
                    truncations = state.truncations();
                    found.clear();
                }
                if found.is_empty() {
                    let skipped = if request.skip_purged { state.first() } else { 0 };
                    next = request.from.max(skipped);
                }
                state.read(next, to, bytes_max, entries_max, &mut found)
            };
            let Plan::Disk { to: disk_to } = plan else {
                return Ok(found);
            };

            let (shared, from) = (self.clone(), next);
            let read = run_blocking(self.spawner.as_ref(), move || {
                let view = shared.store.snapshot();
                records::read_range(view.as_ref(), from, disk_to, bytes_max, entries_max, found)
            });
            let result = read.await;
            if !self.state.lock().read_holds(from, truncations) {
                // It was being removed meanwhile. What looks like damage may be that.
                found = Vec::new();
                continue;
            }
            found = result.map_err(|error| self.fail(error))?;
            next = found.last().map_or(from, |entry| entry.log_id.index() + 1);
            if next < disk_to || found.len() >= entries_max {
                return Ok(found);
            }
        }
    }

    /// The place of the entry with `index`, or `None` when the log has none.
    pub(super) async fn place(self: &Arc<Self>, index: u64) -> Result<Option<Place>, Error> {
        loop {
            let truncations = {
                let state = self.state.lock();
                state.check()?;
                if let Some(place) = state.place(index) {
                    return Ok(Some(place));
                }
                if index < state.first() || index >= state.next_index() {
                    return Ok(None);
                }
                state.truncations()
            };
            let shared = self.clone();
            let read = run_blocking(self.spawner.as_ref(), move || records::read_entry(shared.store.as_ref(), index));
            let result = read.await;
            if self.state.lock().read_holds(index, truncations) {
                return result.map(|stored| Some(stored.place())).map_err(|error| self.fail(error));
            }
        }
    }
}

impl Stored {
    fn place(&self) -> Place {
        Place { log_id: self.entry.log_id, begins_at: self.begins_at(), ends_at: self.position }
    }
}
