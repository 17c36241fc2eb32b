//! A door for the fuzz targets (`fuzz/`) into what is nobody else's business. Not part of the interface.

use crate::apply::{self, Applied, ApplyEntry};
use crate::engine::Engine;
use crate::error::Error;
use crate::filter::Filter;
use crate::index::bounds::{self, Interval};
use crate::index::encode;
use crate::json::{Path, Value};
use crate::limits::Limits;
use crate::prepare::{self, Inserts};

/// Keys of an index from one up to, not including, another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The first.
    pub from: Vec<u8>,
    /// Behind the last.
    pub to: Vec<u8>,
}

/// `value` as an index sorts it.
pub fn key(value: &Value, descending: bool) -> Vec<u8> {
    let mut key = Vec::new();
    encode::encode(value, &mut key);
    if descending {
        key.iter_mut().for_each(|byte| *byte = !*byte);
    }
    key
}

/// How many bytes the key takes that `bytes` begins with; `None` when there is none.
pub fn key_length(bytes: &[u8], descending: bool) -> Option<usize> {
    encode::length(bytes, descending)
}

/// Where keys of `path` are in an index, of documents that match `filter`; `None` when the filter says nothing that an
/// index knows. `single`: no document has several values.
pub fn bounds(filter: &Filter, path: &Path, single: bool, descending: bool) -> Option<Vec<KeyRange>> {
    let intervals = bounds::intervals(&bounds::tests_of(filter, path), single)?;
    let range = |interval: &Interval| {
        let interval = if descending { interval.inverted() } else { interval.clone() };
        let (from, to) = interval.keys(&[]);
        KeyRange { from, to }
    };
    Some(intervals.iter().map(range).collect())
}

/// The documents of an insert's body, by the quick way, if it takes them, and by the parser.
pub fn inserts(body: &[u8], limits: &Limits) -> (Option<Inserts>, Result<Inserts, prepare::Error>) {
    let mut no_id = String::new;
    (prepare::plain_insert(body, &mut no_id, limits), prepare::insert_by_values(body, &mut no_id, limits))
}

/// What applying `entries` would do; nothing is written.
///
/// # Errors
/// As [`Engine::apply`].
pub fn plan(engine: &Engine, entries: &[ApplyEntry]) -> Result<Vec<Applied>, Error> {
    let current = engine.current();
    Ok(apply::plan(&*current.store, &current.cached, &current.meta, entries)?.applied)
}
