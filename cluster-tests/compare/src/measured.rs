//! One measurement: a load for a while, the processor time that both ends of it took, and the disk at that moment.

use std::collections::BTreeMap;
use std::time::Duration;

use aerodb_load::{Load, Stats};
use anyhow::Result;
use serde_json::{Value, json};

use crate::probe;
use crate::processes::{own_cpu, usage};

/// What one load found.
pub(crate) struct Measured {
    /// What succeeded, per second.
    pub(crate) rate: f64,
    /// Latencies of what succeeded, by the name of the quantile.
    pub(crate) latency_us: BTreeMap<&'static str, f64>,
    /// Processor time of all nodes, for each answer.
    pub(crate) server_us: f64,
    /// Processor time of the load generator, for each answer.
    pub(crate) client_us: f64,
    /// Requests that failed.
    pub(crate) failed: u64,
    probe: Duration,
}

impl Measured {
    /// Has `put` put `load` on something whose processes are `pids`.
    pub(crate) fn take(load: Load, pids: &[u32], put: impl FnOnce(Load) -> Result<Stats>) -> Result<Self> {
        let planned = load.duration;
        let probe = probe::fdatasync(&std::env::temp_dir())?;
        let (server, client) = (usage(pids).cpu, own_cpu());
        let stats = put(load)?;
        let (server, client) = (usage(pids).cpu.saturating_sub(server), own_cpu().saturating_sub(client));
        Ok(Self::new(&stats, planned, server, client, probe))
    }

    fn new(stats: &Stats, planned: Duration, server: Duration, client: Duration, probe: Duration) -> Self {
        let mut both = stats.reads.clone();
        // They have the same bounds.
        let _ = both.add(&stats.writes);
        let at = |quantile| both.value_at_quantile(quantile) as f64;
        let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / stats.answered.max(1) as f64;
        Self {
            rate: stats.succeeded() as f64 / stats.seconds(planned),
            latency_us: BTreeMap::from([("p50", at(0.5)), ("p99", at(0.99)), ("p99_9", at(0.999))]),
            server_us: each(server),
            client_us: each(client),
            failed: stats.failed(),
            probe,
        }
    }

    /// The same, for each of the `parts` that a request has. Latencies stay those of requests.
    pub(crate) fn by_part(self, parts: f64) -> Self {
        let (rate, server_us, client_us) = (self.rate * parts, self.server_us / parts, self.client_us / parts);
        Self { rate, server_us, client_us, ..self }
    }

    /// All of it, beside what it is `about`.
    pub(crate) fn value(&self, mut about: Value) -> Value {
        let figures = json!({
            "per_second": self.rate, "latency_us": self.latency_us, "failed": self.failed,
            "server_cpu_us": self.server_us, "client_cpu_us": self.client_us,
            "fdatasync_us": self.probe.as_secs_f64() * 1e6,
        });
        if let (Some(about), Value::Object(figures)) = (about.as_object_mut(), figures) {
            about.extend(figures);
        }
        about
    }
}
