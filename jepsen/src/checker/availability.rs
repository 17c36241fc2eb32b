//! After the last fault is healed every node must serve by a deadline; where there is no fault, there is no silence.

use std::collections::BTreeSet;

use super::{Checker, Finding, Run, Verdict};
use crate::history::Kind;

/// How long after the last fault was healed every node must have served, milliseconds: elections, restarts and catching
/// up included.
pub const SERVES_MS_MAX: u64 = 20_000;
/// Silence of the whole cluster while there is no fault, milliseconds at most.
const SILENCE_MS_MAX: u64 = 5_000;

/// Availability over time.
#[derive(Debug)]
pub struct Availability;

impl Checker for Availability {
    fn name(&self) -> &'static str {
        "availability"
    }

    fn check(&self, run: &Run) -> Finding {
        let mut finding = Finding::new(self.name());
        let history = &run.history;
        let succeeded = || history.operations.iter().filter(|op| op.kind == Kind::Ok);
        finding.add("operations that succeeded", succeeded().count() as u64);
        finding.needs("operations that succeeded");
        for (name, _, detail) in &history.notes {
            if name == "healthy" && !detail["error"].is_null() {
                finding.wrong("does not recover", detail["error"].to_string(), Vec::new());
            }
        }
        let load_end =
            history.notes.iter().find(|(name, ..)| name == "load ends").map_or(history.end_ns, |note| note.1);
        let healed = history.healed_ns().unwrap_or(0).min(load_end);
        // A node that was being written off waits for its clients no longer than the deadline.
        let mut silent: BTreeSet<(u64, bool)> = run.nodes.iter().flat_map(|n| [(*n, false), (*n, true)]).collect();
        let mut worst_ns = 0;
        for op in succeeded().filter(|op| op.begin_ns >= healed) {
            let write = matches!(op.f.as_str(), "put" | "patch" | "insert" | "delete");
            if silent.remove(&(op.node.unwrap_or(0), write)) {
                worst_ns = worst_ns.max(op.end_ns - healed);
            }
        }
        // Keyed writes go on at other nodes, and a workload may do only one of both: a node counts as silent when it
        // served nothing at all.
        let mute: Vec<u64> = run
            .nodes
            .iter()
            .copied()
            .filter(|n| silent.contains(&(*n, false)) && silent.contains(&(*n, true)))
            .collect();
        finding.add("milliseconds until every node served", worst_ns / 1_000_000);
        let calm_ms = load_end.saturating_sub(healed) / 1_000_000;
        if !mute.is_empty() {
            let text = format!("nodes {mute:?} served nothing in {calm_ms} ms after the last fault was healed");
            match calm_ms >= SERVES_MS_MAX || history.faults.is_empty() {
                true => finding.wrong("not available", text, Vec::new()),
                false => finding.unknown(text),
            }
        } else if worst_ns / 1_000_000 > SERVES_MS_MAX {
            finding.wrong("not available", format!("it took {} ms", worst_ns / 1_000_000), Vec::new());
        }
        silences(run, load_end, &mut finding);
        stalls(run, &mut finding);
        finding
    }
}

/// What the machine did to all of us. It excuses nothing, but whoever reads the verdict should know.
fn stalls(run: &Run, finding: &mut Finding) {
    let note = run.history.notes.iter().find(|(name, ..)| name == "stalls");
    let figure = |name: &str| note.and_then(|(_, _, detail)| detail[name].as_u64()).unwrap_or(0);
    finding.add("milliseconds for which the machine stalled", figure("all_ms"));
    finding.add("longest stall of the machine, milliseconds", figure("longest_ms"));
    if finding.verdict != Verdict::Valid && figure("longest_ms") >= SILENCE_MS_MAX / 5 {
        finding.reasons.push(format!("this machine stood still for up to {} ms", figure("longest_ms")));
    }
}

/// Times in which nothing succeeded although there was no fault.
fn silences(run: &Run, load_end: u64, finding: &mut Finding) {
    let mut ends: Vec<u64> =
        run.history.operations.iter().filter(|op| op.kind == Kind::Ok).map(|op| op.end_ns).collect();
    ends.push(load_end);
    ends.sort_unstable();
    let mut before = ends[0];
    let mut longest = 0;
    for end in ends.into_iter().take_while(|end| *end <= load_end) {
        // The part of the silence that lies outside of faults and the time that recovery is given after each.
        let disturbed = run.history.faults.iter().any(|fault| {
            let recovered = fault.end_ns.saturating_add(SERVES_MS_MAX * 1_000_000);
            fault.begin_ns <= end && before <= recovered
        });
        let silence_ms = (end - before) / 1_000_000;
        if !disturbed {
            longest = longest.max(silence_ms);
            if silence_ms > SILENCE_MS_MAX {
                let text =
                    format!("nothing succeeded for {silence_ms} ms without a fault, from {} ms on", before / 1_000_000);
                finding.wrong("not available", text, Vec::new());
            }
        }
        before = end;
    }
    finding.add("longest silence without a fault, milliseconds", longest);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::history::{Fault, History, Operation};

    /// Operations at these milliseconds on these nodes, with a fault from 10 s to 20 s.
    fn check(served: &[(u64, u64)], end_ms: u64, healthy: Value) -> Verdict {
        let operation = |(ms, node): &(u64, u64)| Operation {
            process: 0,
            f: "put".into(),
            asked: Value::Null,
            answer: Value::Null,
            kind: Kind::Ok,
            error: None,
            node: Some(*node),
            revision: None,
            begin: 0,
            end: 0,
            begin_ns: ms * 1_000_000,
            end_ns: ms * 1_000_000,
        };
        let (begin_ns, end_ns) = (10_000_000_000, 20_000_000_000);
        let history = History {
            operations: served.iter().map(operation).collect(),
            faults: vec![Fault { name: "kill".into(), detail: Value::Null, begin_ns, end_ns }],
            notes: vec![("healthy".into(), 0, healthy), ("load ends".into(), end_ms * 1_000_000, Value::Null)],
            end_ns: end_ms * 1_000_000,
        };
        Availability.check(&Run { history, nodes: vec![1, 2], ..Run::default() }).verdict
    }

    #[test]
    fn it_must_serve_again() {
        let well = json!({ "error": null });
        let before = [(1_000, 1), (5_000, 1), (9_000, 2)];
        let with = |after: &[(u64, u64)]| [&before[..], after].concat();
        assert_eq!(check(&with(&[(21_000, 1), (22_000, 2)]), 45_000, well.clone()), Verdict::Valid);
        assert_eq!(check(&with(&[(21_000, 1)]), 45_000, well.clone()), Verdict::Invalid);
        assert_eq!(check(&with(&[(21_000, 1)]), 25_000, well.clone()), Verdict::Unknown);
        assert_eq!(check(&with(&[(21_000, 1), (44_000, 2)]), 45_000, well), Verdict::Invalid);
        let ill = json!({ "error": "no leader" });
        assert_eq!(check(&with(&[(21_000, 1), (22_000, 2)]), 45_000, ill), Verdict::Invalid);
    }

    #[test]
    fn silence_without_a_fault_is_wrong() {
        let well = json!({ "error": null });
        let served = [(4_500, 1), (9_000, 2), (21_000, 1), (22_000, 2)];
        assert_eq!(check(&served, 25_000, well), Verdict::Valid, "the silence touches a fault");
        let mut late = served.to_vec();
        late.extend([(42_000, 1), (50_000, 1)]);
        assert_eq!(check(&late, 51_000, json!({ "error": null })), Verdict::Invalid);
    }
}
