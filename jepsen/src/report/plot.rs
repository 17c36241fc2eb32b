//! Latency and throughput over time, as SVG.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use super::text::{escape, word};
use crate::history::{History, Kind};

const WIDTH: f64 = 1_100.0;
const HEIGHT: f64 = 240.0;
/// Room for the scale and for the times below.
const LEFT: f64 = 52.0;
const BELOW: f64 = 22.0;
/// The ends of the scale of latencies, milliseconds.
const LATENCY_MS: (f64, f64) = (0.1, 40_000.0);
/// Points closer than this to each other are drawn once, pixels.
const GRAIN: f64 = 2.0;

const KINDS: [Kind; 3] = [Kind::Ok, Kind::Fail, Kind::Info];

fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Ok | Kind::Invoke => "#2f6fde",
        Kind::Fail => "#e08a1e",
        Kind::Info => "#c01f2e",
    }
}

/// A plot over the time of a run.
struct Plot {
    out: String,
    end_s: f64,
}

impl Plot {
    fn new(history: &History) -> Self {
        let mut plot = Self { out: String::new(), end_s: (history.end_ns as f64 / 1e9).max(0.001) };
        plot.put(format_args!("<svg width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\">"));
        for fault in &history.faults {
            let (from, to) = (plot.x(fault.begin_ns as f64 / 1e9), plot.x(fault.end_ns as f64 / 1e9));
            let title = escape(&format!("{} {}", fault.name, fault.detail));
            plot.put(format_args!(
                "<rect x=\"{from:.1}\" y=\"0\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#d9485f\" opacity=\"0.13\">\
                 <title>{title}</title></rect>",
                (to - from).max(1.0),
                HEIGHT - BELOW
            ));
        }
        let step = [1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0];
        let step = step.into_iter().find(|step| plot.end_s / step <= 15.0).unwrap_or(1_800.0);
        let mut at = 0.0;
        while at <= plot.end_s {
            plot.put(format_args!("<text x=\"{:.1}\" y=\"{}\">{at:.0} s</text>", plot.x(at), HEIGHT - 6.0));
            at += step;
        }
        plot
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.out.write_fmt(text).unwrap_or_default();
    }

    fn x(&self, seconds: f64) -> f64 {
        LEFT + (WIDTH - LEFT - 8.0) * seconds / self.end_s
    }

    /// A mark of the scale.
    fn mark(&mut self, y: f64, label: &str) {
        self.put(format_args!("<line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#e1e5ea\"/>"));
        self.put(format_args!("<text x=\"2\" y=\"{:.1}\">{label}</text>", y + 4.0));
    }

    fn line(&mut self, points: &[(f64, f64)], colour: &str, title: &str) {
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.put(format_args!(
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.4\" points=\"{}\">\
             <title>{title}</title></polyline>",
            path.join(" ")
        ));
    }

    fn finish(mut self) -> String {
        self.out.push_str("</svg>");
        self.out
    }
}

/// Latencies on a logarithmic scale.
pub(super) fn latency(history: &History) -> String {
    let mut plot = Plot::new(history);
    let (low, high) = (LATENCY_MS.0.log10(), LATENCY_MS.1.log10());
    let y = |ms: f64| (HEIGHT - BELOW) * (1.0 - (ms.max(LATENCY_MS.0).log10() - low) / (high - low)).clamp(0.0, 1.0);
    for (ms, label) in [(1.0, "1 ms"), (10.0, "10 ms"), (100.0, "100 ms"), (1_000.0, "1 s"), (10_000.0, "10 s")] {
        plot.mark(y(ms), label);
    }
    let mut seconds: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for kind in KINDS {
        let mut drawn: HashSet<(u64, u64)> = HashSet::new();
        let mut path = String::new();
        for operation in history.operations.iter().filter(|operation| operation.kind == kind) {
            let ms = (operation.end_ns - operation.begin_ns) as f64 / 1e6;
            let point = (plot.x(operation.end_ns as f64 / 1e9), y(ms));
            if kind == Kind::Ok {
                seconds.entry(operation.end_ns / 1_000_000_000).or_default().push(ms);
            }
            // Many points lie upon each other: a page of a long run stays small.
            if drawn.insert(((point.0 / GRAIN) as u64, (point.1 / GRAIN) as u64)) {
                write!(path, "M{:.0} {:.0}h1.6", point.0, point.1).unwrap_or_default();
            }
        }
        let colour = colour(kind);
        plot.put(format_args!("<path d=\"{path}\" stroke=\"{colour}\" stroke-width=\"1.8\" opacity=\"0.55\"/>"));
    }
    for (part, colour, title) in [(0.5, "#123f8f", "median"), (0.99, "#6a3fb5", "99th percentile")] {
        let mut points = Vec::new();
        for (second, latencies) in &mut seconds {
            latencies.sort_by(f64::total_cmp);
            let place = ((latencies.len() - 1) as f64 * part) as usize;
            points.push((plot.x(*second as f64 + 0.5), y(latencies[place])));
        }
        plot.line(&points, colour, title);
    }
    plot.finish()
}

/// Operations that ended in each second, by how they ended.
pub(super) fn throughput(history: &History) -> String {
    let mut plot = Plot::new(history);
    let length = (history.end_ns / 1_000_000_000) as usize + 1;
    let mut counts = vec![[0_u64; 3]; length];
    for operation in &history.operations {
        if let Some(place) = KINDS.iter().position(|kind| *kind == operation.kind) {
            counts[(operation.end_ns / 1_000_000_000) as usize][place] += 1;
        }
    }
    let most = counts.iter().flatten().copied().max().unwrap_or(1).max(1) as f64;
    let y = |count: f64| (HEIGHT - BELOW - 6.0) * (1.0 - count / most) + 6.0;
    for part in [0.5, 1.0] {
        plot.mark(y(most * part), &format!("{:.0}", most * part));
    }
    for (place, kind) in KINDS.into_iter().enumerate() {
        let points: Vec<(f64, f64)> =
            counts.iter().enumerate().map(|(s, count)| (plot.x(s as f64 + 0.5), y(count[place] as f64))).collect();
        plot.line(&points, colour(kind), word(kind));
    }
    plot.finish()
}
