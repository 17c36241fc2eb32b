//! The shortest time that something took of late: how long it takes when it waits for nothing.

use std::time::Duration;

use tokio::time::Instant;

/// How long the shortest time counts, once and up to twice.
const COUNTS_FOR: Duration = Duration::from_secs(120);

/// The shortest time of the last minutes, seconds.
pub(crate) struct Shortest {
    of_former_period: f64,
    of_period: f64,
    period_began: Option<Instant>,
}

impl Default for Shortest {
    fn default() -> Self {
        Self { of_former_period: f64::INFINITY, of_period: f64::INFINITY, period_began: None }
    }
}

impl Shortest {
    /// Notes a time, seconds, and gives the shortest one.
    pub(crate) fn note(&mut self, now: Instant, took: f64) -> f64 {
        if now.duration_since(*self.period_began.get_or_insert(now)) >= COUNTS_FOR {
            *self = Self { of_former_period: self.of_period, of_period: took, period_began: Some(now) };
        }
        self.of_period = self.of_period.min(took);
        self.of_period.min(self.of_former_period)
    }
}
