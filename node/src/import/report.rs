//! What is said of an import: a bar while it runs, bad records as they are met, a summary at the end.

use std::time::{Duration, Instant};

use aerodb_records::Position;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::options::Input;
use crate::exit::Advice;
use crate::output::Output;
use crate::units;

/// How many bad records are named; more are only counted.
const FAILURES_SHOWN_MAX: u64 = 100;

/// The counts of an import.
#[derive(Debug)]
pub(super) struct Report {
    /// Documents that came of records.
    pub(super) imported: u64,
    /// Records that an earlier run of the same import had brought in.
    pub(super) already_there: u64,
    /// Records whose id was taken, left out as asked.
    pub(super) skipped: u64,
    /// The last revision that was written.
    pub(super) revision: Option<u64>,
    failures: u64,
    named: Vec<(u64, String)>,
    begun: Instant,
    resumed_from: Option<u64>,
    bar: ProgressBar,
    output: Output,
}

impl Report {
    /// Begins counting, and draws a bar if somebody watches.
    pub(super) fn start(output: Output, input: &Input, at: &Position) -> Self {
        Self {
            imported: 0,
            already_there: 0,
            skipped: 0,
            revision: None,
            failures: 0,
            named: Vec::new(),
            begun: Instant::now(),
            resumed_from: (at.offset > 0).then_some(at.line),
            bar: bar(output, input, at),
            output,
        }
    }

    /// Counts a record that was refused, and names it at once if asked to.
    pub(super) fn failed(&mut self, line: u64, why: &str, say: bool) {
        self.failures += 1;
        if self.failures <= FAILURES_SHOWN_MAX {
            self.named.push((line, why.to_owned()));
        }
        let text = match self.failures {
            _ if !say => return,
            ..=FAILURES_SHOWN_MAX => format!("line {line}: {why}"),
            number if number == FAILURES_SHOWN_MAX + 1 => "further bad records are counted only".to_owned(),
            _ => return,
        };
        self.bar.suspend(|| self.output.aside(text));
    }

    /// Moves the bar.
    pub(super) fn moved_to(&mut self, position: &Position) {
        self.bar.set_position(position.offset);
        self.bar.set_message(units::count(self.imported + self.already_there));
    }

    /// Says how it went. An import that stopped ends with the reason.
    pub(super) fn finish(self, stopped: Option<Advice>) -> anyhow::Result<()> {
        self.bar.finish_and_clear();
        let seconds = self.begun.elapsed().as_secs_f64();
        let rate = self.imported as f64 / seconds.max(1e-3);
        let value = json!({
            "complete": stopped.is_none(),
            "imported": self.imported,
            "already_there": self.already_there,
            "skipped": self.skipped,
            "failed": self.failures,
            "errors": self.named.iter().map(|(line, why)| json!({"line": line, "reason": why})).collect::<Vec<_>>(),
            "revision": self.revision,
            "resumed_from_line": self.resumed_from,
            "seconds": seconds,
            "per_second": rate,
        });
        let text = || {
            let mut text = format!(
                "imported {}, skipped {}, failed {}; {} ({}/s)",
                units::count(self.imported),
                units::count(self.skipped),
                units::count(self.failures),
                units::millis(seconds * 1e3),
                units::count(rate as u64),
            );
            if self.already_there > 0 {
                text.push_str(&format!(
                    "\n{} already there from an earlier run of the same import (--restart imports them again)",
                    units::count(self.already_there)
                ));
            }
            text
        };
        self.output.result(&value, text)?;
        stopped.map_or(Ok(()), |advice| Err(advice.into()))
    }
}

fn bar(output: Output, input: &Input, at: &Position) -> ProgressBar {
    if !output.shows_progress() {
        return ProgressBar::hidden();
    }
    let target = ProgressDrawTarget::stderr_with_hz(10);
    let (bar, template) = match &input.file {
        Some(file) => (
            ProgressBar::with_draw_target(Some(file.bytes), target),
            "{bar:30} {percent:>3} %  {msg} records  {bytes_per_sec}  {eta} left",
        ),
        None => (ProgressBar::with_draw_target(None, target), "{spinner} {bytes}  {msg} records  {bytes_per_sec}"),
    };
    // A template that does not parse leaves the plain bar.
    let bar = bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_position(at.offset);
    bar.reset_eta();
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
