//! The proposer of a leader (`raft/src/propose`): epochs, entries in flight, and the answers of both kinds.

use crate::command::{Request, Task};
use crate::decide::Verdict;
use crate::machine::{Batch, Entry, Outcome};
use crate::raft::Applied;
use crate::rules::Break;
use crate::state::{Answering, End, Epoch, Fate, InFlight, Lead, State, Wrong};
use crate::submit::Answer;
use crate::{Model, NodeId, Session};

impl Epoch {
    fn takes(&self, entries_in_flight_max: usize) -> bool {
        self.end.is_none() && !self.paused && self.in_flight.len() < entries_in_flight_max
    }
}

impl Model {
    /// Whether the epoch of `node` takes commands.
    #[must_use]
    pub fn takes(&self, state: &State, node: NodeId) -> bool {
        let here = &state.nodes[node as usize];
        here.lead.as_ref().is_some_and(|lead| {
            // A proposer that has heard of the end of its term is about to give up.
            here.leads == Some(lead.term)
                && lead.epoch.as_ref().is_some_and(|epoch| epoch.takes(self.config.entries_in_flight_max))
        })
    }

    /// Whether `node` may begin to decide: it leads, and the first entry of its term is applied.
    #[must_use]
    pub fn begins(&self, state: &State, node: NodeId) -> bool {
        let here = &state.nodes[node as usize];
        let Some(term) = here.leads.filter(|_| here.lead.is_none()) else { return false };
        let applied = &state.committed[..here.applied as usize];
        here.barred != Some(term) && (applied.iter().any(|entry| entry.term == term) || self.broken(Break::BeginEarly))
    }

    /// An epoch with an empty overlay, on what `node` has applied.
    fn epoch(&self, state: &State, node: NodeId) -> Epoch {
        let machine = self.machine(state, state.nodes[node as usize].applied as usize);
        Epoch {
            seq: machine.seq,
            revision: machine.revision,
            applied_seq: machine.seq,
            building: Vec::new(),
            acks: Vec::new(),
            in_flight: Vec::new(),
            answers: Vec::new(),
            again: Vec::new(),
            refused: false,
            paused: false,
            end: None,
            carried: Vec::new(),
        }
    }

    /// `node` begins to lead the term that it has heard of.
    pub(crate) fn begin(&self, state: &mut State, node: NodeId) {
        let epoch = self.epoch(state, node);
        let here = &mut state.nodes[node as usize];
        let Some(term) = here.leads else { return };
        here.lead = Some(Lead { term, epoch: Some(epoch), waiting: Vec::new(), seen: Vec::new(), carried: Vec::new() });
    }

    /// After a standstill, once a ReadIndex of the term has succeeded.
    pub(crate) fn go_on(&self, state: &mut State, node: NodeId, peer: NodeId) {
        let epoch = self.epoch(state, node);
        if let Some(term) = state.nodes[node as usize].core.as_ref().map(|core| core.term) {
            self.hear(state, peer, term);
        }
        if let Some(lead) = &mut state.nodes[node as usize].lead {
            let carried = std::mem::take(&mut lead.carried);
            lead.epoch = Some(Epoch { carried, ..epoch });
        }
    }

    /// A request reaches the leader it was sent to. `None` when it has to wait there.
    pub(crate) fn deliver(&self, state: &mut State, request: &Request) -> Option<()> {
        let here = &state.nodes[request.to as usize];
        if here.leads.is_none() || here.barred == here.leads {
            self.reply(state, &request.task, Answer::NotTaken);
            return Some(());
        }
        let lead = here.lead.as_ref()?;
        if !lead.waiting.is_empty() || !self.takes(state, request.to) {
            return None;
        }
        self.decide(state, request.to, request.task)
    }

    /// The next of the commands that wait is decided again.
    pub(crate) fn decide_waiting(&self, state: &mut State, node: NodeId) -> Option<()> {
        let lead = state.nodes[node as usize].lead.as_mut()?;
        let task = lead.waiting.remove(0);
        self.decide(state, node, task)
    }

