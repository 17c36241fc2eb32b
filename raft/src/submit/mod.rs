//! The side of a write that took the request, on any node: it finds the leader, sends the command, and sends it again
//! under the same number when its fate is unknown, until the request's deadline. A change of leader stays unseen.

mod link;
mod session;
mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aerodb_engine::planted;
use aerodb_proto as proto;
use parking_lot::Mutex;
use prost::Message;
use proto::command::Op;
use proto::{Command, ForwardedCommand, Outcome, outcome};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::error::Error;
use crate::leadership::Leadership;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::propose::{Answer, Place, Proposer, Reply, Task};
use link::{Link, Sent};
use session::Session;
pub(crate) use window::Window;

/// How long to wait before a leader that had no room, or was not one, is asked again.
const PAUSE: Duration = Duration::from_millis(10);
/// How long an answer of a leader may take before it is asked again. A lost answer is rare: streams say when they break.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);

/// Sends commands to the leader. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Submitter {
    inner: Arc<Inner>,
}

struct Inner {
    node_id: u64,
    proposer: Proposer,
    leadership: watch::Receiver<Leadership>,
    peers: Peers,
    link: Mutex<Option<Link>>,
    session: Mutex<Session>,
    /// Held while a session is being made, so that one is made at a time.
    opening: tokio::sync::Mutex<()>,
    window: Window,
    /// Numbers commands that have no session.
    unnumbered: AtomicU64,
    metrics: Arc<Metrics>,
}

/// What became of an attempt.
enum Attempt {
    Answered(Answer),
    /// It never left this node.
    NotSent,
}

impl Submitter {
    pub(crate) fn new(
        node_id: u64,
        proposer: Proposer,
        leadership: watch::Receiver<Leadership>,
        peers: Peers,
        window: Window,
        metrics: Arc<Metrics>,
    ) -> Self {
        let inner = Inner {
            node_id,
            proposer,
            leadership,
            peers,
            link: Mutex::default(),
            session: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            window,
            unnumbered: AtomicU64::new(0),
            metrics,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Has `command` decided, once, and gives its outcome: done, or refused.
    ///
    /// # Errors
    /// [`Error::Overloaded`] at once when this node or the leader has enough to do; others when there is no answer before
    /// `deadline`. Each error says whether the command may have taken effect.
    pub(crate) async fn submit(&self, command: Command, deadline: Instant) -> Result<Outcome, Error> {
        let bytes = command.encoded_len();
        let _slot = self.inner.window.enter(bytes).ok_or(Error::Overloaded)?;
        self.inner.metrics.session_open.inc();
        let outcome = self.inner.attempts(command, bytes, deadline).await;
        self.inner.metrics.session_open.dec();
        outcome
    }

    /// True while a command would be taken on now.
    pub(crate) fn has_room(&self) -> bool {
        self.inner.window.has_room()
    }

    /// Has a command of the node itself decided: it has no number, so it must do no harm when it is decided twice.
    pub(crate) async fn submit_internal(&self, command: Command, deadline: Instant) -> Result<Outcome, Error> {
        self.inner.internal(command, deadline).await
    }
}

/// A command's number; noted as answered when it is dropped, whatever became of the command.
struct Numbered<'a> {
    inner: &'a Inner,
    session: u64,
    number: u64,
}

impl Drop for Numbered<'_> {
    fn drop(&mut self) {
        let mut session = self.inner.session.lock();
        if session.id == self.session {
            session.answered(self.number);
        }
    }
}

impl Inner {
    async fn attempts(&self, command: Command, bytes: usize, deadline: Instant) -> Result<Outcome, Error> {
        let command = Arc::new(command);
        let mut numbered = self.take_number(deadline).await?;
        let mut attempt = 0;
        // True once an attempt may have been handed to the log.
        let mut unknown = false;
        loop {
            let leader = match self.leader(deadline).await {
                Ok(leader) => leader,
                Err(error) => return Err(if unknown { Error::OutcomeUnknown } else { error }),
            };
            attempt += 1;
            // The time without a leader is no sign of too much work.
            let began = Instant::now();
            let place = Place { session: numbered.session, number: numbered.number, attempt };
            match self.attempt(place, leader, &command, bytes, deadline).await {
                Attempt::Answered(Answer::Outcome(outcome)) => {
                    self.window.decided(began);
                    return Ok(outcome);
                }
                Attempt::Answered(Answer::SessionGone) => {
                    // What an earlier attempt under the old session did cannot be found out any more.
                    if unknown {
                        return Err(Error::OutcomeUnknown);
                    }
                    self.forget_session(numbered.session);
                    numbered = self.take_number(deadline).await?;
                    attempt = 0;
                }
                Attempt::Answered(Answer::NotTaken { overloaded }) => {
                    if overloaded {
                        self.window.turned_away();
                        if !unknown {
                            return Err(Error::Overloaded);
                        }
                    }
                    self.pause(leader, deadline).await;
                }
                Attempt::NotSent => self.pause(leader, deadline).await,
                Attempt::Answered(Answer::Unknown | Answer::Stale) => {
                    unknown = true;
                    if planted!("retry-under-a-new-number") {
                        numbered = self.take_number(deadline).await?;
                        attempt = 0;
                    }
                    // A leader that answers nothing is not asked again and again; another one is asked at once.
                    self.pause(leader, deadline).await;
                }
            }
            if Instant::now() >= deadline {
                let never_taken = || Error::DeadlineExceeded("the leader did not take the request in time".into());
                return Err(if unknown { Error::OutcomeUnknown } else { never_taken() });
            }
        }
    }

