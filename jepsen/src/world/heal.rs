//! The end of all faults, and the waiting until all is well.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cluster_tests::{give_up, wait_until};

use super::World;
use super::clock::Skew;
use super::fuse::DiskFaults;
use super::look::Leader;
use super::network::Faults;

impl World {
    /// Ends every fault and starts every node that does not run.
    pub async fn heal(&self) -> Result<()> {
        self.change_network(|faults| *faults = Faults::default()).await?;
        for id in self.ids() {
            if self.clocks {
                self.set_clock(id, Skew::default())?;
            }
            if self.disks.is_some() {
                self.unfill_disk(id).await?;
            }
            if self.spec.needs.fuse {
                self.set_disk(id, DiskFaults::default())?;
            }
            self.node(id)?.end_excuse();
            self.resume(id).await?;
        }
        self.start_stopped(&self.ids()).await
    }

    /// Waits until all nodes are ready, one leads, and all hold the same state. Nothing may write meanwhile.
    ///
    /// A node that ends by itself is the end of this wait, unless its data was damaged by us: that one is wiped and
    /// started again, as an operator does, and must come back with what the others have.
    pub async fn wait_healthy(&self, deadline: Duration) -> Result<()> {
        let started = std::time::Instant::now();
        self.wait_ready(deadline).await?;
        self.wait_converged(deadline.saturating_sub(started.elapsed())).await.map(drop)
    }

    /// Waits until all nodes are ready and name the same leader.
    pub async fn wait_ready(&self, deadline: Duration) -> Result<Leader> {
        wait_until(deadline, "all nodes to be ready, with one leader", || async {
            self.replace_damaged().await?;
            let states = self.states().await;
            let mut leaders = BTreeMap::new();
            for (id, state) in &states {
                let state = state.as_ref().map_err(|error| anyhow::anyhow!("node {id}: {error:#}"))?;
                ensure!(state.ready, "node {id} is not ready: {}", state.why);
                let leader = state.leader().with_context(|| format!("node {id} knows no leader"))?;
                leaders.insert(leader.id, leader);
            }
            ensure!(leaders.len() == 1, "the nodes disagree about who leads: {leaders:?}");
            leaders.into_values().next().context("no node")
        })
        .await
    }

    /// Waits until all nodes have applied the same and hold the same state; gives its digest.
    pub async fn wait_converged(&self, deadline: Duration) -> Result<String> {
        wait_until(deadline, "all nodes to hold the same state", || async {
            self.replace_damaged().await?;
            let digests = futures::future::try_join_all(self.ids().into_iter().map(|id| self.digest(id))).await?;
            let first = digests.first().cloned().context("no node")?;
            ensure!(digests.iter().all(|digest| *digest == first), "{digests:?}");
            Ok(first)
        })
        .await
    }

    /// Wipes and starts nodes that ended because of what we did to their data.
    async fn replace_damaged(&self) -> Result<()> {
        for node in &self.nodes {
            let Some(ending) = node.ended() else { continue };
            if node.damaged().is_none() && ending.excuse.is_some() {
                self.start_node(node.id()).await?;
                continue;
            }
            if ending.excuse.is_none() || !ending.orderly {
                let words = if ending.reason.is_empty() { "without a word" } else { &ending.reason };
                return Err(give_up(format!(
                    "node {} ended by itself ({}): {words}\n{}",
                    node.id(),
                    ending.status,
                    node.log_tail(20)
                )));
            }
            self.wipe(node.id()).await?;
            self.start_node(node.id()).await?;
        }
        Ok(())
    }
}
