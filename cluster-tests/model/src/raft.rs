//! Raft, abstracted: one committed log, votes with a majority, leaders with an uncommitted tail, and deposed leaders
//! that do not know. A later leader may have any beginning of any tail that still fits: what a deposed leader
//! appended is lost or is committed later. That is more than Raft allows, and never less.

use crate::command::Source;
use crate::machine::{Batch, Effects, Entry, Machine, Outcome};
use crate::rules::Break;
use crate::state::{Core, End, Fate, State, Wrong};
use crate::{Model, NodeId, Seq, Term};

/// What became of an entry (`engine/src/apply/mod.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The first entry of a term.
    Internal,
    /// It took effect.
    Effective,
    /// It changed nothing.
    Void,
}

impl Model {
    /// Applies one entry: the whole of rule 2.
    pub fn apply(&self, machine: &mut Machine, entry: &Entry) -> Applied {
        let Some(batch) = &entry.batch else { return Applied::Internal };
        let term_fits =
            batch.decided_term == entry.term || self.broken(Break::DecidedTerm) || self.broken(Break::DecidedTermAlone);
        let base_fits = batch.base_seq == machine.seq || self.broken(Break::BaseSeq);
        if !term_fits || !base_fits {
            return Applied::Void;
        }
        machine.seq += 1;
        let acks_first = self.broken(Break::AcksFirst);
        if acks_first {
            batch.acks.iter().for_each(|&(session, numbers)| machine.acknowledge(session, numbers));
        }
        for effects in &batch.effects {
            machine.write(machine.seq, effects);
        }
        if !acks_first {
            batch.acks.iter().for_each(|&(session, numbers)| machine.acknowledge(session, numbers));
        }
        Applied::Effective
    }

    /// The state after the first `entries` of the committed log.
    #[must_use]
    pub fn machine(&self, state: &State, entries: usize) -> Machine {
        let mut machine = Machine::default();
        for entry in &state.committed[..entries] {
            self.apply(&mut machine, entry);
        }
        machine
    }

    /// The committed states from `since` on; also those between two commands of one entry, which have their own
    /// revisions.
    #[must_use]
    pub fn committed_since(&self, state: &State, since: Seq) -> Vec<Machine> {
        let mut machine = Machine::default();
        let mut machines = Vec::new();
        if since == 0 {
            machines.push(machine.clone());
        }
        for entry in &state.committed {
            let mut between = machine.clone();
            if self.apply(&mut machine, entry) != Applied::Effective || machine.seq < since {
                continue;
            }
            let effects = entry.batch.iter().flat_map(|batch| &batch.effects).filter(|_| machine.seq > since);
            for effects in effects {
                between.write(machine.seq, effects);
                machines.push(between.clone());
            }
            machines.push(machine.clone());
        }
        machines
    }

    /// Ends of logs that a new leader may have: where they come from, without those that look alike.
    #[must_use]
    pub fn tails(&self, state: &State, node: NodeId) -> Vec<Vec<Entry>> {
        let own = state.nodes[node as usize].core.as_ref().filter(|core| !core.dead);
        if let Some(own) = own {
            // A leader keeps its own log.
            return vec![own.tail.clone()];
        }
        let mut tails = vec![Vec::new()];
        let of_leaders = state.nodes.iter().filter_map(|node| node.core.as_ref()).filter(|core| !core.dead);
        for tail in of_leaders.map(|core| &core.tail).chain(&state.orphans) {
            for length in 1..=tail.len() {
                let beginning = tail[..length].to_vec();
                if !tails.contains(&beginning) {
                    tails.push(beginning);
                }
            }
        }
        tails
    }

    /// `node` is elected with the votes of itself and `peer`, with `tail` at the end of its log.
    pub(crate) fn elect(&self, state: &mut State, node: NodeId, peer: NodeId, mut tail: Vec<Entry>) {
        let term = state.nodes.iter().map(|node| node.term).max().unwrap_or(0) + 1;
        self.step_down(state, node);
        self.step_down(state, peer);
        tail.push(Entry { term, batch: None, behind_refusal: false });
        state.nodes[peer as usize].term = term;
        let elected = &mut state.nodes[node as usize];
        elected.term = term;
        elected.core = Some(Core { term, tail, dead: false, transferring: false });
        // That a leader hears late of its own election only delays it, unless it still believes in a former one.
        elected.leads = elected.leads.or(Some(term));
    }

    /// `node` leads no longer, in Raft's eyes. What it appended may live on.
    pub(crate) fn step_down(&self, state: &mut State, node: NodeId) {
        let Some(core) = state.nodes[node as usize].core.take() else { return };
        if !core.dead && !core.tail.is_empty() && !state.orphans.contains(&core.tail) {
            state.orphans.push(core.tail);
            state.orphans.sort_unstable();
        }
    }

    /// Whether `peer` makes a majority with the leader `node`: it has not heard of a later term.
    #[must_use]
    pub fn follows(&self, state: &State, node: NodeId, peer: NodeId) -> bool {
        let Some(core) = &state.nodes[node as usize].core else { return false };
        node != peer && state.nodes[peer as usize].term <= core.term
    }

    /// Whether the leader `node` knows what is committed: it has committed in its own term. Reads wait until then.
    #[must_use]
    pub fn knows_committed(&self, state: &State, node: NodeId) -> bool {
        let core = state.nodes[node as usize].core.as_ref();
        core.is_some_and(|core| state.committed.iter().any(|entry| entry.term == core.term))
    }

    /// `peer` hears from the leader of `term`.
    pub(crate) fn hear(&self, state: &mut State, peer: NodeId, term: Term) {
        if state.nodes[peer as usize].term < term {
            state.nodes[peer as usize].term = term;
            self.step_down(state, peer);
        }
    }

