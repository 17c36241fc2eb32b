//! Whether the machine itself stood still: a thread that sleeps for a moment, over and over, and notes how late it wakes.
//!
//! A test that holds the product to a few hundred milliseconds, on a machine that others use too, must be able to tell
//! a slow product from a machine that gave nobody any time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the thread sleeps each time.
const TICK: Duration = Duration::from_millis(5);
/// Delays below this are not worth keeping.
const NOTED_MIN: Duration = Duration::from_millis(10);

/// Measures its own scheduling delay from its start to its drop.
#[derive(Debug)]
pub struct Stalls {
    seen: Arc<Mutex<Vec<Stall>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// One late waking.
#[derive(Clone, Copy, Debug)]
struct Stall {
    /// When it should have woken.
    due: Instant,
    /// How late it was.
    late: Duration,
}

impl Stalls {
    /// Begins to measure.
    ///
    /// # Panics
    /// If no thread can be started.
    pub fn watch() -> Self {
        let (seen, stop) = (Arc::<Mutex<Vec<Stall>>>::default(), Arc::<AtomicBool>::default());
        let (notes, stopped) = (seen.clone(), stop.clone());
        let watch = move || {
            while !stopped.load(Ordering::Relaxed) {
                let due = Instant::now() + TICK;
                std::thread::sleep(TICK);
                let late = due.elapsed();
                if late >= NOTED_MIN {
                    notes.lock().unwrap_or_else(PoisonError::into_inner).push(Stall { due, late });
                }
            }
        };
        let thread = std::thread::Builder::new().name("stalls".into()).spawn(watch).expect("start a thread");
        Self { seen, stop, thread: Some(thread) }
    }

    /// The worst delay of anything that was due, or woke, between these times; zero if all was well.
    pub fn worst(&self, from: Instant, to: Instant) -> Duration {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let within = seen.iter().filter(|stall| stall.due <= to && stall.due + stall.late >= from);
        within.map(|stall| stall.late).max().unwrap_or_default()
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_counts_where_it_overlaps() {
        let stalls = Stalls::watch();
        let now = Instant::now() + Duration::from_secs(3_600);
        let late = Duration::from_millis(80);
        stalls.seen.lock().unwrap().push(Stall { due: now, late });
        let ms = Duration::from_millis;
        assert_eq!(stalls.worst(now + ms(10), now + ms(20)), late, "in the middle of it");
        assert_eq!(stalls.worst(now - ms(10), now), late, "it begins");
        assert_eq!(stalls.worst(now + ms(81), now + ms(90)), Duration::ZERO, "over");
    }
}
