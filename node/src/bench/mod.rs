//! `aerodb bench`: puts load on a cluster and measures what its users would see. The load itself is `aerodb-load`'s.

mod api;
mod fill;
mod options;
mod report;

use std::thread;
use std::time::{Duration, Instant};

use aerodb_load::http::HttpTarget;
use aerodb_load::{Running, Stats};
use indicatif::{ProgressBar, ProgressDrawTarget};

use crate::exit::Advice;
use crate::output::Output;
use crate::units;
pub(crate) use options::BenchCommand;
use options::Settings;

/// Runs a benchmark.
pub(crate) fn run(command: BenchCommand, output: Output) -> anyhow::Result<()> {
    let settings = Settings::from_command(&command)?;
    let prepare = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    prepare.block_on(fill::prepare(&command.connect.patient_client()?, &settings, output))?;
    drop(prepare);

    let stats = measure(&settings, output)?;
    let report = report::Report { settings: &settings, stats: &stats };
    output.result(&report.value(), || report.text())?;
    judge(&stats)
}

fn measure(settings: &Settings, output: Output) -> anyhow::Result<Stats> {
    let target = HttpTarget::new(api::nodes(settings)?, api::documents(settings));
    let running = Running::start(settings.load(), target)?;
    watch(&running, output);
    running.finish()
}

/// Shows how far it is.
fn watch(running: &Running, output: Output) {
    if !output.shows_progress() {
        return;
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
    let mut before = (Instant::now(), 0);
    while !running.is_over() {
        thread::sleep(Duration::from_millis(250));
        let now = (Instant::now(), running.answered());
        let rate = (now.1 - before.1) as f64 / (now.0 - before.0).as_secs_f64();
        let phase = if running.is_warming_up() { "warming up" } else { "measuring" };
        bar.set_message(format!("{phase}: {} requests answered, {}/s", units::count(now.1), units::count(rate as u64)));
        bar.set_style(indicatif::ProgressStyle::default_spinner());
        bar.tick();
        before = now;
    }
    bar.finish_and_clear();
}

/// A benchmark in which nothing succeeded has failed.
fn judge(stats: &Stats) -> anyhow::Result<()> {
    if stats.succeeded() > 0 {
        return Ok(());
    }
    let never_reached = stats.errors.keys().all(|code| code == "connect");
    let what = "no request succeeded";
    Err(if never_reached { Advice::unavailable(what) } else { Advice::failed(what) }.into())
}

#[cfg(test)]
mod tests;
