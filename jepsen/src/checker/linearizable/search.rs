//! The search: Wing and Gong's, with Lowe's memory of what was tried, as Porcupine does it.
//!
//! All begins and ends stand in one list. The search walks it: at a begin it tries whether that operation can be the
//! next in the order; if so it and its end are taken out of the list and the walk starts again at the front. At an end
//! it must go back: that operation had to be placed before. Which operations were placed, together with the state that
//! they led to, is remembered: coming there a second time leads nowhere new.

use std::collections::HashSet;

use super::register::{State, Step};

/// What came out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Linearizable,
    /// The longest order that was found, and an operation that has no place after it.
    Not {
        prefix: Vec<usize>,
        stuck: usize,
    },
    GaveUp,
}

/// Searches for an order of `steps` in which each can stand where real time allows it.
pub(super) fn search(steps: &[Step], steps_max: u64) -> Outcome {
    let mut list = List::new(steps);
    let mut placed = vec![0_u64; steps.len().div_ceil(64)];
    let mut seen: HashSet<(Vec<u64>, State)> = HashSet::new();
    let mut order: Vec<(usize, State)> = Vec::new();
    let mut best = Outcome::Not { prefix: Vec::new(), stuck: 0 };
    let (mut state, mut taken) = (None, 0);
    let mut entry = list.first();
    while let Some(here) = entry {
        taken += 1;
        if taken > steps_max {
            return Outcome::GaveUp;
        }
        let step = list.step(here);
        if !list.is_end(here) {
            if let Some(next) = steps[step].apply(state) {
                flip(&mut placed, step);
                if seen.insert((placed.clone(), next)) {
                    order.push((step, state));
                    state = next;
                    list.lift(step);
                    entry = list.first();
                    continue;
                }
                flip(&mut placed, step);
            }
            entry = list.next(here);
            continue;
        }
        // An operation ended before it could be placed.
        if matches!(&best, Outcome::Not { prefix, .. } if order.len() >= prefix.len()) {
            best = Outcome::Not { prefix: order.iter().map(|(step, _)| *step).collect(), stuck: step };
        }
        let Some((last, before)) = order.pop() else { return best };
        state = before;
        flip(&mut placed, last);
        list.unlift(last);
        entry = list.next(list.begin_of(last));
    }
    Outcome::Linearizable
}

fn flip(bits: &mut [u64], place: usize) {
    bits[place / 64] ^= 1 << (place % 64);
}

/// Begins and ends in the order of time, as a list that entries can be taken out of and put back into.
struct List {
    /// Of each entry: which step, and whether it is its end.
    entries: Vec<(usize, bool)>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Of each step: where its begin and its end stand.
    places: Vec<(usize, usize)>,
}

/// In front of the first entry and behind the last.
const EDGE: usize = 0;

impl List {
    fn new(steps: &[Step]) -> Self {
        let mut times: Vec<(u64, usize, bool)> = Vec::with_capacity(steps.len() * 2);
        for (place, step) in steps.iter().enumerate() {
            times.push((step.begin, place, false));
            times.push((step.end, place, true));
        }
        times.sort_unstable();
        let length = times.len() + 1;
        let mut places = vec![(0, 0); steps.len()];
        let mut entries = vec![(usize::MAX, true)];
        for (place, (_, step, end)) in times.into_iter().enumerate() {
            match end {
                false => places[step].0 = place + 1,
                true => places[step].1 = place + 1,
            }
            entries.push((step, end));
        }
        let next = (0..length).map(|place| (place + 1) % length).collect();
        let previous = (0..length).map(|place| (place + length - 1) % length).collect();
        Self { entries, next, previous, places }
    }

    /// The first entry; `None` when everything was placed, ends that never came included.
    fn first(&self) -> Option<usize> {
        self.next(EDGE)
    }

    fn next(&self, entry: usize) -> Option<usize> {
        Some(self.next[entry]).filter(|next| *next != EDGE)
    }

    fn step(&self, entry: usize) -> usize {
        self.entries[entry].0
    }

    fn is_end(&self, entry: usize) -> bool {
        self.entries[entry].1
    }

    fn begin_of(&self, step: usize) -> usize {
        self.places[step].0
    }

    fn lift(&mut self, step: usize) {
        let (begin, end) = self.places[step];
        for entry in [begin, end] {
            let (previous, next) = (self.previous[entry], self.next[entry]);
            self.next[previous] = next;
            self.previous[next] = previous;
        }
    }

    /// In the opposite order of [`List::lift`], so that each finds its neighbours as they were.
    fn unlift(&mut self, step: usize) {
        let (begin, end) = self.places[step];
        for entry in [end, begin] {
            let (previous, next) = (self.previous[entry], self.next[entry]);
            self.next[previous] = entry;
            self.previous[next] = entry;
        }
    }
}
