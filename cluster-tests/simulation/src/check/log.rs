//! What must hold of the logs: votes are kept, a term has one leader, the same place holds the same entry everywhere, and
//! nothing that was durable is lost.

use std::collections::BTreeMap;
use std::ops::Range;

use aerodb_engine::kv::{Write, WriteBatch};
use aerodb_proto as proto;
use bytes::Bytes;
use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

use super::records::{self, ENTRY, Key, META};
use super::{At, Checker, Entry};
use crate::store::Content;
use crate::trace;

impl Checker {
    pub(super) fn log_wrote(&mut self, id: u64, batch: &WriteBatch, content: &Content, durable: bool) {
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
                self.node(id).held.insert(at);
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

    /// A write that failed is in doubt: what it removes may be gone when the log is opened again. Whether it was allowed
    /// to remove that is no less a question.
    pub(super) fn log_failed(&mut self, id: u64, batch: &WriteBatch) {
        for write in batch.writes() {
            if let Write::DeleteRange { cf, from, to } = write
                && *cf == ENTRY
            {
                let removed = records::index(from)..records::index(to);
                if !is_purge(purged_in(batch), removed.end) {
                    self.check_truncated(id, removed.clone());
                }
                self.node(id).in_doubt.push(removed);
            }
        }
    }

    fn check_truncated(&mut self, id: u64, removed: Range<u64>) {
        let node = self.node(id);
        // Only a leader that later ones have overtaken may still have it removed.
        let under = node.vote.map_or(0, |vote| vote.term);
        let gone: Vec<(u64, u64)> = node.log.range(removed).map(|(index, term)| (*index, *term)).collect();
        for (index, term) in gone {
            if self.committed.get(&index).is_some_and(|known| known.term == term && known.by <= under) {
                self.violate(format!("n{id} truncated entry {index} of term {term}, which is committed"));
            }
        }
    }

    fn removed(&mut self, id: u64, from: u64, to: u64, purged: Option<u64>) {
        let purge = is_purge(purged, to);
        if !purge {
            self.check_truncated(id, from..to);
        }
        self.node(id).log.retain(|index, _| !(from..to).contains(index));
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

    pub(super) fn opened_log(&mut self, id: u64, content: &Content) {
        let (vote, purged) = (records::vote_of(content), records::purged_of(content).map(At::from));
        if let Some(former) = self.node(id).vote
            && vote.is_none_or(|vote| vote.term < former.term)
        {
            self.violate(format!("n{id} forgot its vote {former:?} and has {vote:?}"));
        }
        let kept: BTreeMap<u64, u64> = records::terms(content).collect();
        trace::detail(|| format!("n{id} opens a log with {vote:?}, {:?}, {purged:?}", kept.last_key_value()));
        let lost: Vec<At> = self.lost(id, &kept, purged);
        if let Some(at) = lost.first() {
            self.violate(format!("n{id} lost {} entries that were durable, {at:?} first", lost.len()));
        }
        self.survived(id, content, &kept, purged);
        let node = self.node(id);
        (node.vote, node.purged, node.log) = (vote.or(node.vote), purged, kept);
        node.in_doubt.clear();
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
            self.node(id).held.insert(at);
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
            let held = node.held.contains(&at);
            let gone = kept.get(&index) != Some(&term) && purged.is_none_or(|purged| purged.index < index);
            let in_doubt = node.in_doubt.iter().any(|removed| removed.contains(&index));
            (held && gone && !in_doubt).then_some(at)
        };
        node.log.iter().filter_map(missing).collect()
    }
}

/// Whether entries up to `to`, which is not among them, are removed because they are purged up to `purged`.
fn is_purge(purged: Option<u64>, to: u64) -> bool {
    purged.is_some_and(|upto| to <= upto + 1)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_new_has_lost_nothing() {
        let mut checker = Checker::new(3);
        let at = At { index: 5, term: 1 };
        let holders = BTreeMap::from([(1, 1), (2, 1)]);
        checker.entries.insert(at, Entry { before: None, hash: 0, batch: None, holders });
        checker.node(2).held.insert(at);
        checker.node(2).log.insert(5, 1);
        assert_eq!(checker.lost(2, &BTreeMap::new(), None), [at]);
        checker.wiped(2);
        // Written again, and gone again before it was durable.
        checker.node(2).log.insert(5, 1);
        assert!(checker.lost(2, &BTreeMap::new(), None).is_empty());
        assert_eq!(checker.committed_by(At { index: 5, term: 1 }), Some(1), "it was acknowledged before");
    }
}
