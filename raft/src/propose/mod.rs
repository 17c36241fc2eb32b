//! The leader's side of a write: one task decides, one command after the other, and hands entries to the log in order.
//!
//! ```text
//! waiting ──first entry of my term applied──▶ epoch ──refused or void──▶ standstill ──confirmed──▶ epoch
//!    ▲                                          │ term over, transfer                │ term over
//!    └──────────────────────────────────────────┴────────────────────────────────────┘
//! ```
//!
//! Commands that come while entries are in flight gather and travel together in the next one (natural batching), and with them
//! those of clients that were answered a moment before.

mod depth;
mod epoch;
mod gather;
mod intake;
mod task;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use aerodb_engine::Engine;
use aerodb_engine::decide::Decider;
use tokio::sync::{mpsc, oneshot, watch};

use crate::Raft;
use crate::clock::Clock;
use crate::fence::Fence;
use crate::leadership::Leadership;
use crate::metrics::Metrics;
use crate::progress::Applied;
use crate::reads::{LeaderReads, ReadPoint};
use depth::Depth;
use epoch::{End, Epoch};
use intake::{Entrance, Intake, intake};
pub(crate) use task::{Answer, Place, Reply, Task};

/// What the proposer is built from.
pub(crate) struct Parts {
    pub(crate) node_id: u64,
    pub(crate) raft: Raft,
    pub(crate) engine: Arc<Engine>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) applied: watch::Receiver<Applied>,
    pub(crate) reads: LeaderReads,
    pub(crate) fence: Fence,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) entry_bytes_max: usize,
    pub(crate) entries_in_flight_min: usize,
    pub(crate) entries_in_flight_max: usize,
    pub(crate) intake_max: usize,
    pub(crate) intake_bytes_max: usize,
}

/// Hands commands to the proposer. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Proposer {
    entrance: Entrance,
    control: mpsc::Sender<Control>,
}

/// What a promotion asks of the proposer.
pub(crate) enum Control {
    /// Take no more commands; say when everything handed over is applied, or drop the sender when not leading.
    Drain(oneshot::Sender<()>),
    /// The promotion did not come about: go on.
    Resume,
    /// Leadership is being handed over: propose nothing more in this term (openraft does not take a transfer back).
    Bar,
}

impl Proposer {
    /// Starts the task that decides.
    pub(crate) fn start(parts: Parts) -> Self {
        let (entrance, tasks) = intake(parts.intake_max, parts.intake_bytes_max, parts.metrics.clone());
        let (control, controls) = mpsc::channel(16);
        let depth = Depth::new(parts.entries_in_flight_min, parts.entries_in_flight_max);
        tokio::spawn(Loop { parts, tasks, controls, depth, barred: None }.run());
        Self { entrance, control }
    }

    /// Hands over a command; answers at once when there is no room.
    pub(crate) fn submit(&self, task: Task) {
        self.entrance.submit(task);
    }

    #[cfg(test)]
    pub(crate) async fn ended(&self) {
        self.entrance.closed().await;
    }

    /// Stops deciding and waits until everything handed over is applied; false when this node does not lead.
    pub(crate) async fn drain(&self) -> bool {
        let (tx, rx) = oneshot::channel();
        self.control.send(Control::Drain(tx)).await.is_ok() && rx.await.is_ok()
    }

    /// Goes on after [`Proposer::drain`].
    pub(crate) async fn resume(&self) {
        drop(self.control.send(Control::Resume).await);
    }

    /// Proposes nothing more in this term.
    pub(crate) async fn bar(&self) {
        drop(self.control.send(Control::Bar).await);
    }
}

struct Loop {
    parts: Parts,
    tasks: Intake,
    controls: mpsc::Receiver<Control>,
    depth: Depth,
    /// A term in which this node proposes nothing more.
    barred: Option<u64>,
}

impl Loop {
    async fn run(mut self) {
        while let Some(term) = self.wait_to_lead().await {
            tracing::info!(term, "this node leads");
            let outcome = self.lead(term).await;
            tracing::info!(term, "this node no longer leads");
            if let Err(error) = outcome {
                self.parts.fence.fence(&error.to_string());
                return;
            }
        }
    }

    /// Waits until this node leads and the first entry of its term is applied; turns commands away meanwhile.
    async fn wait_to_lead(&mut self) -> Option<u64> {
        loop {
            // Raft has stopped: what it said last about who leads means nothing any more.
            self.parts.leadership.has_changed().ok()?;
            let leadership = *self.parts.leadership.borrow_and_update();
            let applied = *self.parts.applied.borrow_and_update();
            let leads = leadership.leader == Some(self.parts.node_id) && self.barred != Some(leadership.term);
            if leads && applied.term == leadership.term {
                return Some(leadership.term);
            }
            tokio::select! {
                changed = self.parts.leadership.changed() => changed.ok()?,
                changed = self.parts.applied.changed() => changed.ok()?,
                // A node that has just been elected takes commands as soon as its first entry is applied.
                task = self.tasks.recv_any(), if !leads => task?.reply.send(Answer::NotTaken { overloaded: false }),
                // Dropping the sender says that this node does not lead.
                control = self.controls.recv() => drop(control?),
            }
        }
    }

    async fn lead(&mut self, term: u64) -> Result<(), aerodb_engine::Error> {
        let mut waiting = VecDeque::new();
        let mut seen = HashMap::new();
        // How long entries took in an earlier term says little: others follow now.
        self.depth = Depth::new(self.parts.entries_in_flight_min, self.parts.entries_in_flight_max);
        loop {
            let decider = Decider::begin(self.parts.engine.clone(), term)?;
            self.tasks.begin_anew();
            let mut epoch = Epoch::new(&mut self.parts, &mut self.depth, decider, &mut waiting, &mut seen);
            let end = epoch.run(&mut self.tasks, &mut self.controls).await?;
            tracing::debug!(term, ?end, "an epoch ended");
            match end {
                End::TermOver => break,
                End::Barred => {
                    self.barred = Some(term);
                    break;
                }
                End::LeaseExpired if self.confirmed(term).await => {}
                End::LeaseExpired => break,
            }
        }
        for task in waiting.drain(..) {
            let task: Task = task;
            task.reply.send(Answer::NotTaken { overloaded: false });
        }
        Ok(())
    }

    /// After a standstill: waits for a ReadIndex of this term, by heartbeats, since a lease that has run out would end the next
    /// epoch at once; false when the term is over.
    async fn confirmed(&mut self, term: u64) -> bool {
        loop {
            let leadership = *self.parts.leadership.borrow_and_update();
            if leadership != (Leadership { term, leader: Some(self.parts.node_id) }) {
                return false;
            }
            tokio::select! {
                changed = self.parts.leadership.changed() => if changed.is_err() { return false },
                point = self.parts.reads.confirm_by_heartbeats() => match point {
                    Ok(ReadPoint { term: confirmed, .. }) if confirmed == term => return true,
                    // Not now: the heartbeats of the next moments decide whether this node still leads.
                    _ => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
                },
            }
        }
    }
}
