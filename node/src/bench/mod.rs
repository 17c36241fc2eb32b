//! `aerodb bench`: puts load on a cluster and measures what its users would see.
//!
//! With `--rate` the load is open: each request has a time at which it is meant to start, whatever happened to those
//! before it, and its latency counts from then. So a pause of the cluster shows in the figures of all the requests that
//! it would have delayed ("no coordinated omission"). Without a rate each connection sends as fast as it is answered.

mod connection;
mod documents;
mod fill;
mod keys;
mod machine;
mod options;
mod pacer;
mod report;
mod stats;
mod worker;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget};

use crate::exit::Advice;
use crate::output::Output;
use crate::units;
pub(crate) use options::BenchCommand;
use options::Load;
use pacer::Schedule;
use stats::Stats;
use worker::Tools;

/// How long all connections may take to be made before the clock starts.
const LEAD_TIME: Duration = Duration::from_millis(300);

/// Runs a benchmark.
pub(crate) fn run(command: BenchCommand, output: Output) -> anyhow::Result<()> {
    let load = Arc::new(Load::from_command(&command)?);
    let prepare = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    prepare.block_on(fill::prepare(&command.connect.patient_client()?, &load, output))?;
    drop(prepare);

    let tools = Tools::new(load.clone());
    let schedule = Schedule::new(&load, Instant::now() + LEAD_TIME);
    let threads = start_threads(&load, &tools, &schedule)?;
    let pacer = pacer::start(&schedule, load.connections)?;
    watch(&schedule, &threads, output);
    let mut stats = Stats::new();
    for thread in threads {
        stats.merge(thread.join().map_err(|_| anyhow::anyhow!("a thread of the load generator broke"))??);
    }
    if let Some(pacer) = pacer {
        pacer.join().map_err(|_| anyhow::anyhow!("the clock of the load generator broke"))?;
    }
    stats.unsent += schedule.never_taken();
    let report = report::Report { load: &load, stats: &stats, schedule: &schedule };
    output.result(&report.value(), || report.text())?;
    judge(&stats)
}

/// Spreads the connections over threads, each with a runtime of its own: they share nothing but the schedule.
fn start_threads(
    load: &Load,
    tools: &Arc<Tools>,
    schedule: &Arc<Schedule>,
) -> anyhow::Result<Vec<thread::JoinHandle<anyhow::Result<Stats>>>> {
    let mut threads = Vec::new();
    for number in 0..load.threads {
        let (tools, schedule) = (tools.clone(), schedule.clone());
        let (connections, threads_all) = (load.connections, load.threads);
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let workers = (0..connections).filter(|worker| worker % threads_all == number);
            Ok(runtime.block_on(worker::run_all(tools.clone(), schedule, workers)))
        };
        threads
            .push(thread::Builder::new().name(format!("bench-{number}")).spawn(work).context("cannot start a thread")?);
    }
    Ok(threads)
}

/// Shows how far it is while the threads run.
fn watch<T>(schedule: &Schedule, threads: &[thread::JoinHandle<T>], output: Output) {
    if !output.shows_progress() {
        return;
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
    let mut before = (Instant::now(), 0);
    while threads.iter().any(|thread| !thread.is_finished()) {
        thread::sleep(Duration::from_millis(250));
        let now = (Instant::now(), schedule.answered());
        let rate = (now.1 - before.1) as f64 / (now.0 - before.0).as_secs_f64();
        let phase = if schedule.is_warming_up(now.0) { "warming up" } else { "measuring" };
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