    fn decide(&self, state: &mut State, node: NodeId, task: Task) -> Option<()> {
        let lead = state.nodes[node as usize].lead.as_mut()?;
        if task.term != lead.term && !self.broken(Break::TermOfTask) {
            self.reply(state, &task, Answer::NotTaken);
            return Some(());
        }
        let term = lead.term;
        if let Some(place @ (session, _)) = task.place {
            self.acknowledge(state, node, session, task.acknowledged);
            let lead = state.nodes[node as usize].lead.as_mut()?;
            let at = lead.seen.iter().position(|(known, _)| *known == place);
            let at = at.unwrap_or_else(|| {
                lead.seen.push((place, 0));
                lead.seen.len() - 1
            });
            if task.attempt < lead.seen[at].1 && !self.broken(Break::LowerAttempt) {
                self.reply(state, &task, Answer::Stale);
                return Some(());
            }
            lead.seen[at].1 = task.attempt;
            lead.seen.sort_unstable();
        }
        let epoch = state.nodes[node as usize].lead.as_ref()?.epoch.as_ref()?;
        match self.verdict(state, node, epoch, &task) {
            Verdict::Proposed(effects) => {
                let epoch = state.nodes[node as usize].lead.as_mut()?.epoch.as_mut()?;
                if let Outcome::Written { revision } = effects.outcome {
                    epoch.revision = revision;
                }
                epoch.building.push((task, effects));
                if !self.config.batches {
                    self.hand_over(state, node);
                }
            }
            Verdict::Read { outcome, after_seq } => {
                let epoch = state.nodes[node as usize].lead.as_mut()?.epoch.as_mut()?;
                epoch.answers.push(Answering { term, after_seq, task, outcome });
            }
            Verdict::Stale => self.reply(state, &task, Answer::Stale),
            Verdict::SessionGone => self.reply(state, &task, Answer::SessionGone),
            Verdict::EntryFull => {
                self.hand_over(state, node);
                state.nodes[node as usize].lead.as_mut()?.waiting.insert(0, task);
            }
        }
        Some(())
    }

    /// Notes what of `numbers` is new in the entry under construction.
    fn acknowledge(&self, state: &mut State, node: NodeId, session: Session, numbers: u16) {
        let Some(lead) = state.nodes[node as usize].lead.as_ref() else { return };
        let Some(epoch) = &lead.epoch else { return };
        let machine = self.machine(state, state.nodes[node as usize].applied as usize);
        let Some(open) = machine.session(session) else { return };
        let pending = epoch.in_flight.iter().filter_map(|it| it.entry.batch.as_ref()).flat_map(|batch| &batch.acks);
        let pending = pending.chain(&epoch.acks).filter(|(of, _)| *of == session);
        let known = pending.fold(open.acknowledged, |known, (_, numbers)| known | numbers);
        let new = numbers & !known;
        let Some(lead) = state.nodes[node as usize].lead.as_mut() else { return };
        let Some(epoch) = &mut lead.epoch else { return };
        if new != 0 {
            epoch.acks.push((session, new));
        }
        if self.broken(Break::AttemptsForgottenEarly) {
            Self::forget_attempts(lead, session, numbers);
        }
    }

    fn forget_attempts(lead: &mut Lead, session: Session, numbers: u16) {
        lead.seen.retain(|&((of, number), _)| of != session || numbers >> number & 1 == 0);
    }

    /// Hands the entry under construction to the log.
    pub(crate) fn hand_over(&self, state: &mut State, node: NodeId) {
        let here = &mut state.nodes[node as usize];
        let barred = here.core.as_ref().is_some_and(|core| core.transferring && core.term == here.leads.unwrap_or(0));
        let Some(lead) = &mut here.lead else { return };
        let (term, Some(epoch)) = (lead.term, &mut lead.epoch) else { return };
        let building = std::mem::take(&mut epoch.building);
        let acks = std::mem::take(&mut epoch.acks);
        let (tasks, effects): (Vec<_>, Vec<_>) = building.into_iter().unzip();
        let batch = Batch { decided_term: term, base_seq: epoch.seq, effects, acks };
        epoch.seq += 1;
        let entry = Entry { term: 0, batch: Some(batch), behind_refusal: false };
        epoch.in_flight.push(InFlight { seq: epoch.seq, entry, tasks, fate: Fate::Queued });
        if barred {
            self.flag(state, Wrong::Barred);
        }
    }

