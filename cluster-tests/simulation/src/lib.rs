//! Deterministic simulation of the real `raft` and `engine`: a whole cluster in one thread, over a simulated network, on
//! simulated disks, with everything that may go wrong going wrong, all of it drawn from one seed.
//!
//! [`run::seed`] runs one seed; [`soak`] runs many, each in a process of its own. README.md says what is modelled and what
//! is not.

// The simulation stands outside of what it simulates: it measures real time too.
#![allow(clippy::disallowed_methods)]

#[cfg(not(tokio_unstable))]
compile_error!(
    "without `--cfg tokio_unstable` tokio's `select!` draws by chance and no seed replays: see .cargo/config.toml"
);

pub mod call;
pub mod check;
pub mod client;
pub mod echo;
mod finale;
pub mod nemesis;
mod network;
mod node;
pub mod plan;
mod record;
pub mod run;
mod scratch;
pub mod seams;
pub mod soak;
pub mod store;
pub mod trace;
pub mod world;
