//! Linearizability of each document by itself, without trusting a single revision.
//!
//! Every write brings a tag of its own, so a document is a register that holds a tag or nothing. A conditional write
//! names an entity tag; which value that stood for is known from the read that gave it. Linearizability is local: a
//! history is linearizable if each document's part of it is.

mod register;
mod search;

#[cfg(test)]
mod tests;

use super::{Checker, Finding, Run};
use register::registers;
use search::{Outcome, search};

/// Steps of the search for one document, at most. Beyond it the verdict is unknown: rotate the documents sooner.
const STEPS_MAX: u64 = 3_000_000;

/// Wing, Gong and Lowe's search for a linearization.
#[derive(Debug)]
pub struct Linearizable;

impl Checker for Linearizable {
    fn name(&self) -> &'static str {
        "linearizable"
    }

    fn check(&self, run: &Run) -> Finding {
        let mut finding = Finding::new(self.name());
        for (id, steps) in registers(&run.history.operations) {
            finding.count("documents");
            finding.add("operations", steps.len() as u64);
            match search(&steps, STEPS_MAX) {
                Outcome::Linearizable => {}
                Outcome::GaveUp => {
                    finding.unknown(format!("{id}: no answer within {STEPS_MAX} steps, {} operations", steps.len()));
                }
                Outcome::Not { prefix, stuck } => {
                    let operations: Vec<u64> = prefix.iter().chain([&stuck]).map(|place| steps[*place].begin).collect();
                    let last = prefix.last().map_or_else(|| "the beginning".to_owned(), |p| steps[*p].text.clone());
                    let text = format!(
                        "{id}: at best, {} of {} operations have an order; after {last} there is no place for {}",
                        prefix.len(),
                        steps.len(),
                        steps[stuck].text
                    );
                    let shown = operations.len().saturating_sub(8);
                    finding.wrong("not linearizable", text, operations[shown..].to_vec());
                }
            }
        }
        finding.needs("operations");
        finding
    }
}
