//! What may happen next, and letting it happen.

use stateright::Property;

use crate::command::{Op, Request, Source, Task};
use crate::machine::{Batch, Effects, Entry, Outcome};
use crate::rules::Break;
use crate::state::{Core, Fate, Node, Progress, State, Wrong};
use crate::{Model, NODES, NodeId, properties};

/// One step.
#[allow(missing_docs, reason = "the fields are the nodes, commands and messages that the step is about")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The node that took the command sends its next attempt.
    Send { command: u8, to: NodeId },
    /// A node asks for a session.
    OpenSession { node: NodeId, to: NodeId },
    /// A read arrives.
    Read { command: u8 },
    /// A leader and a follower confirm a read index for it.
    ReadIndex { command: u8, leader: NodeId, peer: NodeId },
    /// Its node has applied the read index, and answers.
    Reach { command: u8 },
    /// A node stops waiting for the answer to its last attempt.
    TimeOut { command: u8 },
    /// A node stops waiting for its session.
    OpeningTimesOut { node: NodeId },
    /// The deadline of a request has passed.
    GiveUp { command: u8 },
    /// A message arrives and is decided, or turned away; it may arrive once more.
    Deliver { request: Request, again: bool },
    /// A command that was taken back is decided again.
    Decide { node: NodeId },
    /// The entry under construction goes to the log.
    HandOver { node: NodeId },
    /// Raft appends an entry, or refuses it for lack of a lease.
    Take { node: NodeId, position: usize, refuse: bool },
    /// A leader and a follower commit what comes next.
    Commit { node: NodeId, peer: NodeId },
    /// A node applies the next committed entry.
    Apply { node: NodeId },
    /// The result of the oldest entry in flight reaches the proposer.
    Handed { node: NodeId },
    /// The proposer begins to decide.
    Begin { node: NodeId },
    /// The standstill is over: a ReadIndex of the term succeeded.
    GoOn { node: NodeId, peer: NodeId },
    /// A ReadIndex has succeeded; an answer that writes nothing is given.
    Confirm { node: NodeId, answer: usize, peer: NodeId },
    /// A ReadIndex has failed.
    Unconfirmed { node: NodeId, answer: usize },
    /// A quorum answers a round that began earlier; its result is still under way.
    Round { node: NodeId, peer: NodeId },
    /// A node wins an election.
    Elect { node: NodeId, peer: NodeId, tail: Vec<Entry> },
    /// A deposed leader hears of a later term.
    StepDown { node: NodeId },
    /// A node's tasks hear who leads.
    Hear { node: NodeId },
    /// A promotion stops the intake.
    Drain { node: NodeId },
    /// A promotion hands leadership over.
    Transfer { node: NodeId },
    /// A node is killed and starts again.
    Restart { node: NodeId },
}

/// Every node.
fn nodes() -> impl Iterator<Item = NodeId> {
    0..NODES as NodeId
}

impl stateright::Model for Model {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.first_state()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // What follows a broken property tells nothing.
        if state.wrong.is_none() {
            self.client_actions(state, actions);
            nodes().for_each(|node| self.proposer_actions(state, node, actions));
            nodes().for_each(|node| self.raft_actions(state, node, actions));
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        self.step(&mut state, action)?;
        nodes().for_each(|node| self.settle(&mut state, node));
        self.forget(&mut state);
        if self.denied(&state) {
            self.flag(&mut state, Wrong::Denied);
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all(self)
    }
}

impl Model {
    /// Node 0 leads term 1, and the sessions of the configuration are there.
    fn first_state(&self) -> State {
        let mut state = State {
            committed: vec![Entry { term: 1, batch: None, behind_refusal: false }],
            orphans: Vec::new(),
            nodes: std::array::from_fn(|_| Node { term: 1, ..Node::default() }),
            network: Vec::new(),
            requests: vec![Progress::Idle; self.config.commands.len()],
            left: self.config.faults,
            wrong: None,
        };
        for (seq, &node) in (1..).zip(&self.config.sessions) {
            let outcome = Outcome::Opened { session: seq };
            let effects = vec![Effects { source: Source::Node(node), place: None, outcome, key: None }];
            let batch = Batch { decided_term: 1, base_seq: seq - 1, effects, acks: Vec::new() };
            state.committed.push(Entry { term: 1, batch: Some(batch), behind_refusal: false });
            state.nodes[node as usize].submit.session = Some(seq);
        }
        for node in &mut state.nodes {
            node.applied = state.committed.len() as u8;
        }
        let first = &mut state.nodes[0];
        first.core = Some(Core { term: 1, tail: Vec::new(), dead: false, transferring: false });
        first.leads = Some(1);
        self.begin(&mut state, 0);
        state
    }

