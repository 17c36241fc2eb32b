//! The figures of a benchmark, for people and for programs.

use aerodb_load::{Stats, describe};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::options::Settings;
use crate::output::{Align, Table};
use crate::units;

/// What was asked for, and what came of it.
pub(super) struct Report<'a> {
    pub(super) settings: &'a Settings,
    pub(super) stats: &'a Stats,
}

impl Report<'_> {
    fn seconds(&self) -> f64 {
        self.stats.seconds(self.settings.duration)
    }

    /// For programs.
    pub(super) fn value(&self) -> Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "settings": self.settings,
            "loop": if self.settings.rate.is_some() { "open" } else { "closed" },
            "machine": describe(),
            "seconds": self.seconds(),
            "succeeded": self.stats.succeeded(),
            "failed": self.stats.failed(),
            "unsent": self.stats.unsent,
            "per_second": self.stats.succeeded() as f64 / self.seconds(),
            "reads": figures(&self.stats.reads, self.seconds(), Some(self.settings.read_consistency())),
            "writes": figures(&self.stats.writes, self.seconds(), None),
            "errors": self.stats.errors,
        })
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let load = self.settings;
        let pace = match load.rate {
            Some(rate) => format!("{} requests/s meant to start (open loop)", units::count(rate as u64)),
            None => "as fast as answered (closed loop)".to_owned(),
        };
        let mut text = format!(
            "{} connections to {}, {pace}, {} documents of {}, {} after {} of warm-up\n{}\n\n{}",
            load.connections,
            units::plural(load.urls.len() as u64, "node"),
            units::count(load.documents),
            units::bytes(u64::from(load.value_bytes)),
            units::millis(load.duration.as_secs_f64() * 1e3),
            units::millis(load.warmup.as_secs_f64() * 1e3),
            describe().text(),
            self.table(),
        );
        if self.stats.failed() > 0 {
            let errors = self.stats.errors.iter().map(|(code, count)| format!("{code} {}", units::count(*count)));
            text.push_str(&format!("\n\nfailed: {}", errors.collect::<Vec<_>>().join(", ")));
        }
        if self.stats.unsent > 0 {
            text.push_str(&format!(
                "\n\n{} requests could not be sent at all: the rate is more than the cluster, or this many connections, can take",
                units::count(self.stats.unsent)
            ));
        }
        text
    }

    fn table(&self) -> Table {
        let names = ["requests", "count", "per second", "mean", "p50", "p90", "p99", "p99.9", "max"];
        let mut table =
            Table::new(names.map(|name| (name, if name == "requests" { Align::Left } else { Align::Right })));
        let reads = format!("read ({})", self.settings.read_consistency());
        for (name, histogram) in [(reads.as_str(), &self.stats.reads), ("write", &self.stats.writes)] {
            if histogram.is_empty() {
                continue;
            }
            let at = |quantile| latency(histogram.value_at_quantile(quantile));
            table.row([
                name.to_owned(),
                units::count(histogram.len()),
                units::count((histogram.len() as f64 / self.seconds()) as u64),
                latency(histogram.mean() as u64),
                at(0.5),
                at(0.9),
                at(0.99),
                at(0.999),
                latency(histogram.max()),
            ]);
        }
        table
    }
}

fn figures(histogram: &Histogram<u64>, seconds: f64, consistency: Option<&str>) -> Value {
    if histogram.is_empty() {
        return Value::Null;
    }
    let at = |quantile| histogram.value_at_quantile(quantile);
    let mut value = json!({
        "count": histogram.len(),
        "per_second": histogram.len() as f64 / seconds,
        "latency_us": {
            "min": histogram.min(), "mean": histogram.mean(), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99),
            "p99_9": at(0.999), "max": histogram.max(),
        },
    });
    if let Some(consistency) = consistency {
        value["consistency"] = consistency.into();
    }
    value
}

fn latency(micros: u64) -> String {
    match micros {
        ..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{:.2} ms", micros as f64 / 1e3),
        _ => format!("{:.2} s", micros as f64 / 1e6),
    }
}
