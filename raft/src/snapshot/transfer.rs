//! Moving a snapshot from one node to another, in pieces that can be resumed.
//!
//! [`Reader`] is the sending side, [`Incoming`] the receiving one; the network between them is in `network/`. What has
//! been received lies under `snapshots/incoming/` and may be deleted at any time: it only saves sending it again.

mod incoming;
mod outgoing;
mod progress;
#[cfg(test)]
mod tests;

pub(crate) use incoming::{Incoming, Offered, Received};
pub(crate) use outgoing::{Piece, ReadError, Reader};
pub(crate) use progress::{TransferProgress, Transfers};

/// Largest piece of a file that is sent at once, in bytes.
pub(crate) const CHUNK_BYTES_MAX: usize = 1 << 20;
