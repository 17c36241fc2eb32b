//! The operations of the data API, as they are recorded: a history says everything that was asked.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Versions of a page of `_history` for which nobody named a number.
pub const HISTORY_PAGE: u64 = 100;

/// One operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    /// `POST /api/{collection}`: one document, or several that are inserted together or not at all.
    Insert {
        /// Where.
        collection: String,
        /// What; documents without an `id` get one.
        documents: Vec<Value>,
        /// Sent as an array, even of one.
        #[serde(default)]
        many: bool,
        /// `Idempotency-Key`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
    /// `PUT /api/{collection}/{id}`: replaces or creates.
    Put {
        /// Where.
        collection: String,
        /// Which.
        id: String,
        /// The whole new document.
        document: Value,
        /// Only if.
        #[serde(default)]
        condition: Condition,
        /// `Idempotency-Key`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
    /// `PATCH /api/{collection}/{id}`: a JSON Merge Patch.
    Patch {
        /// Where.
        collection: String,
        /// Which.
        id: String,
        /// What changes.
        patch: Value,
        /// Only if.
        #[serde(default)]
        condition: Condition,
        /// `Idempotency-Key`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
    /// `DELETE /api/{collection}/{id}`.
    Delete {
        /// Where.
        collection: String,
        /// Which.
        id: String,
        /// Only if.
        #[serde(default)]
        condition: Condition,
        /// `Idempotency-Key`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
    /// `GET /api/{collection}/{id}`.
    Get {
        /// Where.
        collection: String,
        /// Which.
        id: String,
        /// How fresh.
        #[serde(default)]
        read: Read,
    },
    /// `GET /api/{collection}`: a page of a list.
    List {
        /// Where.
        collection: String,
        /// What is asked for.
        query: Query,
        /// How fresh.
        #[serde(default)]
        read: Read,
    },
    /// `GET /api/{collection}/{id}/_history`.
    History {
        /// Where.
        collection: String,
        /// Which.
        id: String,
        /// Versions of the page; the node's own choice, which is [`HISTORY_PAGE`], if there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u64>,
    },
    /// `GET /api/{collection}/_changes`: what happened since a revision, up to now or about `limit` changes.
    Changes {
        /// Where.
        collection: String,
        /// Changes after this revision.
        since: u64,
        /// About so many.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u64>,
    },
    /// `GET /api/{collection}/_changes?follow=true`: one connection of a subscriber, until it ends or breaks.
    Follow {
        /// Where.
        collection: String,
        /// Which subscriber; each resumes where it was, wherever it connects next.
        subscriber: u64,
        /// Changes after this revision.
        since: u64,
        /// Once the load is over: the revision that must come, since there is nothing against it any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<u64>,
    },
}

/// What a write asks of the document that is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Nothing.
    #[default]
    None,
    /// `If-Match: "revision"`.
    Revision(u64),
    /// `If-Match: *`.
    Exists,
    /// `If-None-Match: *`.
    Absent,
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// How the node makes sure.
    #[serde(default)]
    pub consistency: Consistency,
    /// Read history at this revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<u64>,
}

/// How a node makes sure that it is fresh enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// Everything acknowledged before the read began.
    #[default]
    Linearizable,
    /// At least this revision.
    Session(u64),
    /// Whatever the node has, at most so many milliseconds old.
    Stale(Option<u64>),
}

/// A list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Query {
    /// Which documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Value>,
    /// Which fields, such as `a,b`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<String>,
    /// In which order, such as `n.desc,a`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// Items of the page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Items to skip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Ask how many there are.
    #[serde(default)]
    pub count: bool,
    /// Sent as `POST /api/{collection}/query`.
    #[serde(default)]
    pub as_body: bool,
    /// How many items the pages before this one had; the page begins after them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Which walk over pages it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub walk: Option<String>,
    /// The revision that the first page was read at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// The cursor of the page before. Sealed and long: not recorded, `after` and `at` say what it stands for.
    #[serde(skip)]
    pub cursor: Option<String>,
}

impl Op {
    /// The operation's name in the history.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Insert { .. } => "insert",
            Op::Put { .. } => "put",
            Op::Patch { .. } => "patch",
            Op::Delete { .. } => "delete",
            Op::Get { .. } => "get",
            Op::List { .. } => "list",
            Op::History { .. } => "history",
            Op::Changes { .. } => "changes",
            Op::Follow { .. } => "follow",
        }
    }

    /// Whether it may change anything.
    pub fn is_write(&self) -> bool {
        matches!(self, Op::Insert { .. } | Op::Put { .. } | Op::Patch { .. } | Op::Delete { .. })
    }

    /// Where.
    pub fn collection(&self) -> &str {
        match self {
            Op::Insert { collection, .. }
            | Op::Put { collection, .. }
            | Op::Patch { collection, .. }
            | Op::Delete { collection, .. }
            | Op::Get { collection, .. }
            | Op::List { collection, .. }
            | Op::History { collection, .. }
            | Op::Changes { collection, .. }
            | Op::Follow { collection, .. } => collection,
        }
    }

    /// What it asks of the document that is there.
    pub fn condition(&self) -> Condition {
        match self {
            Op::Put { condition, .. } | Op::Patch { condition, .. } | Op::Delete { condition, .. } => *condition,
            _ => Condition::None,
        }
    }

    /// Its `Idempotency-Key`.
    pub fn key(&self) -> Option<&str> {
        match self {
            Op::Insert { key, .. } | Op::Put { key, .. } | Op::Patch { key, .. } | Op::Delete { key, .. } => {
                key.as_deref()
            }
            _ => None,
        }
    }

    /// The same with this key.
    #[must_use]
    pub fn with_key(mut self, new: String) -> Self {
        match &mut self {
            Op::Insert { key, .. } | Op::Put { key, .. } | Op::Patch { key, .. } | Op::Delete { key, .. } => {
                *key = Some(new);
            }
            _ => {}
        }
        self
    }

    /// How fresh it must be, for reads.
    pub fn read(&self) -> Read {
        match self {
            Op::Get { read, .. } | Op::List { read, .. } => *read,
            _ => Read::default(),
        }
    }
}
