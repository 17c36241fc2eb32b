//! What was measured.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::target::Failure;

/// The longest latency that is told from longer ones, in microseconds.
const LATENCY_US_MAX: u64 = 3_600_000_000;
/// Decimal digits that are kept of each latency.
const DIGITS: u8 = 3;

/// What a request did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It read a document.
    Read,
    /// It wrote one.
    Write,
}

/// Latencies and errors. Each worker has its own; they are put together at the end.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Latencies of reads that succeeded, in microseconds.
    pub reads: Histogram<u64>,
    /// Latencies of writes that succeeded, in microseconds.
    pub writes: Histogram<u64>,
    /// How many requests failed, by the code of the answer or a word for what happened.
    pub errors: BTreeMap<String, u64>,
    /// Requests that had their time and could not be sent until long after the end.
    pub unsent: u64,
    /// Requests that were answered, those of the warm-up too.
    pub answered: u64,
    /// When measuring began.
    measured_from: Instant,
    /// When the last answer came.
    last_answer: Option<Instant>,
}

impl Stats {
    /// Nothing yet.
    pub(crate) fn new(measured_from: Instant) -> Self {
        let (reads, writes) = (histogram(), histogram());
        Self { reads, writes, errors: BTreeMap::new(), unsent: 0, answered: 0, measured_from, last_answer: None }
    }

    /// Notes a request that was meant to start at one time and was answered at another.
    pub(crate) fn record(&mut self, kind: Kind, intended: Instant, answered: Instant, result: &Result<(), Failure>) {
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
            Err(failure) => self.error(failure.code()),
        }
    }

    /// Counts an error.
    pub(crate) fn error(&mut self, code: &str) {
        match self.errors.get_mut(code) {
            Some(count) => *count += 1,
            None => drop(self.errors.insert(code.to_owned(), 1)),
        }
    }

    /// Adds what somebody else measured.
    pub(crate) fn merge(&mut self, other: Self) {
        for (own, more) in [(&mut self.reads, &other.reads), (&mut self.writes, &other.writes)] {
            // They all have the same bounds, so that nothing can be out of them.
            let added = own.add(more);
            debug_assert!(added.is_ok(), "histograms have the same bounds");
        }
        for (code, count) in other.errors {
            *self.errors.entry(code).or_default() += count;
        }
        self.unsent += other.unsent;
        self.answered += other.answered;
        self.last_answer = self.last_answer.max(other.last_answer);
    }

    /// How many requests succeeded.
    pub fn succeeded(&self) -> u64 {
        self.reads.len() + self.writes.len()
    }

    /// How long was measured, seconds: to the last answer, so that a slow end does not raise the rate, and no less than
    /// was planned.
    pub fn seconds(&self, planned: Duration) -> f64 {
        let last = self.last_answer.map(|last| last.saturating_duration_since(self.measured_from));
        last.map_or(planned, |last| last.max(planned)).as_secs_f64()
    }

    /// How many requests failed.
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }
}

#[allow(clippy::expect_used)]
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, DIGITS).expect("the bounds are constants that fit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_count_from_the_intended_start() {
        let now = Instant::now();
        let mut stats = Stats::new(now);
        stats.record(Kind::Read, now, now + Duration::from_millis(250), &Ok(()));
        stats.record(Kind::Write, now, now + Duration::from_millis(5), &Err(Failure::Refused("no_leader".into())));
        let mut other = Stats::new(now);
        other.record(Kind::Read, now, now + Duration::from_millis(1), &Ok(()));
        other.error("no_leader");
        stats.merge(other);
        assert_eq!((stats.succeeded(), stats.failed()), (2, 2));
        assert!(stats.reads.max().abs_diff(250_000) < 500);
        assert_eq!(stats.writes.len(), 0, "errors are no latencies");
        assert_eq!(stats.errors["no_leader"], 2);
        assert_eq!(stats.seconds(Duration::from_millis(100)), 0.25, "to the last answer");
    }
}
