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
    notes: VecDeque<Note>,
    /// When the log's end was looked at last.
    looked_at: Duration,
}

/// The log's end was found to have moved.
#[derive(Clone, Copy, Debug)]
struct Note {
    /// The look before, at which it had not moved yet.
    before: Duration,
    /// This look.
    at: Duration,
    index: u64,
}

impl LagClock {
    /// Notes that the log ends at `index` now.
    pub(crate) fn note(&mut self, now: Duration, index: u64) {
        if self.notes.back().is_none_or(|last| index > last.index) {
            self.notes.push_back(Note { before: self.looked_at, at: now, index });
        }
        self.looked_at = now;
        if self.notes.len() > NOTES_MAX
            && let Some(gone) = self.notes.pop_front()
            && let Some(oldest) = self.notes.front_mut()
        {
            // It stands for the one that is gone, too: what is forgotten must make nothing look younger.
            oldest.before = gone.before;
        }
    }

    /// For how long a replica that is at `index` has been behind; zero when it is not.
    pub(crate) fn behind(&self, now: Duration, index: u64) -> Duration {
        self.first_beyond(index).map_or(Duration::ZERO, |note| now.saturating_sub(note.at))
    }

    /// The latest time at which the log is known to have had nothing beyond `index`. For a replica that lacks something,
    /// now: when what it lacks came is only known to lie between two looks.
    pub(crate) fn nothing_beyond_at(&self, index: u64) -> Duration {
        self.first_beyond(index).map_or(self.looked_at, |note| note.before)
    }

    fn first_beyond(&self, index: u64) -> Option<Note> {
        let place = self.notes.partition_point(|note| note.index <= index);
        self.notes.get(place).copied()
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

    #[test]
    fn what_came_between_two_looks_may_have_come_right_after_the_first() {
        let mut clock = LagClock::default();
        let at = Duration::from_secs;
        clock.note(at(1), 10);
        clock.note(at(2), 10);
        clock.note(at(3), 20);
        clock.note(at(4), 20);
        assert_eq!(clock.nothing_beyond_at(9), Duration::ZERO);
        assert_eq!(clock.nothing_beyond_at(10), at(2));
        assert_eq!(clock.nothing_beyond_at(20), at(4), "something came that no look has met yet");
        for second in 5..2 * NOTES_MAX as u64 {
            clock.note(at(second), 10 * second);
        }
        assert_eq!(clock.nothing_beyond_at(10), Duration::ZERO, "what is forgotten makes nothing look younger");
    }
}
