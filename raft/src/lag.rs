//! How far behind, in time: when the log was where a replica is now.

use std::collections::VecDeque;
use std::time::Duration;

/// How often the log's end is noted.
pub(crate) const STEP: Duration = Duration::from_millis(100);
/// How many notes are kept: ten minutes.
const NOTES_MAX: usize = 6_000;

/// When the log reached which index.
#[derive(Debug, Default)]
pub(crate) struct LagClock {
    notes: VecDeque<(Duration, u64)>,
}

impl LagClock {
    /// Notes that the log ends at `index` now.
    pub(crate) fn note(&mut self, now: Duration, index: u64) {
        if self.notes.back().is_none_or(|&(_, last)| index > last) {
            self.notes.push_back((now, index));
        }
        if self.notes.len() > NOTES_MAX {
            self.notes.pop_front();
        }
    }

    /// For how long a replica that is at `index` has been behind; zero when it is not.
    pub(crate) fn behind(&self, now: Duration, index: u64) -> Duration {
        let first_ahead = self.notes.partition_point(|&(_, noted)| noted <= index);
        self.notes.get(first_ahead).map_or(Duration::ZERO, |&(since, _)| now.saturating_sub(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_behind_begins_with_the_first_entry_that_is_missing() {
        let mut clock = LagClock::default();
        let at = Duration::from_secs;
        clock.note(at(1), 10);
        clock.note(at(2), 20);
        clock.note(at(3), 20);
        assert_eq!(clock.behind(at(5), 20), Duration::ZERO);
        assert_eq!(clock.behind(at(5), 19), at(3));
        assert_eq!(clock.behind(at(5), 9), at(4));
    }
}
