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

/// How many words are kept.
const WORDS_MAX: usize = 256;

/// What leaders said, each while a majority stood behind it: nothing beyond `committed` was committed at that time.
#[derive(Debug, Default)]
pub(crate) struct LeadersWords {
    /// Time and `committed`, both ascending.
    words: VecDeque<(Duration, u64)>,
}

impl LeadersWords {
    /// Notes that nothing beyond `committed` was committed at `at`, on this node's monotonic clock.
    pub(crate) fn note(&mut self, at: Duration, committed: u64) {
        if self.words.back().is_some_and(|&(last, known)| at <= last || committed < known) {
            return;
        }
        self.words.push_back((at, committed));
        if self.words.len() > WORDS_MAX {
            // The oldest is what is known for certain; one that is left out in between makes nothing look younger.
            self.words.remove(1);
        }
    }

    /// The latest time at which a replica that has applied up to `applied` lacked nothing.
    pub(crate) fn complete_at(&mut self, applied: u64) -> Option<Duration> {
        while self.words.get(1).is_some_and(|&(_, committed)| committed <= applied) {
            self.words.pop_front();
        }
        self.words.front().filter(|&&(_, committed)| committed <= applied).map(|&(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_as_old_as_the_last_word_that_it_fulfils() {
        let mut words = LeadersWords::default();
        let at = Duration::from_secs;
        assert_eq!(words.complete_at(100), None);
        words.note(at(1), 10);
        words.note(at(2), 20);
        words.note(at(3), 30);
        assert_eq!(words.complete_at(9), None);
        assert_eq!(words.complete_at(10), Some(at(1)));
        assert_eq!(words.complete_at(25), Some(at(2)));
        assert_eq!(words.complete_at(30), Some(at(3)));
        assert_eq!(words.complete_at(25), None, "what was fulfilled once is not undone");
        for second in 4..2_000 {
            words.note(at(second), 10 * second);
        }
        assert_eq!(words.complete_at(31), Some(at(3)));
        assert!(words.words.len() <= WORDS_MAX);
    }

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
