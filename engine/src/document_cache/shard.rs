//! Entries by the hash of their keys, and what is given up for new ones.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::log::{End, Header, Log, WORD_BYTES, zeroed};

/// Words of a segment: what one step gives up at once.
const SEGMENT_WORDS_MAX: usize = (128 << 10) / WORD_BYTES;
/// Segments of the smallest shard.
const SEGMENTS_MIN: usize = 4;
/// Bytes of entries for each slot. The smallest documents take about that, and as many slots again stay free.
const SLOT_FOR_BYTES: usize = 128;

/// Of fewer, three quarters and one would be all: some must stay free.
const SLOTS_MIN: usize = 8;

/// A slot: whether the entry was asked for, a part of its hash, and its position.
const ASKED_FOR: u64 = 1 << 63;
const TAG: u64 = 0x7fff << POSITION_BITS;
const POSITION_BITS: u32 = 48;
const POSITION: u64 = (1 << POSITION_BITS) - 1;
const FREE: u64 = 0;

/// A part of the cache, by a part of the hash. Readers take no lock; a mistake of theirs, made while others write, is to find
/// nothing.
pub(super) struct Shard {
    /// Open addressing, place after place: a power of two of them.
    slots: Box<[AtomicU64]>,
    log: Log,
    writer: Mutex<Writer>,
}

struct Writer {
    end: End,
    entries: usize,
    /// Words of those entries: the log has others, which nothing leads to any more.
    words: usize,
}

impl Shard {
    /// An empty one of at most `bytes_max` bytes, and a sixteenth to an eighth of that for its slots.
    pub(super) fn new(bytes_max: usize) -> Self {
        let segment_words = (bytes_max / WORD_BYTES / SEGMENTS_MIN).min(SEGMENT_WORDS_MAX);
        let segments = (bytes_max / WORD_BYTES).checked_div(segment_words).unwrap_or(0);
        let (log, end) = Log::new(segments, segment_words);
        let slots = zeroed((bytes_max / SLOT_FOR_BYTES).next_power_of_two().max(SLOTS_MIN));
        Self { slots, log, writer: Mutex::new(Writer { end, entries: 0, words: 0 }) }
    }

    /// Loads the slot that an entry of this hash is first looked for in.
    pub(super) fn touch_slot(&self, hash: u64) -> u64 {
        self.slots[self.home(hash)].load(Ordering::Relaxed)
    }

    /// Loads the entry that this slot leads to.
    pub(super) fn touch_entry(&self, hash: u64) -> u64 {
        match self.touch_slot(hash) {
            slot if is_of(slot, hash) => self.log.touch(slot & POSITION),
            _ => 0,
        }
    }

    /// Appends the document of `key` to `into`; false if it is not there.
    pub(super) fn get(&self, hash: u64, key: &[u8], into: &mut Vec<u8>) -> bool {
        for place in self.places(hash) {
            let slot = self.slots[place].load(Ordering::Acquire);
            if slot == FREE {
                return false;
            }
            if is_of(slot, hash) && self.log.read(slot & POSITION, key, into) {
                if slot & ASKED_FOR == 0 {
                    // Lost where the slot has changed, which does no harm.
                    let asked_for = slot | ASKED_FOR;
                    let _ = self.slots[place].compare_exchange(slot, asked_for, Ordering::Relaxed, Ordering::Relaxed);
                }
                return true;
            }
        }
        false
    }

    /// Takes in a document, in the place of what was there of `key`, if it `is_latest` once no other can come in between. One that
    /// is too large is not kept.
    pub(super) fn insert(&self, hash: u64, key: &[u8], document: &[u8], is_latest: impl FnOnce() -> bool) {
        let header = Header::new(key, document, hash);
        let words = header.words();
        let mut writer = self.writer.lock();
        if !is_latest() {
            return;
        }
        let is_too_large = words > self.log.entry_words_max() || key.is_empty() || key.len() > usize::from(u16::MAX);
        if is_too_large || self.log.is_at_its_end(&writer.end, POSITION) {
            return self.remove_of(&mut writer, hash, key);
        }
        while writer.entries >= self.entries_max() {
            self.make_room(&mut writer);
        }
        let position = loop {
            match self.log.append(&mut writer.end, header, key, document) {
                Some(position) => break position,
                None => self.make_room(&mut writer),
            }
        };
        let former = self.find(hash, |position| self.log.is_of(position, key));
        let slot = tag(hash) | position;
        match former {
            Some(place) => {
                let former = self.slots[place].swap(slot, Ordering::Release);
                writer.words -= self.words_at(former & POSITION);
            }
            None => {
                self.put(hash, slot);
                writer.entries += 1;
            }
        }
        writer.words += words;
    }

    /// Forgets the document of `key`.
    pub(super) fn remove(&self, hash: u64, key: &[u8]) {
        self.remove_of(&mut self.writer.lock(), hash, key);
    }

