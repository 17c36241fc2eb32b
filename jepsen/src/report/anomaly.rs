//! An anomaly, drawn with the operations that make it: a line for each process, a bar for each operation, and arrows in
//! the order in which the anomaly names them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::text::{escape, word};
use crate::checker::Anomaly;
use crate::history::{History, Kind, Operation};

const WIDTH: f64 = 1_100.0;
const LEFT: f64 = 90.0;
const ROW: f64 = 34.0;
/// Operations that are drawn.
const OPERATIONS_MAX: usize = 16;
/// Characters of a question or an answer that are shown.
const SHOWN_MAX: usize = 700;

/// The drawing and what each operation said.
pub(super) fn drawn(anomaly: &Anomaly, history: &History) -> String {
    let find = |begin: &u64| {
        let place = history.operations.partition_point(|operation| operation.begin < *begin);
        history.operations.get(place).filter(|operation| operation.begin == *begin)
    };
    let operations: Vec<&Operation> = anomaly.operations.iter().filter_map(find).take(OPERATIONS_MAX).collect();
    let mut out = format!("<h4 class=\"invalid\">{}</h4><p>{}</p>", escape(&anomaly.rule), escape(&anomaly.text));
    if operations.is_empty() {
        return out;
    }
    out.push_str(&picture(&operations));
    out.push_str("<details><summary>what was asked and answered</summary><pre>");
    for operation in &operations {
        let answer = match &operation.error {
            Some(error) => error.clone(),
            None => operation.answer.to_string(),
        };
        let text = format!(
            "#{} process {} at node {} {}: {}\n   -> {} at revision {}: {}\n",
            operation.begin,
            operation.process,
            operation.node.unwrap_or(0),
            operation.f,
            cut(&operation.asked.to_string()),
            word(operation.kind),
            operation.revision.map_or_else(|| "?".to_owned(), |revision| revision.to_string()),
            cut(&answer),
        );
        out.push_str(&escape(&text));
    }
    out.push_str("</pre></details>");
    out
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{} ..", &text[..end]),
        None => text.to_owned(),
    }
}

fn picture(operations: &[&Operation]) -> String {
    let processes: Vec<u64> =
        operations.iter().map(|operation| operation.process).collect::<BTreeSet<_>>().into_iter().collect();
    let from = operations.iter().map(|operation| operation.begin_ns).min().unwrap_or(0);
    let to = operations.iter().map(|operation| operation.end_ns).max().unwrap_or(1).max(from + 1);
    let x = |ns: u64| LEFT + (WIDTH - LEFT - 120.0) * (ns - from) as f64 / (to - from) as f64;
    let row = |process: u64| processes.iter().position(|p| *p == process).unwrap_or(0) as f64 * ROW + 20.0;
    let height = processes.len() as f64 * ROW + 24.0;
    let mut out = format!(
        "<svg width=\"{WIDTH}\" height=\"{height}\"><defs><marker id=\"tip\" markerWidth=\"7\" markerHeight=\"7\" \
         refX=\"6\" refY=\"3\" orient=\"auto\"><path d=\"M0 0L6 3L0 6\" fill=\"#c01f2e\"/></marker></defs>"
    );
    let mut put = |text: std::fmt::Arguments<'_>| out.write_fmt(text).unwrap_or_default();
    for process in &processes {
        let y = row(*process);
        put(format_args!("<text x=\"2\" y=\"{:.1}\">process {process}</text>", y + 10.0));
        put(format_args!(
            "<line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{0:.1}\" y2=\"{0:.1}\" stroke=\"#e1e5ea\"/>",
            y + 7.0
        ));
    }
    for operation in operations {
        let (left, y) = (x(operation.begin_ns), row(operation.process));
        let width = (x(operation.end_ns) - left).max(4.0);
        let fill = match operation.kind {
            Kind::Ok | Kind::Invoke => "#2f6fde",
            Kind::Fail => "#e08a1e",
            Kind::Info => "#c01f2e",
        };
        let label =
            format!("{} {}", operation.f, operation.revision.map_or("?".into(), |revision| format!("@{revision}")));
        put(format_args!(
            "<rect x=\"{left:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"14\" fill=\"{fill}\" opacity=\"0.75\"/>"
        ));
        put(format_args!("<text x=\"{left:.1}\" y=\"{:.1}\">#{} {}</text>", y - 3.0, operation.begin, escape(&label)));
    }
    for pair in operations.windows(2) {
        let (a, b) =
            ((x(pair[0].end_ns), row(pair[0].process) + 7.0), (x(pair[1].begin_ns), row(pair[1].process) + 7.0));
        put(format_args!(
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#c01f2e\" stroke-dasharray=\"3 3\" \
             marker-end=\"url(#tip)\"/>",
            a.0, a.1, b.0, b.1
        ));
    }
    out.push_str("</svg>");
    out
}
