//! What a store holds at one moment: ordered families of keys, persistent, so that keeping an old moment costs nothing.

use std::ops::Bound;

use aerodb_engine::kv::{Cf, Write};
use bytes::Bytes;
use rpds::RedBlackTreeMapSync;
use xxhash_rust::xxh3::Xxh3;

/// One family.
pub(crate) type Family = RedBlackTreeMapSync<Bytes, Bytes>;

/// All families of a store.
#[derive(Clone, Default)]
pub struct Content {
    families: Vec<Family>,
    /// A sum over everything that replicas must agree on; see [`Digested`].
    digest: u128,
}

/// Which keys of which family count for the digest.
pub(crate) type Digested = fn(Cf, &[u8]) -> bool;

impl Content {
    pub(crate) fn new(families: usize) -> Self {
        Self { families: vec![Family::new_sync(); families], digest: 0 }
    }

    pub(crate) fn families(&self) -> &[Family] {
        &self.families
    }

    pub(crate) fn family(&self, cf: Cf) -> Option<&Family> {
        self.families.get(usize::from(cf.0))
    }

    /// The value of `key`.
    pub fn get(&self, cf: Cf, key: &[u8]) -> Option<&Bytes> {
        self.family(cf)?.get(key)
    }

    /// The pairs of a family in the order of their keys.
    pub fn iter(&self, cf: Cf) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.family(cf).into_iter().flat_map(Family::iter)
    }

    /// A sum over the keys and values that replicas must agree on: it follows each write at the cost of that write, and
    /// does not depend on the order in which they came.
    pub fn digest(&self) -> u128 {
        self.digest
    }

    /// Carries out one write.
    pub(crate) fn apply(&mut self, write: &Write, digested: Digested) {
        match write {
            Write::Put { cf, key, value } => self.put(*cf, Bytes::copy_from_slice(key), value.clone(), digested),
            Write::Delete { cf, key } => self.remove(*cf, key, digested),
            Write::DeleteRange { cf, from, to } => {
                let Some(family) = self.family(*cf) else { return };
                let doomed: Vec<Bytes> = range(family, from, to).map(|(key, _)| key.clone()).collect();
                for key in doomed {
                    self.remove(*cf, &key, digested);
                }
            }
        }
    }

    pub(crate) fn put(&mut self, cf: Cf, key: Bytes, value: Bytes, digested: Digested) {
        self.uncount(cf, &key, digested);
        if digested(cf, &key) {
            self.digest = self.digest.wrapping_add(weigh(cf, &key, &value));
        }
        if let Some(family) = self.families.get_mut(usize::from(cf.0)) {
            family.insert_mut(key, value);
        }
    }

    fn remove(&mut self, cf: Cf, key: &[u8], digested: Digested) {
        self.uncount(cf, key, digested);
        if let Some(family) = self.families.get_mut(usize::from(cf.0)) {
            family.remove_mut(key);
        }
    }

    fn uncount(&mut self, cf: Cf, key: &[u8], digested: Digested) {
        let former = if digested(cf, key) { self.get(cf, key) } else { None };
        if let Some(former) = former {
            self.digest = self.digest.wrapping_sub(weigh(cf, key, former));
        }
    }
}

fn weigh(cf: Cf, key: &[u8], value: &[u8]) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(&[cf.0]);
    hash.update(&(key.len() as u64).to_le_bytes());
    hash.update(key);
    hash.update(value);
    hash.digest128()
}

/// The pairs of `family` in `from..to`; none when the bounds are the wrong way round.
pub(crate) fn range<'a>(
    family: &'a Family,
    from: &[u8],
    to: &[u8],
) -> impl DoubleEndedIterator<Item = (&'a Bytes, &'a Bytes)> + use<'a> {
    let to = if from < to { to } else { from };
    let (from, to) = (Bytes::copy_from_slice(from), Bytes::copy_from_slice(to));
    family.range::<Bytes, _>((Bound::Included(from), Bound::Excluded(to)))
}
