//! What clients ask for.

use super::catalog::Index;
use super::value::{Changes, Fields};

/// A condition on a document before it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pre {
    /// None.
    Any,
    /// It exists and has this revision.
    Revision(u64),
    /// It exists.
    Exists,
    /// It does not exist.
    Absent,
}

/// An operation that writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Creates a collection.
    Create {
        /// Its name.
        name: String,
        /// Seconds of history.
        retention_seconds: u64,
    },
    /// Inserts documents, all or none.
    Insert {
        /// Where.
        collection: String,
        /// Their ids and fields.
        documents: Vec<(String, Fields)>,
    },
    /// Replaces or creates a document.
    Put {
        /// Where.
        collection: String,
        /// Which.
        id: String,
        /// Its fields.
        fields: Fields,
        /// When.
        pre: Pre,
    },
    /// Changes fields of a document.
    Patch {
        /// Where.
        collection: String,
        /// Which.
        id: String,
        /// What changes.
        changes: Changes,
        /// When.
        pre: Pre,
    },
    /// Deletes a document.
    Delete {
        /// Where.
        collection: String,
        /// Which.
        id: String,
        /// When.
        pre: Pre,
    },
    /// Several operations, all or none.
    Transact {
        /// In their order.
        steps: Vec<Step>,
        /// No document that is named has changed since; 0: no such condition.
        read_revision: u64,
    },
    /// Makes an index.
    CreateIndex {
        /// Where.
        collection: String,
        /// What it is.
        index: Index,
    },
    /// Drops an index.
    DropIndex {
        /// Where.
        collection: String,
        /// Its name.
        name: String,
    },
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where.
    pub collection: String,
    /// Which.
    pub id: String,
    /// When.
    pub pre: Pre,
    /// What.
    pub act: Act,
}

/// What an operation of a transaction does to its document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// It comes to be.
    Insert(Fields),
    /// It is replaced, or comes to be.
    Put(Fields),
    /// Fields of it change.
    Patch(Changes),
    /// The list in this field gets one more.
    Append(String, i64),
    /// It goes.
    Delete,
    /// It is read.
    Get,
}
