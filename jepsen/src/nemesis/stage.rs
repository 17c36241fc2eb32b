//! What every strike works with: the world, the history, randomness from the seed, and the time that is left.

use std::time::Duration;

use anyhow::{Context, Result};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::coverage::Coverage;
use crate::history::Recorder;
use crate::world::World;

/// How long a strike waits for somebody to lead before it takes anyone for the leader.
const LEADER_WITHIN: Duration = Duration::from_secs(3);
/// The pause between two looks for a leader.
const LOOK: Duration = Duration::from_millis(50);

/// The stage of a nemesis.
pub(super) struct Stage<'a> {
    pub(super) world: &'a World,
    pub(super) recorder: &'a Recorder,
    random: StdRng,
    coverage: Coverage,
    until: Instant,
    stop: CancellationToken,
}

/// Which nodes a strike is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    One,
    Leader,
    Majority,
    All,
}

impl<'a> Stage<'a> {
    pub(super) fn new(
        world: &'a World,
        recorder: &'a Recorder,
        random: StdRng,
        duration: Duration,
        stop: CancellationToken,
    ) -> Self {
        Self { world, recorder, random, coverage: Coverage::default(), until: Instant::now() + duration, stop }
    }

    pub(super) fn into_coverage(self) -> Coverage {
        self.coverage
    }

    /// Adds to a counter.
    pub(super) fn count(&mut self, name: &str, more: u64) {
        self.coverage.add(name, more);
    }

    /// Notes what no fault excuses.
    pub(super) fn violation(&mut self, what: String) {
        self.coverage.violations.push(what);
    }

    /// Records that a fault begins.
    pub(super) fn begins(&self, name: &str, detail: Value) {
        self.recorder.fault(name, true, detail);
    }

    /// Records that a fault is over.
    pub(super) fn ends(&self, name: &str, detail: Value) {
        self.recorder.fault(name, false, detail);
    }

    /// Draws from a range.
    pub(super) fn draw(&mut self, range: std::ops::Range<u64>) -> u64 {
        self.random.random_range(range)
    }

    /// Draws a time.
    pub(super) fn draw_ms(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.draw(range))
    }

    /// True once in so many times.
    pub(super) fn once_in(&mut self, times: u64) -> bool {
        self.draw(0..times) == 0
    }

    /// Draws one of these.
    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() { None } else { from.get(self.random.random_range(0..from.len())).copied() }
    }

    /// All nodes in an order that is drawn.
    pub(super) fn shuffled(&mut self) -> Vec<u64> {
        let mut ids = self.world.ids();
        ids.shuffle(&mut self.random);
        ids
    }

    /// The nodes that a strike is for.
    pub(super) async fn victims(&mut self, whom: Whom) -> Result<Vec<u64>> {
        let mut ids = self.shuffled();
        let all = ids.len();
        match whom {
            Whom::One => ids.truncate(1),
            Whom::Leader => return Ok(vec![self.leader().await?]),
            Whom::Majority => ids.truncate(all / 2 + 1),
            Whom::All => {}
        }
        Ok(ids)
    }

    /// Who leads; anyone if nobody does for a while.
    pub(super) async fn leader(&mut self) -> Result<u64> {
        let until = Instant::now() + LEADER_WITHIN;
        while Instant::now() < until && !self.stop.is_cancelled() {
            if let Some(leader) = self.world.leader().await {
                return Ok(leader);
            }
            tokio::time::sleep(LOOK).await;
        }
        self.count("no_leader_to_strike", 1);
        self.shuffled().first().copied().context("a world without nodes")
    }

    /// A node that may lose its data now: only so many may at one time that the others are a majority with all that was
    /// ever acknowledged. A node whose damage was not noticed yet counts as lost, and is damaged again rather than another.
    pub(super) async fn expendable(&mut self) -> Result<Option<u64>> {
        let lost: Vec<u64> =
            self.world.nodes().iter().filter(|node| node.damaged().is_some()).map(|node| node.id()).collect();
        let all = self.shuffled();
        if lost.len() < (all.len() - 1) / 2 {
            return Ok(all.first().copied());
        }
        Ok(all.into_iter().find(|id| lost.contains(id)))
    }

    /// Waits until all nodes are ready again; if they do not get there, that is the product's fault.
    pub(super) async fn well_again(&mut self, within: Duration) -> bool {
        match self.world.wait_ready(within).await {
            Ok(_) => true,
            Err(error) => {
                self.violation(format!("not well again: {error:#}"));
                false
            }
        }
    }

    /// Lets a fault last for a time, or until the nemesis is to end.
    pub(super) async fn hold(&self, time: Duration) {
        let until = self.until.min(Instant::now() + time);
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// Whether the nemesis is to end.
    pub(super) fn is_over(&self) -> bool {
        self.stop.is_cancelled() || Instant::now() >= self.until
    }

    /// Waits for a drawn time before the next strike; false if there is to be none.
    pub(super) async fn rest_between(&mut self, range_ms: std::ops::Range<u64>) -> bool {
        let time = self.draw_ms(range_ms);
        self.hold(time).await;
        !self.is_over()
    }
}
