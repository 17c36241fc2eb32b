//! Whether indexes hold exactly what follows from the documents: for tests and simulations, which look at every node. It
//! reads everything.

use std::collections::BTreeMap;

use aerodb_proto::Collection;

use super::{ReadError, View};
use crate::body;
use crate::error::Error;
use crate::index::{Index, Role};
use crate::state::record::Entry;
use crate::state::{self, INDEX, META, keys};

/// Entries by values and id, as their keys have them.
type Found = BTreeMap<Vec<u8>, Role>;

impl View {
    /// In what the entries of the collection's indexes differ from those that its documents have there, in words.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn index_problems(&self, collection: &Collection) -> Result<Vec<String>, ReadError> {
        let mut problems = Vec::new();
        let mut found = self.all_entries(collection)?;
        for index in self.catalog.indexes(collection.id) {
            let entries = found.remove(&index.definition.id).unwrap_or_default();
            let named = |problem: String| {
                format!(
                    "index {:?} of {:?}, {:?}: {problem}",
                    index.definition.name,
                    collection.name,
                    index.definition.state()
                )
            };
            problems.extend(self.problems_of(collection, index, &entries)?.into_iter().map(named));
        }
        // What is not in the catalog has no entries: whoever dropped it took them away.
        problems.extend(found.into_iter().map(|(id, entries)| {
            format!("{} entries of an index {id} of {:?}, which is not there", entries.len(), collection.name)
        }));
        Ok(problems)
    }

    fn problems_of(&self, collection: &Collection, index: &Index, found: &Found) -> Result<Vec<String>, ReadError> {
        let expected = self.expected_entries(collection, index)?;
        let show = |key: &Vec<u8>| {
            let id = index.values_length(key).map_or(&key[..], |length| &key[length..]);
            format!("{:?}: {key:02x?}", String::from_utf8_lossy(id))
        };
        let mut problems = Vec::new();
        for (key, role) in &expected {
            match found.get(key) {
                None => problems.push(format!("there is no entry of {}", show(key))),
                Some(other) if other != role => problems.push(format!("{other:?} and not {role:?} is {}", show(key))),
                Some(_) => {}
            }
        }
        let surplus = found.keys().filter(|key| !expected.contains_key(*key));
        problems.extend(surplus.map(|key| format!("there is an entry of {}", show(key))));
        let counted = state::index_counts(&|key| self.snapshot.get(META, key), collection.id, index.definition.id)?;
        if counted.entries != found.len() as u64 {
            problems.push(format!("{} entries are counted, and there are {}", counted.entries, found.len()));
        }
        if index.definition.unique {
            let values = |key: &Vec<u8>| index.values_length(key).map(|length| key[..length].to_vec());
            let claimed: Vec<_> = found.keys().filter_map(values).filter(|values| index.claims(values)).collect();
            let twice = claimed.windows(2).filter(|pair| pair[0] == pair[1]);
            problems.extend(twice.map(|pair| format!("two documents own {:02x?}", pair[0])));
        }
        Ok(problems)
    }

    /// All entries in the store, by index.
    fn all_entries(&self, collection: &Collection) -> Result<BTreeMap<u32, Found>, ReadError> {
        let (from, to) = (keys::collection_prefix(collection.id), keys::collection_end(collection.id));
        let mut scan = self.snapshot.scan(INDEX, &from, &to, false);
        let mut all: BTreeMap<u32, Found> = BTreeMap::new();
        while let Some((key, value)) = scan.next()? {
            let id = key.get(4..8).and_then(|id| id.try_into().ok()).map(u32::from_be_bytes);
            let id = id.ok_or_else(|| Error::malformed("an index", "an entry's key is too short"))?;
            all.entry(id).or_default().insert(keys::index_parts(key).to_vec(), Entry::decode(value)?.role);
        }
        Ok(all)
    }

    /// The entries that the documents have. While an index is built these are those of the documents that the build has been
    /// through and of those that were written since it began.
    fn expected_entries(&self, collection: &Collection, index: &Index) -> Result<Found, ReadError> {
        let mut expected = Found::new();
        if !index.is_kept() {
            return Ok(expected);
        }
        let after = match index.is_building() {
            true => Some(self.walk_progress(collection.id, index.definition.id)?.after.into_bytes()),
            false => None,
        };
        let mut documents = self.documents_at(collection.id, self.revision(), &keys::ids_behind(None), false);
        while let Some(document) = documents.next()? {
            let is_there = |after: &Vec<u8>| {
                document.id <= after.as_slice() || document.revision > index.definition.created_revision
            };
            if !after.as_ref().is_none_or(is_there) {
                continue;
            }
            let value = body::read(document.body, &index.members).map_err(|e| Error::malformed("a document", e))?;
            let entries = index.entries(&value).map_err(|e| Error::malformed("a document of an index", e))?;
            expected.extend(entries.into_iter().map(|(values, role)| ([&values[..], document.id].concat(), role)));
        }
        Ok(expected)
    }
}
