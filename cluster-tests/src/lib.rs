//! The harness of AeroDB's cluster tests: it starts real processes of the real binary and hurts them.
//!
//! ```no_run
//! # async fn demo() -> anyhow::Result<()> {
//! use cluster_tests::{Cluster, Options};
//! use std::time::Duration;
//!
//! let cluster = Cluster::start(3, Options::default()).await?;
//! let leader = cluster.wait_leader(Duration::from_secs(5)).await?;
//! cluster.node(leader.id).kill()?;
//! let next = cluster.wait_leader_after(leader.term, Duration::from_secs(5)).await?;
//! cluster.node(leader.id).start()?;
//! cluster.client(next.id).put("/api/notes/a", &serde_json::json!({"n": 1})).await?;
//! cluster.wait_converged(Duration::from_secs(10)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! What it promises to the tests:
//!
//! - **Nothing waits by sleeping.** [`wait_until`] polls a condition up to a deadline and says, when it gives up, what
//!   it last saw.
//! - **Nothing outlives a test.** Nodes die with the [`Cluster`], and with the test's process however that ends.
//! - **Nothing collides.** Ports are leased through file locks, so tests may run side by side ([`PortLease`]).
//! - **A failure leaves its evidence.** When a test panics, or a wait gives up, the tails of all logs are printed and
//!   the folder stays. So prefer panics (`unwrap`, `assert!`) to an `Err` returned from the test itself.
//!
//! The harness knows the binary and its public HTTP API, never the insides of the crates.

// The harness stands outside of what is simulated: it waits in real time and picks free ports by chance.
#![allow(clippy::disallowed_methods)]

mod client;
mod cluster;
mod dice;
mod figures;
mod network;
mod node;
mod owner;
mod ports;
mod process;
mod prometheus;
mod stalls;
mod wait;
pub mod workload;

pub use client::{Answer, Client, Request};
pub use cluster::{Cluster, Converged, Leader, Options, SERVICE_KEY, binary};
pub use dice::Dice;
pub use figures::{figure, longest, median, rounds};
pub use network::{Fault, Network, Source};
pub use node::Node;
pub use ports::PortLease;
pub use process::spawn;
pub use prometheus::Exposition;
pub use stalls::Stalls;
pub use wait::{give_up, wait_until};

/// The number of a node, from 1.
pub type NodeId = u64;
