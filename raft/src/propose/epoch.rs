//! One epoch: decide, hand over, answer. It ends with the first entry that is refused or void (rule 3).

use std::collections::{HashMap, VecDeque};

use aerodb_engine::decide::{Decider, Number, Verdict};
use aerodb_engine::{Error, planted};
use aerodb_proto::{NumberRange, Outcome};
use openraft::errors::{ClientWriteError, ForwardReason};
use openraft::impls::ProgressResponder;
use openraft::raft::ClientWriteResult;
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::depth::Depth;
use super::gather::Gather;
use super::{Answer, Control, Intake, Parts, Task};
use crate::leadership::Leadership;
use crate::types::{Applied, CommittedLeaderId, Proposal, TypeConfig};

/// Why an epoch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The term is over, or may be.
    TermOver,
    /// Leadership is being handed over: nothing more in this term.
    Barred,
    /// openraft refused for lack of a lease: the term may go on once a ReadIndex says so.
    LeaseExpired,
}

type Handed = oneshot::Receiver<ClientWriteResult<TypeConfig>>;

/// An entry that was handed to the log.
struct InFlight {
    seq: u64,
    began: Instant,
    tasks: Vec<(Task, Outcome)>,
    result: Handed,
}

/// The attempts seen in this term, by session and number.
pub(super) type Seen = HashMap<(u64, u64), u32>;

pub(super) struct Epoch<'a> {
    parts: &'a mut Parts,
    depth: &'a mut Depth,
    decider: Decider,
    /// Commands to be decided before those of the intake.
    waiting: &'a mut VecDeque<Task>,
    seen: &'a mut Seen,
    /// Commands in the entry under construction.
    building: Vec<(Task, Outcome)>,
    in_flight: VecDeque<InFlight>,
    /// Numbers that are acknowledged, and the entry with whose application that is certain. Until then an acknowledgement may
    /// be lost with its entry, and only what was [`Seen`] keeps a late first attempt from being decided again.
    acknowledged: VecDeque<(u64, u64, NumberRange)>,
    /// Answers that write nothing, and the entry that each rests on (rule 4).
    answers: VecDeque<(u64, Task, Outcome)>,
    /// Commands that had no effect in this epoch, in order.
    again: Vec<Task>,
    applied_seq: u64,
    gather: Gather,
    draining: Option<oneshot::Sender<()>>,
    /// True from a drain to its end: nothing is taken.
    paused: bool,
    end: Option<End>,
}

impl<'a> Epoch<'a> {
    pub(super) fn new(
        parts: &'a mut Parts,
        depth: &'a mut Depth,
        decider: Decider,
        waiting: &'a mut VecDeque<Task>,
        seen: &'a mut Seen,
    ) -> Self {
        Self {
            applied_seq: parts.engine.meta().seq,
            parts,
            depth,
            decider,
            waiting,
            seen,
            building: Vec::new(),
            in_flight: VecDeque::new(),
            acknowledged: VecDeque::new(),
            answers: VecDeque::new(),
            again: Vec::new(),
            gather: Gather::new(),
            draining: None,
            paused: false,
            end: None,
        }
    }

    pub(super) async fn run(
        &mut self,
        tasks: &mut Intake,
        controls: &mut mpsc::Receiver<Control>,
    ) -> Result<End, Error> {
        loop {
            if self.term_is_over() {
                self.give_up();
                return Ok(End::TermOver);
            }
            self.fill(tasks).await?;
            self.answer_reads();
            if let Some(end) = self.end.filter(|_| self.in_flight.is_empty()) {
                self.take_back();
                return Ok(end);
            }
            if self.in_flight.is_empty()
                && let Some(drained) = self.draining.take()
            {
                // A promotion that gave up meanwhile says so by `Resume`.
                let _ = drained.send(());
            }
            let takes = self.takes();
            let until = self.gather.until().filter(|_| takes && self.decider.has_work());
            let Parts { leadership, .. } = &mut *self.parts;
            tokio::select! {
                result = front(&mut self.in_flight) => self.handed(result),
                task = tasks.recv(), if takes => match task {
                    Some(task) => self.waiting.push_back(task),
                    None => self.end = Some(End::TermOver),
                },
                changed = leadership.changed() => if changed.is_err() {
                    // Replication has ended here: it says nothing any more, also of what was handed over.
                    self.give_up();
                    return Ok(End::TermOver);
                },
                () = at(until) => {}
                control = controls.recv() => match control {
                    Some(Control::Drain(drained)) => self.drain(drained).await,
                    Some(Control::Resume) => (self.paused, self.draining) = (false, None),
                    Some(Control::Bar) => self.end = Some(End::Barred),
                    None => self.end = Some(End::TermOver),
                },
            }
        }
    }

