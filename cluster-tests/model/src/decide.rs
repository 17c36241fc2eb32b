//! Decide (`engine/src/decide`): one command against the state plus the overlay of what is decided and not applied yet.

use crate::command::{Source, Task};
use crate::machine::{Effects, Machine, Outcome};
use crate::rules::Break;
use crate::state::{Epoch, State};
use crate::{Model, NodeId, Number, Seq, Session};

/// What became of a command (`engine::decide::Verdict`).
pub(crate) enum Verdict {
    /// Its effects are in the entry under construction.
    Proposed(Effects),
    /// It writes nothing: a linearizable read.
    Read { outcome: Outcome, after_seq: Seq },
    /// The number was acknowledged.
    Stale,
    /// The session has ended.
    SessionGone,
    /// The entry under construction must be closed first.
    EntryFull,
}

impl Model {
    /// The state that `node` has applied, under the notes of its epoch.
    fn overlay(&self, state: &State, node: NodeId, epoch: &Epoch) -> Machine {
        let mut machine = self.machine(state, state.nodes[node as usize].applied as usize);
        for effects in &epoch.carried {
            machine.write(machine.seq, effects);
        }
        for in_flight in &epoch.in_flight {
            let Some(batch) = &in_flight.entry.batch else { continue };
            batch.effects.iter().for_each(|effects| machine.write(in_flight.seq, effects));
        }
        epoch.building.iter().for_each(|(_, effects)| machine.write(epoch.seq + 1, effects));
        // An acknowledgement counts from its decision on; outcomes are forgotten by apply.
        let in_flight = epoch.in_flight.iter().filter_map(|it| it.entry.batch.as_ref()).flat_map(|batch| &batch.acks);
        for &(session, numbers) in in_flight.chain(&epoch.acks) {
            if let Some(open) = machine.session_mut(session) {
                open.acknowledged |= numbers;
            }
        }
        machine.revision = epoch.revision;
        machine
    }

    /// The notes of outcomes alone: all that is looked at for a first attempt.
    fn noted(epoch: &Epoch, place: (Session, Number)) -> Option<Outcome> {
        let of_entries = epoch.in_flight.iter().filter_map(|in_flight| in_flight.entry.batch.as_ref());
        let effects = of_entries.flat_map(|batch| &batch.effects).chain(epoch.building.iter().map(|(_, it)| it));
        effects.filter(|effects| effects.place == Some(place)).map(|effects| effects.outcome).next_back()
    }

    /// Decides `task` at its place in the order of all writes.
    pub(crate) fn verdict(&self, state: &State, node: NodeId, epoch: &Epoch, task: &Task) -> Verdict {
        let overlay = self.overlay(state, node, epoch);
        let after_seq = epoch.seq + u8::from(!epoch.building.is_empty());
        let read = |outcome| Verdict::Read { outcome, after_seq };
        if let Some(place @ (session, number)) = task.place {
            match overlay.session(session) {
                None if !self.broken(Break::EndedSession) => return Verdict::SessionGone,
                Some(open) if open.acknowledged >> number & 1 == 1 && !self.broken(Break::Acknowledged) => {
                    return Verdict::Stale;
                }
                _ => {}
            }
            let first_attempt = self.config.shortcut && task.attempt <= 1;
            let known = if first_attempt { Self::noted(epoch, place) } else { overlay.outcome(place) };
            if let Some(outcome) = known.filter(|_| !self.broken(Break::NumbersForgotten)) {
                return read(outcome);
            }
        }
        let command = match task.source {
            Source::Client(command) => &self.config.commands[command as usize],
            Source::Node(_) => {
                let opens = epoch.building.iter().any(|(task, _)| matches!(task.source, Source::Node(_)));
                if opens && !self.broken(Break::SharedEntry) {
                    return Verdict::EntryFull;
                }
                let outcome = Outcome::Opened { session: epoch.seq + 1 };
                return Verdict::Proposed(Effects { source: task.source, place: None, outcome, key: None });
            }
        };
        if let Some((key, body)) = command.key.filter(|_| !self.broken(Break::KeysForgotten)) {
            let applied;
            let keys = match self.broken(Break::PendingKeys) {
                false => &overlay.keys,
                true => {
                    applied = self.machine(state, state.nodes[node as usize].applied as usize);
                    &applied.keys
                }
            };
            if let Some(&(_, known, outcome)) = keys.iter().find(|(known, ..)| *known == key) {
                let same = known == body || self.broken(Break::KeyBody);
                return read(if same { outcome } else { Outcome::KeyReused { revision: epoch.revision } });
            }
        }
        let remembered = command.key.filter(|_| !self.broken(Break::KeyedNoop));
        match overlay.evaluate(command.op) {
            outcome @ Outcome::Written { .. } => {
                Verdict::Proposed(Effects { source: task.source, place: task.place, outcome, key: command.key })
            }
            // A no-op with a key takes a place in the log.
            outcome @ Outcome::Noop { .. } if remembered.is_some() => {
                Verdict::Proposed(Effects { source: task.source, place: task.place, outcome, key: command.key })
            }
            outcome => read(outcome),
        }
    }
}
