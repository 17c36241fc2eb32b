//! How the nodes of one cluster talk to each other: gRPC over connections that a [`Connector`] makes.
//!
//! The sending side is [`Network`], which openraft drives, and [`Channels`], which our own calls use as well. The
//! receiving side is [`PeerService`]. Every message says for which group, node and cluster it is meant
//! ([`identity::Identity`]), and a node refuses what is not meant for it.
//!
//! - Entries go through one stream a follower, pipelined ([`pipeline`]).
//! - Heartbeats and votes have a connection of their own and wait behind nothing.
//! - Snapshots are offered first, and only what is missing is sent ([`snapshot`]).

mod channels;
mod client;
mod connector;
mod consensus;
mod errors;
mod identity;
mod options;
mod pipeline;
mod server;
mod snapshot;
mod wire;

#[cfg(test)]
mod tests;

pub(crate) use channels::{Channels, Client, Lane};
pub(crate) use client::Network;
pub use connector::{BoxedIo, Connector, Listener, TcpConnector};
pub(crate) use consensus::{Consensus, Stopped};
pub(crate) use identity::{GROUP, Identity, VoteGate};
pub(crate) use options::NetworkOptions;
pub(crate) use server::{PeerHandler, PeerService, serve};
pub(crate) use wire::{Append, Appended, Ballot, Transfer, Transferred, Voted, append_from_wire};