    fn remove_of(&self, writer: &mut Writer, hash: u64, key: &[u8]) {
        if let Some(place) = self.find(hash, |position| self.log.is_of(position, key)) {
            self.forget(writer, place);
        }
    }

    /// Documents, and bytes of them with their keys.
    pub(super) fn held(&self) -> (usize, usize) {
        let writer = self.writer.lock();
        (writer.entries, writer.words * WORD_BYTES)
    }

    /// Bytes of the log, those of no use with them.
    #[cfg(test)]
    pub(super) fn spanned_bytes(&self) -> usize {
        self.log.spanned_words(&self.writer.lock().end) * WORD_BYTES
    }

    #[cfg(test)]
    pub(super) fn clear(&self) {
        let mut writer = self.writer.lock();
        self.slots.iter().for_each(|slot| slot.store(FREE, Ordering::Release));
        (writer.entries, writer.words) = (0, 0);
    }

    /// So many places stay free that a search is short.
    fn entries_max(&self) -> usize {
        self.slots.len() / 4 * 3 + 1
    }

    fn words_at(&self, position: u64) -> usize {
        self.log.header(position).map_or(0, |header| header.words())
    }

    fn home(&self, hash: u64) -> usize {
        hash as usize & (self.slots.len() - 1)
    }

    /// The places where an entry of this hash may be, in their order.
    fn places(&self, hash: u64) -> impl Iterator<Item = usize> {
        let (home, mask) = (self.home(hash), self.slots.len() - 1);
        (0..=mask).map(move |step| (home + step) & mask)
    }

    /// The place of the entry of this hash whose position `is_it`.
    fn find(&self, hash: u64, is_it: impl Fn(u64) -> bool) -> Option<usize> {
        let slots = self.places(hash).map(|place| (place, self.slots[place].load(Ordering::Relaxed)));
        let mut slots = slots.take_while(|(_, slot)| *slot != FREE);
        slots.find(|(_, slot)| is_of(*slot, hash) && is_it(slot & POSITION)).map(|(place, _)| place)
    }

    /// Puts a slot into the first free place.
    fn put(&self, hash: u64, slot: u64) {
        let free = self.places(hash).find(|place| self.slots[*place].load(Ordering::Relaxed) == FREE);
        if let Some(place) = free {
            self.slots[place].store(slot, Ordering::Release);
        }
    }

    /// Frees a place, and moves up what would not be found behind it any more.
    fn forget(&self, writer: &mut Writer, place: usize) {
        writer.entries -= 1;
        writer.words -= self.words_at(self.slots[place].load(Ordering::Relaxed) & POSITION);
        let mask = self.slots.len() - 1;
        let (mut free, mut place) = (place, place);
        loop {
            place = (place + 1) & mask;
            let slot = self.slots[place].load(Ordering::Relaxed);
            let Some(header) =
                Some(slot).filter(|slot| *slot != FREE).and_then(|slot| self.log.header(slot & POSITION))
            else {
                break;
            };
            let from_home = place.wrapping_sub(self.home(header.hash)) & mask;
            if from_home >= place.wrapping_sub(free) & mask {
                self.slots[free].store(slot, Ordering::Release);
                free = place;
            }
        }
        self.slots[free].store(FREE, Ordering::Release);
    }

    /// Makes room behind the last entry: in a segment that was not in use yet, or in the oldest one. What was asked for there goes
    /// to the end once more, half a segment of it at most. While most of the log is of no use, it is made use of instead of more
    /// memory, and what is of use stays.
    fn make_room(&self, writer: &mut Writer) {
        let has_slots = writer.entries < self.entries_max();
        let is_mostly_dead = has_slots && 2 * writer.words < self.log.spanned_words(&writer.end);
        if has_slots && !is_mostly_dead && self.log.grow(&mut writer.end) {
            return;
        }
        let (mut kept, mut words) = (Vec::new(), 0);
        for (position, header, entry) in self.log.oldest() {
            let Some(place) = self.find(header.hash, |at| at == position) else { continue };
            let asked_for = self.slots[place].load(Ordering::Relaxed) & ASKED_FOR != 0;
            if (asked_for || is_mostly_dead) && words + entry.len() <= self.log.entry_words_max() {
                words += entry.len();
                kept.push((position, header.hash, entry));
            } else {
                self.forget(writer, place);
            }
        }
        self.log.take_up_oldest(&mut writer.end);
        for (former, hash, entry) in kept {
            if let Some(position) = self.log.append_again(&mut writer.end, &entry)
                && let Some(place) = self.find(hash, |at| at == former)
            {
                self.slots[place].store(tag(hash) | position, Ordering::Release);
            }
        }
    }
}

fn tag(hash: u64) -> u64 {
    hash & TAG
}

fn is_of(slot: u64, hash: u64) -> bool {
    slot & TAG == tag(hash) && slot & POSITION != 0
}
