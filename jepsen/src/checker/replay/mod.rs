//! The main checker: every answer against a replay by revision, and the revisions against real time.
//!
//! The change feed, read from a node once everything is healed, names what took effect and in which order. It is not
//! believed but checked from both ends: everything acknowledged must be in it, with its content, at its revision;
//! nothing that was refused may be; whatever is in it must have been asked for, once. Replayed, it says what every read
//! at a revision had to answer. And if one operation ended before another began, their revisions say so too.
//! Sorting aside all of this is linear, so it takes millions of operations.

mod answers;
mod floors;
mod timeline;
mod writes;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::{Checker, Finding, Run};
use crate::client::Op;
use crate::history::Operation;
use floors::Floors;
use timeline::Timeline;

/// The replay.
#[derive(Debug)]
pub struct Replay;

/// An operation with what was asked.
struct Asked<'r> {
    operation: &'r Operation,
    op: Op,
}

impl Checker for Replay {
    fn name(&self) -> &'static str {
        "replay"
    }

    fn check(&self, run: &Run) -> Finding {
        let mut finding = Finding::new(self.name());
        let mut asked = Vec::with_capacity(run.history.operations.len());
        for operation in &run.history.operations {
            match serde_json::from_value(operation.asked.clone()) {
                Ok(op) => asked.push(Asked { operation, op }),
                Err(error) => finding.unknown(format!("operation {} cannot be read: {error}", operation.begin)),
            }
        }
        let floors = Floors::new(&asked);
        let mut timelines = BTreeMap::new();
        for collection in run.last.collections.keys() {
            match run.last.feed(collection) {
                Some(feed) => {
                    timelines.insert(collection.as_str(), Timeline::new(feed, &mut finding));
                }
                None => finding.unknown(format!("no node gave the feed of {collection:?} at the end")),
            }
        }
        for (collection, timeline) in &timelines {
            let here: Vec<&Asked<'_>> = asked.iter().filter(|asked| asked.op.collection() == *collection).collect();
            writes::check(&here, timeline, &floors, &mut finding);
            for asked in here {
                answers::check(asked, timeline, &floors, &mut finding);
            }
        }
        finding.needs("operations acknowledged");
        finding
    }
}
