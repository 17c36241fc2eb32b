//! Many seeds, each in a process of its own: what one of them does to its process hurts no other.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;

use crate::record::{Line, Of, Record};
use crate::run::Report;
use crate::scratch;

/// The real time that one seed may take: a hundred times what it usually takes.
const REAL_TIME_MAX: Duration = Duration::from_secs(240);

/// Of which a seed that is not done took at least so much of a processor if it spins: otherwise the machine was busy with
/// others, or asleep.
const SPINS: Duration = Duration::from_secs(60);

/// Ticks of a processor's time in a second, as Linux counts it for others to see.
const TICKS: u64 = 100;

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

/// What many seeds came to.
#[derive(Debug, Default)]
pub struct Summary {
    /// Seeds that ran, now or in an earlier run of the same soak.
    pub ran: u64,
    /// Seeds that failed and the first thing that went wrong.
    pub failed: BTreeMap<u64, String>,
    /// Seeds that could not be judged, and why: that says nothing about the product, and is no pass.
    pub unknown: BTreeMap<u64, String>,
    /// Somebody asked for an end before all was run.
    pub interrupted: bool,
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
    /// Every seed ran and none failed.
    pub fn is_clean(&self) -> bool {
        self.failed.is_empty() && self.unknown.is_empty() && !self.interrupted
    }

    /// In words.
    pub fn text(&self) -> String {
        let rate = self.fresh as f64 / self.seconds.max(0.001) * 3_600.0;
        let speed = self.simulated_ms as f64 / 1_000.0 / self.seconds.max(0.001);
        let seen: Vec<String> = self.seen.iter().map(|(name, count)| format!("{name} {count}")).collect();
        format!(
            "{} seeds, {} failed{}; {:.0} seeds an hour, {:.1} times real time\nseen: {}",
            self.ran,
            self.failed.len(),
            if self.unknown.is_empty() { String::new() } else { format!(", {} unknown", self.unknown.len()) },
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
    let end = soak.from.checked_add(soak.seeds).context("there are no such seeds: they end at 18446744073709551615")?;
    ensure!(soak.seeds > 0, "no seed is asked for, and none is no proof of anything");
    let (record, known) = match &soak.resume {
        Some(path) => {
            let (record, known) = Record::open(path, &Of::new(&soak.program, &soak.arguments)?)?;
            (Some(record), known)
        }
        None => (None, BTreeMap::new()),
    };
    let mut summary = Summary::default();
    for (seed, line) in known.range(soak.from..end) {
        summary.ran += 1;
        if let Some(problem) = line.violations.first() {
            summary.failed.insert(*seed, problem.clone());
        }
    }
    let folder = scratch::folder()?;
    let record = Mutex::new(record);
    let (next, stop, interrupted) = (AtomicU64::new(soak.from), AtomicBool::new(false), interrupts()?);
    let (began, summary) = (Instant::now(), Mutex::new(summary));
    let stopped = || stop.load(Ordering::Relaxed) || interrupted.load(Ordering::Relaxed);
    let worker = || -> Result<()> {
        while !stopped() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                break;
            }
            if known.contains_key(&seed) {
                continue;
            }
            let verdict = child(seed, soak, &folder.path().join(seed.to_string()))?;
            if let (Verdict::Judged(report), Some(record)) = (&verdict, &mut *record.lock()) {
                let Report { hash, simulated_ms, violations, .. } = (**report).clone();
                record.add(&Line { seed, hash, simulated_ms, violations })?;
            }
            let mut summary = summary.lock();
            summary.seconds = began.elapsed().as_secs_f64();
            match verdict {
                Verdict::Judged(report) => {
                    summary.add(&report);
                    if let Some(problem) = report.violations.first() {
                        say(&format!("seed {seed} FAILED: {problem}"));
                        stop.fetch_or(soak.fail_fast, Ordering::Relaxed);
                    }
                    if summary.fresh.is_multiple_of(50) {
                        say(summary.text().lines().next().unwrap_or_default());
                    }
                }
                Verdict::Unknown(why) => {
                    say(&format!("seed {seed} UNKNOWN: {why}"));
                    summary.unknown.insert(seed, why);
                }
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..soak.jobs.max(1)).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| anyhow::bail!("a worker panicked")))
    })?;
    let mut summary = summary.into_inner();
    summary.interrupted = interrupted.load(Ordering::Relaxed);
    Ok(summary)
}

