//! What happened in a run: every operation's begin and end and every fault, in one order.
//!
//! The order in which events are recorded is the order of real time: an invocation is recorded before its request is
//! sent, a completion after its answer has arrived. So if A's completion stands before B's invocation, A ended before B
//! began, whatever the clocks of the nodes say.

mod edn;
mod event;
mod jsonl;
mod operations;
mod recorder;

pub use edn::write_edn;
pub use event::{Event, Kind, Process};
pub use jsonl::{read_jsonl, write_jsonl};
pub use operations::{Fault, History, Operation};
pub use recorder::{Completion, Recorder};
