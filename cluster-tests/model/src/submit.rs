//! The side of a write that took the request (`raft/src/submit`): sessions, numbers, attempts, and what the client
//! hears.

use crate::command::{Request, Source, Task};
use crate::machine::{Machine, Outcome};
use crate::raft::Applied;
use crate::rules::Break;
use crate::state::{Open, Progress, State, Wrong};
use crate::{Model, NodeId, Seq};

/// What became of a task (`raft/src/propose/task.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The answer may be given.
    Outcome(Outcome),
    /// This attempt was not handed to the log.
    NotTaken,
    /// The session has ended.
    SessionGone,
    /// It was handed to the log and its fate is not known.
    Unknown,
    /// The number was acknowledged, or a later attempt has come.
    Stale,
}

impl Model {
    /// Whether the node that took `command` can send its next attempt.
    #[must_use]
    pub fn sends(&self, state: &State, command: u8) -> bool {
        let asked = &self.config.commands[command as usize];
        if state.nodes[asked.node as usize].submit.session.is_none() {
            return false;
        }
        match state.requests[command as usize] {
            Progress::Idle => self.may_begin(state, command),
            Progress::Open(open) => !open.awaiting && open.attempt < self.config.attempts_max,
            _ => false,
        }
    }

    /// Whether what the client of `command` waits for has ended.
    #[must_use]
    pub fn may_begin(&self, state: &State, command: u8) -> bool {
        let waits = |progress| matches!(progress, Progress::Idle | Progress::Open(_) | Progress::Reading { .. });
        self.config.commands[command as usize].after.is_none_or(|former| !waits(state.requests[former as usize]))
    }

    /// The next attempt of `command` goes to `leader`.
    pub(crate) fn send(&self, state: &mut State, command: u8, leader: NodeId) -> Option<()> {
        let term = state.nodes[leader as usize].core.as_ref()?.term;
        let node = self.config.commands[command as usize].node;
        let since = self.machine(state, state.committed.len()).seq;
        let submit = &mut state.nodes[node as usize].submit;
        let session = submit.session?;
        let mut take_number = || {
            submit.number += 1;
            (session, submit.number)
        };
        let mut open = match state.requests[command as usize] {
            Progress::Open(open) => open,
            _ => Open { since, place: None, attempt: 0, unknown: false, awaiting: false },
        };
        let place = match open.place {
            Some(place) if !self.broken(Break::NewNumber) => place,
            _ => take_number(),
        };
        open = Open { place: Some(place), attempt: open.attempt + 1, awaiting: true, ..open };
        state.requests[command as usize] = Progress::Open(open);
        let acknowledged = if place.0 == session { submit.answered } else { 0 };
        let task =
            Task { source: Source::Client(command), place: Some(place), attempt: open.attempt, term, acknowledged };
        self.post(state, Request { to: leader, task });
        Some(())
    }

    /// `node` asks `leader` for a session.
    pub(crate) fn open_session(&self, state: &mut State, node: NodeId, leader: NodeId) -> Option<()> {
        let term = state.nodes[leader as usize].core.as_ref()?.term;
        let submit = &mut state.nodes[node as usize].submit;
        submit.opened += 1;
        submit.opening = Some(submit.opened);
        let task = Task { source: Source::Node(node), place: None, attempt: submit.opened, term, acknowledged: 0 };
        self.post(state, Request { to: leader, task });
        Some(())
    }

    fn post(&self, state: &mut State, request: Request) {
        state.network.push(request);
        state.network.sort_unstable();
    }

    /// Gives an answer to whoever waits for this attempt; others have stopped listening. An answer that is lost on
    /// the way is one for which the wait ended a moment before.
    pub(crate) fn reply(&self, state: &mut State, task: &Task, answer: Answer) {
        match task.source {
            Source::Client(command) => self.reply_to_client(state, command, task, answer),
            Source::Node(node) => {
                let submit = &mut state.nodes[node as usize].submit;
                if submit.opening != Some(task.attempt) {
                    return;
                }
                submit.opening = None;
                if let Answer::Outcome(Outcome::Opened { session }) = answer {
                    (submit.session, submit.number, submit.answered) = (Some(session), 0, 0);
                }
            }
        }
    }

