//! Goes after one planted bug with the trap that must catch it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use super::{Bug, Build, Trap, VARIABLE};
use crate::runner::Results;
use crate::world::run_program;

/// Seeds that a simulation runs at once before it looks at the clock again.
const SEEDS_AT_ONCE: u64 = 20;

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Hunt {
    /// What was hunted.
    pub bug: Bug,
    /// Whether the bug was on. If not, nothing may be caught.
    pub planted: bool,
    /// Whether something went wrong, as it must when the bug is on.
    pub caught: bool,
    /// How long it took, seconds.
    pub seconds: f64,
    /// The seed that showed it, or how many showed nothing, and what went wrong in words.
    pub by: String,
}

impl Hunt {
    /// Whether it came out as it must: caught in time if it was on, silence if not.
    pub fn is_right(&self) -> bool {
        match self.planted {
            true => self.caught && self.seconds <= self.bug.within_s as f64,
            false => !self.caught,
        }
    }
}

/// Hunts a bug, until it is caught or its time is over. With `planted` false the bug is off: the same hunt must find
/// nothing, which tells a trap that bites from one that always snaps.
///
/// # Errors
/// When the hunt could not be done.
pub fn hunt(bug: &Bug, planted: bool, build: &Build, runs: &Path) -> Result<Hunt> {
    build.is_there()?;
    let began = Instant::now();
    let within = Duration::from_secs(bug.within_s);
    let (mut caught, mut tries) = (None, 0);
    while caught.is_none() && began.elapsed() < within {
        caught = match bug.caught_by {
            Trap::Simulation { from } => simulate(from + tries, bug, planted, build)?,
            Trap::Cell { workload, nemesis, time_s, seed } => {
                run([workload, nemesis], time_s, seed + tries, bug, planted, build, runs)?
            }
        };
        tries += if matches!(bug.caught_by, Trap::Simulation { .. }) { SEEDS_AT_ONCE } else { 1 };
    }
    let by = caught.clone().unwrap_or_else(|| format!("{tries} seeds showed nothing"));
    Ok(Hunt { bug: *bug, planted, caught: caught.is_some(), seconds: began.elapsed().as_secs_f64(), by })
}

/// Runs some seeds of the simulation; the first violation, if there is one.
fn simulate(from: u64, bug: &Bug, planted: bool, build: &Build) -> Result<Option<String>> {
    let mut command = Command::new(build.simulation());
    command.args(["run", "--fail-fast", "--from", &from.to_string(), "--seeds", &SEEDS_AT_ONCE.to_string()]);
    if planted {
        command.env(VARIABLE, bug.name);
    }
    let output = run_program(command).context("starting the simulation")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let failed = text.lines().find(|line| line.contains(" FAILED: ")).map(str::to_owned);
    ensure!(
        output.status.success() || failed.is_some(),
        "the simulation ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(failed)
}

/// Does one run with real processes; its first anomaly, if it is invalid.
fn run(
    [workload, nemesis]: [&str; 2],
    time_s: u64,
    seed: u64,
    bug: &Bug,
    planted: bool,
    build: &Build,
    runs: &Path,
) -> Result<Option<String>> {
    // A process of its own, so that this one's standard output holds nothing but results.
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["run", "--output", "json", "--workload", workload, "--nemesis", nemesis]);
    command.args(["--time", &time_s.to_string(), "--seed", &seed.to_string()]);
    command.arg("--binary").arg(build.server()).arg("--runs").arg(runs.join(bug.name));
    if planted {
        command.args(["--planted", bug.name]);
    }
    let output = run_program(command).context("starting a run")?;
    let Ok(results) = serde_json::from_slice::<Results>(&output.stdout) else {
        bail!("no run: {}", String::from_utf8_lossy(&output.stderr).trim());
    };
    Ok(results.first_anomaly().map(|text| format!("seed {seed}: {text}")))
}
