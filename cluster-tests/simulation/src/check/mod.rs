//! What must always hold.
//!
//! [`Checker`] watches every write to every disk, and so sees each vote, each entry and each applied index at the moment
//! at which it comes to be. [`canon`] replays what is committed. [`oracle`] judges what clients were told.

pub mod canon;
pub mod model;
pub mod oracle;
mod records;

use std::collections::BTreeMap;
use std::sync::Arc;

use aerodb_engine::kv::{Write, WriteBatch};
use aerodb_proto as proto;
use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

use crate::store::{Content, Role, Watch};
use crate::trace;
use canon::Canon;
use records::{ENTRY, Key, META};

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
    pub ages: u64,
    pub echoes: u64,
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
    /// Who ever had it durably, and under which term first.
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
    /// Entries that are not durable yet, and the term under which each was written.
    unsynced: Vec<(At, u64)>,
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

    /// All data of `node` is gone; what it had counts no more, what it promised is forgotten.
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

    fn log_wrote(&mut self, id: u64, batch: &WriteBatch, content: &Content, durable: bool) {
        for write in batch.writes() {
            match write {
                Write::Put { cf, key, value } if *cf == ENTRY => self.entry(id, key, value, content),
                Write::Put { cf, key, value } if *cf == META => self.log_record(id, key, value),
                Write::DeleteRange { cf, from, to } if *cf == ENTRY => {
                    let upto = purged_in(batch);
                    self.removed(id, records::index(from), records::index(to), upto);
                }
                _ => {}
            }
        }
        if durable {
            let synced = std::mem::take(&mut self.node(id).unsynced);
            trace::detail(|| format!("n{id} has durably {synced:?}"));
            for (at, under) in synced {
                if let Some(entry) = self.entries.get_mut(&at) {
                    entry.holders.entry(id).or_insert(under);
                }
            }
        }
    }

    fn entry(&mut self, id: u64, key: &[u8], value: &Bytes, content: &Content) {
        let Some(entry) = records::entry(value) else {
            return self.violate(format!("n{id} wrote an entry that cannot be read"));
        };
        let at = At::from(entry.log_id.unwrap_or_default());
        if records::index(key) != at.index {
            self.violate(format!("n{id} wrote entry {at:?} in the place of {}", records::index(key)));
        }
        let before = at.index.checked_sub(1).and_then(|before| {
            let node = self.nodes.get(&id)?;
            let purged = node.purged.filter(|purged| purged.index == before).map(|purged| purged.term);
            node.log.get(&before).copied().or(purged).or_else(|| records::term_of(content, before))
        });
        // What is left behind the new entry would come back with a crash.
        if let Some(former) = self.node(id).log.insert(at.index, at.term)
            && former != at.term
        {
            self.violate(format!("n{id} writes {at:?} over an entry of term {former} that it has not removed"));
        }
        let node = self.node(id);
        let under = node.vote.map_or(0, |vote| vote.term);
        node.unsynced.push((at, under));
        self.appears(id, at, before, entry);
    }

    /// `entry` is in the log of `id`, behind one of term `before`.
    fn appears(&mut self, id: u64, at: At, before: Option<u64>, entry: proto::LogEntry) {
        let hash = xxh3_64(&entry.encode_to_vec());
        trace::fold(&[1, id, at.index, at.term, hash]);
        trace::detail(|| format!("n{id} writes {at:?} behind term {before:?}"));
        let batch = match entry.payload {
            Some(proto::log_entry::Payload::Batch(batch)) => Some(batch),
            _ => None,
        };
        match self.entries.get(&at) {
            None => {
                self.coverage.entries += 1;
                self.entries.insert(at, Entry { before, hash, batch, holders: BTreeMap::new() });
                if before.is_none_or(|before| before != at.term) {
                    self.first_of_term(at);
                }
            }
            // Log matching: the same place holds the same entry behind the same entry, everywhere and for ever.
            Some(known) if known.hash != hash || (known.before != before && before.is_some()) => {
                let known = (known.hash, known.before);
                self.violate(format!("log matching: n{id} has {:?} at {at:?}, another has {known:?}", (hash, before)));
            }
            Some(_) => {}
        }
    }

    /// Leader completeness: the first entry of a term stands behind everything committed before.
    fn first_of_term(&mut self, at: At) {
        if at.term > 0 {
            self.coverage.terms += 1;
        }
        if let Some(other) = self.firsts.insert(at.term, at.index) {
            self.violate(format!("term {} begins at {other} and at {}", at.term, at.index));
        }
        // A leader that later ones have overtaken may write its first entry late: it need not have what those committed.
        let before = self.committed.iter().rev().find(|(_, known)| known.by < at.term);
        if let Some(last) = before.map(|(index, known)| At { index: *index, term: known.term }) {
            self.check_complete(at, last);
        }
    }

    /// The history that ends with `end`, which is committed, has `wanted`, which is committed too.
    fn check_holds(&mut self, end: At, wanted: At) {
        if self.lies_behind(end, wanted) == Some(false) {
            self.violate(format!("{end:?} is committed without {wanted:?}, which is committed before it"));
        }
    }

    fn removed(&mut self, id: u64, from: u64, to: u64, purged: Option<u64>) {
        let gone: Vec<(u64, u64)> = self.node(id).log.range(from..to).map(|(i, t)| (*i, *t)).collect();
        let purge = purged.is_some_and(|upto| to <= upto + 1);
        for (index, term) in gone {
            self.node(id).log.remove(&index);
            // Only a leader that later ones have overtaken may still have it removed.
            let under = self.node(id).vote.map_or(0, |vote| vote.term);
            let kept = self.committed.get(&index).is_some_and(|known| known.term == term && known.by <= under);
            if !purge && kept {
                self.violate(format!("n{id} truncated entry {index} of term {term}, which is committed"));
            }
        }
        trace::fold(&[2, id, from, to, u64::from(purge)]);
        trace::detail(|| format!("n{id} removes {from}..{to}, purging: {purge}"));
        if purge {
            self.coverage.purges += 1;
        } else {
            self.coverage.truncations += 1;
        }
    }

    fn log_record(&mut self, id: u64, key: &[u8], value: &Bytes) {
        match Key::of(key) {
            Some(Key::Vote) => match records::message::<proto::Vote>(value) {
                Some(vote) => self.vote(id, vote),
                None => self.violate(format!("n{id} wrote a vote that cannot be read")),
            },
            Some(Key::Committed) => {
                if let Some(committed) = records::message::<proto::LogId>(value) {
                    self.claim(id, committed.into(), "says that it is committed");
                }
            }
            Some(Key::Purged) => {
                if let Some(purged) = records::message::<proto::LogId>(value) {
                    self.purged(id, purged.into());
                }
            }
            None => {}
        }
    }

    fn vote(&mut self, id: u64, vote: proto::Vote) {
        trace::fold(&[3, id, vote.term, vote.node_id, u64::from(vote.committed)]);
        trace::detail(|| format!("n{id} votes {vote:?}"));
        let former = self.node(id).vote.replace(vote);
        if let Some(former) = former {
            // Whoever voted for a loser follows the winner of the same term; its own vote it gives only once.
            let again = vote.term == former.term && former.node_id != vote.node_id;
            let back = vote.term < former.term
                || (vote.term == former.term && former.committed && !vote.committed)
                || (again && (former.committed || !vote.committed));
            if back {
                self.violate(format!("n{id} took its vote back: {former:?}, then {vote:?}"));
            }
        }
        if vote.committed && vote.term > 0 {
            let leader = *self.leaders.entry(vote.term).or_insert(vote.node_id);
            if leader != vote.node_id {
                self.violate(format!("election safety: term {} is led by {leader} and {}", vote.term, vote.node_id));
            }
        }
    }

    fn purged(&mut self, id: u64, purged: At) {
        trace::fold(&[4, id, purged.index, purged.term]);
        let former = self.node(id).purged.replace(purged);
        if former.is_some_and(|former| former.index > purged.index) {
            self.violate(format!("n{id} purged up to {purged:?} after {former:?}"));
        }
        let durable = self.node(id).durable;
        if durable < purged.index {
            self.violate(format!("n{id} purged up to {purged:?} and its state is durable up to {durable}"));
        }
        self.claim(id, purged, "purged it");
    }

    /// `node` behaves as if `at` were committed: then a majority must have had it durably, and no other entry was or
    /// will ever be committed in its place.
    fn claim(&mut self, id: u64, at: At, how: &str) {
        if let Some(known) = self.committed.get(&at.index) {
            if known.term != at.term {
                let term = known.term;
                self.violate(format!("n{id} {how}: {at:?}, and {} of term {term} is committed", at.index));
            }
            return;
        }
        let Some(by) = self.committed_by(at) else {
            let holders = self.entries.get(&at).map(|entry| &entry.holders);
            let problem = format!(
                "n{id} {how}: {at:?}, and in no term a majority of {} had it durably; who had it, and in which term: \
                 {holders:?}",
                self.voters
            );
            return self.violate(problem);
        };
        let last = self.committed.last_key_value().map(|(index, known)| At { index: *index, term: known.term });
        let mut fresh = vec![at];
        let mut first = at;
        while first.index > last.map_or(0, |last| last.index + 1) {
            let Some(before) = self.entries.get(&first).and_then(|entry| entry.before) else {
                return self.violate(format!("n{id} {how}: {at:?}, and what comes before {first:?} is not known"));
            };
            first = At { index: first.index - 1, term: before };
            fresh.push(first);
        }
        if let Some(last) = last {
            self.check_holds(at, last);
        }
        trace::detail(|| format!("n{id} {how}: {at:?}, committed in term {by}"));
        for at in fresh.into_iter().rev() {
            self.committed.insert(at.index, Committed { term: at.term, by });
            let batch = self.entries.get(&at).and_then(|entry| entry.batch.clone());
            if let Err(problem) = self.canon.commit(at, batch) {
                self.violate(problem);
            }
        }
        // Leaders of later terms must have had it from their first entry on.
        let later: Vec<At> = self.firsts.range(by + 1..).map(|(&term, &index)| At { index, term }).collect();
        for first in later {
            self.check_complete(first, at);
        }
    }

    /// The term whose leader could commit `at`: the lowest in which a majority had durably, under that term, an entry of
    /// that term behind which `at` lies. An entry of an earlier term is committed by one of the leader's own behind it.
    fn committed_by(&self, at: At) -> Option<u64> {
        // The first members write the first entry, each by itself.
        if at.index == 0 {
            return Some(0);
        }
        let own = |(end, entry): (&At, &Entry)| {
            let holders = entry.holders.values().filter(|term| **term == end.term).count();
            (holders > self.voters / 2 && self.lies_behind(*end, at) == Some(true)).then_some(end.term)
        };
        self.entries.range(At { index: at.index, term: 0 }..).filter_map(own).min()
    }

    /// Whether the history that ends with `end` has `wanted`; none where it is not known that far back.
    fn lies_behind(&self, end: At, wanted: At) -> Option<bool> {
        let mut at = end;
        while at.index > wanted.index {
            at = At { index: at.index - 1, term: self.entries.get(&at)?.before? };
        }
        Some(at == wanted)
    }

    /// Leader completeness: the leader whose first entry is `first` has `committed`, which a leader before it committed.
    fn check_complete(&mut self, first: At, committed: At) {
        if first.index <= committed.index || self.lies_behind(first, committed) == Some(false) {
            let problem =
                format!("leader completeness: {first:?} begins a term without {committed:?}, which is committed");
            self.violate(problem);
        }
    }

    fn state_wrote(&mut self, id: u64, batch: &WriteBatch, content: &Content) {
        let Some(meta) = records::state(batch) else { return };
        let Some(now) = meta.applied else {
            return self.violate(format!("n{id} wrote a state without an applied index"));
        };
        if let Some(former) = &self.node(id).applied {
            let (was, former) = (former.applied.unwrap_or_default(), *former);
            let back = now.index <= was.index
                || now.term < was.term
                || meta.seq < former.seq
                || meta.revision < former.revision
                || meta.time_ms < former.time_ms;
            if back {
                self.violate(format!("n{id} went back: {former:?}, then {meta:?}"));
            }
        }
        self.node(id).applied = Some(meta);
        self.check_state(id, &meta, content, "applied it");
    }

    fn check_state(&mut self, id: u64, meta: &proto::StateMeta, content: &Content, how: &str) {
        let Some(now) = meta.applied else { return };
        self.claim(id, now.into(), how);
        let facts = Facts { term: now.term, seq: meta.seq, revision: meta.revision, digest: content.digest() };
        let digest = facts.digest as u64;
        trace::fold(&[5, id, now.index, facts.seq, facts.revision, digest]);
        let (known, by) = *self.applied.entry(now.index).or_insert((facts, id));
        if known != facts {
            self.violate(format!("n{id} differs from n{by} after {}: {facts:?} and {known:?}", now.index));
        }
        if let Some((seq, revision)) = self.canon.after(now.index)
            && (seq, revision) != (meta.seq, meta.revision)
        {
            self.violate(format!(
                "n{id} is at seq {} and revision {} after {}: the log says {seq} and {revision}",
                meta.seq, meta.revision, now.index
            ));
        }
    }

    fn state_durable(&mut self, id: u64, content: &Content) {
        let applied = records::state_of(content).and_then(|meta| meta.applied).map_or(0, |id| id.index);
        let durable = self.node(id).durable;
        if applied < durable {
            self.violate(format!("n{id} was durable up to {durable} and is so up to {applied} only"));
        }
        self.node(id).durable = applied;
    }

    fn opened(&mut self, id: u64, role: Role, content: &Content) {
        match role {
            Role::State => {
                let Some(meta) = records::state_of(content) else {
                    let durable = self.node(id).durable;
                    self.node(id).applied = None;
                    if durable > 0 {
                        self.violate(format!("n{id} was durable up to {durable} and opens an empty state"));
                    }
                    return;
                };
                let index = meta.applied.map_or(0, |id| id.index);
                let snapshot = self.node(id).applied.is_some_and(|a| a.applied.is_some_and(|id| id.index < index));
                let durable = self.node(id).durable;
                if snapshot {
                    self.coverage.snapshots_installed += 1;
                    self.node(id).durable_before = Some(durable);
                } else if let Some(before) = self.node(id).durable_before.take() {
                    self.node(id).durable = before;
                }
                self.node(id).applied = Some(meta);
                self.state_durable(id, content);
                self.check_state(id, &meta, content, "opened a state with it");
            }
            Role::Log => {
                let (vote, purged) = (records::vote_of(content), records::purged_of(content));
                if let Some(former) = self.node(id).vote
                    && vote.is_none_or(|vote| vote.term < former.term)
                {
                    self.violate(format!("n{id} forgot its vote {former:?} and has {vote:?}"));
                }
                let kept: BTreeMap<u64, u64> = records::terms(content).collect();
                trace::detail(|| format!("n{id} opens a log with {vote:?}, {:?}, {purged:?}", kept.last_key_value()));
                let lost: Vec<At> = self.lost(id, &kept, purged.map(At::from));
                if let Some(at) = lost.first() {
                    self.violate(format!("n{id} lost {} entries that were durable, {at:?} first", lost.len()));
                }
                self.survived(id, content, &kept, purged.map(At::from));
                let node = self.node(id);
                (node.vote, node.purged, node.log) = (vote.or(node.vote), purged.map(At::from), kept);
            }
        }
    }

    /// What a crash has left is durable, also what was written in vain: a write that failed may have reached the disk.
    fn survived(&mut self, id: u64, content: &Content, kept: &BTreeMap<u64, u64>, purged: Option<At>) {
        let under = records::vote_of(content).map_or(0, |vote| vote.term);
        for (_, value) in content.iter(ENTRY) {
            let Some(entry) = records::entry(value) else { continue };
            let at = At::from(entry.log_id.unwrap_or_default());
            let before = at.index.checked_sub(1).and_then(|index| {
                let purged = purged.filter(|purged| purged.index == index).map(|purged| purged.term);
                kept.get(&index).copied().or(purged)
            });
            self.appears(id, at, before, entry);
            if let Some(entry) = self.entries.get_mut(&at) {
                entry.holders.entry(id).or_insert(under);
            }
        }
    }

    /// Entries that were durable in the log of `id` and are not in `kept`, nor purged.
    fn lost(&self, id: u64, kept: &BTreeMap<u64, u64>, purged: Option<At>) -> Vec<At> {
        let Some(node) = self.nodes.get(&id) else { return Vec::new() };
        let missing = |(&index, &term): (&u64, &u64)| {
            let at = At { index, term };
            let held = self.entries.get(&at).is_some_and(|entry| entry.holders.contains_key(&id));
            let gone = kept.get(&index) != Some(&term) && purged.is_none_or(|purged| purged.index < index);
            (held && gone).then_some(at)
        };
        node.log.iter().filter_map(missing).collect()
    }
}

/// How far `batch` purges: it may fold several purges into one.
fn purged_in(batch: &WriteBatch) -> Option<u64> {
    let purges = batch.writes().iter().filter_map(|write| match write {
        Write::Put { cf, key, value } if *cf == META && Key::of(key) == Some(Key::Purged) => {
            records::message::<proto::LogId>(value).map(|id| id.index)
        }
        _ => None,
    });
    purges.max()
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

    fn durable(&self, role: Role, content: &Content) {
        if role == Role::State {
            self.checker.lock().state_durable(self.node, content);
        }
    }

    fn opened(&self, role: Role, content: &Content) {
        self.checker.lock().opened(self.node, role, content);
    }
}
