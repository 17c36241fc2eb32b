//! Whether the faults did bite: a run in which nothing happened proves nothing.

use super::{Checker, Finding, Run};
use crate::history::{Kind, Operation};
use crate::nemesis;

/// Operations that must have succeeded while a fault lasted, per second of faults.
const OPERATIONS_PER_SECOND_MIN: f64 = 1.0;
/// And in all.
const OPERATIONS_MIN: u64 = 20;

/// Coverage of the faults.
#[derive(Debug)]
pub struct Coverage;

impl Checker for Coverage {
    fn name(&self) -> &'static str {
        "coverage"
    }

    fn check(&self, run: &Run) -> Finding {
        let mut finding = Finding::new(self.name());
        for (what, number) in &run.coverage.counts {
            finding.add(what, *number);
        }
        for violation in &run.coverage.violations {
            finding.wrong("no fault excuses it", violation.clone(), Vec::new());
        }
        if run.nemesis == "none" {
            return finding;
        }
        for missing in &run.coverage.missing {
            finding.unknown(format!("the fault did not bite: {missing} did not happen"));
        }
        // Faults may overlap: what counts is the time in which there was any.
        let mut spans: Vec<(u64, u64)> =
            run.history.faults.iter().map(|fault| (fault.begin_ns, fault.end_ns)).collect();
        spans.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::new();
        for (begin, end) in spans {
            match merged.last_mut() {
                Some(last) if begin <= last.1 => last.1 = last.1.max(end),
                _ => merged.push((begin, end)),
            }
        }
        let inside = |time: u64| {
            let place = merged.partition_point(|(begin, _)| *begin <= time);
            place.checked_sub(1).is_some_and(|place| time <= merged[place].1)
        };
        let within = |op: &&Operation| inside(op.begin_ns) || inside(op.end_ns);
        let tried = run.history.operations.iter().filter(within).count() as u64;
        let succeeded = run.history.operations.iter().filter(within).filter(|op| op.kind == Kind::Ok).count() as u64;
        let seconds: f64 = merged.iter().map(|(begin, end)| (end - begin) as f64 / 1e9).sum();
        finding.add("faults", run.history.faults.len() as u64);
        finding.add("operations inside faults", tried);
        finding.add("operations that succeeded inside faults", succeeded);
        finding.add("milliseconds of faults", (seconds * 1e3) as u64);
        if run.history.faults.is_empty() {
            finding.unknown("no fault was recorded");
        } else {
            // Without a majority nothing can succeed: then it is enough that it was tried.
            let hopeless = nemesis::is_hopeless(&run.nemesis).unwrap_or(false);
            let counted = if hopeless { tried } else { succeeded };
            if counted < OPERATIONS_MIN || (counted as f64) < seconds * OPERATIONS_PER_SECOND_MIN {
                finding.unknown(format!("only {counted} operations counted in {seconds:.1} s of faults"));
            }
        }
        finding
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::Verdict;
    use crate::history::{Fault, History};

    fn check(operations: u64, faults: &[(u64, u64)], bites: u64) -> Verdict {
        under("kill", Kind::Ok, operations, faults, bites)
    }

    fn under(nemesis: &str, kind: Kind, operations: u64, faults: &[(u64, u64)], bites: u64) -> Verdict {
        let operation = |number: u64| Operation {
            process: 0,
            f: "get".into(),
            asked: Default::default(),
            answer: Default::default(),
            kind,
            error: None,
            node: None,
            revision: None,
            begin: number,
            end: number,
            begin_ns: number * 1_000_000,
            end_ns: number * 1_000_000,
        };
        let fault = |span: &(u64, u64)| Fault {
            name: "kill".into(),
            detail: Default::default(),
            begin_ns: span.0 * 1_000_000,
            end_ns: span.1 * 1_000_000,
        };
        let history = History {
            operations: (0..operations).map(operation).collect(),
            faults: faults.iter().map(fault).collect(),
            ..History::default()
        };
        let mut coverage = nemesis::Coverage::default();
        coverage.add("killed", bites);
        if bites == 0 {
            coverage.missing.push("killed".into());
        }
        Coverage.check(&Run { history, coverage, nemesis: nemesis.into(), ..Run::default() }).verdict
    }

    #[test]
    fn faults_that_did_not_bite_prove_nothing() {
        assert_eq!(check(1_000, &[(0, 100), (50, 200)], 3), Verdict::Valid);
        assert_eq!(check(1_000, &[(0, 200)], 0), Verdict::Unknown);
        assert_eq!(check(1_000, &[], 3), Verdict::Unknown);
        assert_eq!(check(1_000, &[(5_000, 6_000)], 3), Verdict::Unknown);
        assert_eq!(check(10, &[(0, 200)], 3), Verdict::Unknown);
    }

    #[test]
    fn trying_is_enough_only_where_no_fault_leaves_a_majority() {
        for (nemesis, verdict) in [
            ("kill-all", Verdict::Valid),
            ("power-majority", Verdict::Valid),
            ("mix-all", Verdict::Unknown),
            ("kill", Verdict::Unknown),
        ] {
            assert_eq!(under(nemesis, Kind::Fail, 1_000, &[(0, 200)], 3), verdict, "{nemesis}");
            assert_eq!(under(nemesis, Kind::Ok, 1_000, &[(0, 200)], 3), Verdict::Valid, "{nemesis}");
        }
    }

    #[test]
    fn what_no_fault_excuses_is_wrong() {
        let mut coverage = nemesis::Coverage::default();
        coverage.violations.push("node 2 ended by itself".into());
        assert_eq!(
            Coverage.check(&Run { coverage, nemesis: "none".into(), ..Run::default() }).verdict,
            Verdict::Invalid
        );
    }
}
