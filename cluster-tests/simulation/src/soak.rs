//! Many seeds, each in a process of its own: what one of them does to its process hurts no other.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::run::Report;

/// The real time that one seed may take: a hundred times what it usually takes.
const REAL_TIME_MAX: Duration = Duration::from_secs(240);

/// What to run.
#[derive(Clone, Debug)]
pub struct Soak {
    /// This program: each seed runs in a process of its own.
    pub program: PathBuf,
    /// The first seed.
    pub from: u64,
    /// How many.
    pub seeds: u64,
    /// Processes at once.
    pub jobs: u64,
    /// Arguments for each process, beside the seed.
    pub arguments: Vec<String>,
    /// Results are kept here, one line each, and seeds that are in it are not run again.
    pub resume: Option<PathBuf>,
    /// End with the first failure.
    pub fail_fast: bool,
}

/// A line of the file that a soak can be resumed from.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    seed: u64,
    hash: String,
    simulated_ms: u64,
    violations: Vec<String>,
}

/// What many seeds came to.
#[derive(Debug, Default)]
pub struct Summary {
    /// Seeds that ran, now or in an earlier run of the same soak.
    pub ran: u64,
    /// Seeds that failed and the first thing that went wrong.
    pub failed: BTreeMap<u64, String>,
    /// Simulated time of the seeds that ran now, milliseconds.
    pub simulated_ms: u64,
    /// Real time that they took, seconds.
    pub seconds: f64,
    /// Seeds that ran now.
    pub fresh: u64,
    /// Counts of what was seen, over the seeds that ran now.
    pub seen: BTreeMap<String, u64>,
}

impl Summary {
    /// In words.
    pub fn text(&self) -> String {
        let rate = self.fresh as f64 / self.seconds.max(0.001) * 3_600.0;
        let speed = self.simulated_ms as f64 / 1_000.0 / self.seconds.max(0.001);
        let seen: Vec<String> = self.seen.iter().map(|(name, count)| format!("{name} {count}")).collect();
        format!(
            "{} seeds, {} failed; {:.0} seeds an hour, {:.1} times real time\nseen: {}",
            self.ran,
            self.failed.len(),
            rate,
            speed,
            seen.join(", ")
        )
    }
}

/// Runs the soak; `say` is told of each failure and now and then of the progress.
///
/// # Errors
/// When processes cannot be started or the file cannot be used.
pub fn run(soak: &Soak, say: &(dyn Fn(&str) + Sync)) -> Result<Summary> {
    let known = match &soak.resume {
        Some(path) => resume(path)?,
        None => BTreeMap::new(),
    };
    let mut summary = Summary::default();
    for (seed, line) in known.iter().filter(|(seed, _)| (soak.from..soak.from + soak.seeds).contains(seed)) {
        summary.ran += 1;
        if let Some(problem) = line.violations.first() {
            summary.failed.insert(*seed, problem.clone());
        }
    }
    let file = soak.resume.as_ref().map(|path| OpenOptions::new().create(true).append(true).open(path)).transpose();
    let file = Mutex::new(file.context("the file to resume from")?);
    let (next, stop) = (AtomicU64::new(soak.from), AtomicBool::new(false));
    let (began, summary) = (Instant::now(), Mutex::new(summary));
    let worker = || -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= soak.from + soak.seeds {
                break;
            }
            if known.contains_key(&seed) {
                continue;
            }
            let report = child(seed, soak)?;
            let line = Line {
                seed,
                hash: report.hash.clone(),
                simulated_ms: report.simulated_ms,
                violations: report.violations.clone(),
            };
            if let Some(file) = &mut *file.lock() {
                writeln!(file, "{}", serde_json::to_string(&line)?)?;
            }
            let mut summary = summary.lock();
            summary.add(&report);
            summary.seconds = began.elapsed().as_secs_f64();
            if let Some(problem) = report.violations.first() {
                say(&format!("seed {seed} FAILED: {problem}"));
                stop.fetch_or(soak.fail_fast, Ordering::Relaxed);
            }
            if summary.fresh.is_multiple_of(50) {
                say(summary.text().lines().next().unwrap_or_default());
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..soak.jobs.max(1)).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| anyhow::bail!("a worker panicked")))
    })?;
    Ok(summary.into_inner())
}

impl Summary {
    fn add(&mut self, report: &Report) {
        self.ran += 1;
        self.fresh += 1;
        self.simulated_ms += report.simulated_ms;
        if let Some(problem) = report.violations.first() {
            self.failed.insert(report.seed, problem.clone());
        }
        if let Ok(serde_json::Value::Object(seen)) = serde_json::to_value(&report.coverage) {
            for (name, count) in seen {
                *self.seen.entry(name).or_default() += count.as_u64().unwrap_or(0);
            }
        }
        *self.seen.entry("revisions".to_owned()).or_default() += report.revisions;
    }
}

/// Runs one seed in a process of its own.
fn child(seed: u64, soak: &Soak) -> Result<Report> {
    let mut child = Command::new(&soak.program)
        .arg("one")
        .arg(seed.to_string())
        .args(&soak.arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("a process for a seed")?;
    let (done, ended) = std::sync::mpsc::channel::<()>();
    let id = child.id();
    // Both pipes are read to their ends on threads of their own, so that a talkative child does not wait for anybody.
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let out = std::thread::spawn(move || {
        let text = read(stdout);
        drop(done);
        text
    });
    let err = std::thread::spawn(move || read(stderr));
    let late = ended.recv_timeout(REAL_TIME_MAX) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
    if late {
        child.kill().with_context(|| format!("ending the process {id}"))?;
    }
    let status = child.wait().context("the end of a process")?;
    let (text, words) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    if let Some(report) = text.lines().last().and_then(|line| serde_json::from_str(line).ok()) {
        return Ok(report);
    }
    // It panicked, aborted or was killed: its last words are the report.
    let first = match late {
        true => "no end after the real time that a seed may take: something spins, and simulated time stands still",
        false => words.lines().find(|line| line.contains("panicked")).unwrap_or_default(),
    };
    let last: Vec<String> = words.lines().rev().take(60).map(str::to_owned).collect();
    Ok(Report {
        seed,
        hash: String::new(),
        events: 0,
        nodes: 0,
        simulated_ms: 0,
        revisions: 0,
        coverage: Default::default(),
        violations: vec![format!("the process ended with {status}: {first}")],
        last: last.into_iter().rev().collect(),
    })
}

fn read(pipe: Option<impl std::io::Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What was read before an error is what there is.
        drop(pipe.read_to_end(&mut bytes));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn resume(path: &Path) -> Result<BTreeMap<u64, Line>> {
    let Ok(file) = File::open(path) else { return Ok(BTreeMap::new()) };
    let mut known = BTreeMap::new();
    for line in BufReader::new(file).lines() {
        // The last line may be cut short: that seed runs again.
        if let Ok(line) = serde_json::from_str::<Line>(&line?) {
            known.insert(line.seed, line);
        }
    }
    Ok(known)
}