    /// The result of the oldest entry that `node` has in flight, if it is there. `None` inside: whether it takes
    /// effect is decided elsewhere.
    #[must_use]
    pub fn result(&self, state: &State, node: NodeId) -> Option<Option<Result<Applied, End>>> {
        let here = &state.nodes[node as usize];
        let entry = here.lead.as_ref()?.epoch.as_ref()?.in_flight.first()?;
        match entry.fate {
            Fate::Queued => None,
            Fate::Refused(end) => Some(Some(Err(end))),
            Fate::At(index) => {
                let index = index as usize;
                let there = state.committed.get(index)?;
                if *there != entry.entry {
                    return Some(None);
                }
                if here.applied as usize <= index {
                    return None;
                }
                let mut before = self.machine(state, index);
                Some(Some(Ok(self.apply(&mut before, there))))
            }
        }
    }

    /// Takes the result of the oldest entry in flight (`Epoch::handed`).
    pub(crate) fn handed(&self, state: &mut State, node: NodeId) -> Option<()> {
        let result = self.result(state, node)?;
        let epoch = state.nodes[node as usize].lead.as_mut()?.epoch.as_mut()?;
        let entry = epoch.in_flight.remove(0);
        if self.broken(Break::OverlayKept) && !matches!(result, Some(Ok(Applied::Effective))) {
            epoch.carried.extend(entry.entry.batch.iter().flat_map(|batch| &batch.effects));
        }
        let (mut replies, mut acknowledged) = (Vec::new(), Vec::new());
        match result {
            Some(Ok(Applied::Void)) if !self.broken(Break::VoidAcknowledged) => {
                epoch.end.get_or_insert(End::LeaseExpired);
                epoch.again.extend(entry.tasks);
            }
            Some(Ok(_)) => {
                epoch.applied_seq = entry.seq;
                let applied = entry.entry.batch.iter().flat_map(|batch| &batch.acks);
                acknowledged.extend(applied.copied());
                let effects = entry.entry.batch.into_iter().flat_map(|batch| batch.effects);
                replies.extend(entry.tasks.into_iter().zip(effects.map(|effects| Answer::Outcome(effects.outcome))));
            }
            Some(Err(end)) => {
                epoch.end.get_or_insert(end);
                epoch.again.extend(entry.tasks);
            }
            None => {
                epoch.end = Some(End::TermOver);
                replies.extend(entry.tasks.into_iter().map(|task| (task, Answer::Unknown)));
            }
        }
        // From here on the state says that these numbers are stale: their attempts need not be known any more.
        for (session, numbers) in acknowledged {
            Self::forget_attempts(state.nodes[node as usize].lead.as_mut()?, session, numbers);
        }
        for (task, answer) in replies {
            self.reply(state, &task, answer);
        }
        Some(())
    }

    /// What the proposer of `node` does as soon as it can: answers that may be asked for go on, an epoch that has ended
    /// gives its commands back.
    pub(crate) fn settle(&self, state: &mut State, node: NodeId) {
        let here = &mut state.nodes[node as usize];
        let Some(lead) = &mut here.lead else { return };
        if here.leads != Some(lead.term) {
            self.give_up(state, node);
            return;
        }
        let Some(epoch) = &mut lead.epoch else { return };
        let applied = epoch.applied_seq;
        let all = self.broken(Break::NotApplied);
        let ready = epoch.answers.iter().take_while(|answer| all || answer.after_seq <= applied).count();
        here.confirming.extend(epoch.answers.drain(..ready));
        here.confirming.sort_unstable();
        if epoch.refused && self.broken(Break::InFlightNotAwaited) {
            epoch.end.get_or_insert(End::LeaseExpired);
        }
        let Some(end) = epoch.end else { return };
        if !epoch.in_flight.is_empty() && !self.broken(Break::InFlightNotAwaited) {
            return;
        }
        let carried = std::mem::take(&mut epoch.carried);
        self.take_back(state, node);
        let here = &mut state.nodes[node as usize];
        match end {
            End::LeaseExpired => {
                if let Some(lead) = here.lead.as_mut() {
                    lead.carried = carried;
                }
            }
            End::TermOver | End::Barred => {
                let term = here.lead.as_ref().map(|lead| lead.term);
                if end == End::Barred && !self.broken(Break::NotBarred) {
                    here.barred = term;
                }
                self.turn_away(state, node);
            }
        }
    }

