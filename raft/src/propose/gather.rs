//! Whether an entry waits for commands that are about to come.
//!
//! Clients that were just answered often ask again at once. An entry that goes off before they do takes only those along that
//! came while the one before it was on its way: from then on two halves take turns, and each costs every node what the whole
//! would. So an entry waits for most of those that were answered to be back, as a disk waits for the next request of a reader
//! rather than turn to another at once (anticipatory scheduling: Iyer and Druschel, 2001). It waits no longer than an entry
//! takes, to the next tick of tokio's clock: up to two milliseconds more, when nothing comes meanwhile. Where they do not come
//! back in time, for such clients do not wait for answers, it is tried now and then only.

use std::time::Duration;

use tokio::time::Instant;

/// The part of all commands on their way, answered or new, that an entry waits for, rounded up: both of two. The last of many
/// take long to come.
const PART: f64 = 0.75;
/// An entry aims to wait no longer, however long entries take.
const WAIT_MAX: Duration = Duration::from_millis(3);
/// How much of what is known of waiting is the newest wait's.
const SMOOTHING: f64 = 1.0 / 16.0;
/// Waits that pay are rarer than this: only one entry in [`TRIAL`] waits.
const PAYS_MIN: f64 = 0.5;
const TRIAL: u32 = 16;

pub(super) struct Gather {
    /// The part of the waits that were not in vain.
    pays: f64,
    /// Entries that were answered since a wait last taught something.
    passed: u32,
    wait: Option<Wait>,
}

struct Wait {
    answered: usize,
    /// Commands that the entry waits for; known once those are counted that have come meanwhile.
    target: Option<usize>,
    until: Instant,
}

impl Gather {
    pub(super) fn new() -> Self {
        Self { pays: 1.0, passed: 0, wait: None }
    }

    /// Notes that so many commands are answered now, with an entry of a kind that takes `took`.
    pub(super) fn answered(&mut self, commands: usize, took: Duration) {
        self.passed += 1;
        if self.pays >= PAYS_MIN || self.passed >= TRIAL {
            self.wait = Some(Wait { answered: commands, target: None, until: Instant::now() + took.min(WAIT_MAX) });
        }
    }

    /// Whether the entry under construction, of so many commands, goes off.
    pub(super) fn goes(&mut self, commands: usize) -> bool {
        let Some(wait) = &mut self.wait else { return true };
        let is_first = wait.target.is_none();
        let target = *wait.target.get_or_insert(((wait.answered + commands) as f64 * PART).ceil() as usize);
        let is_over = Instant::now() >= wait.until;
        if commands < target && !is_over {
            return false;
        }
        self.wait = None;
        // Such as wait for one command, or for none, have nothing to learn. What comes late was not worth the wait.
        if !is_first && target > 1 {
            self.pays += (f64::from(u8::from(!is_over)) - self.pays) * SMOOTHING;
            self.passed = 0;
        }
        true
    }

    /// Notes that the entry is gone, whatever it waited for.
    pub(super) fn gone(&mut self) {
        self.wait = None;
    }

    /// When the wait is over at the latest, if there is one.
    pub(super) fn until(&self) -> Option<Instant> {
        self.wait.as_ref().map(|wait| wait.until)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const TOOK: Duration = Duration::from_millis(2);

    #[tokio::test(start_paused = true)]
    async fn an_entry_waits_for_most_of_those_that_were_answered() {
        let mut gather = Gather::new();
        assert!(gather.goes(1), "nobody was answered");
        gather.answered(28, TOOK);
        // 36 came meanwhile: 48 of 64 are waited for.
        assert!(!gather.goes(36));
        advance(Duration::from_millis(1)).await;
        assert!(!gather.goes(47));
        assert!(gather.goes(48));
        assert!(gather.goes(1), "a wait is over once an entry has gone off");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_client_never_waits() {
        let mut gather = Gather::new();
        gather.answered(1, TOOK);
        assert!(!gather.goes(0), "there is nothing to go");
        assert!(gather.goes(1));
    }

    #[tokio::test(start_paused = true)]
    async fn no_wait_is_longer_than_an_entry_takes_nor_than_the_longest() {
        for (took, bound) in [(TOOK, TOOK), (Duration::from_secs(1), WAIT_MAX)] {
            let mut gather = Gather::new();
            gather.answered(8, took);
            assert!(!gather.goes(1));
            assert_eq!(gather.until(), Some(Instant::now() + bound));
            advance(bound - Duration::from_micros(1)).await;
            assert!(!gather.goes(1));
            advance(Duration::from_micros(1)).await;
            assert!(gather.goes(1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_come_back_is_seldom_waited_for_and_found_out_again() {
        let mut gather = Gather::new();
        // Nobody comes back: most entries go off at once.
        let mut waits = 0;
        for _ in 0..320 {
            gather.answered(8, TOOK);
            if !gather.goes(1) {
                waits += 1;
                advance(TOOK).await;
                assert!(gather.goes(1));
            }
        }
        assert!((20..=40).contains(&waits), "{waits}");
        // All come back: before long every entry waits.
        for _ in 0..320 {
            gather.answered(8, TOOK);
            let _ = gather.goes(1) || gather.goes(8);
        }
        gather.answered(8, TOOK);
        assert!(!gather.goes(1));
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_late_was_not_worth_the_wait() {
        let mut gather = Gather::new();
        for _ in 0..16 {
            gather.answered(8, TOOK);
            if !gather.goes(0) {
                advance(10 * TOOK).await;
                assert!(gather.goes(8), "all at once, long after");
            }
        }
        assert!(gather.pays < PAYS_MIN, "{}", gather.pays);
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_that_is_gone_leaves_no_wait_to_the_next() {
        let mut gather = Gather::new();
        gather.answered(8, TOOK);
        assert!(!gather.goes(1));
        gather.gone();
        assert!(gather.goes(1) && gather.until().is_none());
    }
}