/// Turns true when somebody interrupts this process, which then ends in order instead of at once.
fn interrupts() -> Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (runtime, noted) = (runtime.context("waiting for an interrupt")?, interrupted.clone());
    std::thread::spawn(move || {
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            noted.store(true, Ordering::Relaxed);
        }
    });
    Ok(interrupted)
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

/// What is known of a seed.
#[derive(Debug)]
enum Verdict {
    /// It ran, or showed on its way that something is wrong.
    Judged(Box<Report>),
    /// It did not run to its end, and that is nobody's fault: why.
    Unknown(String),
}

/// Runs one seed in a process of its own, with its files in `folder`.
fn child(seed: u64, soak: &Soak, folder: &Path) -> Result<Verdict> {
    let mut child = Command::new(&soak.program)
        .arg("one")
        .arg(seed.to_string())
        .arg("--folder")
        .arg(folder)
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
    let took = if late { processor_time(id) } else { None };
    if late {
        child.kill().with_context(|| format!("ending the process {id}"))?;
    }
    let status = child.wait().context("the end of a process")?;
    let (text, words) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    // What a process leaves that ended in order is nothing.
    drop(std::fs::remove_dir_all(folder));
    if let Some(report) = text.lines().last().and_then(|line| serde_json::from_str(line).ok()) {
        return Ok(Verdict::Judged(Box::new(report)));
    }
    let violation = match late {
        true => match took {
            Some(took) if took >= SPINS => format!(
                "no end after {} s of a processor: something spins, and simulated time stands still",
                took.as_secs()
            ),
            _ => {
                let s = REAL_TIME_MAX.as_secs();
                return Ok(Verdict::Unknown(format!(
                    "no end after {s} s, in which it hardly ran: is the machine busy?"
                )));
            }
        },
        false => match last_words(status, &words) {
            Ok(violation) => violation,
            Err(unknown) => return Ok(Verdict::Unknown(unknown)),
        },
    };
    let last: Vec<String> = words.lines().rev().take(60).map(str::to_owned).collect();
    Ok(Verdict::Judged(Box::new(Report {
        seed,
        hash: String::new(),
        events: 0,
        nodes: 0,
        simulated_ms: 0,
        revisions: 0,
        coverage: Default::default(),
        violations: vec![violation],
        last: last.into_iter().rev().collect(),
    })))
}

/// What the last words of a process come to that left no report: a violation when the product ended it; otherwise it says
/// nothing about the product, and this is why.
fn last_words(status: ExitStatus, words: &str) -> Result<String, String> {
    /// SIGHUP, SIGINT, SIGKILL and SIGTERM come from outside.
    const FROM_OUTSIDE: [i32; 4] = [1, 2, 9, 15];
    let panic = words.lines().find(|line| line.contains("panicked at"));
    let said = panic.or(words.lines().last()).unwrap_or_default();
    let text = format!("the process ended with {status}: {said}");
    let killed = status.signal().is_some_and(|signal| FROM_OUTSIDE.contains(&signal));
    let own = panic.is_some_and(|line| line.contains("cluster-tests/simulation/"));
    // Without a panic or a signal it said itself that it could not run.
    let refused = panic.is_none() && status.signal().is_none();
    if killed || own || refused { Err(text) } else { Ok(text) }
}

/// How much of a processor the process `id` has had; `None` where that is not known.
fn processor_time(id: u32) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // Behind the name, which may hold anything, field 14 is the time in the program and 15 that in the system.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Duration::from_millis((ticks(11)? + ticks(12)?) * 1_000 / TICKS))
}

fn read(pipe: Option<impl std::io::Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What was read before an error is what there is.
        drop(pipe.read_to_end(&mut bytes));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_product_fails_a_seed() {
        let (killed, aborted, ended) =
            (ExitStatus::from_raw(9), ExitStatus::from_raw(6), ExitStatus::from_raw(101 << 8));
        assert!(last_words(killed, "").is_err(), "somebody killed it");
        assert!(last_words(aborted, "").is_ok(), "it aborted");
        assert!(last_words(ended, "thread 'main' panicked at raft/src/submit/mod.rs:1:1:\nwhy").is_ok());
        assert!(last_words(ended, "thread 'main' panicked at cluster-tests/simulation/src/run.rs:1:1:\nwhy").is_err());
        assert!(last_words(ExitStatus::from_raw(2 << 8), "error: no folder for files").is_err());
    }

    #[test]
    fn a_process_knows_how_long_it_ran() {
        assert!(processor_time(std::process::id()).is_some());
    }
}