    /// The end of an epoch: what has no answer yet is decided again.
    fn take_back(&self, state: &mut State, node: NodeId) {
        let Some(lead) = &mut state.nodes[node as usize].lead else { return };
        let Some(epoch) = lead.epoch.take() else { return };
        let mut again = epoch.again;
        again.extend(epoch.building.into_iter().map(|(task, _)| task));
        again.extend(epoch.answers.into_iter().map(|answer| answer.task));
        again.append(&mut lead.waiting);
        lead.waiting = again;
        // Only a broken rule leaves something in flight: nobody waits for it any more.
        for task in epoch.in_flight.into_iter().flat_map(|entry| entry.tasks) {
            self.reply(state, &task, Answer::Unknown);
        }
    }

    /// The end of the term: what was handed over has an unknown fate, the rest was never taken (`Epoch::give_up`).
    fn give_up(&self, state: &mut State, node: NodeId) {
        self.take_back(state, node);
        self.turn_away(state, node);
    }

    fn turn_away(&self, state: &mut State, node: NodeId) {
        let Some(lead) = state.nodes[node as usize].lead.take() else { return };
        for task in lead.waiting {
            self.reply(state, &task, Answer::NotTaken);
        }
    }

    /// Whether a ReadIndex of `node`, answered by `peer`, lets it give an answer of `term`.
    #[must_use]
    pub fn confirms(&self, state: &State, node: NodeId, peer: NodeId, answer: &Answering) -> bool {
        let here = &state.nodes[node as usize];
        let Some(core) = &here.core else { return false };
        let term = core.term == answer.term
            || self.broken(Break::AnyTerm)
            || (self.broken(Break::TermOfWatch) && here.leads == Some(answer.term));
        term && self.knows_committed(state, node) && self.follows(state, node, peer)
    }

    /// A ReadIndex has succeeded: the answer is given.
    pub(crate) fn confirm(&self, state: &mut State, node: NodeId, answer: usize, peer: Option<NodeId>) {
        if let Some(peer) = peer {
            let Some(term) = state.nodes[node as usize].core.as_ref().map(|core| core.term) else { return };
            self.hear(state, peer, term);
        }
        let answer = state.nodes[node as usize].confirming.remove(answer);
        self.reply(state, &answer.task, Answer::Outcome(answer.outcome));
    }

    /// A ReadIndex has failed: the command goes back.
    pub(crate) fn unconfirmed(&self, state: &mut State, node: NodeId, answer: usize) {
        let answer = state.nodes[node as usize].confirming.remove(answer);
        self.reply(state, &answer.task, Answer::NotTaken);
    }

    /// A promotion drains the epoch of `node`.
    pub(crate) fn drain(&self, state: &mut State, node: NodeId) {
        let epoch = state.nodes[node as usize].lead.as_mut().and_then(|lead| lead.epoch.as_mut());
        if let Some(epoch) = epoch {
            epoch.paused = true;
        }
    }

    /// Whether a drain of `node` has ended.
    #[must_use]
    pub fn drained(&self, state: &State, node: NodeId) -> bool {
        let at_once = self.broken(Break::NotDrained);
        let epoch = state.nodes[node as usize].lead.as_ref().and_then(|lead| lead.epoch.as_ref());
        epoch.is_some_and(|epoch| at_once || (epoch.paused && epoch.in_flight.is_empty()))
    }

    /// The promotion goes on: the proposer is told, then Raft begins the transfer.
    pub(crate) fn transfer(&self, state: &mut State, node: NodeId) {
        state.left.transfers -= 1;
        let here = &mut state.nodes[node as usize];
        if let Some(core) = &mut here.core {
            core.transferring = true;
        }
        let epoch = here.lead.as_mut().and_then(|lead| lead.epoch.as_mut());
        if let Some(epoch) = epoch {
            (epoch.paused, epoch.end) = (false, Some(End::Barred));
        }
    }
}
