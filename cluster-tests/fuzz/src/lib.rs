//! Fuzz targets for whatever reads what comes from outside: each is a function of bytes that panics where a promise is
//! broken. `deploy/fuzz` builds them with libFuzzer and looks for such bytes; `tests/corpus.rs` calls them with what was
//! found before, and with examples, on every run of the tests (`corpus/TARGET/`).
//!
//! What a function promises is said as laws (a value that is written reads back) or by a second, naive way to the same
//! answer, so that more is found than panics.

// A broken promise is told by a panic: that is what a fuzzer looks for.
#![allow(clippy::unwrap_used)]

mod command;
mod filter;
mod import;
mod keys;
mod naive;
mod path;
mod update;
mod value;

/// A target: what is given bytes.
pub type Target = fn(&[u8]);

/// All targets, by name.
pub const TARGETS: [(&str, Target); 6] = [
    ("command", command::run),
    ("filter", filter::run),
    ("import", import::run),
    ("keys", keys::run),
    ("path", path::run),
    ("update", update::run),
];

/// The target called `name`.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|(known, _)| *known == name).map(|(_, target)| target)
}

/// Two texts, of which the first ends with the first line.
fn two_texts(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = data.iter().position(|byte| *byte == b'\n')?;
    Some((&data[..at], &data[at + 1..]))
}
