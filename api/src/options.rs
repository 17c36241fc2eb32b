//! What the API can be told, and every bound that it keeps beside the engine's, in one place (A6).

use std::time::Duration;

/// Settings and bounds of the API. The defaults suit a node with a few gigabytes of memory.
#[derive(Clone, Debug)]
pub struct ApiOptions {
    /// The program's version, as `/openapi.json` names it.
    pub version: String,
    /// Origins whose pages may call this API from a browser: none, some, or `*` for all.
    pub cors_origins: Vec<String>,
    /// How long a request waits for the cluster (a commit, a read index, a revision) before it is answered with 503 or
    /// 504.
    pub request_timeout: Duration,
    /// How long a read waits for a leader, or for this node to catch up. Longer than an election takes; shorter than a
    /// write's time, because a read that fails can be asked anywhere else.
    pub read_timeout: Duration,
    /// How long a promotion may take, catching up included.
    pub promote_timeout: Duration,
    /// How long a client may take to send a body. Longer ones are streams of lines: there, how long between two parts.
    pub body_timeout: Duration,
    /// Requests under way at once; more are answered with 503 `overloaded`.
    pub requests_in_flight_max: usize,
    /// Bytes of a body that is read as a whole, whatever the route; more are answered with 413. A stream of lines has a
    /// bound for each line instead.
    pub body_bytes_max: usize,
    /// Bytes of request bodies in memory at once.
    pub body_bytes_in_flight_max: usize,
    /// Bytes of long answers (beyond 64 KiB: pages of a list, documents) that their clients have yet to read; more are answered
    /// with 503 `overloaded`. Answers to writes keep the room of the request's body instead.
    pub answer_bytes_unread_max: usize,
    /// Queries, exports and digests that run at once; more wait for their turn.
    pub queries_running_max: usize,
    /// Open change feeds, event streams, exports and NDJSON inserts of this node.
    pub streams_open_max: usize,
    /// Bytes of a body that describes a query or a collection.
    pub request_body_bytes_max: usize,
    /// Lines of an NDJSON insert that are on their way through the log at once.
    pub ndjson_lines_in_flight_max: usize,
    /// Lines of the report of an NDJSON insert that are kept for a client that does not read yet.
    pub ndjson_reports_buffered_max: usize,
    /// Bytes of documents that a change feed reads at a time; beside these, it holds them once more as text. The rest of
    /// a revision comes on top.
    pub feed_page_bytes_max: usize,
    /// Documents that an export reads at a time.
    pub export_page_items: usize,
    /// Columns that a CSV export finds by itself; beyond it, `select` has to name them.
    pub csv_columns_max: usize,
    /// After how much silence a stream says that it is still there.
    pub keep_alive: Duration,
    /// The longest time for which a collection may keep its history, seconds.
    pub history_seconds_max: u64,
}

impl Default for ApiOptions {
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cors_origins: Vec::new(),
            request_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(3),
            promote_timeout: Duration::from_secs(15),
            body_timeout: Duration::from_secs(30),
            requests_in_flight_max: 4_096,
            body_bytes_max: 8 << 20,
            body_bytes_in_flight_max: 256 << 20,
            answer_bytes_unread_max: 256 << 20,
            queries_running_max: 32,
            streams_open_max: 1_024,
            request_body_bytes_max: 1 << 20,
            ndjson_lines_in_flight_max: 128,
            ndjson_reports_buffered_max: 65_536,
            feed_page_bytes_max: 4 << 20,
            export_page_items: 500,
            csv_columns_max: 1_000,
            keep_alive: Duration::from_secs(15),
            history_seconds_max: 366 * 86_400,
        }
    }
}
