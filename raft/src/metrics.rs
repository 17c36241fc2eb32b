//! Figures of replication for Prometheus.

use prometheus::{GaugeVec, Histogram, HistogramOpts, IntGauge, IntGaugeVec, Opts, Registry};

/// The figures that replication keeps. Created once a process.
pub(crate) struct Metrics {
    pub(crate) term: IntGauge,
    pub(crate) is_leader: IntGauge,
    pub(crate) commit_index: IntGauge,
    pub(crate) applied_index: IntGauge,
    pub(crate) durable_index: IntGauge,
    pub(crate) revision: IntGauge,
    pub(crate) lag_entries: IntGaugeVec,
    pub(crate) lag_seconds: GaugeVec,
    pub(crate) apply_seconds: Histogram,
    pub(crate) apply_entries: Histogram,
    pub(crate) entry_commands: Histogram,
    pub(crate) entry_bytes: Histogram,
    pub(crate) entries_in_flight: IntGauge,
    pub(crate) intake_depth: IntGauge,
    pub(crate) intake_bytes: IntGauge,
    pub(crate) session_open: IntGauge,
    pub(crate) storage: GaugeVec,
    pub(crate) index_build: GaugeVec,
}

/// Seconds from 50 µs to 1 s.
const SECONDS: &[f64] =
    &[0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];
const COUNTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];
const BYTES: &[f64] = &[256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0];

impl Metrics {
    /// Creates the figures and registers them.
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| register(registry, IntGauge::new(name, help)?);
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            register(registry, Histogram::with_opts(options)?)
        };
        Ok(Self {
            term: gauge("aerodb_raft_term", "The Raft term that this node is in.")?,
            is_leader: gauge("aerodb_raft_is_leader", "1 while this node leads, else 0.")?,
            commit_index: gauge("aerodb_raft_commit_index", "The last log entry known to be committed.")?,
            applied_index: gauge("aerodb_raft_applied_index", "The last log entry applied on this node.")?,
            durable_index: gauge(
                "aerodb_raft_durable_index",
                "The last log entry whose effects would be found in the state after a power cut.",
            )?,
            revision: gauge("aerodb_revision", "The revision of the data applied on this node.")?,
            lag_entries: register(
                registry,
                IntGaugeVec::new(
                    Opts::new(
                        "aerodb_replication_lag_entries",
                        "Log entries by which a replica is behind the leader: every peer's on the leader, its own elsewhere.",
                    ),
                    &["peer"],
                )?,
            )?,
            lag_seconds: register(
                registry,
                GaugeVec::new(
                    Opts::new(
                        "aerodb_replication_lag_seconds",
                        "Time by which a replica is behind the leader: every peer's on the leader, its own elsewhere.",
                    ),
                    &["peer"],
                )?,
            )?,
            apply_seconds: histogram("aerodb_apply_duration_seconds", "Time to apply one batch of entries.", SECONDS)?,
            apply_entries: histogram("aerodb_apply_batch_entries", "Entries applied in one batch.", COUNTS)?,
            entry_commands: histogram("aerodb_entry_commands", "Commands that travel in one log entry.", COUNTS)?,
            entry_bytes: histogram("aerodb_entry_bytes", "Bytes of one log entry.", BYTES)?,
            entries_in_flight: gauge(
                "aerodb_entries_in_flight",
                "Entries that this leader has handed to the log and not yet seen applied.",
            )?,
            intake_depth: gauge("aerodb_intake_depth", "Commands that wait for this leader's decision.")?,
            intake_bytes: gauge("aerodb_intake_bytes", "Bytes of the commands that wait for this leader's decision.")?,
            session_open: gauge("aerodb_session_open_commands", "Commands taken by this node without an answer yet.")?,
            storage: register(
                registry,
                GaugeVec::new(
                    Opts::new("aerodb_storage", "Figures of the storage engine; each has its unit in its name."),
                    &["store", "figure"],
                )?,
            )?,
            index_build: register(
                registry,
                GaugeVec::new(
                    Opts::new(
                        "aerodb_index_build_ratio",
                        "The part of its collection's documents that the build of an index has been through, while it runs.",
                    ),
                    &["collection", "index"],
                )?,
            )?,
        })
    }
}

fn register<C: prometheus::core::Collector + Clone + 'static>(registry: &Registry, metric: C) -> prometheus::Result<C> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