    async fn internal(&self, command: Command, deadline: Instant) -> Result<Outcome, Error> {
        let (bytes, command) = (command.encoded_len(), Arc::new(command));
        loop {
            let leader = self.leader(deadline).await?;
            let number = self.unnumbered.fetch_add(1, Ordering::Relaxed) + 1;
            let place = Place { session: 0, number, attempt: 1 };
            match self.attempt(place, leader, &command, bytes, deadline).await {
                Attempt::Answered(Answer::Outcome(outcome)) => return Ok(outcome),
                _ if Instant::now() >= deadline => return Err(Error::NoLeader),
                _ => self.pause(leader, deadline).await,
            }
        }
    }

    /// Sends one attempt and waits for its answer, for a change of leader, or for the deadline.
    async fn attempt(
        &self,
        place: Place,
        to: Leadership,
        command: &Arc<Command>,
        bytes: usize,
        deadline: Instant,
    ) -> Attempt {
        let Some(leader) = to.leader else { return Attempt::NotSent };
        let acknowledged = if place.session == 0 { Vec::new() } else { self.session.lock().take_untold() };
        let answer = if leader == self.node_id {
            let (reply, answer) = Reply::here();
            let (term, command, arrived) = (to.term, command.clone(), Instant::now());
            self.proposer.submit(Task { place, term, command, bytes, arrived, acknowledged, reply });
            answer
        } else {
            let Place { session, number, attempt } = place;
            let (term, command) = (to.term, command.encode_to_vec().into());
            let command = ForwardedCommand { session, number, attempt, term, command, acknowledged };
            match self.send(leader, place, command) {
                Sent::Waiting(answer) => answer,
                // Many wait for one leader, as after an election: the stream takes them one after the other.
                Sent::Full | Sent::Broken => return Attempt::NotSent,
            }
        };
        self.wait(answer, to, deadline).await
    }

    async fn wait(&self, answer: oneshot::Receiver<Answer>, to: Leadership, deadline: Instant) -> Attempt {
        let mut leadership = self.leadership.clone();
        // Another leader of a later term: the former one may never answer.
        let replaced = async {
            let newer = |now: &Leadership| now.term > to.term && now.leader.is_some();
            drop(leadership.wait_for(newer).await);
        };
        let patience = deadline.min(Instant::now() + ANSWER_PATIENCE);
        tokio::select! {
            biased;
            answer = answer => Attempt::Answered(answer.unwrap_or(Answer::Unknown)),
            () = replaced => Attempt::Answered(Answer::Unknown),
            () = tokio::time::sleep_until(patience) => Attempt::Answered(Answer::Unknown),
        }
    }

    fn send(&self, leader: u64, place: Place, command: ForwardedCommand) -> Sent {
        let mut link = self.link.lock();
        if !link.as_ref().is_some_and(|link| link.serves(leader)) {
            *link = Link::open(&self.peers, leader);
        }
        match link.as_ref() {
            Some(link) => link.send(place, command),
            None => Sent::Broken,
        }
    }

    /// Who leads; waits until somebody does.
    async fn leader(&self, deadline: Instant) -> Result<Leadership, Error> {
        let mut leadership = self.leadership.clone();
        let known = timeout_at(deadline, leadership.wait_for(|now| now.leader.is_some())).await;
        match known {
            Ok(Ok(known)) => Ok(*known),
            Ok(Err(_)) => Err(Error::ShuttingDown),
            Err(_) => Err(Error::NoLeader),
        }
    }

    /// Waits a moment, or until who leads has changed.
    async fn pause(&self, asked: Leadership, deadline: Instant) {
        let mut leadership = self.leadership.clone();
        let until = deadline.min(Instant::now() + PAUSE);
        let changed = leadership.wait_for(|now| *now != asked && now.leader.is_some());
        let ended = matches!(timeout_at(until, changed).await, Ok(Err(_)));
        if ended {
            // Replication has ended here, so nobody will say any more who leads; that is no reason to ask without pause.
            tokio::time::sleep_until(until).await;
        }
    }

    async fn take_number(&self, deadline: Instant) -> Result<Numbered<'_>, Error> {
        loop {
            {
                let mut session = self.session.lock();
                if session.id != 0 {
                    return Ok(Numbered { inner: self, session: session.id, number: session.take_number() });
                }
            }
            let opening = timeout_at(deadline, self.opening.lock()).await;
            let _opening = opening.map_err(|_| Error::NoLeader)?;
            if self.session.lock().id != 0 {
                continue;
            }
            let open = proto::OpenSession { node_id: self.node_id };
            let command = Command { op: Some(Op::OpenSession(open)), ..Command::default() };
            match self.internal(command, deadline).await?.result {
                Some(outcome::Result::Session(opened)) => *self.session.lock() = Session::new(opened.session),
                other => return Err(Error::Fenced(format!("the leader opened no session: {other:?}"))),
            }
        }
    }

    /// The session has ended: the next command makes another.
    fn forget_session(&self, id: u64) {
        let mut session = self.session.lock();
        if session.id == id {
            *session = Session::default();
        }
    }
}