    fn reply_to_client(&self, state: &mut State, command: u8, task: &Task, answer: Answer) {
        let Progress::Open(open) = state.requests[command as usize] else { return };
        if !open.awaiting || open.place != task.place || open.attempt != task.attempt {
            return;
        }
        let waits = Open { awaiting: false, ..open };
        let progress = match answer {
            Answer::Outcome(outcome) => {
                if let Some(wrong) = self.check_answer(state, command, &open, outcome) {
                    self.flag(state, wrong);
                }
                Progress::Done { outcome, attempt: open.attempt }
            }
            Answer::NotTaken => Progress::Open(waits),
            Answer::Unknown | Answer::Stale => Progress::Open(Open { unknown: true, ..waits }),
            Answer::SessionGone => {
                self.forget_session(state, command, &open);
                match open.unknown && !self.broken(Break::MovesOver) {
                    true => Progress::Unknown,
                    false => Progress::Open(Open { place: None, attempt: 0, ..waits }),
                }
            }
        };
        state.requests[command as usize] = progress;
        if !matches!(progress, Progress::Open(_)) {
            self.answered(state, command, &open);
        }
    }

    fn forget_session(&self, state: &mut State, command: u8, open: &Open) {
        let submit = &mut state.nodes[self.config.commands[command as usize].node as usize].submit;
        if submit.session == open.place.map(|(session, _)| session) {
            submit.session = None;
        }
    }

    /// The number is answered, or given up: it will not be sent again.
    fn answered(&self, state: &mut State, command: u8, open: &Open) {
        let Some((session, number)) = open.place else { return };
        let submit = &mut state.nodes[self.config.commands[command as usize].node as usize].submit;
        if submit.session == Some(session) {
            submit.answered |= 1 << number;
        }
    }

    /// The node no longer waits for the answer to the last attempt: the stream broke, or it took too long.
    pub(crate) fn time_out(&self, state: &mut State, command: u8) {
        if let Progress::Open(open) = &mut state.requests[command as usize] {
            (open.awaiting, open.unknown) = (false, true);
        }
    }

    /// The request's deadline has passed.
    pub(crate) fn give_up_request(&self, state: &mut State, command: u8) {
        let Progress::Open(open) = state.requests[command as usize] else { return };
        state.left.give_ups -= 1;
        let unknown = open.unknown || open.awaiting;
        state.requests[command as usize] = if unknown { Progress::Unknown } else { Progress::NotTaken };
        self.answered(state, command, &open);
    }

    /// `node` is killed and starts again: its log and its vote are what is left.
    pub(crate) fn restart(&self, state: &mut State, node: NodeId) {
        state.left.restarts -= 1;
        self.step_down(state, node);
        let here = &mut state.nodes[node as usize];
        (here.leads, here.lead, here.round, here.barred) = (None, None, None, None);
        here.confirming.clear();
        (here.submit.session, here.submit.opening) = (None, None);
        (here.submit.number, here.submit.answered) = (0, 0);
        for (command, asked) in self.config.commands.iter().enumerate() {
            if asked.node == node && matches!(state.requests[command], Progress::Open(_)) {
                state.requests[command] = Progress::Unknown;
            }
        }
    }

    /// Whether the client may be given this answer: it must be true of a committed state since it sent its request.
    fn check_answer(&self, state: &State, command: u8, open: &Open, outcome: Outcome) -> Option<Wrong> {
        let asked = &self.config.commands[command as usize];
        let acknowledged = match (outcome, asked.key) {
            (Outcome::Written { .. }, None) => self.has_written(state, command, open.since, outcome),
            // With a key a success is remembered from its entry on.
            (Outcome::Written { .. } | Outcome::Noop { .. }, Some((key, _))) => {
                let machine = self.machine(state, state.committed.len());
                machine.keys.iter().any(|&(known, _, remembered)| known == key && remembered == outcome)
            }
            _ => true,
        };
        if !acknowledged {
            return Some(Wrong::Lost);
        }
        let own = matches!(outcome, Outcome::Written { .. }) && asked.key.is_none();
        let machines = self.committed_since(state, open.since);
        let justified = own || machines.iter().any(|machine| machine.answer(asked) == outcome);
        (!justified).then_some(Wrong::Unjustified)
    }

    /// Whether the write of `command` is in the committed log behind `since`, with this outcome.
    pub(crate) fn has_written(&self, state: &State, command: u8, since: Seq, outcome: Outcome) -> bool {
        let mut machine = Machine::default();
        state.committed.iter().any(|entry| {
            let effective = self.apply(&mut machine, entry) == Applied::Effective;
            let wrote = entry.batch.iter().flat_map(|batch| &batch.effects);
            effective
                && machine.seq > since
                && wrote.clone().any(|effects| effects.source == Source::Client(command) && effects.outcome == outcome)
        })
    }
}
