//! Transactions over lists: cycles of dependencies, as Elle finds them.
//!
//! A list that is read shows the order of all that was appended to it before, so that the dependencies between
//! transactions can be told from what clients saw: `ww` (appended after), `wr` (read what the other appended), `rw`
//! (did not see what the other appended), and `rt` (began after the other had ended). A cycle of them is an anomaly: of
//! `ww` alone G0, with `wr` G1c, with one `rw` G-single, with more G2. The crate `adya`, which does the same by
//! itself, is asked for a second opinion.

mod graph;
mod infer;
mod second;
mod transactions;

#[cfg(test)]
mod tests;

use super::{Checker, Finding, Run};
use graph::Edge;

/// Cycles.
#[derive(Debug)]
pub struct Cycles;

impl Checker for Cycles {
    fn name(&self) -> &'static str {
        "cycles"
    }

    fn check(&self, run: &Run) -> Finding {
        let mut finding = Finding::new(self.name());
        let transactions = transactions::of(run);
        judge(&transactions, &mut finding);
        finding.needs("appends");
        finding.needs("reads of lists");
        finding
    }
}

/// Both opinions.
fn judge(transactions: &[transactions::Transaction], finding: &mut Finding) {
    let graph = infer::graph(transactions, finding);
    for cycle in graph.cycles() {
        let edges: Vec<Edge> = cycle.iter().map(|(_, edge)| *edge).collect();
        let steps: Vec<String> =
            cycle.iter().map(|(place, edge)| format!("{} -{}->", transactions[*place].text(), edge.word())).collect();
        let operations = cycle.iter().map(|(place, _)| transactions[*place].begin).collect();
        finding.wrong(graph::class(&edges), format!("{} and back", steps.join(" ")), operations);
    }
    second::opinion(transactions, finding);
}
