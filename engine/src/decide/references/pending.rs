//! Who refers to what by entries that are decided and not applied yet: the index in the state does not have them.

use std::collections::{BTreeMap, HashMap};

use aerodb_proto::IndexChange;
use bytes::Bytes;

use crate::catalog::Catalog;
use crate::error::Error;
use crate::index::{Index, encode};
use crate::kv::{self, Scan, Snapshot};
use crate::state::{INDEX, keys};

/// An entry of a reference: what its key begins with (see [`Index::referrers_key`]), and the document.
pub(in crate::decide) type Entry = (Vec<u8>, String);

/// The entries (role and values) that a document gets in an index, as far as they refer to anything.
pub(in crate::decide) fn entries(collection: u32, index: &Index, id: &str, added: &[Bytes]) -> Vec<Entry> {
    if index.reference().is_none() {
        return Vec::new();
    }
    let values = added.iter().filter_map(|entry| entry.get(1..)).filter(|values| encode::is_string(values));
    let key = |values: &[u8]| keys::index_entry(collection, index.definition.id, values, &[]);
    values.map(|values| (key(values), id.to_owned())).collect()
}

/// The same of all indexes that a document's new version changes.
pub(in crate::decide) fn referring(
    catalog: &Catalog,
    collection: u32,
    id: &str,
    changes: &[IndexChange],
) -> Vec<Entry> {
    let index = |change: &IndexChange| {
        let mut indexes = catalog.indexes(collection).iter();
        indexes.find(|index| index.definition.id == change.index_id)
    };
    let of = |change: &IndexChange| Some(entries(collection, index(change)?, id, &change.added));
    changes.iter().filter_map(of).flatten().collect()
}

/// Who refers to what, by entries that are not applied.
#[derive(Default)]
pub(in crate::decide) struct PendingReferrers {
    /// Of the command being decided.
    staged: Vec<Entry>,
    /// Those decided, each with the last entry of the log that brings it.
    decided: HashMap<Vec<u8>, BTreeMap<String, u64>>,
}

impl PendingReferrers {
    /// Notes entries of the command being decided.
    pub(in crate::decide) fn stage(&mut self, entries: Vec<Entry>) {
        self.staged.extend(entries);
    }

    /// What is staged becomes part of the entry `seq`; what that brings is returned, to be given up with it.
    pub(in crate::decide) fn commit(&mut self, seq: u64) -> Vec<Entry> {
        let staged = std::mem::take(&mut self.staged);
        for (key, id) in &staged {
            self.decided.entry(key.clone()).or_default().insert(id.clone(), seq);
        }
        staged
    }

    pub(in crate::decide) fn discard(&mut self) {
        self.staged.clear();
    }

    /// The entry is in the state as of `seq`, unless a later one brings it again.
    pub(in crate::decide) fn prune(&mut self, key: &[u8], id: &str, seq: u64) {
        let Some(ids) = self.decided.get_mut(key) else { return };
        if ids.get(id).is_some_and(|noted| *noted <= seq) {
            ids.remove(id);
        }
        if ids.is_empty() {
            self.decided.remove(key);
        }
    }

    /// The documents whose entries begin with `key`, in the order of their ids: those noted here, and those in the state.
    pub(in crate::decide) fn find<'s>(&self, snapshot: &'s dyn Snapshot, key: &[u8]) -> Found<'s> {
        let noted: Vec<String> = self.decided.get(key).into_iter().flat_map(BTreeMap::keys).rev().cloned().collect();
        // Ids hold no such byte, and no values are the beginning of others.
        let scan = snapshot.scan(INDEX, key, &[key, &[u8::MAX]].concat(), false);
        Found { noted, scan, key_length: key.len(), ahead: None, ended: false }
    }
}

/// Documents that have an entry, each once.
pub(in crate::decide) struct Found<'s> {
    /// In descending order.
    noted: Vec<String>,
    scan: Box<dyn Scan + 's>,
    key_length: usize,
    /// What the scan came to.
    ahead: Option<String>,
    ended: bool,
}

impl Found<'_> {
    /// The next one.
    ///
    /// # Errors
    /// When the storage fails.
    pub(in crate::decide) fn next(&mut self) -> Result<Option<String>, Error> {
        if self.ahead.is_none() && !self.ended {
            let length = self.key_length;
            let found: Option<kv::Pair<'_>> = self.scan.next()?;
            let id = found.map(|(key, _)| String::from_utf8(key.get(length..).unwrap_or_default().to_vec()));
            self.ahead = id.transpose().map_err(|e| Error::malformed("an index entry", e))?;
            self.ended = self.ahead.is_none();
        }
        let order = self.ahead.as_ref().zip(self.noted.last()).map(|(ahead, noted)| ahead.cmp(noted));
        Ok(match order {
            Some(std::cmp::Ordering::Equal) => {
                self.noted.pop();
                self.ahead.take()
            }
            Some(std::cmp::Ordering::Less) => self.ahead.take(),
            Some(std::cmp::Ordering::Greater) => self.noted.pop(),
            None => self.ahead.take().or_else(|| self.noted.pop()),
        })
    }
}
