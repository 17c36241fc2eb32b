//! How many commands a node has under way: as many as the leader works off.
//!
//! The window shrinks when the leader turns commands away, and when too many of its commands wait somewhere rather than
//! travel; it grows while neither is so (additive increase, multiplicative decrease, as TCP shares a link). What is too much
//! is refused where it came in, before it costs anything, and the nodes come to share what the cluster can do.
//!
//! How many wait is told by time, as in TCP Vegas: of a time that is `n` times the shortest one, all but an `n`th is
//! waiting, and so are as many of the commands. A shortest time that is none (the leader has moved far away) does little
//! harm: the window never shrinks below [`WAITING_MAX`] for its sake.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::shortest::Shortest;

/// The window never shrinks below this.
const PLACES_MIN: f64 = 16.0;
/// Places that a round trip of the whole window adds.
const GROWTH: f64 = 16.0;
/// What is left of the window when the leader turns something away.
const SHRINK: f64 = 0.75;
/// Commands that may wait rather than travel.
const WAITING_MAX: f64 = 512.0;
/// How much of the time that commands take is the newest one's.
const SMOOTHING: f64 = 1.0 / 64.0;
/// How long the window keeps its size then: what comes back in that time was under way before.
const PAUSE: Duration = Duration::from_millis(100);

/// The window of a node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Window {
    state: Arc<Mutex<State>>,
}

struct State {
    open: usize,
    open_max: usize,
    bytes: usize,
    bytes_max: usize,
    places: f64,
    shrunk: Option<Instant>,
    /// How long commands take, seconds; 0 at first.
    took: f64,
    shortest: Shortest,
}

/// A command's place in the window, given back when it is dropped.
pub(super) struct Slot {
    window: Window,
    bytes: usize,
}

impl Window {
    /// A window of at most `open_max` commands of `bytes_max` bytes in all.
    pub(crate) fn new(open_max: usize, bytes_max: usize) -> Self {
        let state = State {
            open: 0,
            open_max,
            bytes: 0,
            bytes_max,
            places: open_max as f64,
            shrunk: None,
            took: 0.0,
            shortest: Shortest::default(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// True while a command would find a place, however small it is.
    pub(super) fn has_room(&self) -> bool {
        self.state.lock().has_room(0)
    }

    /// A place for a command of `bytes`; `None` when there is none.
    pub(super) fn enter(&self, bytes: usize) -> Option<Slot> {
        let mut state = self.state.lock();
        if !state.has_room(bytes) {
            return None;
        }
        state.open += 1;
        state.bytes += bytes;
        drop(state);
        Some(Slot { window: self.clone(), bytes })
    }

    /// Notes that the leader has decided a command that came at `began`.
    pub(super) fn decided(&self, began: Instant) {
        let now = Instant::now();
        let took = now.duration_since(began).as_secs_f64();
        let mut state = self.state.lock();
        state.took += (took - state.took) * SMOOTHING;
        let shortest = state.shortest.note(now, took);
        if state.waiting(shortest) > WAITING_MAX {
            state.shrink(now, WAITING_MAX);
        } else if (state.open as f64) >= state.places / 2.0 {
            // A window that nobody fills says nothing about how big it could be.
            state.places = (state.places + GROWTH / state.places).min(state.open_max as f64);
        }
    }

    /// Notes that the leader has turned a command away.
    pub(super) fn turned_away(&self) {
        self.state.lock().shrink(Instant::now(), PLACES_MIN);
    }
}

impl State {
    /// How many of the open commands wait for others.
    fn waiting(&self, shortest: f64) -> f64 {
        self.open as f64 * (1.0 - shortest / self.took.max(shortest).max(f64::MIN_POSITIVE))
    }

    fn shrink(&mut self, now: Instant, floor: f64) {
        if self.shrunk.is_none_or(|shrunk| now.duration_since(shrunk) >= PAUSE) {
            let full = self.places.min(self.open as f64);
            self.places = (full * SHRINK).max(floor.min(self.places));
            self.shrunk = Some(now);
        }
    }

    fn has_room(&self, bytes: usize) -> bool {
        // A command that is bigger than all the room goes alone.
        (self.open as f64) < self.places && (self.bytes == 0 || self.bytes + bytes <= self.bytes_max)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.window.state.lock();
        state.open -= 1;
        state.bytes -= self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn fill(window: &Window) -> Vec<Slot> {
        std::iter::from_fn(|| window.enter(1)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn it_shrinks_with_the_leaders_refusals_and_grows_again() {
        let window = Window::new(100, 1_000);
        let places = fill(&window);
        assert_eq!(places.len(), 100);
        assert!(!window.has_room());
        // Many refusals of one moment are one sign.
        (0..10).for_each(|_| window.turned_away());
        drop(places);
        assert_eq!(fill(&window).len(), 75);
        for _ in 0..50 {
            advance(PAUSE).await;
            let places = fill(&window);
            window.turned_away();
            drop(places);
        }
        assert_eq!(fill(&window).len(), PLACES_MIN as usize);
        for _ in 0..2_000 {
            let places = fill(&window);
            window.decided(Instant::now());
            drop(places);
        }
        assert_eq!(fill(&window).len(), 100);
    }

    /// Has a full window's commands take `took`, again and again, and gives how many there are in the end.
    async fn settle(window: &Window, took: impl Fn(usize) -> Duration) -> usize {
        for _ in 0..400 {
            let places = fill(window);
            let began = Instant::now();
            advance(took(places.len())).await;
            places.iter().for_each(|_| window.decided(began));
        }
        fill(window).len()
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_shrinks_it_and_what_travels_does_not() {
        // A leader far away: the time is all travel.
        let window = Window::new(4_096, usize::MAX);
        assert_eq!(settle(&window, |_| Duration::from_millis(100)).await, 4_096);
        // One that does ten commands a millisecond: all but the first ten wait.
        let window = Window::new(4_096, usize::MAX);
        window.decided(Instant::now() - Duration::from_millis(1));
        let settled = settle(&window, |open| Duration::from_micros(100 * open as u64)).await;
        assert!((384..=700).contains(&settled), "{settled}");
    }

    #[test]
    fn bytes_are_bounded_and_the_biggest_goes_alone() {
        let window = Window::new(100, 1_000);
        let alone = window.enter(5_000).unwrap();
        assert!(window.enter(1).is_none());
        drop(alone);
        let _half = window.enter(600).unwrap();
        assert!(window.enter(600).is_none());
        assert!(window.enter(400).is_some());
    }
}
