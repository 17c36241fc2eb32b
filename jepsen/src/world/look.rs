//! What the nodes say of themselves.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cluster_tests::Exposition;
use serde_json::Value;

use super::World;

/// How long one look at a node may take: long enough for a busy node, short enough not to stand in a wait's way.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// A leader and the term in which it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leader {
    /// The node.
    pub id: u64,
    /// The term.
    pub term: u64,
}

/// What one node says of itself.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Its term.
    pub term: u64,
    /// Who leads, as far as it knows.
    pub leads: Option<u64>,
    /// Whether it is ready to serve.
    pub ready: bool,
    /// What it says about that.
    pub why: String,
}

impl State {
    /// Who leads and when, as far as this node knows.
    pub fn leader(&self) -> Option<Leader> {
        self.leads.map(|id| Leader { id, term: self.term })
    }
}

impl World {
    /// Who leads, as the running nodes that know of the highest term say.
    pub async fn leader(&self) -> Option<u64> {
        self.leader_in_term().await.map(|leader| leader.id)
    }

    /// The same with its term.
    pub async fn leader_in_term(&self) -> Option<Leader> {
        let states = self.states().await.into_iter();
        states.filter_map(|(_, state)| state.ok()?.leader()).max_by_key(|leader| leader.term)
    }

    /// What each node says of itself.
    pub async fn states(&self) -> Vec<(u64, Result<State>)> {
        futures::future::join_all(self.nodes.iter().map(async |node| (node.id(), self.state(node.id()).await))).await
    }

    async fn state(&self, id: u64) -> Result<State> {
        ensure!(self.node(id)?.is_running(), "it does not run");
        let ready = self.get(id, "/health/ready").await?;
        let (status, why) = (ready.status(), ready.text().await.unwrap_or_default());
        let said: Value = self.get(id, "/cluster").await?.error_for_status()?.json().await?;
        let term = said["term"].as_u64().with_context(|| format!("no term in {said}"))?;
        Ok(State { term, leads: said["leader"].as_u64(), ready: status.is_success(), why })
    }

    /// The digest of a node's whole state, with the index and revision that it is of.
    pub async fn digest(&self, id: u64) -> Result<String> {
        let said: Value = self.get(id, "/admin/digest").await?.error_for_status()?.json().await?;
        let digest = said["digest"].as_str().with_context(|| format!("no digest in {said}"))?;
        Ok(format!("{digest} at revision {} and index {}", said["revision"], said["applied_index"]))
    }

    /// A scrape of a node's figures.
    pub async fn metrics(&self, id: u64) -> Result<Exposition> {
        Exposition::parse(&self.get(id, "/metrics").await?.error_for_status()?.text().await?)
    }

    /// Asks a node for leadership to go to `to`.
    pub async fn promote(&self, at: u64, to: u64) -> Result<(u16, Value)> {
        let url = format!("{}/cluster/nodes/{to}/promote", self.node(at)?.url());
        let request = self.http.post(url).bearer_auth(self.service_key()).timeout(Duration::from_secs(15));
        let answer = request.send().await?;
        Ok((answer.status().as_u16(), answer.json().await.unwrap_or_default()))
    }

    /// How many milliseconds a node's wall clock is ahead of ours, by the date on its answers (whole seconds).
    pub async fn clock_ahead_ms(&self, id: u64) -> Result<i64> {
        let url = format!("{}/health/live", self.node(id)?.url());
        let answer = self.http.get(url).timeout(LOOK_TIMEOUT).send().await?;
        let date = answer.headers().get("date").context("an answer without a date")?.to_str()?;
        let theirs = jiff::fmt::rfc2822::parse(date)?.timestamp().as_millisecond();
        Ok(theirs - jiff::Timestamp::now().as_millisecond())
    }

    async fn get(&self, id: u64, path: &str) -> Result<reqwest::Response> {
        let url = format!("{}{path}", self.node(id)?.url());
        Ok(self.http.get(url).bearer_auth(self.service_key()).timeout(LOOK_TIMEOUT).send().await?)
    }
}
