//! A mixed load that knows what it did: many clients on all nodes, and a record of every answer.
//!
//! Each client has documents of its own, which nobody else writes, and shares some with all others. What it writes
//! carries a token that occurs nowhere else, so that whatever is found later can be traced to one write. Three things
//! are held to the product:
//!
//! - **While it runs**: whatever was answered to anybody before a request began, that request must see ([`known`]);
//!   a client's own documents must read exactly as it left them.
//! - **Retries**: a write without an answer is sent again under its `Idempotency-Key` until it has one, on other nodes
//!   if need be. It must happen once.
//! - **At the end** ([`Report::verify`]): the change feed holds every acknowledged write at its revision, and nothing
//!   that no client has asked for; all nodes hold the same.

mod client;
mod known;
mod load;
mod op;
mod record;
mod report;
mod verify;

pub use load::{Load, Options};
pub use record::{Acknowledged, Failure, Timed, Unresolved};
pub use report::Report;
pub use verify::Verified;
