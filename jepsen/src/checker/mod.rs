//! What judges a run.
//!
//! A checker gets what the clients saw and what the cluster said at the end, and finds it valid, invalid or unknown.
//! Unknown is not a pass.

pub mod availability;
pub mod bank;
pub mod converged;
pub mod counter;
pub mod coverage;
pub mod cycles;
pub mod feed;
pub mod linearizable;
pub mod logs;
pub mod paging;
pub mod replay;
pub mod session;
pub mod set;

mod finding;
mod last;
mod query;
#[cfg(test)]
pub(crate) mod testing;

pub use finding::{Anomaly, Finding, Verdict};
pub use last::{Change, Last, NodeLast};

use crate::history::History;
use crate::nemesis;

/// What a run left behind.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// What the clients saw.
    pub history: History,
    /// What the nodes said once everything was healed.
    pub last: Last,
    /// What the faults really did.
    pub coverage: nemesis::Coverage,
    /// The nemesis.
    pub nemesis: String,
    /// The nodes.
    pub nodes: Vec<u64>,
    /// Lines of their logs that none may ever write.
    pub complaints: Vec<String>,
}

/// Judges a run.
pub trait Checker: Send + Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// The verdict and what it rests on.
    fn check(&self, run: &Run) -> Finding;
}

/// What every run is judged by, whatever its workload.
pub fn common() -> Vec<Box<dyn Checker>> {
    vec![
        Box::new(replay::Replay),
        Box::new(converged::Converged),
        Box::new(availability::Availability),
        Box::new(coverage::Coverage),
        Box::new(logs::Logs),
    ]
}
