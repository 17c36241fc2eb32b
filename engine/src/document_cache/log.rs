//! Where the entries of a shard lie: a log of segments. New entries go to its end, and its oldest segment is taken up again as a
//! whole when there is room for no other: a log-structured memory, after Rumble, Kejriwal and Ousterhout (FAST 2014).
//!
//! One thread writes at a time; readers take no lock. They read words that may be overwritten under their hands, and ask
//! afterwards: the log's begin is moved *before* a segment is written anew, so an entry that lies behind it was whole.

use std::slice::Iter;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use zerocopy::FromZeros;

/// Words before an entry's key: what is long how, and the hash of the key.
const HEADER_WORDS: usize = 2;
pub(super) const WORD_BYTES: usize = size_of::<u64>();

/// Zeroes that take memory when they are first touched.
pub(super) fn zeroed(words: usize) -> Box<[AtomicU64]> {
    <[AtomicU64]>::new_box_zeroed_with_elems(words).expect("memory can be had for documents: lower cache_bytes_max")
}

/// The log. A position counts words from the first one ever written.
pub(super) struct Log {
    segment_words: usize,
    segments: Box<[OnceLock<Box<[AtomicU64]>>]>,
    /// Which segment is the n-th of the log, by the remainder of n.
    order: Box<[AtomicU32]>,
    /// The position where the log begins.
    begin: AtomicU64,
}

/// What whoever writes knows of the log.
pub(super) struct End {
    /// The next entry's position.
    at: u64,
    /// Words left in the last segment.
    room: usize,
    /// Segments that have memory. All of them are part of the log.
    segments: usize,
}

/// What stands before the key of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    key_bytes: usize,
    document_bytes: usize,
    pub(super) hash: u64,
}

impl Header {
    pub(super) fn new(key: &[u8], document: &[u8], hash: u64) -> Self {
        Self { key_bytes: key.len(), document_bytes: document.len(), hash }
    }

    /// Words of the whole entry.
    pub(super) fn words(&self) -> usize {
        HEADER_WORDS + self.key_bytes.div_ceil(WORD_BYTES) + self.document_bytes.div_ceil(WORD_BYTES)
    }

    fn to_words(self) -> [u64; HEADER_WORDS] {
        [(self.document_bytes as u64) << 16 | self.key_bytes as u64, self.hash]
    }

    fn of(words: &[AtomicU64]) -> Option<Self> {
        let [lengths, hash] = words.first_chunk()?.each_ref().map(|word| word.load(Ordering::Relaxed));
        let (key_bytes, document_bytes) = ((lengths & 0xffff) as usize, (lengths >> 16) as usize);
        Some(Self { key_bytes, document_bytes, hash })
    }
}

impl Log {
    /// One of so many segments at most, none of which has memory yet.
    pub(super) fn new(segments: usize, segment_words: usize) -> (Self, End) {
        let order = (0..segments).map(|_| AtomicU32::new(0)).collect();
        let segments = (0..segments).map(|_| OnceLock::new()).collect();
        // No entry is at 0, which stands for none.
        let begin = segment_words as u64;
        let log = Self { segment_words, segments, order, begin: AtomicU64::new(begin) };
        (log, End { at: begin, room: 0, segments: 0 })
    }

    /// Words of the largest entry: two of them find room in a segment.
    pub(super) fn entry_words_max(&self) -> usize {
        if self.segments.is_empty() { 0 } else { self.segment_words / 2 }
    }

    /// Where the segment's number in the log is noted which `position` lies in.
    fn place(&self, position: u64) -> Option<&AtomicU32> {
        let number = position.checked_div(self.segment_words as u64)?;
        self.order.get(number.checked_rem(self.order.len() as u64)? as usize)
    }

    /// The words from a position to the end of its segment. What lies there is only known to be what was written once
    /// [`Log::still_holds`] says so.
    fn words(&self, position: u64) -> &[AtomicU64] {
        let Some(place) = self.place(position) else { return &[] };
        let segment = place.load(Ordering::Relaxed);
        let words = self.segments.get(segment as usize).and_then(OnceLock::get);
        words.map_or(&[], |words| &words[(position % self.segment_words as u64) as usize..])
    }

    /// Whether what was read at `position`, before, was what had been written there.
    fn still_holds(&self, position: u64) -> bool {
        // With the fence in `take_up`: who has read a word that was written behind that one sees the begin that came before it.
        fence(Ordering::Acquire);
        self.begin.load(Ordering::Relaxed) <= position
    }

    /// Loads what an entry begins with, so that it is near when it is read.
    pub(super) fn touch(&self, position: u64) -> u64 {
        let words = self.words(position);
        let load = |at: usize| words.get(at).map_or(0, |word| word.load(Ordering::Relaxed));
        load(0) ^ load(8) ^ load(16) ^ load(24) ^ load(32) ^ load(40)
    }

    /// Appends the document of the entry at `position` to `into`; false if the entry is not there, or not of `key`.
    pub(super) fn read(&self, position: u64, key: &[u8], into: &mut Vec<u8>) -> bool {
        let words = self.words(position);
        let Some(header) = Header::of(words) else { return false };
        let key_words = key.len().div_ceil(WORD_BYTES);
        if header.key_bytes != key.len() || header.words() > words.len() {
            return false;
        }
        let (found, document) = words[HEADER_WORDS..header.words()].split_at(key_words);
        if !holds_bytes(found, key) {
            return false;
        }
        let begin = into.len();
        into.resize(begin + document.len() * WORD_BYTES, 0);
        for (bytes, word) in into[begin..].chunks_exact_mut(WORD_BYTES).zip(document) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        let holds = self.still_holds(position);
        into.truncate(if holds { begin + header.document_bytes } else { begin });
        holds
    }

