//! The faults: what goes wrong, when, and what it really did.
//!
//! A nemesis is a name for one fault that strikes again and again, or for a mix of several (`plan.rs` lists them). Each
//! strike draws its victims and times from the seed, is recorded when it begins and when it is over, and leaves nothing
//! behind; [`run`] heals whatever an interrupted strike did leave. What came of it all is the [`Coverage`].

mod clock;
mod corrupt;
mod coverage;
mod disk;
mod full;
mod kill;
mod link;
mod observer;
mod overload;
mod partition;
mod pause;
mod plan;
mod promote;
mod snapshot;
mod stage;

use std::time::Duration;

use anyhow::{Context, Result};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::json;
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

pub use coverage::Coverage;
pub use overload::COLLECTION as OVERLOAD_COLLECTION;

use crate::history::Recorder;
use crate::world::{self, Needs, World};
use observer::Observer;
use stage::Stage;

/// The pause before the first strike and between two, drawn from this range.
const PAUSE_MS: std::ops::Range<u64> = 300..2_500;

/// What tells the nemesis' random choices from those of workloads of the same seed.
const NEMESIS_STREAM: u64 = 0x6e65_6d65_7369_7300;

/// All names, each with what it does.
pub fn names() -> &'static [(&'static str, &'static str)] {
    plan::NAMES
}

/// What a nemesis needs of the machines.
///
/// # Errors
/// If there is none of this name.
pub fn needs(name: &str) -> Result<Needs> {
    Ok(plan::find(name)?.needs())
}

/// Whether nothing can succeed while a fault of this nemesis lasts, since each takes a majority.
///
/// # Errors
/// If there is none of this name.
pub fn is_hopeless(name: &str) -> Result<bool> {
    Ok(plan::find(name)?.is_hopeless())
}

/// What this machine lacks for a nemesis, for a person; `None` if all is there.
///
/// # Errors
/// If there is none of this name.
pub fn lacks(name: &str) -> Result<Option<String>> {
    Ok(world::advice(&world::missing(&needs(name)?)))
}

/// Lets the nemesis work for `duration`, or until it is told to stop, and heals everything at the end.
///
/// # Errors
/// If a fault could not be injected or healed: then the run says nothing about the product.
pub async fn run(
    name: &str,
    world: &World,
    recorder: &Recorder,
    seed: u64,
    duration: Duration,
    stop: CancellationToken,
) -> Result<Coverage> {
    let plan = plan::find(name)?;
    let observer = Observer::start(world).await?;
    let alone = RwLock::new(());
    let hand = |number: u64| {
        let random = StdRng::from_seed(world::seed_of(&[seed, NEMESIS_STREAM, number, 0]));
        Stage::new(world, recorder, random, duration, stop.clone())
    };
    let (mut left, mut right) = (hand(0), hand(1));
    let [faults, beside] = plan.hands();
    let watching = observer.watch(world);
    let struck = tokio::select! {
        struck = async {
            tokio::try_join!(work(faults, &mut left, &alone), work(beside, &mut right, &alone)).map(drop)
        } => struck,
        never = watching => match never {},
    };
    recorder.fault("heal", true, json!({}));
    let healed = world.heal().await;
    recorder.fault("heal", false, json!({}));
    let mut coverage = left.into_coverage().and(right.into_coverage());
    observer.finish(world, &mut coverage).await?;
    coverage.demand(plan.must());
    struck?;
    healed.context("healing")?;
    Ok(coverage)
}

/// One hand of a nemesis: strikes with one of these faults after the other until it is to end.
async fn work(faults: &[plan::Fault], stage: &mut Stage<'_>, alone: &RwLock<()>) -> Result<()> {
    while stage.rest_between(PAUSE_MS).await {
        let Some(fault) = stage.pick(faults) else { continue };
        let (shared, exclusive);
        if fault.is_exclusive() {
            exclusive = Some(alone.write().await);
            shared = None;
        } else {
            exclusive = None;
            shared = Some(alone.read().await);
        }
        plan::strike(fault, stage).await.with_context(|| format!("{fault:?}"))?;
        drop((shared, exclusive));
        stage.count("strikes", 1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_told_apart() {
        let mut seen = std::collections::BTreeSet::new();
        for (name, about) in names() {
            assert!(seen.insert(name), "{name} is there twice");
            assert!(!about.is_empty() && needs(name).is_ok(), "{name}");
        }
        assert!(needs("no such nemesis").is_err());
        assert!(needs("power-all").unwrap().power_cut);
        assert_eq!(needs("none").unwrap(), Needs::default());
        let hopeless: Vec<&str> =
            names().iter().map(|(name, _)| *name).filter(|name| is_hopeless(name).unwrap()).collect();
        assert_eq!(hopeless, ["kill-majority", "kill-all", "power-majority", "power-all"]);
    }
}
