//! What the rest of the program reaches of replication.

use std::sync::Arc;
use std::time::Duration;

use aerodb_engine::{Catalog, View, planted};
use aerodb_proto as proto;
use prost::Message;
use proto::{Command, Outcome};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use crate::clock::Clock;
use crate::error::Error;
use crate::fence::Fence;
use crate::network::Lane;
use crate::node::Node;
use crate::progress::Applied;
use crate::promotion::{Check, PromoteError, Promoted, Promotion};
use crate::topology::{Lag, LagSample, NodeStatus, Quorum, Topology};

/// A running node. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    node: Arc<Node>,
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// At least as new as anything answered to anybody before the read began.
    Linearizable,
    /// At least as new as the revision that the client saw last.
    Session {
        /// That revision.
        min_revision: u64,
    },
    /// Whatever this node has.
    Stale {
        /// Not older than this, if given.
        max_staleness: Option<Duration>,
    },
    /// This node has reached the revision; when it has not, the leader is asked whether the cluster has.
    AtLeast {
        /// The revision.
        revision: u64,
    },
}

/// A view that is as fresh as was asked.
#[derive(Clone)]
pub struct Read {
    /// The data.
    pub view: Arc<View>,
    /// For stale reads: how old the data is at most; `None` when that is not known.
    pub age: Option<Duration>,
}

/// Whether this node can serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// It can vouch for its data.
    pub live: bool,
    /// It has finished starting.
    pub started: bool,
    /// It serves reads and writes.
    pub ready: bool,
    /// Why it is not ready, for a person.
    pub reason: String,
}

/// Pauses between two attempts of a read while an election goes on.
const PAUSE: Duration = Duration::from_millis(20);

impl Handle {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    #[cfg(test)]
    pub(crate) fn proposer(&self) -> crate::propose::Proposer {
        self.node.proposer.clone()
    }

    #[cfg(test)]
    pub(crate) fn node(&self) -> Arc<Node> {
        self.node.clone()
    }

    #[cfg(test)]
    pub(crate) fn downgrade(&self) -> std::sync::Weak<Node> {
        Arc::downgrade(&self.node)
    }

    /// This node's id.
    pub fn node_id(&self) -> u64 {
        self.node.options.node_id
    }

