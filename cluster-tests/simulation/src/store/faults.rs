//! What a disk may do wrong, and how often. The rates are those of one moment: whoever breaks things changes them.

/// Rates are chances for each call, 0 to 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// A write fails. Whether it would be found after a power cut is a matter of chance.
    pub write_fails: f64,
    /// A read fails.
    pub read_fails: f64,
    /// Every write finds the disk full; nothing of it is written.
    pub full: bool,
    /// A write is followed by a background flush (only stores without a log).
    pub flushes: f64,
    /// A background flush that has begun is done before the next write.
    pub flush_ends: f64,
    /// The store says that it is stalled: whoever writes must expect to wait.
    pub stalls: f64,
    /// A synced write is acknowledged without being durable. No honest disk does this: it is how the checkers are checked.
    pub lies: bool,
}

impl Faults {
    /// A disk that works, with the background flushes that every RocksDB has.
    pub fn none() -> Self {
        Self { flushes: 0.02, flush_ends: 0.2, ..Self::default() }
    }
}
