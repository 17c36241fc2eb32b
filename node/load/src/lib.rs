//! A load generator: many connections that send requests, by a schedule or as fast as they are answered, and note how
//! long each took.
//!
//! It knows no product: a [`Target`] says how to reach one, and a [`Session`] of it does one request after the other.
//! [`http`] has a session for whatever speaks HTTP/1.1. `aerodb bench` drives AeroDB with it; `cluster-tests/compare`
//! drives AeroDB and others, each with the same load by the same code.
//!
//! With a rate the load is *open*: each request has a time at which it is meant to start, whatever happened to those
//! before it, and its latency counts from then. So a pause shows in the figures of all the requests that it would have
//! delayed ("no coordinated omission"). Without a rate each connection sends as fast as it is answered: *closed*.

// This stands outside of what is simulated: it measures real time, and nothing has to be done by it twice.
#![allow(clippy::disallowed_methods)]

mod documents;
pub mod http;
mod keys;
mod machine;
mod pacer;
mod rest;
mod run;
mod stats;
mod target;
mod worker;

pub use documents::{DocumentMaker, id};
pub use keys::Keys;
pub use machine::{Machine, describe};
pub use rest::Rest;
pub use run::{Load, Running, fill};
pub use stats::{Kind, Stats};
pub use target::{Failure, Request, Session, Target};
