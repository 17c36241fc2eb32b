//! Words and rows.

use crate::history::Kind;
use crate::runner::Results;

/// How an operation ended, in a word.
pub fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Invoke => "invoked",
        Kind::Ok => "ok",
        Kind::Fail => "fail",
        Kind::Info => "info",
    }
}

/// The head of the table that [`table_row`] writes rows of.
pub fn table_head() -> &'static str {
    "| workload | nemesis | nodes | seed | time, s | ok | fail | info | ok/s | p99, ms | faults | verdict | why |\n\
     |---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|---|\n"
}

/// A run as a row of a Markdown table.
pub fn table_row(results: &Results) -> String {
    let config = &results.config;
    let number = |kind: &str| results.operations.get(kind).copied().unwrap_or(0);
    let faults = results.findings.iter().find_map(|finding| finding.counts.get("faults")).copied().unwrap_or(0);
    let why: Vec<&str> = results
        .findings
        .iter()
        .flat_map(|f| f.anomalies.iter().map(|a| a.rule.as_str()).chain(f.reasons.iter().map(String::as_str)))
        .take(2)
        .collect();
    format!(
        "| {} | {} | {} | {} | {} | {} | {} | {} | {:.0} | {:.1} | {faults} | {} | {} |\n",
        config.workload,
        config.nemesis,
        config.nodes,
        config.seed,
        config.time_s,
        number("ok"),
        number("fail"),
        number("info"),
        results.per_second,
        results.latency_ms.get("p99").copied().unwrap_or(0.0),
        results.verdict.word(),
        why.join("; ").replace('|', "/"),
    )
}

/// Text within HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
