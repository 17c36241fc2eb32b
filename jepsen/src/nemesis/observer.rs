//! Watches the nodes while a nemesis works and reads afterwards what they counted.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use anyhow::Result;

use super::coverage::Coverage;
use crate::world::{Toll, World};

/// The pause between two looks at who leads.
const LOOK: Duration = Duration::from_millis(150);

/// What nodes write when they have installed a snapshot.
const INSTALLED: &str = "a snapshot was installed";

/// The figures at the beginning, and what was seen since.
pub(super) struct Observer {
    toll: Toll,
    tally: [u64; 4],
    installed: u64,
    /// All leaders with their terms.
    leaders: std::cell::RefCell<BTreeSet<(u64, u64)>>,
}

impl Observer {
    pub(super) async fn start(world: &World) -> Result<Self> {
        let tally = world.tally();
        let observer = Self {
            toll: world.toll().await?,
            tally: [tally.killed, tally.power_cut, tally.paused, tally.wiped],
            installed: installed(world),
            leaders: Default::default(),
        };
        observer.look(world).await;
        Ok(observer)
    }

    /// Looks at who leads, again and again.
    pub(super) async fn watch(&self, world: &World) -> Infallible {
        loop {
            tokio::time::sleep(LOOK).await;
            self.look(world).await;
        }
    }

    async fn look(&self, world: &World) {
        if let Some(leader) = world.leader_in_term().await {
            self.leaders.borrow_mut().insert((leader.term, leader.id));
        }
    }

    /// Adds to the coverage what happened since the start.
    pub(super) async fn finish(&self, world: &World, coverage: &mut Coverage) -> Result<()> {
        let (toll, before) = (world.toll().await?, self.toll);
        coverage.add("packets_cut", toll.cut.saturating_sub(before.cut));
        coverage.add("packets_lost", toll.lost.saturating_sub(before.lost));
        coverage.add("packets_of_dead_connections", toll.dead.saturating_sub(before.dead));
        coverage.add("packets_slowed_down", toll.over_rate.saturating_sub(before.over_rate));
        coverage.add("pieces_delayed", toll.delayed.saturating_sub(before.delayed));
        coverage.add("answers_lost", toll.answers_lost.saturating_sub(before.answers_lost));
        let tally = world.tally();
        let now = [tally.killed, tally.power_cut, tally.paused, tally.wiped];
        for ((name, now), before) in ["killed", "power_cut", "paused", "wiped"].iter().zip(now).zip(self.tally) {
            coverage.add(name, now - before);
        }
        coverage.add("snapshots_installed", installed(world).saturating_sub(self.installed));
        {
            let leaders = self.leaders.borrow();
            let terms: Vec<u64> = leaders.iter().map(|(term, _)| *term).collect();
            let spread = terms.last().unwrap_or(&0) - terms.first().unwrap_or(&0);
            let changes = leaders.iter().zip(leaders.iter().skip(1)).filter(|(a, b)| a.1 != b.1).count();
            coverage.add("terms_passed", spread);
            coverage.add("leader_changes", changes as u64);
            let mut by_term = std::collections::BTreeMap::new();
            for (term, id) in leaders.iter() {
                if by_term.insert(*term, *id).is_some_and(|other| other != *id) {
                    coverage.violations.push(format!("two leaders in term {term}: {leaders:?}"));
                }
            }
        }
        coverage.count_endings(&tally.endings);
        Ok(())
    }
}

fn installed(world: &World) -> u64 {
    world.nodes().iter().map(|node| node.log_count(INSTALLED)).sum()
}
