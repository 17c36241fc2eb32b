//! What was measured.

use std::collections::BTreeMap;
use std::time::Instant;

use hdrhistogram::Histogram;

/// The longest latency that is told from longer ones, in microseconds.
const LATENCY_US_MAX: u64 = 3_600_000_000;
/// Decimal digits that are kept of each latency.
const DIGITS: u8 = 3;

/// What a request did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It read a document.
    Read,
    /// It wrote one.
    Write,
}

/// Latencies and errors. Each worker has its own; they are put together at the end.
#[derive(Clone, Debug)]
pub(super) struct Stats {
    /// Latencies of reads that succeeded, in microseconds.
    pub(super) reads: Histogram<u64>,
    /// Latencies of writes that succeeded, in microseconds.
    pub(super) writes: Histogram<u64>,
    /// How many requests failed, by the code of the answer or a word for what happened.
    pub(super) errors: BTreeMap<String, u64>,
    /// Requests that had their time and could not be sent until long after the end.
    pub(super) unsent: u64,
    /// When the last answer came.
    pub(super) last_answer: Option<Instant>,
}

impl Stats {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self { reads: histogram(), writes: histogram(), errors: BTreeMap::new(), unsent: 0, last_answer: None }
    }

    /// Notes a request that was meant to start at one time and was answered at another.
    pub(super) fn record(&mut self, kind: Kind, intended: Instant, answered: Instant, result: Result<(), String>) {
        self.last_answer = self.last_answer.max(Some(answered));
        match result {
            Ok(()) => {
                let micros = answered.saturating_duration_since(intended).as_micros();
                let histogram = match kind {
                    Kind::Read => &mut self.reads,
                    Kind::Write => &mut self.writes,
                };
                histogram.saturating_record(u64::try_from(micros).unwrap_or(u64::MAX));
            }
            Err(code) => self.error(&code),
        }
    }

    /// Counts an error.
    pub(super) fn error(&mut self, code: &str) {
        match self.errors.get_mut(code) {
            Some(count) => *count += 1,
            None => drop(self.errors.insert(code.to_owned(), 1)),
        }
    }

    /// Adds what somebody else measured.
    pub(super) fn merge(&mut self, other: Self) {
        for (own, more) in [(&mut self.reads, &other.reads), (&mut self.writes, &other.writes)] {
            // They all have the same bounds, so that nothing can be out of them.
            let added = own.add(more);
            debug_assert!(added.is_ok(), "histograms have the same bounds");
        }
        for (code, count) in other.errors {
            *self.errors.entry(code).or_default() += count;
        }
        self.unsent += other.unsent;
        self.last_answer = self.last_answer.max(other.last_answer);
    }

    /// How many requests succeeded.
    pub(super) fn succeeded(&self) -> u64 {
        self.reads.len() + self.writes.len()
    }

    /// How many requests failed.
    pub(super) fn failed(&self) -> u64 {
        self.errors.values().sum()
    }
}

#[allow(clippy::expect_used)]
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, DIGITS).expect("the bounds are constants that fit")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn latencies_count_from_the_intended_start() {
        let mut stats = Stats::new();
        let now = Instant::now();
        stats.record(Kind::Read, now, now + Duration::from_millis(250), Ok(()));
        stats.record(Kind::Write, now, now + Duration::from_millis(5), Err("no_leader".into()));
        let mut other = Stats::new();
        other.record(Kind::Read, now, now + Duration::from_millis(1), Ok(()));
        other.error("no_leader");
        stats.merge(other);
        assert_eq!((stats.succeeded(), stats.failed()), (2, 2));
        assert!(stats.reads.max().abs_diff(250_000) < 500);
        assert_eq!(stats.writes.len(), 0, "errors are no latencies");
        assert_eq!(stats.errors["no_leader"], 2);
    }
}
