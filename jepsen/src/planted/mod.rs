//! Bugs that stand in our own code on purpose, and what must catch each: whether the harness bites.
//!
//! They are behind `--cfg planted`, which no usual build has. [`Build`] makes one that has it, [`hunt`] goes after a bug
//! with what is said to catch it, and `bugs.rs` is the list.

mod bugs;
mod build;
mod hunt;

use anyhow::{Context, Result};
use serde::Serialize;

pub use bugs::BUGS;
pub use build::Build;
pub use hunt::{Hunt, hunt};

/// What names the bugs that are on, in the environment of a build that has them.
pub(crate) const VARIABLE: &str = "AERODB_PLANTED";

/// A bug on purpose.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Bug {
    /// The name under which the code asks for it.
    pub name: &'static str,
    /// The mistake that it stands for.
    pub models: &'static str,
    /// What must catch it.
    pub caught_by: Trap,
    /// Within how many seconds, on two cores.
    pub within_s: u64,
}

/// Something that catches bugs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trap {
    /// Seeds of the deterministic simulation, counted from here.
    Simulation {
        /// The first seed.
        from: u64,
    },
    /// A run of real processes; if it sees nothing, the same with the next seed.
    Cell {
        /// What clients do.
        workload: &'static str,
        /// What goes wrong.
        nemesis: &'static str,
        /// Seconds of load in one run.
        time_s: u64,
        /// The first seed.
        seed: u64,
    },
}

impl std::fmt::Display for Trap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Simulation { from } => write!(f, "simulation from seed {from}"),
            Self::Cell { workload, nemesis, time_s, seed } => {
                write!(f, "{workload} × {nemesis}, {time_s} s, seed {seed}")
            }
        }
    }
}

/// The bug of this name.
///
/// # Errors
/// When there is none.
pub fn named(name: &str) -> Result<&'static Bug> {
    let bug = BUGS.iter().find(|bug| bug.name == name);
    bug.with_context(|| format!("no bug is planted under the name {name:?}: see `jepsen planted --list`"))
}
