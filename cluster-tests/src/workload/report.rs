//! What a load leaves behind.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::record::{Acknowledged, Failure, Log, Timed, Unresolved};

/// The record of a load that has ended.
#[derive(Debug)]
pub struct Report {
    /// The collections that it wrote to.
    pub collections: Vec<String>,
    /// Writes with an answer.
    pub acknowledged: Vec<Acknowledged>,
    /// Writes without.
    pub unresolved: Vec<Unresolved>,
    /// Attempts that failed, of reads too.
    pub failures: Vec<Failure>,
    /// The times of the writes.
    pub writes: Vec<Timed>,
    /// The times of the reads.
    pub reads: Vec<Timed>,
    /// Answers that must never be given, seen while it ran.
    pub violations: Vec<String>,
    /// How long it ran.
    pub ran: Duration,
}

impl Report {
    pub(super) fn new(collections: Vec<String>, log: Log, ran: Duration) -> Self {
        let Log { acknowledged, unresolved, failures, writes, reads, violations } = log;
        Self { collections, acknowledged, unresolved, failures, writes, reads, violations, ran }
    }

    /// How often each sort of failure occurred.
    pub fn failures_by_code(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for failure in &self.failures {
            let status = failure.status.map_or("-".to_owned(), |status| status.to_string());
            *counts.entry(format!("{status} {}", failure.code)).or_default() += 1;
        }
        counts
    }

    /// The load in figures.
    pub fn figures(&self) -> Value {
        let percentile = |timed: &[Timed], part: usize| {
            let mut took: Vec<_> = timed.iter().map(Timed::took).collect();
            took.sort();
            took.get(took.len().saturating_sub(1) * part / 1_000).map(|took| took.as_secs_f64() * 1_000.0)
        };
        let seconds = self.ran.as_secs_f64();
        let per_second = |timed: &[Timed]| (timed.len() as f64 / seconds).round();
        json!({
            "seconds": seconds.round(),
            "writes": self.writes.len(), "writes_per_second": per_second(&self.writes),
            "reads": self.reads.len(), "reads_per_second": per_second(&self.reads),
            "write_ms": {"p50": percentile(&self.writes, 500), "p99": percentile(&self.writes, 990), "max": percentile(&self.writes, 1_000)},
            "read_ms": {"p50": percentile(&self.reads, 500), "p99": percentile(&self.reads, 990), "max": percentile(&self.reads, 1_000)},
            "retried_writes": self.acknowledged.iter().filter(|write| write.attempts > 1).count(),
            "unresolved_writes": self.unresolved.len(),
            "failed_attempts": self.failures_by_code(),
        })
    }

    /// # Panics
    /// If there is a failure that is not one of these codes.
    pub fn assert_only_failures(&self, allowed: &[&str]) {
        let other: Vec<_> = self.failures.iter().filter(|failure| !allowed.contains(&failure.code.as_str())).collect();
        assert!(other.is_empty(), "{} requests failed as none may: {:#?}", other.len(), &other[..other.len().min(5)]);
    }
}
