//! A digest of the whole state: equal on two nodes exactly if they hold the same state at the same entry of the log.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::Xxh3;

use super::{ReadError, View};
use crate::kv::Cf;
use crate::state::record::{Entry, Past};
use crate::state::{CHANGE, DOC, HISTORY, INDEX, INDEX_HISTORY, META, keys};

/// A digest and the place in the log that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The index of the last entry applied.
    pub applied_index: u64,
    /// The revision.
    pub revision: u64,
    /// 128 bits, hexadecimal.
    pub digest: String,
}

impl View {
    /// Reads everything and digests it. What each node trims by itself, below the watermarks, is left out.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn digest(&self) -> Result<Digest, ReadError> {
        let mut hash = Xxh3::new();
        let mut watermarks = BTreeMap::new();
        for collection in self.catalog.iter() {
            watermarks.insert(collection.id, self.watermark(collection.id)?);
        }
        for cf in [DOC, CHANGE, HISTORY, INDEX, INDEX_HISTORY] {
            for (&id, &watermark) in &watermarks {
                let kept = |key: &[u8], value: &[u8]| -> Result<bool, ReadError> {
                    Ok(match cf {
                        HISTORY => Past::decode_to(value)? > watermark,
                        INDEX_HISTORY => Entry::decode(value)?.revision > watermark,
                        CHANGE => keys::change_parts(key).is_some_and(|(revision, _)| revision > watermark),
                        _ => true,
                    })
                };
                self.digest_range(&mut hash, cf, &keys::collection_prefix(id), &keys::collection_end(id), kept)?;
            }
        }
        self.digest_range(&mut hash, META, &[], &[u8::MAX], |key, _| Ok(!keys::is_local(key)))?;
        Ok(Digest {
            applied_index: self.applied_index(),
            revision: self.revision(),
            digest: format!("{:032x}", hash.digest128()),
        })
    }

    fn digest_range(
        &self,
        hash: &mut Xxh3,
        cf: Cf,
        from: &[u8],
        to: &[u8],
        kept: impl Fn(&[u8], &[u8]) -> Result<bool, ReadError>,
    ) -> Result<(), ReadError> {
        let mut scan = self.snapshot.scan(cf, from, to, false);
        while let Some((key, value)) = scan.next()? {
            if kept(key, value)? {
                hash.update(&[cf.0]);
                hash.update(&(key.len() as u64).to_le_bytes());
                hash.update(key);
                hash.update(&(value.len() as u64).to_le_bytes());
                hash.update(value);
            }
        }
        Ok(())
    }
}
