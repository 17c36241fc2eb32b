//! Figures of the log store.

use prometheus::{Histogram, HistogramOpts, IntGauge, Registry};

/// From 50 µs, a fast disk's fsync, to 1 s, when the node is about to lose its leadership.
const FSYNC_SECONDS: &[f64] =
    &[0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0];

/// The log store's metrics; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct LogMetrics {
    pub(super) fsync_seconds: Histogram,
    pub(super) batch_entries: Histogram,
    pub(super) batch_bytes: Histogram,
    pub(super) queue_depth: IntGauge,
    pub(super) queue_bytes: IntGauge,
    pub(super) log_bytes: IntGauge,
    pub(super) log_entries: IntGauge,
    pub(super) ring_bytes: IntGauge,
}

impl LogMetrics {
    /// Creates the metrics and registers them.
    ///
    /// # Errors
    /// When `registry` already has metrics of these names.
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let histogram = |name: &str, help: &str, buckets: Vec<f64>| -> Result<Histogram, prometheus::Error> {
            let made = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?;
            registry.register(Box::new(made.clone()))?;
            Ok(made)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let made = IntGauge::new(name, help)?;
            registry.register(Box::new(made.clone()))?;
            Ok(made)
        };
        let entries = prometheus::exponential_buckets(1.0, 2.0, 12)?;
        let bytes = prometheus::exponential_buckets(256.0, 4.0, 9)?;
        Ok(Self {
            fsync_seconds: histogram(
                "aerodb_log_fsync_duration_seconds",
                "Time of one synced write of the Raft log.",
                FSYNC_SECONDS.to_vec(),
            )?,
            batch_entries: histogram(
                "aerodb_log_write_batch_entries",
                "Entries that one synced write of the Raft log carried.",
                entries,
            )?,
            batch_bytes: histogram(
                "aerodb_log_write_batch_bytes",
                "Bytes of entries that one synced write of the Raft log carried.",
                bytes,
            )?,
            queue_depth: gauge("aerodb_log_queue_depth", "Jobs that wait for the Raft log's writer.")?,
            queue_bytes: gauge("aerodb_log_queue_bytes", "Bytes of entries that wait for the Raft log's writer.")?,
            log_bytes: gauge("aerodb_log_bytes", "Bytes of entries that the Raft log holds.")?,
            log_entries: gauge("aerodb_log_entries", "Entries that the Raft log holds.")?,
            ring_bytes: gauge("aerodb_log_ring_bytes", "Bytes of recent Raft log entries held in memory.")?,
        })
    }
}
