//! Tries to prove a cluster of the real binary wrong: workloads against real processes, faults under them, and checkers
//! of what the clients saw. It knows the binary and its public HTTP API, never the insides of the crates.
//!
//! A run is `runner.rs`: `world` starts the machines, `workload` drives them through `client` while `nemesis` breaks
//! them, `history` keeps what happened, `checker` judges it and `report` shows it.

// A test tool stands outside of what is decided alike on every node: it may read clocks.
#![allow(clippy::disallowed_methods)]

pub mod cells;
pub mod checker;
pub mod client;
pub mod history;
pub mod matrix;
pub mod nemesis;
pub mod planted;
pub mod report;
pub mod runner;
pub mod workload;
pub mod world;
