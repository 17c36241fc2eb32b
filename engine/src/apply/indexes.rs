//! Index entries: they come and go as the leader worked out. An entry that goes leaves the interval in which it held.

use std::collections::{BTreeMap, btree_map};

use super::effects::put_figures;
use crate::error::Error;
use crate::index::Role;
use crate::kv::{Store, WriteBatch};
use crate::state::record::Entry;
use crate::state::{self, INDEX, INDEX_HISTORY, META, keys};
use aerodb_proto::IndexChange;

/// What a run of entries of the log does to indexes.
#[derive(Default)]
pub(super) struct IndexWrites {
    /// By key in [`INDEX`]: what is there now (`None`: nothing).
    entries: BTreeMap<Vec<u8>, Option<Entry>>,
    /// The same of documents that had none before, and which nobody has asked for since: most of all, and sorted once.
    fresh: Vec<(Vec<u8>, Entry)>,
    /// By key in [`INDEX_HISTORY`].
    former: BTreeMap<Vec<u8>, Entry>,
    /// By collection and index.
    counts: BTreeMap<(u32, u32), Delta>,
}

/// What has become of an index in this run.
#[derive(Clone, Copy, Default, PartialEq)]
struct Delta {
    entries: i64,
    has_members: bool,
    has_unsortable: bool,
}

impl IndexWrites {
    /// A document's new version changes its entries. `fresh`: it had none in these indexes, and nothing is looked for. Returns the
    /// keys of those that are former ones now.
    pub(super) fn change(
        &mut self,
        store: &dyn Store,
        revision: u64,
        (collection, id): (u32, &[u8]),
        changes: &[IndexChange],
        fresh: bool,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let mut former = Vec::new();
        if !fresh {
            self.settle()?;
        }
        for change in changes {
            let index = change.index_id;
            for entry in &change.removed {
                let (_, values) = split(entry)?;
                let key = keys::index_entry(collection, index, values, id);
                let Some(entry) = self.entry(store, &key)? else {
                    if change.building {
                        continue;
                    }
                    return Err(Error::Inconsistent(format!(
                        "index {index} of collection {collection} lacks an entry"
                    )));
                };
                let past = keys::index_past(&key, entry.revision);
                self.former.insert(past.clone(), Entry { revision, role: entry.role });
                former.push(past);
                self.entries.insert(key, None);
                self.counts.entry((collection, index)).or_default().entries -= 1;
            }
            for entry in &change.added {
                let (role, values) = split(entry)?;
                let key = keys::index_entry(collection, index, values, id);
                let entry = Entry { revision, role };
                match fresh {
                    true => self.fresh.push((key, entry)),
                    false => {
                        let stored = self.entry(store, &key)?;
                        self.add(key, entry, stored)?;
                    }
                }
                let delta = self.counts.entry((collection, index)).or_default();
                delta.entries += 1;
                delta.has_members |= role == Role::Member;
                delta.has_unsortable |= role == Role::Unsortable;
            }
        }
        Ok(former)
    }

    /// Adds an entry; `stored`: what the store has there, if this run has not touched it.
    fn add(&mut self, key: Vec<u8>, entry: Entry, stored: Option<Entry>) -> Result<(), Error> {
        match self.entries.entry(key) {
            btree_map::Entry::Vacant(vacant) if stored.is_none() => drop(vacant.insert(Some(entry))),
            btree_map::Entry::Occupied(mut known) if known.get().is_none() => drop(known.insert(Some(entry))),
            btree_map::Entry::Vacant(vacant) => return Err(twice(vacant.key())),
            btree_map::Entry::Occupied(known) => return Err(twice(known.key())),
        }
        Ok(())
    }

    /// Whatever is asked for from now on is among the entries.
    fn settle(&mut self) -> Result<(), Error> {
        std::mem::take(&mut self.fresh).into_iter().try_for_each(|(key, entry)| self.add(key, entry, None))
    }

    /// An index goes, and whatever this run did to it.
    pub(super) fn forget(&mut self, collection: u32, index: u32) {
        let prefix = keys::index_prefix(collection, index);
        self.fresh.retain(|(key, _)| !key.starts_with(&prefix));
        self.entries.retain(|key, _| !key.starts_with(&prefix));
        self.former.retain(|key, _| !key.starts_with(&prefix));
        self.counts.remove(&(collection, index));
    }

    /// A collection goes. Its entries are left to the collector.
    pub(super) fn forget_collection(&mut self, collection: u32) {
        self.counts.retain(|(id, _), _| *id != collection);
    }

    /// Writes it all down.
    pub(super) fn finish(&mut self, store: &dyn Store, batch: &mut WriteBatch) -> Result<(), Error> {
        if self.entries.is_empty() {
            self.fresh.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            if let Some(pair) = self.fresh.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                return Err(twice(&pair[0].0));
            }
            for (key, entry) in std::mem::take(&mut self.fresh) {
                batch.put(INDEX, key, entry.encode());
            }
        }
        self.settle()?;
        for (key, entry) in std::mem::take(&mut self.entries) {
            match entry {
                Some(entry) => batch.put(INDEX, key, entry.encode()),
                None => batch.delete(INDEX, key),
            }
        }
        for (key, entry) in std::mem::take(&mut self.former) {
            batch.put(INDEX_HISTORY, key, entry.encode());
        }
        for ((collection, index), delta) in std::mem::take(&mut self.counts) {
            if delta == Delta::default() {
                continue;
            }
            let mut counts = state::index_counts(&|key| store.get(META, key), collection, index)?;
            counts.entries = counts.entries.saturating_add_signed(delta.entries);
            counts.has_members |= delta.has_members;
            counts.has_unsortable |= delta.has_unsortable;
            put_figures(batch, keys::index_counts(collection, index), &counts);
        }
        Ok(())
    }

    fn entry(&self, store: &dyn Store, key: &[u8]) -> Result<Option<Entry>, Error> {
        if let Some(entry) = self.entries.get(key) {
            return Ok(*entry);
        }
        Ok(store.get(INDEX, key)?.map(|bytes| Entry::decode(&bytes)).transpose()?)
    }
}

fn twice(key: &[u8]) -> Error {
    let number = |at: usize| key.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_be_bytes(*bytes));
    Error::Inconsistent(format!("index {} of collection {} has an entry twice", number(4), number(0)))
}

/// An entry as the log carries it: its role and its values.
fn split(entry: &[u8]) -> Result<(Role, &[u8]), Error> {
    let parts = entry.split_first().and_then(|(role, values)| Some((Role::from_byte(*role)?, values)));
    parts.ok_or_else(|| Error::UnknownOperation("an index entry of an unknown role".into()))
}
