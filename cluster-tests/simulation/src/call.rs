//! What clients ask of a node, and how the node answers: what `api/` does with a request, without HTTP.

use std::time::Duration;

use aerodb_engine::View;
use aerodb_engine::filter::Filter;
use aerodb_engine::json::Value;
use aerodb_engine::order::Order;
use aerodb_engine::view::{Change, Count, ListQuery, ReadError, Way};
use aerodb_proto as proto;
use aerodb_raft::{Consistency, Error, Handle};
use bytes::Bytes;

use crate::check::model::query::Query;

/// A request.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Have a command decided.
    Write(Box<proto::Command>, Duration),
    /// Read something.
    Read(Wanted, Consistency, Duration),
    /// Make a node the leader.
    Promote(u64, Duration),
    /// A digest of everything that this node has.
    Digest,
    /// Whether the indexes that this node has are as they must be.
    Indexes,
}

/// What is to be read.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// A document, as of a revision or as it is.
    Get {
        /// Where.
        collection: String,
        /// Which.
        id: String,
        /// When.
        as_of: Option<u64>,
    },
    /// A page of a collection.
    List {
        /// Where.
        collection: String,
        /// What is asked for.
        query: Query,
        /// Items of the page.
        limit: usize,
        /// Where an earlier page ended.
        cursor: Option<String>,
        /// When.
        as_of: Option<u64>,
        /// Whether all that match are counted.
        count: bool,
    },
    /// Events of a collection.
    Changes {
        /// Where.
        collection: String,
        /// From where.
        since: u64,
        /// About how many.
        limit: usize,
    },
}

impl Wanted {
    /// Whose data it is.
    pub fn collection(&self) -> &str {
        let (Self::Get { collection, .. } | Self::List { collection, .. } | Self::Changes { collection, .. }) = self;
        collection
    }
}

/// An answer.
#[derive(Debug)]
pub enum Reply {
    /// A write was decided.
    Outcome(proto::Outcome),
    /// A read was answered.
    Seen(Seen),
    /// A node was made the leader, or not.
    Promoted(bool),
    /// A digest, and the index that it is of.
    Digest(u64, String),
    /// Indexes that are still being built, and what is wrong with any.
    Indexes(Vec<String>, Vec<String>),
    /// The node could not.
    Failed(Error),
    /// The storage failed while reading: the node is fenced, as the API does it.
    Broken(String),
    /// There is an answer to a read, and it is no.
    No(No),
}

/// A read that a node answered with no.
#[derive(Debug)]
pub struct No {
    /// At which revision the node looked.
    pub revision: u64,
    /// What the node says of a stale read: nothing is missing that was there so long ago.
    pub age: Option<Duration>,
    /// Why not.
    pub why: WhyNot,
}

/// Why a read was answered with no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhyNot {
    /// Revisions before this one are no longer kept.
    Compacted(u64),
    /// The revision is not reached yet.
    Ahead,
    /// There is no such collection.
    NoCollection,
    /// A reason that no client here gives cause for.
    Other(String),
}

/// What was read.
#[derive(Debug)]
pub struct Seen {
    /// At which revision.
    pub revision: u64,
    /// The bodies.
    pub bodies: Vec<Bytes>,
    /// Where the next page begins.
    pub cursor: Option<String>,
    /// How many there are, where it was asked.
    pub count: Option<u64>,
    /// Whether an index, or ids, led to them.
    pub by_index: bool,
    /// Events.
    pub changes: Vec<Change>,
    /// Whether there are more events behind them.
    pub more: bool,
    /// What the node says of a stale read: nothing is missing that was there so long ago.
    pub age: Option<Duration>,
}

