//! Maps by short keys that callers choose, such as ids: hashbrown's, by foldhash, which is quicker there than the standard
//! library's hash. Its seeds differ from process to process, so that keys which fall together are not known beforehand;
//! against callers who find them by measuring it does not claim to help as much as SipHash. Such callers have a key of this database,
//! and what lies in these maps is bounded: what is decided and not applied, a run of entries, the groups of a query. In no order:
//! nothing that is replicated may depend on that of a map (A1).

use std::hash::Hash;

pub(crate) use hashbrown::{HashMap, HashSet};
use indexmap::Equivalent;

/// A map that keeps the order in which keys came.
pub(crate) type IndexMap<K, V> = indexmap::IndexMap<K, V, hashbrown::DefaultHashBuilder>;

/// A document, by its collection and its id.
pub(crate) type DocKey = (u32, String);

/// The same, to look for it: no copy of the id is made.
#[derive(Hash)]
pub(crate) struct DocRef<'a>(pub(crate) u32, pub(crate) &'a str);

impl Equivalent<DocKey> for DocRef<'_> {
    fn equivalent(&self, (collection, id): &DocKey) -> bool {
        self.0 == *collection && self.1 == id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_found_without_a_copy_of_its_id() {
        let key: DocKey = (7, "a".into());
        let map: HashMap<DocKey, u8> = [(key.clone(), 1)].into_iter().collect();
        let ordered: IndexMap<DocKey, u8> = [(key, 1)].into_iter().collect();
        for (reference, found) in [(DocRef(7, "a"), Some(&1)), (DocRef(7, "b"), None), (DocRef(8, "a"), None)] {
            assert_eq!((map.get(&reference), ordered.get(&reference)), (found, found));
        }
    }
}
