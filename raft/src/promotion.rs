//! Promotion: making a chosen replica the leader, without losing a write and without clients noticing.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::error::Error;
use crate::node::Node;

/// Whether a replica can be made the leader, and why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promotion {
    /// True when every check holds.
    pub eligible: bool,
    /// Each check with its figure.
    pub checks: Vec<Check>,
}

/// One condition of a promotion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// A stable word.
    pub name: String,
    /// True when it holds.
    pub ok: bool,
    /// The figure behind it.
    pub detail: String,
}

/// A promotion that came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promoted {
    /// The new leader.
    pub leader: u64,
    /// Its term.
    pub term: u64,
    /// How long it took, milliseconds.
    pub took_ms: u64,
}

/// Why a promotion did not come about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PromoteError {
    /// The replica is not fit; nothing has changed.
    #[error("the replica cannot be made the leader now")]
    NotEligible(Vec<Check>),
    /// There is no such member.
    #[error("there is no node {0}")]
    UnknownNode(u64),
    /// It could not be tried or did not succeed.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// How long a new leader may take to say so.
const TRANSFER_PATIENCE: Duration = Duration::from_secs(3);
/// How often a replica that is a little behind is looked at again.
const LOOK: Duration = Duration::from_millis(10);

impl Promotion {
    fn of(checks: Vec<Check>) -> Self {
        Self { eligible: checks.iter().all(|check| check.ok), checks }
    }

    fn failed(self) -> Vec<Check> {
        self.checks.into_iter().filter(|check| !check.ok).collect()
    }
}

fn check(name: &str, ok: bool, detail: String) -> Check {
    Check { name: name.to_owned(), ok, detail }
}

impl Node {
    /// Whether `node` can be made the leader, as this leader sees it.
    pub(crate) fn eligibility(&self, node: u64) -> Promotion {
        let voter = self.peers.voters().contains(&node);
        let mut checks =
            vec![check("voter", voter, format!("node {node} {} a voter", if voter { "is" } else { "is not" }))];
        if node == self.options.node_id {
            return Promotion::of(checks);
        }
        let contact = self.heartbeat_age(node);
        let patience = self.options.election_min;
        checks.push(match contact {
            Some(age) => check(
                "contact",
                age <= patience,
                format!("heard from {} ms ago, at most {} ms", age.as_millis(), patience.as_millis()),
            ),
            None => check("contact", false, "not heard from since this node leads".to_owned()),
        });
        let (lag, max) = (self.replication_lag(node), self.options.promotion_lag_max);
        checks.push(match lag {
            Some(lag) => check("lag", lag <= max, format!("{lag} entries behind, at most {max}")),
            None => check("lag", false, "its log has not been compared yet".to_owned()),
        });
        let recovering = self.heard(node).is_some_and(|heard| heard.status.recovering);
        checks.push(check("state", !recovering, if recovering { "recovering its data" } else { "serving" }.to_owned()));
        Promotion::of(checks)
    }

    /// Makes `node` the leader. Runs on the leader; one at a time. Goes on when whoever asked goes away: stopped half
    /// way it would leave the intake stopped.
    pub(crate) async fn promote_here(self: &Arc<Self>, node: u64, timeout: Duration) -> Result<Promoted, PromoteError> {
        let here = self.clone();
        match tokio::spawn(async move { here.promote_to_the_end(node, timeout).await }).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::ShuttingDown.into()),
        }
    }

    async fn promote_to_the_end(self: &Arc<Self>, node: u64, timeout: Duration) -> Result<Promoted, PromoteError> {
        let begun = Instant::now();
        if !self.peers.all().contains_key(&node) {
            return Err(PromoteError::UnknownNode(node));
        }
        let _one = self.promoting.lock().await;
        let leadership = *self.leadership.borrow();
        if leadership.leader == Some(node) {
            return Ok(Promoted { leader: node, term: leadership.term, took_ms: 0 });
        }
        if leadership.leader != Some(self.options.node_id) {
            return Err(Error::NoLeader.into());
        }
        self.wait_until_fit(node, begun + timeout.min(self.options.promotion_catch_up)).await?;
        match tokio::time::timeout(self.options.election_max, self.proposer.drain()).await {
            Ok(true) => {}
            Ok(false) => return Err(Error::NoLeader.into()),
            Err(_) => {
                self.proposer.resume().await;
                let detail = format!("writes under way were not done within {:?}", self.options.election_max);
                return Err(PromoteError::NotEligible(vec![check("drain", false, detail)]));
            }
        }
        // Everything decided is applied here; the replica gets the last of it in a moment.
        let ready = self.wait_until_level(node).await && self.answers(node).await;
        let last_look = self.eligibility(node);
        if !ready || !last_look.eligible {
            self.proposer.resume().await;
            let behind = check("lag", false, "did not reach the end of the log while writes waited".to_owned());
            let failed = last_look.failed();
            return Err(PromoteError::NotEligible(if failed.is_empty() { vec![behind] } else { failed }));
        }
        self.proposer.bar().await;
        if let Err(fatal) = self.raft.trigger().transfer_leader(node).await {
            return Err(Error::Fenced(fatal.to_string()).into());
        }
        let mut changes = self.leadership.clone();
        let changed = changes.wait_for(|now| now.term > leadership.term && now.leader.is_some());
        match tokio::time::timeout(TRANSFER_PATIENCE, changed).await {
            Ok(Ok(now)) if now.leader == Some(node) => {
                Ok(Promoted { leader: node, term: now.term, took_ms: begun.elapsed().as_millis() as u64 })
            }
            Ok(Ok(now)) => {
                let detail = format!("node {} was elected instead", now.leader.unwrap_or_default());
                Err(PromoteError::NotEligible(vec![check("transfer", false, detail)]))
            }
            Ok(Err(_)) | Err(_) => Err(Error::NoLeader.into()),
        }
    }

    /// A replica that is only a little behind, or was silent for a moment, is given some time.
    async fn wait_until_fit(&self, node: u64, deadline: Instant) -> Result<(), PromoteError> {
        loop {
            let now = self.eligibility(node);
            if now.eligible {
                return Ok(());
            }
            let hopeless = now.checks.iter().any(|check| !check.ok && check.name != "lag");
            if hopeless || Instant::now() >= deadline {
                return Err(PromoteError::NotEligible(now.failed()));
            }
            sleep(LOOK).await;
        }
    }

    /// Whether the replica answers, now: a transfer to one that has just died leaves nobody to lead.
    async fn answers(&self, node: u64) -> bool {
        let Some(mut client) = self.peers.client(node, crate::network::Lane::Control) else { return false };
        let request = aerodb_proto::StatusRequest { target: Some(self.peers.target(node)) };
        let answer = tokio::time::timeout(self.options.election_min, client.status(request)).await;
        matches!(answer, Ok(Ok(status)) if !status.get_ref().recovering)
    }

    /// Waits, while writes wait too, until the replica has all of the log; false when it takes too long.
    async fn wait_until_level(&self, node: u64) -> bool {
        let deadline = Instant::now() + self.options.election_min;
        while self.replication_lag(node) != Some(0) {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(Duration::from_millis(1)).await;
        }
        true
    }
}