    /// Leaders, in Raft's eyes, that `node` may know of: it has not voted in a later term.
    fn leaders(&self, state: &State, node: NodeId) -> Vec<NodeId> {
        let term = state.nodes[node as usize].term;
        let leads = |leader: &NodeId| state.nodes[*leader as usize].core.as_ref().is_some_and(|core| core.term >= term);
        nodes().filter(leads).collect()
    }

    /// The followers with which `node` has a majority; of those for which nothing changes by it, one stands for all.
    fn quorums<'a>(&'a self, state: &'a State, node: NodeId) -> impl Iterator<Item = NodeId> + 'a {
        let term = state.nodes[node as usize].term;
        let knows = move |peer: NodeId| state.nodes[peer as usize].term == term;
        let follows = move |peer: NodeId| self.follows(state, node, peer);
        nodes().filter(move |&peer| {
            follows(peer) && !(knows(peer) && (0..peer).any(|other| follows(other) && knows(other)))
        })
    }

    fn client_actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (command, asked) in (0..).zip(&self.config.commands) {
            if asked.op == Op::Read {
                self.read_actions(state, command, actions);
            } else if self.sends(state, command) {
                let of_term = |leader: &NodeId| {
                    let core = state.nodes[*leader as usize].core.as_ref();
                    asked.term.is_none_or(|term| core.is_some_and(|core| core.term == term))
                };
                let leaders = self.leaders(state, asked.node).into_iter().filter(of_term);
                actions.extend(leaders.map(|to| Action::Send { command, to }));
            }
            if let Progress::Open(open) = state.requests[command as usize] {
                if open.awaiting && open.attempt < self.config.attempts_max {
                    actions.push(Action::TimeOut { command });
                }
                if state.left.give_ups > 0 {
                    actions.push(Action::GiveUp { command });
                }
            }
        }
        for node in nodes() {
            let submit = &state.nodes[node as usize].submit;
            let takes = self.config.commands.iter().any(|asked| asked.node == node && asked.op != Op::Read);
            if takes && submit.session.is_none() && submit.opening.is_none() {
                let attempts = submit.opened < 2 + self.config.faults.sessions;
                let leaders = self.leaders(state, node).into_iter().filter(|_| attempts);
                actions.extend(leaders.map(|to| Action::OpenSession { node, to }));
            }
            if submit.opening.is_some() && state.left.sessions > 0 {
                actions.push(Action::OpeningTimesOut { node });
            }
        }
        for request in &state.network {
            actions.push(Action::Deliver { request: *request, again: false });
            if state.left.duplicates > 0 || self.broken(Break::FirstAttemptTwice) {
                actions.push(Action::Deliver { request: *request, again: true });
            }
        }
    }

    fn read_actions(&self, state: &State, command: u8, actions: &mut Vec<Action>) {
        match state.requests[command as usize] {
            Progress::Idle if self.may_begin(state, command) => actions.push(Action::Read { command }),
            Progress::Reading { point: None, .. } => {
                for leader in nodes().filter(|&leader| self.knows_committed(state, leader)) {
                    let peers = self.quorums(state, leader);
                    actions.extend(peers.map(|peer| Action::ReadIndex { command, leader, peer }));
                    if self.broken(Break::ReadNotConfirmed) {
                        actions.push(Action::ReadIndex { command, leader, peer: leader });
                    }
                }
            }
            Progress::Reading { point: Some(point), .. } => {
                let node = self.config.commands[command as usize].node;
                if state.nodes[node as usize].applied >= point || self.broken(Break::ReadNotReached) {
                    actions.push(Action::Reach { command });
                }
            }
            _ => {}
        }
    }