    fn term_is_over(&self) -> bool {
        let here = Leadership { term: self.decider.term(), leader: Some(self.parts.node_id) };
        *self.parts.leadership.borrow() != here
    }

    fn takes(&self) -> bool {
        self.end.is_none() && !self.paused && self.in_flight.len() < self.depth.allowed()
    }

    /// Takes nothing more, and says so once all that was taken is applied.
    async fn drain(&mut self, drained: oneshot::Sender<()>) {
        if self.end.is_none() {
            self.hand_over().await;
        }
        (self.paused, self.draining) = (true, Some(drained));
    }

    /// Decides what waits, as long as the log has room, and hands it over, unless more is about to come.
    async fn fill(&mut self, tasks: &mut Intake) -> Result<(), Error> {
        while self.takes() {
            let Some(task) = self.waiting.pop_front().or_else(|| tasks.try_recv()) else { break };
            let full =
                self.decider.has_work() && self.decider.building_bytes() + task.bytes > self.parts.entry_bytes_max;
            if full {
                self.hand_over().await;
                self.waiting.push_front(task);
            } else if let Some(again) = self.decide(task)? {
                self.hand_over().await;
                self.waiting.push_front(again);
            }
        }
        if self.takes() && self.gather.goes(self.building.len()) && self.decider.has_work() {
            self.hand_over().await;
        }
        Ok(())
    }

    /// Decides one command; gives it back when the entry under construction must be handed over first.
    fn decide(&mut self, task: Task) -> Result<Option<Task>, Error> {
        let place = task.place;
        if task.term != self.decider.term() {
            task.reply.send(Answer::NotTaken { overloaded: false });
            return Ok(None);
        }
        let number = (place.session != 0).then_some(Number {
            session: place.session,
            number: place.number,
            first_attempt: place.attempt <= 1,
        });
        if number.is_some() {
            self.decider.acknowledge(place.session, &task.acknowledged)?;
            let certain = self.decider.next_seq();
            self.acknowledged.extend(task.acknowledged.iter().map(|range| (certain, place.session, *range)));
            let seen = self.seen.entry((place.session, place.number)).or_insert(0);
            if place.attempt < *seen {
                task.reply.send(Answer::Stale);
                return Ok(None);
            }
            *seen = place.attempt;
        }
        let now_ms = self.parts.clock.now_ms();
        match self.decider.decide(number, &task.command, now_ms)? {
            Verdict::Proposed(outcome) => self.building.push((task, outcome)),
            Verdict::Read { outcome, after_seq } => self.answers.push_back((after_seq, task, outcome)),
            Verdict::Stale => task.reply.send(Answer::Stale),
            Verdict::SessionGone => task.reply.send(Answer::SessionGone),
            Verdict::EntryFull => return Ok(Some(task)),
        }
        Ok(None)
    }

    /// Forgets the attempts of numbers whose acknowledgement is applied.
    fn forget_acknowledged(&mut self) {
        let certain = self.acknowledged.iter().take_while(|(certain, ..)| *certain <= self.applied_seq).count();
        let certain: Vec<_> = self.acknowledged.drain(..certain).collect();
        for (_, session, range) in certain {
            self.forget(session, range.first, range.last);
        }
    }

    fn forget(&mut self, session: u64, first: u64, last: u64) {
        if last.saturating_sub(first) < self.seen.len() as u64 {
            for number in first..=last {
                self.seen.remove(&(session, number));
            }
        } else {
            self.seen.retain(|&(s, number), _| s != session || number < first || number > last);
        }
    }

    /// Hands the entry under construction to the log, bound to this term.
    async fn hand_over(&mut self) {
        let Some((seq, batch)) = self.decider.close() else { return };
        self.gather.gone();
        let tasks = std::mem::take(&mut self.building);
        let bytes = batch.encode_to_vec();
        self.parts.metrics.entry_commands.observe(tasks.len() as f64);
        self.parts.metrics.entry_bytes.observe(bytes.len() as f64);
        self.depth.handed_over(bytes.len());
        let began = Instant::now();
        let (responder, result) = ProgressResponder::complete_only();
        let request = self
            .parts
            .raft
            .write(Proposal(bytes.into()))
            .with_leader(CommittedLeaderId::new(self.decider.term()))
            .responder(responder);
        if let Err(fatal) = request.await {
            tracing::error!(%fatal, "the log takes no more entries");
            self.end = Some(End::TermOver);
        }
        self.in_flight.push_back(InFlight { seq, began, tasks, result });
        self.parts.metrics.entries_in_flight.set(self.in_flight.len() as i64);
    }

