//! What is answered at once, by who must not wait for the disk: documents, and short pages, that are in memory.
//!
//! Another thread for them would take longer to wake than they take to read. What turns out to be neither short nor in memory is
//! left to a thread that may wait, from the start.

use std::sync::Arc;

use aerodb_proto::Collection;

use super::list::{Count, ListQuery, Page};
use super::{ReadError, Stored, View};
use crate::error::Error;
use crate::filter::{Condition, Filter, Test};
use crate::kv::ErrorKind;

/// Documents of a page, and to skip before it, at most. How many may be looked at for it, [`View::list`] says by asking for the
/// time.
const DOCUMENTS_MAX: usize = 128;
/// Indexes of the collection, at most: to choose among them, up to a thousand entries of each are counted.
const INDEXES_MAX: usize = 4;
/// Fields that the filter asks for, tests of each, and values of one test, at most.
const TESTS_MAX: usize = 16;

impl View {
    /// The same view, of which only what is in memory is read.
    fn in_memory(&self) -> &Arc<Self> {
        self.in_memory.get_or_init(|| {
            Arc::new(Self {
                snapshot: self.snapshot.in_memory(),
                meta: self.meta,
                catalog: self.catalog.clone(),
                limits: self.limits.clone(),
                cached: self.cached.clone(),
                uses: self.uses.clone(),
                helpers: self.helpers.clone(),
                figures: self.figures.clone(),
                in_memory: Default::default(),
                _generation: self._generation.clone(),
            })
        })
    }

    /// The version of a document at `revision`, by default its latest one; `None` where it has to be looked for on disk, by
    /// [`View::get_at`] or [`View::get`].
    ///
    /// # Errors
    /// As those.
    pub fn get_at_once(
        &self,
        collection: &Collection,
        id: &str,
        revision: Option<u64>,
    ) -> Result<Option<Option<Stored>>, ReadError> {
        let view = self.in_memory();
        at_once(match revision {
            Some(revision) => view.get_at(collection, id, revision),
            None => view.get(collection, id),
        })
    }

    /// The page that `query` asks for; `None` where that takes more than moments, or the disk, and is for [`View::list`].
    ///
    /// # Errors
    /// As [`View::list`].
    pub fn list_at_once(&self, collection: &Collection, query: &ListQuery) -> Result<Option<Page>, ReadError> {
        let is_short = query.limit <= DOCUMENTS_MAX && query.offset <= DOCUMENTS_MAX;
        let is_plain =
            query.filter.as_ref().is_none_or(is_plain) && query.count == Count::None && query.grouping.is_none();
        if !is_short || !is_plain || self.catalog.indexes(collection.id).len() > INDEXES_MAX {
            return Ok(None);
        }
        // The time is asked for after a few hundred documents.
        Ok(at_once(self.in_memory().list_in_order(collection, query, &|| true))?.flatten())
    }
}

/// Whether a way is soon found for it, and a document soon asked.
fn is_plain(filter: &Filter) -> bool {
    let is_short = |test: &Test| !matches!(test, Test::In(values) if values.as_slice().len() > TESTS_MAX);
    let is_plain = |condition: &Condition| match condition {
        Condition::Field { tests, .. } => tests.len() <= TESTS_MAX && tests.iter().all(is_short),
        _ => false,
    };
    filter.conditions.len() <= TESTS_MAX && filter.conditions.iter().all(is_plain) && !filter.has_pattern()
}

/// What came of it, unless it was for another.
fn at_once<T>(result: Result<T, ReadError>) -> Result<Option<T>, ReadError> {
    match result {
        Err(ReadError::Storage(Error::Storage(error))) if error.kind == ErrorKind::NotInMemory => Ok(None),
        Err(ReadError::TooExpensive(_) | ReadError::FullScan { .. }) => Ok(None),
        result => result.map(Some),
    }
}