    fn proposer_actions(&self, state: &State, node: NodeId, actions: &mut Vec<Action>) {
        let here = &state.nodes[node as usize];
        if self.begins(state, node) {
            actions.push(Action::Begin { node });
        }
        for (answer, answering) in here.confirming.iter().enumerate() {
            let joins = self.broken(Break::RoundUnderWay) && here.round == Some(answering.term);
            if self.broken(Break::NoReadIndex) || joins {
                actions.push(Action::Confirm { node, answer, peer: node });
            }
            let peers = self.quorums(state, node).filter(|&peer| self.confirms(state, node, peer, answering));
            actions.extend(peers.map(|peer| Action::Confirm { node, answer, peer }));
            if here.core.as_ref().is_none_or(|core| core.term != answering.term) {
                actions.push(Action::Unconfirmed { node, answer });
            }
        }
        let Some(lead) = &here.lead else { return };
        let Some(epoch) = &lead.epoch else {
            let still = here.core.as_ref().is_some_and(|core| core.term == lead.term);
            let peers = self.quorums(state, node).filter(|_| still);
            actions.extend(peers.map(|peer| Action::GoOn { node, peer }));
            if self.broken(Break::NoStandstill) {
                actions.push(Action::GoOn { node, peer: node });
            }
            return;
        };
        if self.takes(state, node) {
            if !lead.waiting.is_empty() {
                actions.push(Action::Decide { node });
            }
            if !epoch.building.is_empty() || !epoch.acks.is_empty() {
                actions.push(Action::HandOver { node });
            }
        }
        let next = epoch.in_flight.iter().position(|entry| entry.fate == Fate::Queued);
        for (position, entry) in epoch.in_flight.iter().enumerate() {
            if Some(position) == next || (self.broken(Break::OutOfOrder) && entry.fate == Fate::Queued) {
                actions.push(Action::Take { node, position, refuse: false });
                let core = here.core.as_ref().is_some_and(|core| core.term == lead.term && !core.transferring);
                if state.left.refusals > 0 && core {
                    actions.push(Action::Take { node, position, refuse: true });
                }
            }
        }
        if self.result(state, node).is_some() {
            actions.push(Action::Handed { node });
        }
        let core = here.core.as_ref().is_some_and(|core| core.term == lead.term && !core.transferring);
        if core && state.left.transfers > 0 && epoch.end.is_none() {
            if !epoch.paused {
                actions.push(Action::Drain { node });
            }
            if self.drained(state, node) {
                actions.push(Action::Transfer { node });
            }
        }
    }

    fn raft_actions(&self, state: &State, node: NodeId, actions: &mut Vec<Action>) {
        let here = &state.nodes[node as usize];
        let newest = state.nodes.iter().map(|node| node.term).max().unwrap_or(0);
        if self.commits(state, node) > 0 {
            let peers = self.quorums(state, node);
            actions.extend(peers.map(|peer| Action::Commit { node, peer }));
        }
        let reads = (0..).zip(&state.requests).any(|(command, progress): (u8, _)| {
            let waits = matches!(progress, Progress::Reading { point: Some(_), .. });
            waits && self.config.commands[command as usize].node == node
        });
        let applies = reads || here.core.is_some() || here.lead.is_some() || here.leads.is_some();
        if applies && (here.applied as usize) < state.committed.len() {
            actions.push(Action::Apply { node });
        }
        if here.core.as_ref().is_some_and(|core| core.term < newest) {
            actions.push(Action::StepDown { node });
        }
        if here.leads != here.core.as_ref().map(|core| core.term) {
            actions.push(Action::Hear { node });
        }
        // A leader stands again only once it has stepped down.
        let stands = self.config.candidates.contains(&node) && here.core.is_none();
        if stands && newest < self.config.terms_max {
            for tail in self.tails(state, node) {
                let peers = nodes().filter(|&peer| peer != node);
                actions.extend(peers.map(|peer| Action::Elect { node, peer, tail: tail.clone() }));
            }
        }
        if self.broken(Break::RoundUnderWay) && here.round.is_none() {
            let peers = self.quorums(state, node);
            actions.extend(peers.map(|peer| Action::Round { node, peer }));
        }
        if state.left.restarts > 0 {
            actions.push(Action::Restart { node });
        }
    }

