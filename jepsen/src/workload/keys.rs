//! Documents that are worked on for a while and then left: what one document has seen stays small enough to be searched
//! for a linearization.

use std::sync::{Mutex, PoisonError};

use rand::RngExt;
use rand::rngs::StdRng;

/// A few documents in use at a time.
#[derive(Debug)]
pub(super) struct Keys {
    prefix: &'static str,
    operations_max: u64,
    unknown_max: u64,
    slots: Mutex<Vec<Slot>>,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    generation: u64,
    operations: u64,
    unknown: u64,
}

impl Keys {
    /// `slots` documents at a time, each left after `operations_max` operations or `unknown_max` unknown outcomes: an
    /// operation without an end is concurrent with everything after it.
    pub(super) fn new(prefix: &'static str, slots: usize, operations_max: u64, unknown_max: u64) -> Self {
        Self { prefix, operations_max, unknown_max, slots: Mutex::new(vec![Slot::default(); slots]) }
    }

    /// A document to work on.
    pub(super) fn pick(&self, rng: &mut StdRng) -> String {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let place = rng.random_range(0..slots.len());
        let slot = &mut slots[place];
        slot.operations += 1;
        if slot.operations > self.operations_max || slot.unknown >= self.unknown_max {
            *slot = Slot { generation: slot.generation + 1, operations: 1, unknown: 0 };
        }
        format!("{}{place}-{}", self.prefix, slot.generation)
    }

    /// An outcome on `key` stayed unknown.
    pub(super) fn unknown(&self, key: &str) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        for (place, slot) in slots.iter_mut().enumerate() {
            if key == format!("{}{place}-{}", self.prefix, slot.generation) {
                slot.unknown += 1;
            }
        }
    }
}
