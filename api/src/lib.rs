//! Everything that a client reaches over HTTP: data, collections, the cluster, health and metrics.
//!
//! A request passes through [`Service`] in this order: a request id and a log line (`context`), compression, a guard
//! against panics (`panics`), CORS, then the caller's key and the bounds on what is in flight (`auth`), then its handler. A
//! handler parses, asks `aerodb_raft` to write or to read, and renders; it decides nothing about data. Whatever goes
//! wrong becomes a [`Problem`] with a [`Code`] of the published list.
//!
//! The only crate that names axum (A10). Nothing here reads or writes storage but through a `View` or the log.

// This crate stands outside of what replicas decide: request ids, durations and ids of new documents are drawn here.
#![allow(clippy::disallowed_methods)]

mod admin;
mod auth;
mod body;
mod cluster;
mod compression;
mod consistency;
mod context;
mod convert;
mod data;
mod error;
mod events;
mod front;
mod health;
mod idempotency;
mod idle;
mod metrics;
mod negotiate;
mod openapi;
mod options;
mod panics;
mod params;
mod path;
mod precondition;
mod prefer;
mod request_id;
mod response;
mod router;
mod serve;
mod shortcut;
mod small_writes;
mod starting;
mod state;
#[cfg(test)]
mod tests;
mod unread;

pub use context::Service;
pub use error::{Code, Problem};
pub use front::Front;
pub use openapi::openapi;
pub use options::ApiOptions;
pub use panics::{Contained, contained};
pub use router::service;
pub use serve::{Door, serve};
pub use starting::starting;
pub use state::ApiState;
