//! A second opinion by the crate `adya`, which was written by somebody else.

use std::fmt::Write as _;

use adya::{History, Opts, Valid, Workload, check};
use serde_json::{Value, json};

use super::transactions::{Part, Transaction};
use crate::checker::Finding;
use crate::history::Kind;

/// Adds what `adya` finds.
pub(super) fn opinion(transactions: &[Transaction], finding: &mut Finding) {
    let history = match History::from_json(&lines(transactions)) {
        Ok(history) => history,
        Err(error) => return finding.unknown(format!("adya cannot read the history: {error}")),
    };
    let options = Opts { models: vec!["strict-serializable".into()], ..Opts::default() };
    let report = check(&history, Workload::ListAppend, &options);
    finding.count("second opinions");
    match report.valid {
        Valid::True => {}
        Valid::False => {
            let text = format!("adya finds {}", report.anomaly_types.join(", "));
            finding.wrong("second opinion", text, Vec::new());
        }
        // Nothing to infer from is no anomaly; our own part says whether there was anything.
        Valid::Unknown => finding.count("second opinions without an answer"),
    }
}

/// The history in Elle's form: invocations and completions in the order of time.
fn lines(transactions: &[Transaction]) -> String {
    let mut events: Vec<(u64, u64, Value)> = Vec::with_capacity(transactions.len() * 2);
    for (place, transaction) in transactions.iter().enumerate() {
        let parts = |shown: bool| -> Vec<Value> {
            let part = |part: &Part| match part {
                Part::Append(list, element) => json!(["append", list, element]),
                Part::Read(list, seen) if shown => json!(["r", list, seen]),
                Part::Read(list, _) => json!(["r", list, null]),
            };
            transaction.parts.iter().map(part).collect()
        };
        let kind = match transaction.kind {
            Kind::Ok => "ok",
            Kind::Fail => "fail",
            Kind::Info | Kind::Invoke => "info",
        };
        // The lists at the end are read by processes of their own, one after the other.
        let (process, order) = match transaction.begin {
            begin if begin >= u64::MAX - 1 => (1_000_000_000 + place as u64, 2 * place as u64),
            _ => (transaction.process, 0),
        };
        let event = |kind: &str, shown| json!({ "type": kind, "process": process, "value": parts(shown) });
        events.push((transaction.begin, order, event("invoke", false)));
        if transaction.kind != Kind::Info {
            events.push((transaction.end.min(u64::MAX - 1), order + 1, event(kind, true)));
        }
    }
    events.sort_by_key(|(at, order, _)| (*at, *order));
    let mut out = String::new();
    for (index, (_, _, mut event)) in events.into_iter().enumerate() {
        event["index"] = index.into();
        writeln!(out, "{event}").unwrap_or_default();
    }
    out
}
