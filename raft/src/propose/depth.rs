//! How many entries the leader has in flight: as many as are on their way, and none that would only wait for others.
//!
//! An entry costs every node some hundred microseconds, however many commands it carries. Where processors or disks are what is
//! short, a further entry in flight makes nothing quicker, and takes commands from the next one, which then carries more of
//! them for the same cost. Where the time goes with travel (disks and networks that are slow, and not busy), entries that are
//! on their way together make commands wait less. The two are told apart as in TCP Vegas (Brakmo and Peterson, 1995): of a time
//! that is `n` times the shortest one all but an `n`th is waiting, and so are as many of the entries.

use std::time::Duration;

use tokio::time::Instant;

use crate::shortest::Shortest;

/// Entries that may wait rather than travel.
const WAITING_MAX: f64 = 1.0;
/// When fewer wait, there is room for another.
const WAITING_MIN: f64 = 0.5;
/// By how much an entry that comes back changes what is allowed.
const STEP: f64 = 1.0 / 16.0;
/// How much of what entries are like is the newest one's.
const SMOOTHING: f64 = 1.0 / 16.0;
/// Entries of this size are worth what an entry costs, and are decided, written and applied side by side.
const LARGE_BYTES: f64 = 65_536.0;

pub(super) struct Depth {
    min: f64,
    max: f64,
    allowed: f64,
    /// Seconds from the hand-over to the result; 0 at first.
    took: f64,
    /// Bytes of an entry.
    bytes: f64,
    shortest: Shortest,
}

impl Depth {
    /// From `min` entries to `max`.
    pub(super) fn new(min: usize, max: usize) -> Self {
        let max = max.max(1) as f64;
        let min = (min as f64).clamp(1.0, max);
        Self { min, max, allowed: min, took: 0.0, bytes: 0.0, shortest: Shortest::default() }
    }

    /// How many entries may be in flight.
    pub(super) fn allowed(&self) -> usize {
        let allowed = if self.bytes >= LARGE_BYTES { self.max } else { self.allowed };
        allowed as usize
    }

    /// How long an entry takes, where entries go one after the other.
    pub(super) fn alone(&self) -> Option<Duration> {
        (self.allowed() == 1).then(|| Duration::from_secs_f64(self.took))
    }

    /// Notes that an entry of `bytes` is handed over.
    pub(super) fn handed_over(&mut self, bytes: usize) {
        self.bytes += (bytes as f64 - self.bytes) * SMOOTHING;
    }

    /// Notes that an entry that was handed over at `began` is through; `in_flight` entries were, with it.
    pub(super) fn done(&mut self, began: Instant, in_flight: usize) {
        let now = Instant::now();
        let took = now.duration_since(began).as_secs_f64();
        let shortest = self.shortest.note(now, took);
        self.took += (took - self.took) * SMOOTHING;
        let waiting = in_flight as f64 * (1.0 - shortest / self.took.max(shortest).max(f64::MIN_POSITIVE));
        if waiting > WAITING_MAX {
            self.allowed = (self.allowed - STEP).max(self.min);
        } else if waiting < WAITING_MIN && in_flight >= self.allowed as usize {
            // Fewer than are allowed say nothing of how many could be.
            self.allowed = (self.allowed + STEP).min(self.max);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    /// Keeps as many entries in flight as are allowed, each of which takes as long as `took` says for so many; gives how many
    /// there are in the end, in the mean.
    async fn settle(depth: &mut Depth, took: impl Fn(usize) -> Duration) -> f64 {
        let mut sum = 0;
        for round in 0..2_000 {
            let in_flight = depth.allowed();
            let began = Instant::now();
            advance(took(in_flight)).await;
            depth.done(began, in_flight);
            sum += if round >= 1_000 { in_flight } else { 0 };
        }
        sum as f64 / 1_000.0
    }

    #[tokio::test(start_paused = true)]
    async fn what_travels_goes_together_and_what_waits_goes_alone() {
        // The disk is slow, and the time is the same however many are on their way.
        let mut depth = Depth::new(1, 4);
        assert_eq!(settle(&mut depth, |_| Duration::from_millis(5)).await, 4.0);
        // One after the other, behind others that take their time, too: what it takes alone has been seen.
        let mut depth = Depth::new(1, 4);
        let began = Instant::now();
        advance(Duration::from_micros(500)).await;
        depth.done(began, 1);
        assert_eq!(settle(&mut depth, |in_flight| Duration::from_millis(1 + in_flight as u64)).await, 1.0);
        // Two are no slower than one, and more wait for each other.
        let mut depth = Depth::new(1, 4);
        let settled =
            settle(&mut depth, |in_flight| Duration::from_millis(1).max(Duration::from_micros(500 * in_flight as u64)));
        let settled = settled.await;
        assert!((2.0..=3.5).contains(&settled), "{settled}");
    }

    #[tokio::test(start_paused = true)]
    async fn large_entries_go_together() {
        let mut depth = Depth::new(1, 4);
        assert_eq!(depth.allowed(), 1);
        (0..100).for_each(|_| depth.handed_over(1 << 20));
        assert_eq!(depth.allowed(), 4);
        (0..100).for_each(|_| depth.handed_over(100));
        assert_eq!(depth.allowed(), 1);
        assert_eq!(Depth::new(4, 4).allowed(), 4);
    }
}