    /// Takes the result of the oldest entry in flight.
    fn handed(&mut self, result: Option<ClientWriteResult<TypeConfig>>) {
        let in_flight = self.in_flight.len();
        let Some(entry) = self.in_flight.pop_front() else { return };
        self.parts.metrics.entries_in_flight.set(self.in_flight.len() as i64);
        match result {
            Some(Ok(response)) if *response.response() == Applied::Effective || planted!("void-acknowledged") => {
                self.depth.done(entry.began, in_flight);
                self.applied_seq = entry.seq;
                self.decider.applied(entry.seq);
                self.forget_acknowledged();
                if let Some(took) = self.depth.alone() {
                    self.gather.answered(entry.tasks.len(), took);
                }
                for (task, outcome) in entry.tasks {
                    task.reply.send(Answer::Outcome(outcome));
                }
            }
            // Void: nothing happened, on any node. It is decided again, unseen by clients.
            Some(Ok(_)) => {
                if self.end.is_none() {
                    tracing::error!(seq = entry.seq, "an entry was void without a refusal before it");
                    self.end = Some(End::LeaseExpired);
                }
                self.take_again(entry.tasks);
            }
            // Refused: it was never appended.
            Some(Err(ClientWriteError::ForwardToLeader(refusal))) => {
                self.end.get_or_insert(match refusal.reason {
                    ForwardReason::LeaseExpired => End::LeaseExpired,
                    ForwardReason::LeadershipTransfer => End::Barred,
                    ForwardReason::NotLeader => End::TermOver,
                });
                self.take_again(entry.tasks);
            }
            // Whether it is applied is decided elsewhere: the sender finds out by asking again.
            Some(Err(_)) | None => {
                self.end = Some(End::TermOver);
                for (task, _) in entry.tasks {
                    task.reply.send(Answer::Unknown);
                }
            }
        }
    }

    /// Commands that had no effect are decided again, before all others and in their order.
    fn take_again(&mut self, tasks: Vec<(Task, Outcome)>) {
        self.again.extend(tasks.into_iter().map(|(task, _)| task));
    }

    /// Gives the answers that write nothing, once what they rest on is applied and a ReadIndex of this term that begins
    /// now has succeeded (rule 4).
    fn answer_reads(&mut self) {
        let applied = self.applied_seq;
        let ready = self.answers.iter().take_while(|(after, _, _)| *after <= applied).count();
        if ready == 0 {
            return;
        }
        let ready: Vec<_> = self.answers.drain(..ready).collect();
        let (reads, term) = (self.parts.reads.clone(), self.decider.term());
        tokio::spawn(async move {
            let confirmed =
                planted!("refusal-without-round") || matches!(reads.confirm().await, Ok(point) if point.term == term);
            for (_, task, outcome) in ready {
                task.reply.send(match confirmed {
                    true => Answer::Outcome(outcome),
                    false => Answer::NotTaken { overloaded: false },
                });
            }
        });
    }

    /// At the end of an epoch: what has no answer yet is decided again.
    fn take_back(&mut self) {
        let building = std::mem::take(&mut self.building);
        self.take_again(building);
        self.again.extend(self.answers.drain(..).map(|(_, task, _)| task));
        for task in self.again.drain(..).rev() {
            self.waiting.push_front(task);
        }
    }

    /// At the end of the term: what was handed over has an unknown fate, the rest was never taken.
    fn give_up(&mut self) {
        for entry in self.in_flight.drain(..) {
            for (task, _) in entry.tasks {
                task.reply.send(Answer::Unknown);
            }
        }
        self.parts.metrics.entries_in_flight.set(0);
        self.take_back();
    }
}

/// At this moment; never, when there is none.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// The result of the oldest entry in flight; never, when there is none.
async fn front(in_flight: &mut VecDeque<InFlight>) -> Option<ClientWriteResult<TypeConfig>> {
    match in_flight.front_mut() {
        Some(entry) => (&mut entry.result).await.ok(),
        None => std::future::pending().await,
    }
}
