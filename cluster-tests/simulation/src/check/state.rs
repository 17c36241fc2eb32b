//! What must hold of the states: they never go back, and are the same on all nodes at the same applied index.

use aerodb_engine::kv::WriteBatch;
use aerodb_proto as proto;

use super::{Checker, Facts, records};
use crate::store::Content;
use crate::trace;

impl Checker {
    pub(super) fn state_wrote(&mut self, id: u64, batch: &WriteBatch, content: &Content) {
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

    /// The engine of `id` digests all that it holds after `index` as `digest`.
    pub(crate) fn holds(&mut self, id: u64, index: u64, digest: String) {
        match self.digests.get(&index) {
            // Who has applied nothing says so too.
            _ if index == 0 => {}
            None => {
                self.digests.insert(index, (digest, id));
            }
            Some((known, by)) if *known != digest => {
                self.violate(format!("n{id} holds {digest} after {index}, and n{by} held {known}"));
            }
            Some((_, by)) => self.coverage.compared += u64::from(*by != id),
        }
    }

    pub(super) fn state_durable(&mut self, id: u64, content: &Content) {
        let applied = records::state_of(content).and_then(|meta| meta.applied).map_or(0, |id| id.index);
        let durable = self.node(id).durable;
        if applied < durable {
            self.violate(format!("n{id} was durable up to {durable} and is so up to {applied} only"));
        }
        self.node(id).durable = applied;
    }

    pub(super) fn opened_state(&mut self, id: u64, content: &Content) {
        let meta = records::state_of(content);
        let index = meta.and_then(|meta| meta.applied).map_or(0, |id| id.index);
        let node = self.node(id);
        let former = node.applied.and_then(|meta| meta.applied).map_or(0, |id| id.index);
        if former < index {
            node.durable_before = Some(node.durable);
            self.coverage.snapshots_installed += 1;
        } else if let Some(before) = node.durable_before.take() {
            node.durable = before;
        }
        let Some(meta) = meta else {
            let durable = self.node(id).durable;
            self.node(id).applied = None;
            if durable > 0 {
                self.violate(format!("n{id} was durable up to {durable} and opens an empty state"));
            }
            return;
        };
        self.node(id).applied = Some(meta);
        self.state_durable(id, content);
        self.check_state(id, &meta, content, "opened a state with it");
    }
}
