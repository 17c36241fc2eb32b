//! What must always hold, and what must happen in some run, so that the model is not empty.

use stateright::Property;

use crate::command::{Op, Source};
use crate::machine::{Machine, Outcome};
use crate::raft::Applied;
use crate::state::{Progress, State, Wrong};
use crate::{Model, Term};

impl Wrong {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Twice,
        Self::Lost,
        Self::Void,
        Self::Unjustified,
        Self::SecondLife,
        Self::LostUpdate,
        Self::Barred,
        Self::Remembered,
        Self::Denied,
    ];

    /// The property that is broken.
    #[must_use]
    pub const fn property(self) -> &'static str {
        match self {
            Self::Twice => "a command takes effect at most once",
            Self::Lost => "what was acknowledged is in the committed state",
            Self::Void => "an entry is void only behind a refusal of its own epoch",
            Self::Unjustified => "an answer is true of a committed state between request and response",
            Self::SecondLife => "no session has two lives",
            Self::LostUpdate => "a write is committed on what it was decided against",
            Self::Barred => "nothing is handed over after leadership was given away",
            Self::Remembered => "the outcome of an acknowledged number is forgotten",
            Self::Denied => "what is said not to be taken never takes effect",
        }
    }
}

/// The properties that can be told apart in a run within these bounds.
pub(crate) fn all(model: &Model) -> Vec<Property<Model>> {
    let mut properties = vec![
        Property::always(Wrong::Twice.property(), |_, state: &State| state.wrong != Some(Wrong::Twice)),
        Property::always(Wrong::Lost.property(), |model: &Model, state: &State| {
            state.wrong != Some(Wrong::Lost) && (model.broken.is_some() || model.keeps(state))
        }),
        Property::always(Wrong::Void.property(), |_, state: &State| state.wrong != Some(Wrong::Void)),
        Property::always(Wrong::Unjustified.property(), |_, state: &State| state.wrong != Some(Wrong::Unjustified)),
        Property::always(Wrong::SecondLife.property(), |_, state: &State| state.wrong != Some(Wrong::SecondLife)),
        Property::always(Wrong::LostUpdate.property(), |_, state: &State| state.wrong != Some(Wrong::LostUpdate)),
        Property::always(Wrong::Barred.property(), |_, state: &State| state.wrong != Some(Wrong::Barred)),
        Property::always(Wrong::Remembered.property(), |_, state: &State| state.wrong != Some(Wrong::Remembered)),
        Property::always(Wrong::Denied.property(), |_, state: &State| state.wrong != Some(Wrong::Denied)),
    ];
    properties.push(Property::sometimes("every request is answered", |_, state: &State| {
        state.requests.iter().all(|progress| matches!(progress, Progress::Done { .. }))
    }));
    let (config, faults) = (&model.config, model.config.faults);
    let conditional = config.commands.iter().any(|command| !matches!(command.op, Op::Put | Op::Read));
    if conditional {
        properties.push(Property::sometimes(
            "a refusal, a no-op or a known answer is given",
            |model: &Model, state: &State| {
                (0..).zip(&state.requests).any(|(command, progress)| match progress {
                    Progress::Done { outcome, .. } => !model.has_written(state, command, 0, *outcome),
                    _ => false,
                })
            },
        ));
    }
    if config.terms_max > 1 {
        properties.push(Property::sometimes(
            "a later leader commits what a deposed one appended",
            |_, state: &State| {
                state.committed.windows(2).any(|pair| pair[0].batch.is_some() && pair[1].term > pair[0].term)
                    && state.nodes.iter().any(|node| node.lead.as_ref().is_some_and(|lead| lead.term > 1))
            },
        ));
    }
    if config.attempts_max > 1 && config.terms_max > 1 {
        properties.push(Property::sometimes("a retry succeeds over a change of leader", |_, state: &State| {
            let retried = |progress: &Progress| {
                matches!(progress, Progress::Done { attempt: 2.., outcome: Outcome::Written { .. } })
            };
            state.requests.iter().any(retried) && state.committed.iter().any(|entry| entry.term > 1)
        }));
    }
    if faults.refusals > 0 && config.entries_in_flight_max > 1 && config.queue {
        properties.push(Property::sometimes("an entry is void", |model: &Model, state: &State| {
            !model.void(state).is_empty()
        }));
        properties.push(Property::sometimes("after a void entry its term goes on", |model: &Model, state: &State| {
            let void = model.void(state);
            let effective = |term: Term| {
                let last = state.committed.last().and_then(|entry| entry.batch.as_ref());
                last.is_some_and(|batch| batch.decided_term == term) && model.last_is_effective(state)
            };
            void.into_iter().any(effective)
        }));
    }
    if faults.restarts > 0 {
        properties.push(Property::sometimes("a session ends and another serves", |model: &Model, state: &State| {
            let opened = state.committed.iter().filter_map(|entry| entry.batch.as_ref());
            let opened = opened.flat_map(|batch| &batch.effects).filter(|it| it.source == Source::Node(1)).count();
            opened > 1 && !model.machine(state, state.committed.len()).outcomes.is_empty()
        }));
    }
    properties
}

impl Model {
    /// Whether every acknowledged write is in the committed log.
    fn keeps(&self, state: &State) -> bool {
        (0..).zip(&state.requests).all(|(command, progress)| match progress {
            Progress::Done { outcome: outcome @ Outcome::Written { .. }, .. } => {
                self.config.commands[command as usize].key.is_some() || self.has_written(state, command, 0, *outcome)
            }
            _ => true,
        })
    }

    /// The terms that decided the entries that are void.
    fn void(&self, state: &State) -> Vec<Term> {
        let mut machine = Machine::default();
        let void = state.committed.iter().filter(|entry| self.apply(&mut machine, entry) == Applied::Void);
        void.filter_map(|entry| entry.batch.as_ref()).map(|batch| batch.decided_term).collect()
    }

    fn last_is_effective(&self, state: &State) -> bool {
        let Some((last, before)) = state.committed.split_last() else { return false };
        let mut machine = self.machine(state, before.len());
        self.apply(&mut machine, last) == Applied::Effective
    }
}