    /// Whether the entry that whoever writes knows to be at `position` is of `key`.
    pub(super) fn is_of(&self, position: u64, key: &[u8]) -> bool {
        let words = self.words(position);
        let header = Header::of(words);
        header.is_some_and(|header| header.key_bytes == key.len() && holds_bytes(&words[HEADER_WORDS..], key))
    }

    /// The header of an entry that whoever writes knows to be there.
    pub(super) fn header(&self, position: u64) -> Option<Header> {
        Header::of(self.words(position))
    }

    /// Adds an entry and returns its position; `None` when there is no room for it in the last segment.
    pub(super) fn append(&self, end: &mut End, header: Header, key: &[u8], document: &[u8]) -> Option<u64> {
        let position = take(end, header.words())?;
        let mut places = self.words(position).iter();
        store_words(&mut places, &header.to_words());
        store_bytes(&mut places, key);
        store_bytes(&mut places, document);
        Some(position)
    }

    /// Adds what [`Log::oldest`] gave.
    pub(super) fn append_again(&self, end: &mut End, words: &[u64]) -> Option<u64> {
        let position = take(end, words.len())?;
        store_words(&mut self.words(position).iter(), words);
        Some(position)
    }

    /// Words between the log's begin and its end.
    pub(super) fn spanned_words(&self, end: &End) -> usize {
        (end.at - self.begin.load(Ordering::Relaxed)) as usize
    }

    /// Whether positions might go beyond `last`: after petabytes.
    pub(super) fn is_at_its_end(&self, end: &End, last: u64) -> bool {
        end.at + 2 * self.segment_words as u64 > last
    }

    /// Goes on in a segment that was not in use yet; false when all are.
    pub(super) fn grow(&self, end: &mut End) -> bool {
        let Some(segment) = self.segments.get(end.segments) else { return false };
        segment.get_or_init(|| zeroed(self.segment_words));
        end.segments += 1;
        self.go_on(end, end.segments as u32 - 1);
        true
    }

    /// Goes on in the oldest segment. Its entries are gone.
    pub(super) fn take_up_oldest(&self, end: &mut End) {
        let begin = self.begin.load(Ordering::Relaxed);
        let Some(segment) = self.place(begin).map(|place| place.load(Ordering::Relaxed)) else { return };
        self.begin.store(begin + self.segment_words as u64, Ordering::Relaxed);
        // Whoever reads a word that is written from here on sees that begin as well.
        fence(Ordering::Release);
        self.go_on(end, segment);
    }

    fn go_on(&self, end: &mut End, segment: u32) {
        // Whoever goes through the former last segment sees where its entries end.
        if end.room > 0
            && let Some(word) = self.words(end.at).first()
        {
            word.store(0, Ordering::Relaxed);
        }
        end.at += end.room as u64;
        end.room = self.segment_words;
        if let Some(place) = self.place(end.at) {
            place.store(segment, Ordering::Relaxed);
        }
    }

    /// Position, header and words of each entry of the oldest segment.
    pub(super) fn oldest(&self) -> impl Iterator<Item = (u64, Header, Vec<u64>)> {
        let begin = self.begin.load(Ordering::Relaxed);
        let mut rest = self.words(begin);
        let mut position = begin;
        std::iter::from_fn(move || {
            let header = Header::of(rest).filter(|header| header.key_bytes > 0)?;
            let (entry, others) = rest.split_at_checked(header.words())?;
            let at = position;
            (rest, position) = (others, position + entry.len() as u64);
            Some((at, header, entry.iter().map(|word| word.load(Ordering::Relaxed)).collect()))
        })
    }
}

/// Takes so many words at the end of the last segment, if it has them.
fn take(end: &mut End, words: usize) -> Option<u64> {
    end.room = end.room.checked_sub(words)?;
    let position = end.at;
    end.at += words as u64;
    Some(position)
}

fn store_words(places: &mut Iter<'_, AtomicU64>, words: &[u64]) {
    words.iter().zip(places).for_each(|(word, place)| place.store(*word, Ordering::Relaxed));
}

fn store_bytes(places: &mut Iter<'_, AtomicU64>, bytes: &[u8]) {
    let (whole, rest) = bytes.as_chunks();
    for (word, place) in whole.iter().zip(places.by_ref()) {
        place.store(u64::from_le_bytes(*word), Ordering::Relaxed);
    }
    if !rest.is_empty()
        && let Some(place) = places.next()
    {
        place.store(filled_up(rest), Ordering::Relaxed);
    }
}

/// Whether what begins here is what [`store_bytes`] makes of `bytes`.
fn holds_bytes(words: &[AtomicU64], bytes: &[u8]) -> bool {
    let (whole, rest) = bytes.as_chunks();
    let mut words = words.iter().map(|word| word.load(Ordering::Relaxed));
    whole.iter().all(|bytes| words.next() == Some(u64::from_le_bytes(*bytes)))
        && (rest.is_empty() || words.next() == Some(filled_up(rest)))
}

/// Less than a word of bytes, filled up with zeroes.
fn filled_up(bytes: &[u8]) -> u64 {
    let mut word = [0; WORD_BYTES];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}
