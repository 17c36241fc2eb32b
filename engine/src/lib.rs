//! The document engine: one replicated state on RocksDB. Deterministic and synchronous; it knows no network, no clock
//! and no randomness: time, ids and keys are handed in.
//!
//! A write passes through [`prepare`] (any node, in parallel), [`decide`] (the leader, one after the other), the log,
//! and [`Engine::apply`] (every node alike). A read is a [`View`]: one consistent snapshot.

pub mod apply;
mod body;
mod catalog;
mod collect;
pub mod decide;
mod document_cache;
mod engine;
mod error;
mod exact;
pub mod filter;
mod folder;
#[doc(hidden)]
pub mod fuzzing;
mod helpers;
mod home;
pub mod index;
pub mod json;
pub mod kv;
mod limits;
mod maps;
mod matcher;
pub mod order;
mod packed;
pub mod patch;
pub mod planted;
pub mod prepare;
mod ranges;
pub mod schema;
pub mod select;
mod state;
#[cfg(test)]
mod testing;
mod time;
pub mod update;
mod uses;
pub mod view;

pub use catalog::{API_KEYS_NAME, Catalog};
pub use engine::{Contents, Engine};
pub use error::Error;
pub use folder::Folder;
pub use limits::Limits;
pub use matcher::Matcher;
pub use ranges::RangeSet;
pub use view::View;
