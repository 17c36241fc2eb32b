//! Every limit and time of the peer network, in one place.

use std::time::Duration;

/// Largest message that is sent or taken, in bytes. Above every bound on entries and commands, so that it never
/// decides anything: it only stops a peer that went wrong.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Bytes that a peer may send ahead on one stream before it has to wait.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 4 << 20;

/// Bytes that a peer may send ahead on one connection before it has to wait.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// Largest HTTP/2 frame: big enough that entries and snapshots are not cut into thousands of pieces.
pub(crate) const FRAME_BYTES_MAX: u32 = 256 << 10;

/// Streams that a caller gave up on and that were not yet looked at, on one connection. A node that was stopped for a
/// while finds one for each heartbeat that it missed; closing the connection over them would only cost more time.
pub(crate) const GIVEN_UP_STREAMS_MAX: usize = 1024;

/// The times and limits of the peer network.
#[derive(Clone, Debug)]
pub(crate) struct NetworkOptions {
    /// How long one attempt to connect may take. Short: after a partition has healed, a fresh attempt gets through
    /// sooner than the retransmission of an old one.
    pub(crate) connect_timeout: Duration,
    /// How often the control connection is probed while nothing comes from it. In the order of the election timeout, because
    /// a half-open connection swallows heartbeats and votes until it is noticed.
    pub(crate) keepalive_interval: Duration,
    /// How long a probe of the control connection may stay unanswered.
    pub(crate) keepalive_timeout: Duration,
    /// How long a probe of a connection may stay unanswered that carries entries, snapshots or commands: on it the
    /// probe waits behind megabytes.
    pub(crate) keepalive_timeout_bulk: Duration,
    /// How long a request of a replication stream may stay unanswered, beside the time that its bytes take.
    /// openraft's own time for it is a heartbeat interval, which one slow fsync of the follower exceeds: the stream
    /// would be torn down and its entries sent again, just when the follower is busy.
    pub(crate) append_stall_timeout: Duration,
    /// The slowest link that replication must work over: bytes under way extend the stall timeout by this rate.
    pub(crate) append_bytes_per_second_min: u64,
    /// Bytes of entries under way to one follower; one request may exceed it when it goes alone.
    pub(crate) append_in_flight_bytes_max: usize,
    /// Requests under way to one follower.
    pub(crate) append_in_flight_max: usize,
    /// How long a snapshot transfer may make no progress, on both sides.
    pub(crate) snapshot_idle_timeout: Duration,
    /// Connections that the peer port holds at once; more are closed at once.
    pub(crate) connections_max: usize,
    /// How long open calls may take to end when the node stops.
    pub(crate) shutdown_grace: Duration,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self::for_election(Duration::from_millis(400))
    }
}

impl NetworkOptions {
    /// Options that fit an election timeout of at most `max`.
    pub(crate) fn for_election(max: Duration) -> Self {
        Self {
            connect_timeout: max,
            keepalive_interval: max * 3,
            keepalive_timeout: max,
            keepalive_timeout_bulk: (max * 5).max(Duration::from_secs(2)),
            append_stall_timeout: (max * 3).max(Duration::from_secs(1)),
            append_bytes_per_second_min: 4 << 20,
            append_in_flight_bytes_max: 32 << 20,
            append_in_flight_max: 64,
            snapshot_idle_timeout: Duration::from_secs(10),
            connections_max: 1024,
            shutdown_grace: Duration::from_secs(1),
        }
    }
}