/// Answers `ask` on the node of `handle`.
pub async fn answer(handle: &Handle, ask: Ask) -> Reply {
    match ask {
        Ask::Write(command, timeout) => match handle.write(*command, timeout).await {
            Ok(outcome) => Reply::Outcome(outcome),
            Err(error) => Reply::Failed(error),
        },
        Ask::Read(wanted, consistency, timeout) => match handle.read(consistency, timeout).await {
            Ok(read) => {
                let no = |why| Reply::No(No { revision: read.view.revision(), age: read.age, why });
                match look(&read.view, &wanted) {
                    Ok(Some(seen)) => Reply::Seen(Seen { age: read.age, ..seen }),
                    Ok(None) => no(WhyNot::NoCollection),
                    Err(error @ ReadError::Storage(_)) => broken(handle, &error),
                    Err(error) => no(why_not(&error)),
                }
            }
            Err(Error::RevisionAhead { current }) => Reply::No(No { revision: current, age: None, why: WhyNot::Ahead }),
            Err(error) => Reply::Failed(error),
        },
        Ask::Promote(node, timeout) => Reply::Promoted(handle.promote(node, timeout).await.is_ok()),
        Ask::Digest => match handle.local() {
            Ok(view) => match view.digest() {
                Ok(digest) => Reply::Digest(digest.applied_index, digest.digest),
                Err(error) => broken(handle, &error),
            },
            Err(error) => Reply::Failed(error),
        },
        Ask::Indexes => match handle.local() {
            Ok(view) => match indexes(&view) {
                Ok((building, problems)) => Reply::Indexes(building, problems),
                Err(error) => broken(handle, &error),
            },
            Err(error) => Reply::Failed(error),
        },
    }
}

/// Indexes that are being built, and what is wrong with any.
pub fn indexes(view: &View) -> Result<(Vec<String>, Vec<String>), ReadError> {
    let (mut building, mut problems) = (Vec::new(), Vec::new());
    for collection in view.collections() {
        problems.extend(view.index_problems(&collection)?);
        let own = view.indexes(&collection)?.into_iter();
        building.extend(own.filter(|index| index.built_documents.is_some()).map(|index| index.definition.name));
    }
    Ok((building, problems))
}

fn look(view: &View, wanted: &Wanted) -> Result<Option<Seen>, ReadError> {
    let Some(found) = view.collection(wanted.collection()) else { return Ok(None) };
    let nothing = Seen {
        revision: view.revision(),
        bodies: Vec::new(),
        cursor: None,
        count: None,
        by_index: false,
        changes: Vec::new(),
        more: false,
        age: None,
    };
    Ok(Some(match wanted {
        Wanted::Get { id, as_of, .. } => {
            let stored = match as_of {
                Some(revision) => view.get_at(&found, id, *revision)?,
                None => view.get(&found, id)?,
            };
            let bodies = stored.map(|stored| stored.body).into_iter().collect();
            Seen { revision: as_of.unwrap_or(view.revision()), bodies, ..nothing }
        }
        Wanted::List { query, limit, cursor, as_of, count, .. } => {
            let query = list_query(query, *limit, cursor.clone(), *as_of, *count);
            let page = view.list(&found, &query, &|| false)?;
            let by_index = match !found.indexes.is_empty() {
                true => {
                    let candidates = view.explain(&found, &query, false, &|| false)?.candidates;
                    candidates.iter().any(|candidate| candidate.chosen && candidate.way != Way::Scan)
                }
                false => false,
            };
            let (revision, count) = (page.revision, page.count);
            Seen { revision, bodies: page.items, cursor: page.next_cursor, count, by_index, ..nothing }
        }
        Wanted::Changes { since, limit, .. } => {
            let page = view.changes(&found, *since, *limit, 1 << 20)?;
            Seen { changes: page.items, more: page.more, ..nothing }
        }
    }))
}

fn why_not(error: &ReadError) -> WhyNot {
    match error {
        ReadError::Compacted { oldest } => WhyNot::Compacted(*oldest),
        ReadError::RevisionAhead { .. } => WhyNot::Ahead,
        other => WhyNot::Other(other.to_string()),
    }
}

fn broken(handle: &Handle, error: &ReadError) -> Reply {
    handle.fence().fence(&error.to_string());
    Reply::Broken(error.to_string())
}

fn list_query(query: &Query, limit: usize, cursor: Option<String>, as_of: Option<u64>, count: bool) -> ListQuery {
    let filter = query.filter().and_then(|text| {
        let limits = aerodb_engine::json::Limits { depth_max: 8 };
        let value: Option<Value> = aerodb_engine::json::parse(text.as_bytes(), &limits).ok();
        value.and_then(|value| Filter::parse(&value).ok())
    });
    ListQuery {
        filter,
        order: Order::parse(&query.order()).unwrap_or_default(),
        cursor,
        as_of,
        count: if count { Count::Exact } else { Count::None },
        caller: "simulation".to_owned(),
        ..ListQuery::of(limit)
    }
}
