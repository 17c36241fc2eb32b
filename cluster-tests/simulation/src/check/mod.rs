//! What must always hold.
//!
//! [`Checker`] watches every write to every disk, and so sees each vote, each entry and each applied index at the moment
//! at which it comes to be. [`canon`] replays what is committed. [`oracle`] judges what clients were told.

pub mod append;
pub mod canon;
mod commit;
mod log;
pub mod model;
pub mod oracle;
mod records;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use aerodb_engine::kv::WriteBatch;
use aerodb_proto as proto;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::store::{Content, Role, Watch};
use crate::trace;
use canon::Canon;

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// The index.
    pub index: u64,
    /// The term.
    pub term: u64,
}

impl From<proto::LogId> for At {
    fn from(id: proto::LogId) -> Self {
        Self { index: id.index, term: id.term }
    }
}

/// The invariants of the whole cluster. Shared by the disks of all nodes.
pub struct Checker {
    voters: usize,
    violations: Vec<String>,
    nodes: BTreeMap<u64, Node>,
    /// Every entry that was ever written anywhere.
    entries: BTreeMap<At, Entry>,
    /// The leader of each term.
    leaders: BTreeMap<u64, u64>,
    /// The first entry of each term.
    firsts: BTreeMap<u64, u64>,
    /// Every committed index.
    committed: BTreeMap<u64, Committed>,
    /// What the state is after an index is applied, and who said so first.
    applied: BTreeMap<u64, (Facts, u64)>,
    /// The engine's digest of all that a node holds after an index is applied, and who held it first.
    digests: BTreeMap<u64, (String, u64)>,
    /// What is committed, replayed.
    pub canon: Canon,
    /// What was seen happening: proof that a run reached the places that it is for.
    pub coverage: Coverage,
}

/// Counts of what a run went through.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Coverage {
    pub entries: u64,
    pub terms: u64,
    pub truncations: u64,
    pub purges: u64,
    pub snapshots_installed: u64,
    pub snapshots_damaged: u64,
    pub voids: u64,
    pub crashes: u64,
    pub fences: u64,
    pub wipes: u64,
    pub partitions: u64,
    pub promotions: u64,
    pub acknowledged: u64,
    pub refused: u64,
    pub unknown: u64,
    pub reads: u64,
    pub denied: u64,
    pub reused: u64,
    pub compared: u64,
    pub ages: u64,
    pub echoes: u64,
    pub appends: u64,
    pub conflicts: u64,
    pub unique_refused: u64,
    pub queries: u64,
    pub by_index: u64,
    pub indexes_ready: u64,
    pub indexes_failed: u64,
    pub indexes_verified: u64,
}

/// What is committed at an index.
#[derive(Clone, Copy)]
struct Committed {
    term: u64,
    /// The term whose leader committed it, at the latest.
    by: u64,
}

struct Entry {
    /// The term of the entry before it; none when it is the first of the log.
    before: Option<u64>,
    hash: u64,
    batch: Option<Bytes>,
    /// Who ever had it durably, and under which term first. Who lost its data since counts still: the leader that it had
    /// acknowledged it to commits with that, and a member without memory lets nobody be elected against it.
    holders: BTreeMap<u64, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Facts {
    term: u64,
    seq: u64,
    revision: u64,
    digest: u128,
}

/// One node, as its disk shows it.
#[derive(Default)]
struct Node {
    vote: Option<proto::Vote>,
    /// The log as it is written: index to term.
    log: BTreeMap<u64, u64>,
    /// Entries that it has had durably since its disk was new.
    held: BTreeSet<At>,
    /// Entries that are not durable yet, and the term under which each was written.
    unsynced: Vec<(At, u64)>,
    /// Entries that a write removed which has failed: they are there or not when the log is opened again.
    in_doubt: Vec<Range<u64>>,
    purged: Option<At>,
    applied: Option<proto::StateMeta>,
    /// The applied index that a power cut would leave.
    durable: u64,
    /// The same of the state before a snapshot, until that is written to: a node that ends while it installs one begins
    /// again with the state that it had.
    durable_before: Option<u64>,
}

impl Checker {
    /// A checker for a cluster of `voters` nodes.
    pub fn new(voters: u64) -> Self {
        Self {
            voters: voters as usize,
            violations: Vec::new(),
            nodes: (1..=voters).map(|id| (id, Node::default())).collect(),
            entries: BTreeMap::new(),
            leaders: BTreeMap::new(),
            firsts: BTreeMap::new(),
            committed: BTreeMap::new(),
            applied: BTreeMap::new(),
            digests: BTreeMap::new(),
            canon: Canon::default(),
            coverage: Coverage::default(),
        }
    }

    /// What went wrong so far.
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// Notes that something went wrong.
    pub fn violate(&mut self, what: String) {
        trace::note(format!("VIOLATION {what}"));
        self.violations.push(what);
    }

    /// The last index known to be committed.
    pub fn committed(&self) -> u64 {
        self.committed.last_key_value().map_or(0, |(index, _)| *index)
    }

    /// Who led last.
    pub fn leader(&self) -> Option<u64> {
        self.leaders.last_key_value().map(|(_, leader)| *leader)
    }

    /// Who led last, and in which term.
    pub fn leadership(&self) -> Option<(u64, u64)> {
        self.leaders.last_key_value().map(|(term, leader)| (*leader, *term))
    }

    /// All data of `node` is gone, and what it promised is forgotten. What it acknowledged before stays acknowledged.
    pub fn wiped(&mut self, node: u64) {
        self.nodes.insert(node, Node::default());
        self.coverage.wipes += 1;
    }

    /// `node` lost what was not durable.
    pub fn crashed(&mut self, node: u64) {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.unsynced.clear();
        }
        self.coverage.crashes += 1;
    }

    fn node(&mut self, id: u64) -> &mut Node {
        self.nodes.entry(id).or_default()
    }
}

/// The disk of one node, watched.
pub struct Eye {
    /// Whose disk it is.
    pub node: u64,
    /// Who judges.
    pub checker: Arc<Mutex<Checker>>,
}

impl Watch for Eye {
    fn wrote(&self, role: Role, batch: &WriteBatch, content: &Content, durable: bool) {
        let mut checker = self.checker.lock();
        match role {
            Role::Log => checker.log_wrote(self.node, batch, content, durable),
            Role::State => {
                checker.node(self.node).durable_before = None;
                checker.state_wrote(self.node, batch, content);
            }
        }
    }

    fn failed(&self, role: Role, batch: &WriteBatch) {
        if role == Role::Log {
            self.checker.lock().log_failed(self.node, batch);
        }
    }

    fn durable(&self, role: Role, content: &Content) {
        if role == Role::State {
            self.checker.lock().state_durable(self.node, content);
        }
    }

    fn opened(&self, role: Role, content: &Content) {
        let mut checker = self.checker.lock();
        match role {
            Role::Log => checker.opened_log(self.node, content),
            Role::State => checker.opened_state(self.node, content),
        }
    }
}
