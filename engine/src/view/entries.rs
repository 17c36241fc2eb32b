//! The entries of an index as of a revision: those that are there now, merged with former ones whose interval covers it.

use std::collections::VecDeque;

use super::history::Peek;
use super::{ReadError, View};
use crate::error::Error;
use crate::index::{Index, Stretch};
use crate::kv::{Cf, prefix_end};
use crate::planted;
use crate::state::record::Entry;
use crate::state::{INDEX, INDEX_HISTORY, keys};

/// Stretches of a list whose entries are counted to know how many there are.
const STRETCHES_COUNTED_MAX: usize = 32;

/// What an index must take on disk so that the sizes of its parts, which are known by blocks, say something.
const PART_KNOWN_BYTES_MIN: u64 = 64 << 10;

/// How many entries are counted between two looks at the clock.
const ENTRIES_PER_CHECK: u64 = 4_096;

/// Entries of one stretch, ascending or descending by key.
struct Entries<'a> {
    revision: u64,
    reverse: bool,
    now: Peek<'a>,
    /// Nothing to add at the view's own revision.
    former: Option<Peek<'a>>,
    /// Where the last entry that was met lies.
    from_now: bool,
}

impl View {
    fn entries<'a>(
        &'a self,
        collection: u32,
        index: &Index,
        revision: u64,
        (from, to): &Stretch,
        reverse: bool,
    ) -> Entries<'a> {
        let id = index.definition.id;
        let key = |rest: &[u8]| keys::index_entry(collection, id, rest, &[]);
        let (from, to) = (key(from), key(to));
        let scan = |cf| Peek::new(self.snapshot.scan(cf, &from, &to, reverse));
        let past = revision < self.revision() && !planted!("former-entries-forgotten");
        let former = past.then(|| scan(INDEX_HISTORY));
        Entries { revision, reverse, now: scan(INDEX), former, from_now: true }
    }

    /// How many entries these stretches have at `revision`. `expired` is asked now and then.
    pub(super) fn count_all_entries(
        &self,
        collection: u32,
        index: &Index,
        revision: u64,
        stretches: &[Stretch],
        expired: &(dyn Fn() -> bool + Sync),
    ) -> Result<u64, ReadError> {
        let mut count = 0;
        for stretch in stretches {
            let mut entries = self.entries(collection, index, revision, stretch, false);
            while entries.advance()? {
                count += 1;
                if count % ENTRIES_PER_CHECK == 0 && expired() {
                    return Err(ReadError::TooExpensive("counting ran out of time: narrow the filter".into()));
                }
            }
        }
        Ok(count)
    }

    /// How many entries a stretch has now, counted up to `max`.
    pub(super) fn count_entries(
        &self,
        collection: u32,
        index: &Index,
        stretches: &[Stretch],
        max: u64,
    ) -> Result<u64, ReadError> {
        let mut count = 0;
        for stretch in stretches.iter().take(STRETCHES_COUNTED_MAX) {
            if count >= max {
                return Ok(count);
            }
            let mut entries = self.entries(collection, index, self.revision(), stretch, false);
            while count < max && entries.advance()? {
                count += 1;
            }
        }
        // The others are taken to be like those.
        let counted = stretches.len().clamp(1, STRETCHES_COUNTED_MAX) as u64;
        Ok((count * stretches.len() as u64 / counted).min(max))
    }

    /// The part of an index's entries that lie in these stretches, from 0 to 1, by what they take on disk; a half, while hardly
    /// any of it is there.
    pub(super) fn part_of_index(
        &self,
        collection: u32,
        index: &Index,
        stretches: &[Stretch],
    ) -> Result<f64, ReadError> {
        let id = index.definition.id;
        let (prefix, end) = (keys::index_prefix(collection, id), keys::index_end(collection, id));
        self.part_of(INDEX, &prefix, &end, stretches)
    }

    /// The part of what lies between `prefix`, with which all of it begins, and `end` that lies in these stretches, from 0 to 1,
    /// by what it takes on disk; a half, while hardly any of it is there.
    pub(super) fn part_of(&self, cf: Cf, prefix: &[u8], end: &[u8], stretches: &[Stretch]) -> Result<f64, ReadError> {
        let whole = self.snapshot.bytes_between(cf, prefix, end)?;
        if whole < PART_KNOWN_BYTES_MIN {
            return Ok(0.5);
        }
        let mut part = 0;
        for (from, to) in stretches.iter().take(STRETCHES_COUNTED_MAX) {
            part += self.snapshot.bytes_between(cf, &[prefix, from].concat(), &[prefix, to].concat())?;
        }
        let others = stretches.len() as f64 / stretches.len().clamp(1, STRETCHES_COUNTED_MAX) as f64;
        Ok((part as f64 * others / whole as f64).min(1.0))
    }
}

impl Entries<'_> {
    /// Goes on to the next entry; false at the end.
    fn advance(&mut self) -> Result<bool, ReadError> {
        loop {
            let now = self.now.head()?.map(|(key, _)| key);
            let former = match &mut self.former {
                Some(former) => former.head()?.map(|(key, _)| past(key)).transpose()?,
                None => None,
            };
            let from_now = match (now, former) {
                (None, None) => return Ok(false),
                (Some(now), Some((former, _))) if self.reverse => now >= former,
                (Some(now), Some((former, _))) => now <= former,
                (now, _) => now.is_some(),
            };
            let holds = match (from_now, &mut self.former) {
                (false, Some(former)) => {
                    former.pass();
                    let ((_, added), removed) = (past(former.key())?, Entry::decode(former.value())?.revision);
                    added <= self.revision && self.revision < removed
                }
                _ => {
                    self.now.pass();
                    Entry::decode(self.now.value())?.revision <= self.revision
                }
            };
            self.from_now = from_now;
            if holds {
                return Ok(true);
            }
        }
    }

    /// The values and the id of the entry that it went on to.
    fn key(&self) -> Result<&[u8], ReadError> {
        let key = match &self.former {
            Some(former) if !self.from_now => past(former.key())?.0,
            _ => self.now.key(),
        };
        Ok(keys::index_parts(key))
    }
}