    /// This node's clock.
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.node.clock.clone()
    }

    /// Fills `bytes` with randomness that nobody can guess.
    pub fn random(&self, bytes: &mut [u8]) {
        (self.node.random)(bytes);
    }

    /// Says when this node can no longer vouch for its data.
    pub fn fence(&self) -> Fence {
        self.node.fence.clone()
    }

    /// Has `command` decided by the leader, wherever it is, and gives the outcome once it may be given. A change of
    /// leader meanwhile goes unseen.
    ///
    /// # Errors
    /// When there is no answer within `timeout`; each error says whether the command may have taken effect.
    pub async fn write(&self, command: Command, timeout: Duration) -> Result<Outcome, Error> {
        self.check_fence()?;
        let (bytes, max) = (command.encoded_len(), self.node.engine.limits().command_bytes_max);
        if bytes > max {
            return Err(Error::TooLarge(format!("the request takes {bytes} bytes; at most {max} are taken at once")));
        }
        let deadline = Instant::now() + timeout;
        let outcome = self.node.submitter.submit(command, deadline).await?;
        self.fill_in(outcome, deadline).await
    }

    /// True while this node would take a write on: asked before a request costs anything.
    pub fn has_room(&self) -> bool {
        self.node.submitter.has_room()
    }

    /// The answer of an earlier attempt carries no documents: they are read at the revision that it names.
    async fn fill_in(&self, mut outcome: Outcome, deadline: Instant) -> Result<Outcome, Error> {
        if outcome.documents_mut().all(|(_, document)| !document.body.is_empty()) {
            return Ok(outcome);
        }
        let revision = outcome.revision;
        self.reach(deadline, |now| now.revision >= revision).await.map_err(|_| Error::OutcomeUnknown)?;
        let view = self.local()?;
        for (id, document) in outcome.documents_mut() {
            let collection = proto::Collection { id, ..proto::Collection::default() };
            // A version that history no longer keeps is answered without its content.
            let stored = view.get_at(&collection, &document.id, document.revision).ok().flatten();
            document.body = stored.map(|stored| stored.body).unwrap_or_default();
        }
        Ok(outcome)
    }

    /// A view that is as fresh as `consistency` asks.
    ///
    /// # Errors
    /// When that cannot be had within `timeout`.
    pub async fn read(&self, consistency: Consistency, timeout: Duration) -> Result<Read, Error> {
        self.check_fence()?;
        if matches!(consistency, Consistency::Linearizable)
            && let Some(view) = self.linearizable_at_once()?
        {
            return Ok(Read { view, age: None });
        }
        let deadline = Instant::now() + timeout;
        match consistency {
            Consistency::Linearizable => self.linearizable(deadline).await,
            Consistency::Session { min_revision } => {
                let reached = self.reach(deadline, |now| now.revision >= min_revision).await;
                reached.map_err(|_| {
                    Error::DeadlineExceeded(format!("this node has not reached revision {min_revision} in time"))
                })?;
                Ok(Read { view: self.local()?, age: None })
            }
            Consistency::AtLeast { revision } => {
                if self.node.applied.borrow().revision < revision {
                    let read = self.linearizable(deadline).await?;
                    let current = read.view.revision();
                    return if current < revision { Err(Error::RevisionAhead { current }) } else { Ok(read) };
                }
                Ok(Read { view: self.local()?, age: None })
            }
            Consistency::Stale { max_staleness } => {
                let age = self.age();
                match (max_staleness, age) {
                    (Some(max), Some(age)) if age > max => Err(Error::TooStale { age }),
                    (Some(_), None) => Err(Error::TooStale { age: Duration::MAX }),
                    _ => Ok(Read { view: self.local()?, age }),
                }
            }
        }
    }

    /// A linearizable view, if this node may give it by its own word, and has applied what it must show.
    fn linearizable_at_once(&self) -> Result<Option<Arc<View>>, Error> {
        let Some(point) = self.node.reads.confirm_at_once() else { return Ok(None) };
        // Taken after the read has arrived, so it shows what was acknowledged until then.
        let view = self.local()?;
        Ok((view.applied_index() >= point.index).then_some(view))
    }

    async fn linearizable(&self, deadline: Instant) -> Result<Read, Error> {
        if planted!("read-without-round") {
            return Ok(Read { view: self.local()?, age: None });
        }
        loop {
            let round = timeout_at(deadline, self.node.reads.confirm()).await;
            match round {
                Ok(Ok(_)) if planted!("read-before-applied") => return Ok(Read { view: self.local()?, age: None }),
                Ok(Ok(point)) => {
                    let reached = self.reach(deadline, |now| now.index >= point.index).await;
                    reached.map_err(|_| {
                        Error::DeadlineExceeded("this node did not catch up with the leader in time".into())
                    })?;
                    return Ok(Read { view: self.local()?, age: None });
                }
                // An election takes a moment; whoever is cut off hears so at the deadline.
                Ok(Err(error @ (Error::NoLeader | Error::QuorumLost))) => {
                    if Instant::now() + PAUSE >= deadline {
                        return Err(error);
                    }
                    sleep(PAUSE).await;
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(Error::NoLeader),
            }
        }
    }

    async fn reach(&self, deadline: Instant, condition: impl FnMut(&Applied) -> bool) -> Result<(), ()> {
        let mut applied = self.node.applied.clone();
        match timeout_at(deadline, applied.wait_for(condition)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(()),
        }
    }

    /// How old what this node has may be; `None` when that cannot be said: since it started, this node has not heard
    /// enough.
    fn age(&self) -> Option<Duration> {
        let node = &self.node;
        if !*node.recovered.borrow() {
            return None;
        }
        let now = node.clock.monotonic();
        let applied = node.applied.borrow().index;
        if planted!("age-of-zero") {
            return Some(Duration::ZERO);
        }
        if let Some(age) = node.quorum_age() {
            // What is committed and not applied here yet, others may have shown already.
            let complete = node.committed_index() <= applied;
            let complete_at = if complete { now } else { node.lag_clock.lock().nothing_beyond_at(applied) };
            return Some(age + now.saturating_sub(complete_at));
        }
        Some(now.saturating_sub(node.words.lock().complete_at(applied)?))
    }

    /// Whatever this node has.
    ///
    /// # Errors
    /// When the storage fails; the node is fenced then.
    pub fn local(&self) -> Result<Arc<View>, Error> {
        self.node.engine.view().map_err(|error| {
            self.node.fence.fence(&error.to_string());
            Error::Fenced(error.to_string())
        })
    }

    /// The collections, as far as this node knows.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.node.engine.catalog()
    }

    /// Follows the revision applied on this node.
    pub fn changed(&self) -> watch::Receiver<u64> {
        let mut applied = self.node.applied.clone();
        let (tx, rx) = watch::channel(applied.borrow().revision);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = tx.closed() => return,
                    changed = applied.changed() => if changed.is_err() { return },
                }
                let revision = applied.borrow_and_update().revision;
                tx.send_if_modified(|current| std::mem::replace(current, revision) != revision);
            }
        });
        rx
    }

    fn check_fence(&self) -> Result<(), Error> {
        match self.node.fence.reason() {
            Some(reason) => Err(Error::Fenced(reason.to_string())),
            None if self.node.stop.is_cancelled() => Err(Error::ShuttingDown),
            None => Ok(()),
        }
    }

    /// Whether this node can serve.
    pub fn readiness(&self) -> Readiness {
        let live = self.node.fence.reason().is_none();
        let started = *self.node.recovered.borrow();
        let starting = self.node.options.starting.text();
        let leader = self.node.leadership.borrow().leader.is_some();
        let named = !self.node.identity.cluster_id().is_empty();
        let reason = match (live, started, leader, named) {
            (false, ..) => "the node can no longer vouch for its data",
            (_, false, true, _) => &*starting,
            (_, false, false, _) => &format!("{starting}; no leader is known"),
            (.., false, _) => "no leader is known",
            (.., false) => "the cluster is being made",
            _ => "",
        };
        Readiness { live, started, ready: reason.is_empty(), reason: reason.to_owned() }
    }

    /// Waits until this node has caught up with what the cluster had committed when it started.
    pub async fn wait_recovered(&self) {
        let mut recovered = self.node.recovered.subscribe();
        drop(recovered.wait_for(|recovered| *recovered).await);
    }

    /// Waits until the cluster has an identity; true when it got it, and its service key, from this node.
    pub async fn wait_named(&self) -> bool {
        let mut named = self.node.named_cluster.subscribe();
        loop {
            if *named.borrow_and_update() {
                return true;
            }
            if !self.node.identity.cluster_id().is_empty() {
                return *self.node.named_cluster.borrow();
            }
            sleep(PAUSE).await;
        }
    }

    /// The cluster as this node sees it.
    pub async fn topology(&self) -> Topology {
        let node = &self.node;
        crate::upkeep::ask_again(node).await;
        let leadership = *node.leadership.borrow();
        let own = node.status();
        let voters = node.peers.voters();
        let now = node.clock.monotonic();
        let sending = node.transfers.running();
        let mut nodes = Vec::new();
        for (id, peer) in node.peers.all() {
            let heard = node.heard(id);
            let me = id == node.options.node_id;
            let status = if me { Some(own.clone()) } else { heard.as_ref().map(|heard| heard.status.clone()) };
            let contact = if me { Some(Duration::ZERO) } else { heard.map(|heard| now.saturating_sub(heard.at)) };
            let reachable = contact.is_some_and(|age| age <= crate::upkeep::SILENCE_MAX);
            let status = status.unwrap_or_default();
            let lag = self.lag_of(&status).await;
            let learner = !voters.contains(&id);
            nodes.push(NodeStatus {
                id,
                role: match (leadership.leader == Some(id), learner) {
                    (true, _) => "leader",
                    (false, true) => "learner",
                    (false, false) => "follower",
                },
                state: match (reachable, status.recovering) {
                    (false, _) => "unreachable",
                    (true, true) => "recovering",
                    (true, false) if lag.entries > node.options.promotion_lag_max && lag.seconds > 1.0 => "lagging",
                    (true, false) => "healthy",
                },
                http_addr: if status.http_addr.is_empty() { peer.http_addr } else { status.http_addr },
                peer_addr: peer.peer_addr,
                version: status.version,
                zone: status.zone,
                uptime_ms: status.uptime_ms,
                cpu_micros: status.cpu_micros,
                memory_bytes: status.memory_bytes,
                disk_free_bytes: status.disk_free_bytes,
                disk_used_bytes: status.disk_used_bytes,
                last_contact_ms: contact.map(|age| age.as_millis() as u64),
                last_index: status.last_log_id.map_or(0, |last| last.index),
                matched_index: if node.leads() { node.matched(id) } else { None },
                applied_index: status.applied.map_or(0, |applied| applied.index),
                durable_index: status.durable.map_or(0, |durable| durable.index),
                revision: status.revision,
                lag,
                snapshot_transfer: match me {
                    true => node.incoming.progress(),
                    false => sending.iter().find(|(to, ..)| *to == id).map(|&(_, done, all)| (done, all)),
                },
            });
        }
        let healthy = nodes.iter().filter(|n| voters.contains(&n.id) && n.state != "unreachable").count();
        Topology {
            cluster_id: node.identity.cluster_id().to_string(),
            term: leadership.term,
            leader: leadership.leader,
            revision: own.revision,
            quorum: Quorum { size: voters.len(), healthy, ok: healthy > voters.len() / 2 },
            nodes,
        }
    }

    async fn lag_of(&self, status: &proto::StatusResponse) -> Lag {
        let node = &self.node;
        let applied = status.applied.map_or(0, |applied| applied.index);
        let committed = node.committed_index();
        let behind = node.lag_clock.lock().behind(node.clock.monotonic(), applied);
        let entries = committed.saturating_sub(applied);
        let average = node.average_entry_bytes() * entries;
        let bytes = node.log.bytes_between(applied + 1, committed + 1).await.unwrap_or(average);
        Lag { entries, bytes, seconds: if entries == 0 { 0.0 } else { behind.as_secs_f64() } }
    }

    /// The lag of the last hour.
    pub fn lag(&self) -> Vec<LagSample> {
        self.node.lag_samples.lock().iter().cloned().collect()
    }

    /// Whether `node` can be made the leader, as the leader sees it.
    ///
    /// # Errors
    /// When the leader cannot be asked.
    pub async fn promotion(&self, node: u64) -> Result<Promotion, PromoteError> {
        if !self.node.peers.all().contains_key(&node) {
            return Err(PromoteError::UnknownNode(node));
        }
        if self.node.leads() {
            return Ok(self.node.eligibility(node));
        }
        let request = |target| proto::PromoteRequest { target, node_id: node, timeout_ms: 1, dry_run: true };
        let response = self.ask_leader(request, Duration::from_secs(2)).await?;
        let checks: Vec<Check> = response.failed.into_iter().map(check_from_wire).collect();
        Ok(Promotion { eligible: checks.iter().all(|check| check.ok), checks })
    }

    /// Makes `node` the leader.
    ///
    /// # Errors
    /// When it is not fit, with the reasons; nothing has changed then. Or when it could not be tried.
    pub async fn promote(&self, node: u64, timeout: Duration) -> Result<Promoted, PromoteError> {
        if self.node.leads() {
            return self.node.promote_here(node, timeout).await;
        }
        if !self.node.peers.all().contains_key(&node) {
            return Err(PromoteError::UnknownNode(node));
        }
        let timeout_ms = timeout.as_millis() as u64;
        let request = |target| proto::PromoteRequest { target, node_id: node, timeout_ms, dry_run: false };
        let response = self.ask_leader(request, timeout + Duration::from_secs(5)).await?;
        if !response.failed.is_empty() {
            return Err(PromoteError::NotEligible(response.failed.into_iter().map(check_from_wire).collect()));
        }
        Ok(Promoted { leader: response.leader, term: response.term, took_ms: response.took_ms })
    }

    async fn ask_leader(
        &self,
        request: impl FnOnce(Option<proto::Target>) -> proto::PromoteRequest,
        patience: Duration,
    ) -> Result<proto::PromoteResponse, PromoteError> {
        let leader = self.node.leadership.borrow().leader.ok_or(Error::NoLeader)?;
        let mut client = self.node.peers.client(leader, Lane::Control).ok_or(Error::NoLeader)?;
        let request = request(Some(self.node.peers.target(leader)));
        match tokio::time::timeout(patience, client.promote(request)).await {
            Ok(Ok(response)) if !response.get_ref().not_leader => Ok(response.into_inner()),
            _ => Err(Error::NoLeader.into()),
        }
    }

    /// Ends this node: takes no more requests, makes its state durable, and stops.
    pub async fn shutdown(&self) {
        self.node.stop.cancel();
        if let Err(error) = self.node.log.sync().await {
            tracing::warn!(%error, "the log could not be made durable");
        }
        if let Err(error) = self.node.raft.shutdown().await {
            tracing::warn!(%error, "replication did not stop cleanly");
        }
        let engine = self.node.engine.clone();
        let flushed = crate::spawn::run_blocking(self.node.spawner.as_ref(), move || engine.flush()).await;
        if let Err(error) = flushed {
            tracing::warn!(%error, "the state could not be flushed; the log has it");
        }
    }
}

fn check_from_wire(check: proto::PromotionCheck) -> Check {
    Check { name: check.name, ok: check.ok, detail: check.detail }
}
