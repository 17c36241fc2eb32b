//! The change feed of a collection: what happened, in the order of (revision, position), the same on every node.

use aerodb_proto::Collection;

use super::{ChangeKind, ReadError, View};
use crate::planted;
use crate::state::record::{self, Past};
use crate::state::{CHANGE, HISTORY, keys};

/// An event of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The revision of the command.
    pub revision: u64,
    /// The event's place within the command.
    pub position: u32,
    /// What happened.
    pub kind: ChangeKind,
    /// The document's id.
    pub id: String,
    /// The document after it; `None` when it was deleted.
    pub after: Option<bytes::Bytes>,
    /// The document before it; `None` when it did not exist.
    pub before: Option<bytes::Bytes>,
}

impl Change {
    /// What it takes in memory, as far as that can be large.
    fn bytes(&self) -> usize {
        let image = |body: &Option<bytes::Bytes>| body.as_ref().map_or(0, bytes::Bytes::len);
        self.id.len() + image(&self.after) + image(&self.before)
    }
}

/// A page of the feed. A revision is never split between pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The events, in order.
    pub items: Vec<Change>,
    /// Whether there are more behind them.
    pub more: bool,
}

impl View {
    /// The events after revision `since`: a page ends with the revision in which it reaches `limit` events, or
    /// `bytes_max` bytes of images.
    ///
    /// # Errors
    /// When `since` is not reached or no longer kept, or the storage fails.
    pub fn changes(
        &self,
        collection: &Collection,
        since: u64,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Changes, ReadError> {
        self.check_readable(collection, since)?;
        let (from, to) = (keys::change(collection.id, since.saturating_add(1), 0), keys::collection_end(collection.id));
        let mut scan = self.snapshot.scan(CHANGE, &from, &to, false);
        let mut page = Changes::default();
        let mut bytes = 0;
        while let Some((key, value)) = scan.next()? {
            let Some((revision, position)) = keys::change_parts(key) else {
                return Err(crate::Error::malformed("a change", "its key is damaged").into());
            };
            let full = page.items.len() >= limit || bytes >= bytes_max;
            let between = page.items.last().is_some_and(|last| last.revision != revision);
            if full && (between || planted!("feed-splits-a-revision")) {
                page.more = true;
                break;
            }
            let event = record::Change::decode(value)?;
            let change = self.change(collection, revision, position, event)?;
            bytes += change.bytes();
            page.items.push(change);
        }
        Ok(page)
    }

    fn change(
        &self,
        collection: &Collection,
        revision: u64,
        position: u32,
        event: record::Change,
    ) -> Result<Change, ReadError> {
        let id = String::from_utf8(event.id.into()).map_err(|e| crate::Error::malformed("a change", e))?;
        let after = match event.kind {
            ChangeKind::Delete => None,
            ChangeKind::Insert | ChangeKind::Update => self.image(collection.id, &id, revision)?,
        };
        let before = match event.previous {
            0 => None,
            previous => self.image(collection.id, &id, previous)?,
        };
        Ok(Change { revision, position, kind: event.kind, id, after, before })
    }

    /// The version that `revision` wrote: the latest, or in history.
    fn image(&self, collection: u32, id: &str, revision: u64) -> Result<Option<bytes::Bytes>, ReadError> {
        if let Some(latest) = self.document(collection, id.as_bytes())?.filter(|latest| latest.revision == revision) {
            return Ok(Some(latest.body));
        }
        let past = self.snapshot.get(HISTORY, &keys::history(collection, id.as_bytes(), revision))?;
        Ok(past.map(Past::decode).transpose()?.map(|past| past.document.body))
    }
}
