//! A run as one page: no script, no style sheet, no picture from elsewhere.

mod anomaly;
mod plot;
mod text;

use std::fmt::Write as _;

pub use text::{table_head, table_row, word};

use crate::checker::{Finding, Run, Verdict};
use crate::runner::{Config, Results};
use text::escape;

/// Anomalies of a finding that are drawn; all of them are in `results.json`.
const DRAWN_MAX: usize = 12;

const STYLE: &str = "body{font:14px/1.45 system-ui,sans-serif;margin:24px auto;max-width:1120px;color:#1d2733}\
h1{font-size:22px}h2{font-size:17px;margin-top:28px}code,pre{font:12px/1.4 ui-monospace,monospace;background:#f3f5f7}\
pre{padding:8px;white-space:pre-wrap;word-break:break-word}table{border-collapse:collapse}\
td,th{padding:2px 10px;border-bottom:1px solid #e1e5ea;text-align:left;vertical-align:top}\
.valid{color:#0a7a3d}.unknown{color:#a86400}.invalid{color:#c01f2e}.verdict{font-weight:600}\
svg{display:block;margin:6px 0}svg text{font:11px ui-monospace,monospace;fill:#445}details{margin:6px 0}";

/// The whole page.
pub fn page(config: &Config, results: &Results, run: &Run) -> String {
    let mut out = String::new();
    let title = format!("{} × {}, seed {}", config.workload, config.nemesis, config.seed);
    put(&mut out, format_args!("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>"));
    put(&mut out, format_args!("<style>{STYLE}</style><h1>{title}: {}</h1>", verdict(results.verdict)));
    summary(&mut out, config, results, run);
    out.push_str(
        "<h2>Latency</h2><p>Each point is an operation that ended: blue ok, orange refused, red unknown; the lines \
                  are the median and the 99th percentile of each second. Shaded: faults.</p>",
    );
    out.push_str(&plot::latency(&run.history));
    out.push_str("<h2>Throughput</h2><p>Operations that ended in each second.</p>");
    out.push_str(&plot::throughput(&run.history));
    out.push_str("<h2>Findings</h2>");
    for finding in &results.findings {
        self::finding(&mut out, finding, run);
    }
    faults(&mut out, run);
    out.push_str("</html>\n");
    out
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).unwrap_or_default();
}

fn verdict(verdict: Verdict) -> String {
    format!("<span class=\"verdict {0}\">{0}</span>", verdict.word())
}

fn summary(out: &mut String, config: &Config, results: &Results, run: &Run) {
    let pairs = |pairs: Vec<(String, String)>| {
        pairs.into_iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(" · ")
    };
    let operations = pairs(results.operations.iter().map(|(name, n)| (name.clone(), n.to_string())).collect());
    let latencies = pairs(results.latency_ms.iter().map(|(name, ms)| (name.clone(), format!("{ms:.1} ms"))).collect());
    out.push_str("<table>");
    let mut row = |name: &str, value: &str| put(out, format_args!("<tr><th>{name}<td>{value}"));
    row("again", &format!("<code>{}</code>", escape(&config.command())));
    row(
        "judge again",
        &format!("<code>cargo run --release -p jepsen -- check {}</code>", escape(&results.folder.to_string_lossy())),
    );
    row("program", &escape(&config.version));
    row("operations", &operations);
    row("succeeded per second", &format!("{:.0} over {:.0} s", results.per_second, run.history.end_ns as f64 / 1e9));
    row("latency", &latencies);
    if !results.endings.is_empty() {
        row("nodes that ended by themselves", &escape(&results.endings.join("\n")).replace('\n', "<br>"));
    }
    out.push_str("</table>");
}

fn finding(out: &mut String, finding: &Finding, run: &Run) {
    put(out, format_args!("<h3>{}: {}</h3>", escape(&finding.checker), verdict(finding.verdict)));
    for reason in &finding.reasons {
        put(out, format_args!("<p class=\"unknown\">{}</p>", escape(reason)));
    }
    let counts: Vec<String> = finding.counts.iter().map(|(what, n)| format!("{} {n}", escape(what))).collect();
    put(out, format_args!("<p>{}</p>", counts.join(" · ")));
    if finding.anomalies_total > 0 {
        let shown = finding.anomalies.len().min(DRAWN_MAX);
        put(out, format_args!("<p>{} anomalies; the first {shown}:</p>", finding.anomalies_total));
    }
    for anomaly in finding.anomalies.iter().take(DRAWN_MAX) {
        out.push_str(&anomaly::drawn(anomaly, &run.history));
    }
}

fn faults(out: &mut String, run: &Run) {
    put(out, format_args!("<h2>Faults</h2><details><summary>{} faults</summary><table>", run.history.faults.len()));
    out.push_str("<tr><th>from<th>to<th>fault<th>what");
    for fault in &run.history.faults {
        let (from, to) = (fault.begin_ns as f64 / 1e9, fault.end_ns as f64 / 1e9);
        let detail = escape(&fault.detail.to_string());
        put(out, format_args!("<tr><td>{from:.2} s<td>{to:.2} s<td>{}<td><code>{detail}</code>", escape(&fault.name)));
    }
    out.push_str("</table></details>");
}
