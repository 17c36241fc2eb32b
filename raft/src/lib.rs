//! Replication: one Raft group over the engine. The only crate that names openraft (A10).
//!
//! A write enters through [`Handle::write`] on any node, travels to the leader ([`submit`]), is decided there in the one
//! order of all writes ([`propose`]), goes through the log ([`log`]) and is applied on every node ([`state_machine`]).
//! A read gets a view that is as fresh as it asks ([`Handle::read`], [`reads`]).
//!
//! Time, randomness, the network, storage and threads are handed in ([`Services`]), so that all of this runs in a
//! deterministic simulation too.

mod alone;
mod bootstrap;
mod clock;
mod convert;
mod error;
mod fence;
#[doc(hidden)]
pub mod fuzzing;
mod handle;
mod lag;
mod late;
mod leadership;
mod log;
mod metrics;
mod network;
mod node;
mod options;
mod peer_handler;
mod peers;
mod process;
mod progress;
mod promotion;
mod propose;
mod reads;
mod rounds;
mod runtime;
mod second;
mod shortest;
mod snapshot;
mod spawn;
mod starting;
mod state_machine;
mod submit;
#[cfg(test)]
mod tests;
mod topology;
mod types;
mod upkeep;

pub use clock::{Clock, SystemClock};
pub use error::Error;
pub use fence::Fence;
pub use handle::{Consistency, Handle, Read, Readiness};
pub use log::LogOptions;
pub use network::{BoxedIo, Connector, Listener, TcpConnector};
pub use node::{Random, Services, StartError, start};
pub use options::Options;
pub use process::{Machine, SystemMachine};
pub use promotion::{Check, PromoteError, Promoted, Promotion};
pub use runtime::seed_this_thread;
pub use spawn::{Spawner, Tasks, Threads};
pub use starting::Starting;
pub use topology::{Lag, LagSample, NodeStatus, Quorum, Topology};

/// Raft over this crate's state machine.
pub(crate) type Raft = openraft::Raft<types::TypeConfig, state_machine::StateMachine>;
