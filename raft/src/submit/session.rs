//! The session of this node: numbers for commands, and which of them are answered (rule 5).

use aerodb_engine::RangeSet;
use aerodb_proto::NumberRange;

/// How many answers come before the leader is told of them.
const TELL_EVERY: u32 = 64;

/// Numbers of one session.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// 0 while there is none.
    pub(super) id: u64,
    next: u64,
    answered: RangeSet,
    untold: u32,
}

impl Session {
    /// A session that has just been made.
    pub(super) fn new(id: u64) -> Self {
        Self { id, ..Self::default() }
    }

    /// The next number, never used before.
    pub(super) fn take_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Notes that `number` is answered, or given up: it will never be sent again.
    pub(super) fn answered(&mut self, number: u64) {
        self.answered.insert(number, number);
        self.untold += 1;
    }

    /// Now and then all answered numbers, to be told to the leader; else nothing. All of them each time: a message that
    /// is lost costs nothing, and they are few ranges.
    pub(super) fn take_untold(&mut self) -> Vec<NumberRange> {
        if self.untold < TELL_EVERY {
            return Vec::new();
        }
        self.untold = 0;
        self.answered.to_proto()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answered_numbers_are_told_now_and_then_all_of_them() {
        let mut session = Session::new(7);
        let numbers: Vec<u64> = (0..2 * u64::from(TELL_EVERY)).map(|_| session.take_number()).collect();
        let (first, second) = numbers.split_at(TELL_EVERY as usize);
        first.iter().for_each(|&number| session.answered(number));
        assert_eq!(session.take_untold(), [NumberRange { first: 1, last: u64::from(TELL_EVERY) }]);
        assert_eq!(session.take_untold(), []);
        second.iter().for_each(|&number| session.answered(number));
        assert_eq!(session.take_untold(), [NumberRange { first: 1, last: 2 * u64::from(TELL_EVERY) }]);
    }
}
