//! A leader without a network: decides, keeps a log, and applies it as late as a test likes.

use aerodb_proto as proto;
use prost::Message;
use proto::bulk_write::Action;
use proto::{Command, LogId, Outcome};

use super::{Node, bootstrap, create};
use crate::apply::{Applied, ApplyEntry, ApplyPayload};
use crate::decide::{Decider, Number, Verdict};
use crate::filter::Filter;
use crate::limits::Limits;
use crate::{json, prepare};

/// What the leader's clock shows at first, milliseconds since the epoch.
pub(crate) const START_MS: u64 = 1_700_000_000_000;

/// One node that leads, with its log.
pub(crate) struct Leader {
    // Before the node, so that nobody works in its folder when that goes.
    pub(crate) decider: Decider,
    pub(crate) node: Node,
    /// All entries; the first one has index 1.
    pub(crate) log: Vec<ApplyEntry>,
    pub(crate) term: u64,
    pub(crate) clock_ms: u64,
}

impl Leader {
    /// A cluster with its identity, its service key and a collection `c`: at `seq` 2 and revision 2.
    pub(crate) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        let node = Node::with(limits);
        let decider = Decider::begin(node.engine().clone(), 0).unwrap();
        let mut leader = Self { decider, node, log: Vec::new(), term: 0, clock_ms: START_MS };
        leader.new_term();
        leader.submit(&bootstrap());
        leader.submit(&create("c"));
        leader
    }

    pub(crate) fn decide(&mut self, command: &Command) -> Verdict {
        self.decider.decide(None, command, self.clock_ms).unwrap()
    }

    pub(crate) fn decide_as(&mut self, number: Number, command: &Command) -> Verdict {
        self.decider.decide(Some(number), command, self.clock_ms).unwrap()
    }

    /// Decides, replicates and applies.
    pub(crate) fn submit(&mut self, command: &Command) -> Outcome {
        let verdict = self.decide(command);
        self.append();
        self.apply();
        outcome(verdict)
    }

    pub(crate) fn push(&mut self, payload: ApplyPayload) {
        let log_id = LogId { term: self.term, index: self.log.len() as u64 + 1 };
        self.log.push(ApplyEntry { log_id, payload });
    }

    /// Closes the entry under construction and appends it to the log; its `seq`.
    pub(crate) fn append(&mut self) -> Option<u64> {
        let (seq, batch) = self.decider.close()?;
        self.push(ApplyPayload::Batch(batch.encode_to_vec().into()));
        Some(seq)
    }

    /// Closes the entry under construction, and the log refuses it.
    pub(crate) fn lose(&mut self) {
        assert!(self.decider.close().is_some(), "there is nothing to lose");
    }

    /// Applies the next `count` entries.
    pub(crate) fn apply_some(&mut self, count: u64) -> Vec<Applied> {
        let index = (self.node.applied_index() + count).min(self.log.len() as u64);
        let applied = self.node.apply(&self.log, index);
        self.decider.applied(self.node.engine().meta().seq);
        applied
    }

    /// Applies the whole log.
    pub(crate) fn apply(&mut self) -> Vec<Applied> {
        self.apply_some(u64::MAX / 2)
    }

    /// A change (or, without a body, the deletion) of what matches, which is looked for in what is applied.
    pub(crate) fn bulk(&self, name: &str, filter: &str, body: Option<&str>) -> Command {
        let view = self.node.view();
        let collection = view.collection(name).expect("the collection is applied");
        let parsed = Filter::parse(&json::tests::value(filter)).unwrap();
        let action = match body {
            Some(body) => Action::Patch(prepare::patch_many(body.as_bytes(), &Limits::default()).unwrap()),
            None => Action::Delete(true),
        };
        let (candidates, more) = view.matching(&collection, parsed, &|| false).unwrap();
        super::command(proto::command::Op::Bulk(proto::BulkWrite {
            collection: name.into(),
            collection_id: collection.id,
            filter: filter.as_bytes().to_vec().into(),
            read_revision: view.revision(),
            candidates,
            more,
            max_affected: 0,
            action: Some(action),
        }))
    }

    /// Proposes the next step of the build that is under way, of up to `limit` documents; `None` when there is none.
    pub(crate) fn build_step(&mut self, limit: usize) -> Option<Verdict> {
        let step = self.node.view().build_step(limit).unwrap()?;
        Some(self.decide(&super::command(proto::command::Op::BuildIndex(step))))
    }

    /// Proposes that what has expired goes, looking at `limit` entries of the first index that says so; `None` when nothing
    /// has.
    pub(crate) fn expire(&mut self, limit: usize) -> Option<Verdict> {
        let view = self.node.view();
        let index = *view.expiring().first()?;
        let expired = view.expired(index, None, self.clock_ms, limit).unwrap();
        let command = super::command(proto::command::Op::Expire(expired.command.clone()));
        (!expired.command.documents.is_empty()).then(|| self.decide(&command))
    }

    /// Proposes the next step of the check of a new schema, of up to `limit` documents; `None` when there is none.
    pub(crate) fn schema_step(&mut self, limit: u64) -> Option<Verdict> {
        let step = self.node.view().schema_step(limit, usize::MAX).unwrap()?;
        Some(self.decide(&super::command(proto::command::Op::CheckSchema(step))))
    }

    /// Builds all indexes to their end.
    pub(crate) fn build(&mut self, limit: usize) {
        self.append();
        self.apply();
        while self.build_step(limit).is_some() {
            self.append();
            self.apply();
        }
    }

    /// A new epoch of the same term, behind everything that was appended.
    pub(crate) fn new_epoch(&mut self) {
        self.apply();
        self.decider = Decider::begin(self.node.engine().clone(), self.term).unwrap();
    }

    pub(crate) fn new_term(&mut self) {
        self.term += 1;
        self.push(ApplyPayload::Blank);
        self.new_epoch();
    }
}

/// The answer that a verdict holds.
#[track_caller]
pub(crate) fn outcome(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Proposed(outcome) | Verdict::Read { outcome, .. } => outcome,
        other => panic!("{other:?} is no answer"),
    }
}