    /// How many entries `node` would commit next: entries of former terms only together with the first of its own.
    #[must_use]
    pub fn commits(&self, state: &State, node: NodeId) -> usize {
        let Some(core) = state.nodes[node as usize].core.as_ref().filter(|core| !core.dead) else { return 0 };
        core.tail.iter().position(|entry| entry.term == core.term).map_or(0, |first| first + 1)
    }

    /// The leader `node` commits, with `peer`.
    pub(crate) fn commit(&self, state: &mut State, node: NodeId, peer: NodeId) {
        let count = self.commits(state, node);
        let Some(core) = &state.nodes[node as usize].core else { return };
        let (entries, term) = (core.tail[..count].to_vec(), core.term);
        self.hear(state, peer, term);
        for entry in entries {
            self.check_commit(state, &entry);
            let fits = |tail: &mut Vec<Entry>| {
                let fits = tail.first() == Some(&entry);
                if fits {
                    tail.remove(0);
                }
                fits
            };
            for core in state.nodes.iter_mut().filter_map(|node| node.core.as_mut()).filter(|core| !core.dead) {
                // A tail that ends here is only behind; one that goes another way is cut off for ever. A leader that
                // appended nothing has at least the first entry of its term in its tail.
                if !fits(&mut core.tail) {
                    (core.dead, core.tail) = (true, Vec::new());
                }
            }
            state.orphans.retain_mut(|tail| fits(tail) && !tail.is_empty());
            state.orphans.sort_unstable();
            state.orphans.dedup();
            state.committed.push(entry);
        }
    }

    /// What must hold when an entry becomes part of the truth.
    fn check_commit(&self, state: &mut State, entry: &Entry) {
        let mut machine = self.machine(state, state.committed.len());
        let before = machine.clone();
        let applied = self.apply(&mut machine, entry);
        let Some(batch) = &entry.batch else { return };
        if applied == Applied::Void {
            if !entry.behind_refusal {
                self.flag(state, Wrong::Void);
            }
            return;
        }
        for wrong in self.check_effects(state, &before, batch) {
            self.flag(state, wrong);
        }
        let remembered = machine.outcomes.iter().any(|((session, number), _)| {
            machine.session(*session).is_some_and(|session| session.acknowledged >> number & 1 == 1)
        });
        if remembered {
            self.flag(state, Wrong::Remembered);
        }
    }

    fn check_effects(&self, state: &State, before: &Machine, batch: &Batch) -> Vec<Wrong> {
        let mut machine = before.clone();
        let (mut opened, mut wrong) = (0, Vec::new());
        for effects in &batch.effects {
            if let Some((session, _)) = effects.place
                && machine.session(session).is_none()
            {
                wrong.push(Wrong::SecondLife);
            }
            match effects.source {
                Source::Node(_) => opened += 1,
                Source::Client(command) => {
                    let asked = &self.config.commands[command as usize];
                    if let Outcome::Written { .. } = effects.outcome
                        && self.has_taken_effect(state, batch, effects, command)
                    {
                        wrong.push(Wrong::Twice);
                    }
                    if machine.evaluate(asked.op) != effects.outcome {
                        wrong.push(Wrong::LostUpdate);
                    }
                }
            }
            machine.write(before.seq + 1, effects);
        }
        if opened > 1 {
            wrong.push(Wrong::SecondLife);
        }
        wrong
    }

    /// Whether the command, or another request with its key, wrote before these effects of `batch`.
    fn has_taken_effect(&self, state: &State, batch: &Batch, effects: &Effects, command: u8) -> bool {
        let key = |command: u8| self.config.commands[command as usize].key;
        let same = |other: &Effects| match (other.source, other.outcome) {
            (Source::Client(other), Outcome::Written { .. }) => {
                other == command || (key(command).is_some() && key(other) == key(command))
            }
            _ => false,
        };
        let mut machine = Machine::default();
        let mut written = 0;
        for entry in &state.committed {
            if self.apply(&mut machine, entry) == Applied::Effective {
                written += entry.batch.iter().flat_map(|batch| &batch.effects).filter(|other| same(other)).count();
            }
        }
        let here = batch.effects.iter().take_while(|other| !std::ptr::eq(*other, effects));
        written + here.filter(|other| same(other)).count() > 0
    }

    /// Raft looks at the entry `position` of those that `node` has in flight.
    pub(crate) fn take(&self, state: &mut State, node: NodeId, position: usize, refuse: bool) {
        let committed = state.committed.len();
        let here = &mut state.nodes[node as usize];
        let Some(epoch) = here.lead.as_mut().and_then(|lead| lead.epoch.as_mut()) else { return };
        let entry = &mut epoch.in_flight[position];
        let Some(batch) = &entry.entry.batch else { return };
        let bound = !self.broken(Break::NotBoundToLeader) && !self.broken(Break::DecidedTerm);
        entry.fate = match &mut here.core {
            None => Fate::Refused(End::TermOver),
            Some(core) if bound && core.term != batch.decided_term => Fate::Refused(End::TermOver),
            Some(core) if core.transferring => Fate::Refused(End::Barred),
            Some(_) if refuse => Fate::Refused(End::LeaseExpired),
            Some(core) => {
                entry.entry.term = core.term;
                entry.entry.behind_refusal = epoch.refused;
                core.tail.push(entry.entry.clone());
                Fate::At((committed + core.tail.len() - 1) as u8)
            }
        };
        epoch.refused |= matches!(entry.fate, Fate::Refused(_));
        if refuse {
            state.left.refusals -= 1;
        }
    }
}
