//! One read (`raft/src/handle.rs`, `raft/src/reads.rs`): a read index that a majority confirms after the read
//! arrived, then the node's own state once it has applied that much.

use crate::state::{Progress, State, Wrong};
use crate::{Model, NodeId};

impl Model {
    /// A read arrives at its node.
    pub(crate) fn read(&self, state: &mut State, command: u8) {
        let since = self.machine(state, state.committed.len()).seq;
        state.requests[command as usize] = Progress::Reading { since, point: None };
    }

    /// `leader` gives a read index, confirmed by `peer`. A leader that was deposed without knowing gives what it has
    /// seen committed, if nobody is asked (`peer` is itself).
    pub(crate) fn read_index(&self, state: &mut State, command: u8, leader: NodeId, peer: NodeId) -> Option<()> {
        let term = state.nodes[leader as usize].core.as_ref()?.term;
        if peer != leader {
            self.hear(state, peer, term);
        }
        let known = state.committed.iter().rposition(|entry| entry.term <= term)? + 1;
        if let Progress::Reading { point, .. } = &mut state.requests[command as usize] {
            *point = Some(known as u8);
        }
        Some(())
    }

    /// The node answers from what it has applied.
    pub(crate) fn reach(&self, state: &mut State, command: u8) {
        let Progress::Reading { since, .. } = state.requests[command as usize] else { return };
        let asked = self.config.commands[command as usize];
        let applied = state.nodes[asked.node as usize].applied as usize;
        let outcome = self.machine(state, applied).evaluate(asked.op);
        if !self.committed_since(state, since).iter().any(|machine| machine.evaluate(asked.op) == outcome) {
            self.flag(state, Wrong::Unjustified);
        }
        state.requests[command as usize] = Progress::Done { outcome, attempt: 1 };
    }
}
