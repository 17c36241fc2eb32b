//! After the last fault is healed every node must serve by a deadline; where there is no fault, there is no silence.

use std::collections::BTreeSet;

use super::{Checker, Finding, Run, Verdict};
use crate::client::is_definite;
use crate::history::{Kind, Operation};

/// How long after the last fault was healed every node must have served, milliseconds: elections, restarts and catching
/// up included.
pub const SERVES_MS_MAX: u64 = 20_000;
/// Writes that a node must have been asked for since the last fault before it can be said that it takes none.
const WRITES_ASKED_MIN: usize = 5;
/// How long a new cluster may take until it serves, milliseconds, and what part of what is asked later may fail where
/// there is no fault at all, percent.
const BEGINS_MS_MAX: u64 = 5_000;
const FAILED_PERCENT_MAX: u64 = 2;
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
        let since_healed = |op: &&Operation| op.begin_ns >= healed && op.begin_ns <= load_end;
        for op in succeeded().filter(since_healed) {
            if silent.remove(&(op.node.unwrap_or(0), is_write(op))) {
                worst_ns = worst_ns.max(op.end_ns - healed);
            }
        }
        // A workload may only read, or only write: a node is mute when it served nothing at all. But one that took writes
        // before the faults must take them again, if it is asked.
        let began = history.faults.iter().map(|fault| fault.begin_ns).min().unwrap_or(0);
        let wrote = |node: u64| succeeded().any(|op| op.begin_ns < began && op.node == Some(node) && is_write(op));
        let asked = |node: u64| {
            let asked = history.operations.iter().filter(since_healed);
            asked.filter(|op| op.node == Some(node) && is_write(op)).count() >= WRITES_ASKED_MIN
        };
        let is_mute = |node: u64| match (silent.contains(&(node, false)), silent.contains(&(node, true))) {
            (true, true) => true,
            (false, true) => wrote(node) && asked(node),
            _ => false,
        };
        let mute: Vec<u64> = run.nodes.iter().copied().filter(|node| is_mute(*node)).collect();
        finding.add("milliseconds until every node served", worst_ns / 1_000_000);
        let calm_ms = load_end.saturating_sub(healed) / 1_000_000;
        if !mute.is_empty() {
            let text =
                format!("nodes {mute:?} served nothing, or no writes, in {calm_ms} ms after the last fault was healed");
            match calm_ms >= SERVES_MS_MAX || history.faults.is_empty() {
                true => finding.wrong("not available", text, Vec::new()),
                false => finding.unknown(text),
            }
        } else if worst_ns / 1_000_000 > SERVES_MS_MAX {
            finding.wrong("not available", format!("it took {} ms", worst_ns / 1_000_000), Vec::new());
        }
        silences(run, load_end, &mut finding);
        failures(run, &mut finding);
        stalls(run, &mut finding);
        finding
    }
}

fn is_write(operation: &Operation) -> bool {
    matches!(operation.f.as_str(), "put" | "patch" | "insert" | "delete")
}

/// Without any fault, what nobody's request is to blame for fails next to never.
fn failures(run: &Run, finding: &mut Finding) {
    if !run.history.faults.is_empty() || run.nemesis != "none" {
        return;
    }
    let begun = run.history.operations.iter().filter(|op| op.begin_ns >= BEGINS_MS_MAX * 1_000_000);
    let all: Vec<&Operation> = begun.collect();
    let failed = all.iter().filter(|op| op.error.as_deref().is_some_and(|code| !is_about_the_request(code)));
    let failed = failed.count() as u64;
    finding.add("operations that failed without a fault", failed);
    if failed * 100 > all.len() as u64 * FAILED_PERCENT_MAX {
        let text = format!("{failed} of {} operations failed though there was no fault at all", all.len());
        finding.wrong("not available", text, Vec::new());
    }
}

/// Whether an error answers what was asked for, rather than that nobody could answer it.
fn is_about_the_request(code: &str) -> bool {
    is_definite(code) || matches!(code, "revision_ahead" | "too_stale")
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
    use crate::history::{Fault, History};

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
    fn operation(at_ms: u64, node: u64, f: &str, error: Option<&str>) -> Operation {
        Operation {
            process: 0,
            f: f.into(),
            asked: Value::Null,
            answer: Value::Null,
            kind: if error.is_some() { Kind::Fail } else { Kind::Ok },
            error: error.map(str::to_owned),
            node: Some(node),
            revision: None,
            begin: 0,
            end: 0,
            begin_ns: at_ms * 1_000_000,
            end_ns: at_ms * 1_000_000,
        }
    }

    #[test]
    fn a_node_that_took_writes_before_must_take_them_again() {
        // Both nodes serve reads all the time; node 2 answers the writes after the fault in this way.
        let check = |wrote_before: bool, after: Option<&str>, number: usize| {
            let mut operations = Vec::new();
            for ms in (1_000..45_000).step_by(500) {
                operations.extend([operation(ms, 1, "put", None), operation(ms, 2, "get", None)]);
            }
            if wrote_before {
                operations.push(operation(2_000, 2, "put", None));
            }
            operations.extend((0..number).map(|_| operation(21_000, 2, "put", after)));
            let (begin_ns, end_ns) = (10_000_000_000, 20_000_000_000);
            let history = History {
                operations,
                faults: vec![Fault { name: "kill".into(), detail: Value::Null, begin_ns, end_ns }],
                notes: Vec::new(),
                end_ns: 45_000_000_000,
            };
            Availability.check(&Run { history, nodes: vec![1, 2], nemesis: "kill".into(), ..Run::default() }).verdict
        };
        assert_eq!(check(true, Some("no_leader"), 20), Verdict::Invalid);
        assert_eq!(check(true, None, 20), Verdict::Valid);
        // It was not asked, or never wrote.
        assert_eq!(check(true, Some("no_leader"), 0), Verdict::Valid);
        assert_eq!(check(false, Some("no_leader"), 20), Verdict::Valid);
    }

    #[test]
    fn without_a_fault_next_to_nothing_fails() {
        let check = |code: &str, each: u64| {
            let one = |number: u64| {
                let error = number.is_multiple_of(each).then_some(code);
                operation(number * 100, number % 2 + 1, "put", error)
            };
            let history =
                History { operations: (0..400).map(one).collect(), end_ns: 40_000_000_000, ..History::default() };
            let run = Run { history, nodes: vec![1, 2], nemesis: "none".into(), ..Run::default() };
            Availability.check(&run).verdict
        };
        assert_eq!(check("no_leader", 3), Verdict::Invalid);
        assert_eq!(check("internal", 10), Verdict::Invalid);
        assert_eq!(check("no_leader", 100), Verdict::Valid);
        assert_eq!(check("precondition_failed", 3), Verdict::Valid);
        assert_eq!(check("too_stale", 3), Verdict::Valid);
    }
}