    fn step(&self, state: &mut State, action: Action) -> Option<()> {
        match action {
            Action::Send { command, to } => self.send(state, command, to)?,
            Action::OpenSession { node, to } => self.open_session(state, node, to)?,
            Action::Read { command } => self.read(state, command),
            Action::ReadIndex { command, leader, peer } => self.read_index(state, command, leader, peer)?,
            Action::Reach { command } => self.reach(state, command),
            Action::TimeOut { command } => self.time_out(state, command),
            Action::OpeningTimesOut { node } => {
                state.left.sessions -= 1;
                state.nodes[node as usize].submit.opening = None;
            }
            Action::GiveUp { command } => self.give_up_request(state, command),
            Action::Deliver { request, again } => {
                self.deliver(state, &request)?;
                if again {
                    state.left.duplicates = state.left.duplicates.saturating_sub(1);
                } else {
                    let at = state.network.iter().position(|other| *other == request)?;
                    state.network.remove(at);
                }
            }
            Action::Decide { node } => self.decide_waiting(state, node)?,
            Action::HandOver { node } => self.hand_over(state, node),
            Action::Take { node, position, refuse } => self.take(state, node, position, refuse),
            Action::Commit { node, peer } => self.commit(state, node, peer),
            Action::Apply { node } => state.nodes[node as usize].applied += 1,
            Action::Handed { node } => self.handed(state, node)?,
            Action::Begin { node } => self.begin(state, node),
            Action::GoOn { node, peer } => self.go_on(state, node, peer),
            Action::Confirm { node, answer, peer } => {
                self.confirm(state, node, answer, Some(peer).filter(|&peer| peer != node));
            }
            Action::Unconfirmed { node, answer } => self.unconfirmed(state, node, answer),
            Action::Round { node, peer } => {
                let term = state.nodes[node as usize].core.as_ref()?.term;
                self.hear(state, peer, term);
                state.nodes[node as usize].round = Some(term);
            }
            Action::Elect { node, peer, tail } => self.elect(state, node, peer, tail),
            Action::StepDown { node } => {
                self.step_down(state, node);
                let newest = state.nodes.iter().map(|node| node.term).max()?;
                state.nodes[node as usize].term = newest;
            }
            Action::Hear { node } => {
                let here = &mut state.nodes[node as usize];
                here.leads = here.core.as_ref().map(|core| core.term);
            }
            Action::Drain { node } => self.drain(state, node),
            Action::Transfer { node } => self.transfer(state, node),
            Action::Restart { node } => self.restart(state, node),
        }
        Some(())
    }

    /// Drops what can have no effect any more, so that states that differ in nothing else are one.
    fn forget(&self, state: &mut State) {
        let newest = state.nodes.iter().map(|node| node.term).max().unwrap_or(0);
        if newest >= self.config.terms_max {
            state.orphans.clear();
        }
        for node in &mut state.nodes {
            node.barred = node.barred.filter(|_| node.leads.is_some());
        }
        let nodes = &state.nodes;
        let requests = &state.requests;
        state.network.retain(|Request { to, task }| {
            let there = &nodes[*to as usize];
            let leads =
                there.leads == Some(task.term) || there.core.as_ref().is_some_and(|core| core.term == task.term);
            let barred = there.barred == Some(task.term);
            (leads && !barred) || self.broken(Break::TermOfTask) || Self::awaited(requests, nodes, task)
        });
    }

    /// Whether somebody waits for the answer to this attempt.
    fn awaited(requests: &[Progress], nodes: &[Node; NODES], task: &Task) -> bool {
        match task.source {
            Source::Node(node) => nodes[node as usize].submit.opening == Some(task.attempt),
            Source::Client(command) => match requests[command as usize] {
                Progress::Open(open) => open.awaiting && open.place == task.place && open.attempt == task.attempt,
                _ => false,
            },
        }
    }

    /// Whether a request of which the client was told that it was not taken took effect.
    fn denied(&self, state: &State) -> bool {
        (0..).zip(&state.requests).any(|(command, progress)| {
            let of_command = |effects: &Effects| effects.source == Source::Client(command);
            *progress == Progress::NotTaken
                && state
                    .committed
                    .iter()
                    .filter_map(|entry| entry.batch.as_ref())
                    .any(|batch| batch.effects.iter().any(of_command))
        })
    }
}
