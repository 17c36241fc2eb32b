//! Which documents have come to their end.

use std::collections::HashSet;

use aerodb_proto::{ExpireDocuments, SeenDocument};

use super::entries::Walk;
use super::{ReadError, View};
use crate::error::Error;

/// A search through an index with `ttl_seconds`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expired {
    /// What was found, as a command; it may hold no document.
    pub command: ExpireDocuments,
    /// Where to go on; `None` at the end of what may have expired.
    pub next: Option<Vec<u8>>,
}

impl View {
    /// The indexes whose documents have an end, as ids of collection and index.
    pub fn expiring(&self) -> Vec<(u32, u32)> {
        let of = |collection: u32| {
            let indexes = self.catalog.indexes(collection).iter().filter(|index| index.expires());
            indexes.map(move |index| (collection, index.definition.id))
        };
        self.catalog.iter().flat_map(|collection| of(collection.id)).collect()
    }

    /// Looks through up to `limit` entries of an index, from `from` on, for documents whose time is over at `now_ms`. Finds
    /// nothing when the index is none of [`View::expiring`].
    ///
    /// # Errors
    /// When the storage fails.
    pub fn expired(
        &self,
        (collection_id, index_id): (u32, u32),
        from: Option<&[u8]>,
        now_ms: u64,
        limit: usize,
    ) -> Result<Expired, ReadError> {
        let mut expired = Expired::default();
        let indexes = self.catalog.indexes(collection_id);
        let index = indexes.iter().find(|index| index.definition.id == index_id && index.expires());
        let (Some(index), Some(collection)) = (index, self.catalog.by_id(collection_id)) else { return Ok(expired) };
        expired.command = ExpireDocuments { collection_id, index_id, documents: Vec::new() };
        let Some((begin, end)) = index.expired_stretch(now_ms) else { return Ok(expired) };
        let begin = from.map_or(begin, <[u8]>::to_vec);
        if begin >= end {
            return Ok(expired);
        }
        let (mut walk, mut seen) =
            (Walk::new(self, collection_id, index, self.revision(), vec![(begin, end)], false), HashSet::new());
        for _ in 0..limit {
            if !walk.advance()? {
                return Ok(expired);
            }
            let id = String::from_utf8(walk.id()?.to_vec()).map_err(|e| Error::malformed("an id", e))?;
            // The least key behind this one.
            expired.next = Some([walk.key()?, &[0]].concat());
            // A document with several times has an entry for each.
            if !seen.insert(id.clone()) {
                continue;
            }
            let Some(stored) = self.get(collection, &id)? else { continue };
            let document = crate::json::parse(&stored.body, &crate::json::STORED);
            let document = document.map_err(|e| Error::malformed("a document", e))?;
            if index.expires_ms(&document).is_some_and(|end_ms| end_ms <= now_ms) {
                expired.command.documents.push(SeenDocument { id, revision: stored.revision });
            }
        }
        Ok(expired)
    }
}