fn past(key: &[u8]) -> Result<(&[u8], u64), Error> {
    keys::index_past_parts(key).ok_or_else(|| Error::malformed("a former index entry", "its key is damaged"))
}

/// A walk through stretches of an index, in the order of the index or against it. Entries with the same values come by id,
/// ascending, either way: that is how ties are broken.
pub(super) struct Walk<'a> {
    view: &'a View,
    collection: u32,
    index: &'a Index,
    revision: u64,
    /// Those not begun, the next one last.
    stretches: Vec<Stretch>,
    reverse: bool,
    running: Option<Entries<'a>>,
    backwards: Option<Backwards<'a>>,
    /// Keys of entries that share their values and were read backwards. The one that was met last is the first.
    group: VecDeque<Vec<u8>>,
}

/// A stretch that is read backwards.
struct Backwards<'a> {
    entries: Entries<'a>,
    stretch: Stretch,
    /// The key of the entry that ended the group before it.
    ahead: Option<Vec<u8>>,
}

/// Entries with the same values that are kept to be turned around; more are walked again, forwards.
const GROUP_MAX: usize = if cfg!(test) { 2 } else { 64 };

impl<'a> Walk<'a> {
    /// Walks `stretches`, which are in the order of the index.
    pub(super) fn new(
        view: &'a View,
        collection: u32,
        index: &'a Index,
        revision: u64,
        mut stretches: Vec<Stretch>,
        reverse: bool,
    ) -> Self {
        if !reverse {
            stretches.reverse();
        }
        let (running, backwards, group) = (None, None, VecDeque::new());
        Self { view, collection, index, revision, stretches, reverse, running, backwards, group }
    }

    /// Goes on to the next entry; false at the end.
    pub(super) fn advance(&mut self) -> Result<bool, ReadError> {
        self.group.pop_front();
        while self.group.is_empty() {
            if self.running.as_mut().map(Entries::advance).transpose()? == Some(true) {
                break;
            }
            self.running = None;
            let more = if self.reverse { self.previous_group()? } else { self.next_stretch() };
            if !more {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The values and the id of the entry that it went on to, as its key has them.
    pub(super) fn key(&self) -> Result<&[u8], ReadError> {
        match (self.group.front(), &self.running) {
            (Some(key), _) => Ok(key),
            (None, Some(running)) => running.key(),
            (None, None) => Ok(&[]),
        }
    }

    /// The id that this entry leads to.
    pub(super) fn id(&self) -> Result<&[u8], ReadError> {
        let key = self.key()?;
        Ok(&key[values_of(self.index, key)?.len()..])
    }

    fn entries(&self, stretch: &Stretch, reverse: bool) -> Entries<'a> {
        self.view.entries(self.collection, self.index, self.revision, stretch, reverse)
    }

    fn next_stretch(&mut self) -> bool {
        let stretch = self.stretches.pop();
        self.running = stretch.map(|stretch| self.entries(&stretch, false));
        self.running.is_some()
    }

    /// Turns to the entries that share the greatest values of those that are left; false when none are.
    fn previous_group(&mut self) -> Result<bool, ReadError> {
        loop {
            let Some(backwards) = &mut self.backwards else {
                let Some(stretch) = self.stretches.pop() else { return Ok(false) };
                let (entries, ahead) = (self.entries(&stretch, true), None);
                self.backwards = Some(Backwards { entries, stretch, ahead });
                continue;
            };
            let last = match backwards.ahead.take() {
                Some(ahead) => ahead,
                None if backwards.entries.advance()? => backwards.entries.key()?.to_vec(),
                None => {
                    self.backwards = None;
                    continue;
                }
            };
            let values = values_of(self.index, &last)?.len();
            self.group.push_front(last);
            while self.group.len() < GROUP_MAX {
                if !backwards.entries.advance()? {
                    return Ok(true);
                }
                let key = backwards.entries.key()?;
                // No values begin with other ones of the same index.
                if !key.starts_with(&self.group[0][..values]) {
                    backwards.ahead = Some(key.to_vec());
                    return Ok(true);
                }
                self.group.push_front(key.to_vec());
            }
            let values = self.group[0][..values].to_vec();
            self.walk_forwards(&values);
            return Ok(true);
        }
    }

    /// A group that is too large to be turned around.
    fn walk_forwards(&mut self, values: &[u8]) {
        self.group.clear();
        let Some(Backwards { stretch: (from, to), .. }) = self.backwards.take() else { return };
        let end = prefix_end(values).map_or_else(|| to.clone(), |end| end.min(to.clone()));
        let begin = from.clone().max(values.to_vec());
        if *from < *values {
            self.stretches.push((from, values.to_vec()));
        }
        self.running = Some(self.entries(&(begin, end), false));
    }
}

/// The values in the key of an entry.
fn values_of<'k>(index: &Index, key: &'k [u8]) -> Result<&'k [u8], ReadError> {
    let length =
        index.values_length(key).ok_or_else(|| Error::malformed("an index entry", "its values are damaged"))?;
    Ok(&key[..length])
}
