//! The versions of one document, in pages. As with lists, the first page fixes a revision and all its following pages are
//! read at it.

use aerodb_proto::Collection;

use super::cursor::Position;
use super::{ReadError, View};
use crate::json::Value;
use crate::state::record::Past;
use crate::state::{HISTORY, keys};

/// A version of a document and the revisions in which it held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The revision that wrote it.
    pub from: u64,
    /// The revision that replaced or deleted it; `None` while it is the latest.
    pub to: Option<u64>,
    /// The final JSON.
    pub body: bytes::Bytes,
}

/// Which versions are asked for.
#[derive(Clone, Debug)]
pub struct VersionsQuery {
    /// The document's id.
    pub id: String,
    /// Versions of the page.
    pub limit: usize,
    /// Where an earlier page ended.
    pub cursor: Option<String>,
    /// Who asks: cursors are sealed to it.
    pub caller: String,
}

/// A page of versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    /// Oldest first.
    pub items: Vec<Version>,
    /// Where the next page begins; `None` when there is none.
    pub next_cursor: Option<String>,
    /// The revision that the page was read at.
    pub revision: u64,
}

/// How many records are looked at between two looks at the clock.
const STEPS_PER_CHECK: u64 = 256;

impl View {
    /// The versions of a document that are kept, oldest first: the page that `query` asks for. `expired` is asked now
    /// and then; when it says true the query ends.
    ///
    /// # Errors
    /// When the cursor is not good, what it has yet to show is no longer kept, the query takes too long, or the storage
    /// fails.
    pub fn history(
        &self,
        collection: &Collection,
        query: &VersionsQuery,
        expired: &(dyn Fn() -> bool + Sync),
    ) -> Result<Versions, ReadError> {
        let fingerprint = format!("history\0{}\0{}\0{}", collection.id, query.id, query.caller).into_bytes();
        let start = match &query.cursor {
            Some(cursor) => Some(Start::of(&self.open_cursor(cursor, &fingerprint)?)?),
            None => None,
        };
        let revision = start.map_or(self.revision(), |start| start.revision);
        self.check_readable(collection, revision)?;
        let mut page = Page { limit: query.limit, bytes_max: self.limits.page_bytes_max, ..Page::default() };
        self.fill(collection, query, start, revision, &mut page, expired)?;
        let next_cursor = match page.items.last().filter(|_| page.more) {
            Some(last) => {
                let key = vec![number(last.from), number(last.to.unwrap_or(revision))];
                let position = Position { revision, key, id: query.id.clone() };
                Some(self.seal_cursor(&position, &fingerprint)?)
            }
            None => None,
        };
        Ok(Versions { items: page.items, next_cursor, revision })
    }

    /// Adds versions, oldest first, until the page is full.
    fn fill(
        &self,
        collection: &Collection,
        query: &VersionsQuery,
        start: Option<Start>,
        revision: u64,
        page: &mut Page,
        expired: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), ReadError> {
        let (collection, id) = (collection.id, query.id.as_bytes());
        let oldest = self.watermark(collection)?;
        // Whatever held up to the watermark may be gone by now. Behind a version that held that long there is nothing
        // of that kind; behind any other the page would have a hole.
        if start.is_some_and(|start| start.to < oldest) {
            return Err(ReadError::Compacted { oldest });
        }
        // The newest come first in the store, and this reads backwards.
        let end =
            start.map_or_else(|| keys::history_end(collection, id), |start| keys::history(collection, id, start.from));
        let mut scan = self.snapshot.scan(HISTORY, &keys::history_of(collection, id), &end, true);
        let mut steps = 0;
        while let Some((key, value)) = scan.next()? {
            steps += 1;
            if steps % STEPS_PER_CHECK == 0 && expired() {
                return Err(ReadError::TooExpensive("reading the versions ran out of time".into()));
            }
            let Some((_, from)) = keys::history_parts(key) else {
                return Err(crate::Error::malformed("an earlier version", "its key is damaged").into());
            };
            let to = Past::decode_to(value)?;
            if to <= oldest {
                continue;
            }
            if from > revision {
                return Ok(());
            }
            if page.is_full() {
                return Ok(());
            }
            let body = Past::decode(value.to_vec())?.document.body;
            page.push(Version { from, to: Some(to).filter(|to| *to <= revision), body });
        }
        let latest = self.document(collection, id)?.filter(|latest| latest.revision <= revision);
        if let Some(latest) = latest.filter(|latest| start.is_none_or(|start| latest.revision > start.from))
            && !page.is_full()
        {
            page.push(Version { from: latest.revision, to: None, body: latest.body });
        }
        Ok(())
    }
}

/// A page being filled.
#[derive(Default)]
struct Page {
    items: Vec<Version>,
    bytes: usize,
    limit: usize,
    bytes_max: usize,
    more: bool,
}

impl Page {
    /// Whether there is no room for one more, which there is; the page then says so.
    fn is_full(&mut self) -> bool {
        self.more = self.items.len() >= self.limit || self.bytes > self.bytes_max;
        self.more
    }

    fn push(&mut self, version: Version) {
        self.bytes += version.body.len();
        self.items.push(version);
    }
}

/// Where a page goes on: behind the version that held from and up to these revisions.
#[derive(Clone, Copy)]
struct Start {
    revision: u64,
    from: u64,
    to: u64,
}

impl Start {
    fn of(position: &Position) -> Result<Self, ReadError> {
        match position.key[..] {
            [Value::Int(from), Value::Int(to)] => {
                // Revisions lie below 2^53 (A4), and the seal says that these are ours.
                Ok(Self { revision: position.revision, from: from.unsigned_abs(), to: to.unsigned_abs() })
            }
            _ => Err(crate::Error::malformed("a cursor", "its place is no version").into()),
        }
    }
}

fn number(revision: u64) -> Value {
    i64::try_from(revision).map_or(Value::UInt(revision), Value::Int)
}
