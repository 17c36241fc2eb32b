//! Many runs, and a table with a row for each.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use crate::report::{table_head, table_row};
use crate::runner::{Config, Results};

/// What to run, and how.
pub struct Matrix {
    /// The runs.
    pub configs: Vec<Config>,
    /// Runs at once.
    pub jobs: usize,
    /// Leaves out those whose results lie there already.
    pub resume: bool,
    /// The Markdown file to which rows are added.
    pub table: PathBuf,
}

/// Does all of them and tells `say` of each row. Whether all were valid.
///
/// # Errors
/// When the table cannot be written. A run that could not be done is a row that says so, and not valid.
pub fn run(matrix: Matrix, say: &(dyn Fn(&str) + Sync)) -> Result<bool> {
    let Matrix { configs, jobs, resume, table } = matrix;
    let queue = Mutex::new(VecDeque::from(configs));
    // Held while a row is written, too: rows do not mix.
    let all_valid = Mutex::new(true);
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let work = || -> Result<()> {
        while let Some(config) = next() {
            let (valid, row) = match resume.then(|| earlier(&config)).flatten() {
                Some(results) => (results.is_valid(), None),
                None => one(config),
            };
            let mut all_valid = all_valid.lock().unwrap_or_else(PoisonError::into_inner);
            *all_valid &= valid;
            if let Some(row) = row {
                append(&table, &row)?;
                say(&row);
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| bail!("a run panicked")))
    })?;
    Ok(all_valid.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// One run: whether it was valid, and its row.
fn one(config: Config) -> (bool, Option<String>) {
    match run_apart(&config) {
        Ok(results) => (results.is_valid(), Some(table_row(&results))),
        Err(error) => {
            let Config { workload, nemesis, nodes, seed, time_s, .. } = config;
            let why = format!("{error:#}").replace(['\n', '|'], " ");
            let row =
                format!("| {workload} | {nemesis} | {nodes} | {seed} | {time_s} | | | | | | | no run | {why} |\n");
            (false, Some(row))
        }
    }
}

/// Does a run in a process of its own: judging a long one takes gigabytes, which are given back only so.
fn run_apart(config: &Config) -> Result<Results> {
    let mut command = Command::new(std::env::current_exe().context("where this program lies")?);
    command.arg("run").args(config.arguments()).args(["--output", "json"]);
    command.arg("--binary").arg(&config.binary).arg("--runs").arg(&config.runs);
    let output = command.stdin(Stdio::null()).output().context("starting a run")?;
    match serde_json::from_slice(&output.stdout) {
        Ok(results) => Ok(results),
        Err(_) => bail!("{} ({})", String::from_utf8_lossy(&output.stderr).trim(), output.status),
    }
}

/// The results of a run that was told the same and is done.
fn earlier(config: &Config) -> Option<Results> {
    let text = std::fs::read(config.folder().join("results.json")).ok()?;
    let results: Results = serde_json::from_slice(&text).ok()?;
    // Only the run itself finds out the version.
    let told = Config { version: results.config.version.clone(), ..config.clone() };
    (results.config == told).then_some(results)
}

fn append(path: &Path, row: &str) -> Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    }
    let new = !path.exists();
    let mut file =
        OpenOptions::new().create(true).append(true).open(path).with_context(|| path.display().to_string())?;
    if new {
        file.write_all(table_head().as_bytes())?;
    }
    Ok(file.write_all(row.as_bytes())?)
}
