//! Many runs, and a table with a row for each.

use std::collections::{HashSet, VecDeque};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::report::{table_head, table_row};
use crate::runner::{Config, Results};
use crate::world::run_program;

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

/// What became of one run.
pub struct Outcome {
    /// What it was told.
    pub config: Config,
    /// Its results, or why there are none.
    pub results: Result<Results>,
    /// Whether they lay there already.
    pub earlier: bool,
}

impl Outcome {
    /// Whether it passed.
    pub fn is_valid(&self) -> bool {
        self.results.as_ref().is_ok_and(Results::is_valid)
    }

    /// As a row of the table.
    pub fn row(&self) -> String {
        match &self.results {
            Ok(results) => table_row(results),
            Err(error) => {
                let Config { workload, nemesis, nodes, seed, time_s, .. } = &self.config;
                let why = format!("{error:#}").replace(['\n', '|'], " ");
                format!("| {workload} | {nemesis} | {nodes} | {seed} | {time_s} | | | | | | | no run | {why} |\n")
            }
        }
    }

    /// As one line for machines.
    pub fn line(&self) -> Value {
        let Config { workload, nemesis, nodes, seed, time_s, .. } = &self.config;
        let mut line = json!({
            "workload": workload, "nemesis": nemesis, "nodes": nodes, "seed": seed, "time_s": time_s,
            "folder": self.config.folder(), "earlier": self.earlier,
        });
        match &self.results {
            Ok(results) => {
                line["verdict"] = results.verdict.word().into();
                line["operations"] = json!(results.operations);
                line["first_anomaly"] = json!(results.first_anomaly());
            }
            Err(error) => {
                line["verdict"] = "no run".into();
                line["error"] = format!("{error:#}").into();
            }
        }
        line
    }
}

/// Does all of them and tells `say` of each. Whether all were valid.
///
/// # Errors
/// When there is nothing to run, when two would be one folder's, or when the table cannot be written. A run that could not be
/// done is an outcome that says so, and not valid.
pub fn run(matrix: Matrix, say: &(dyn Fn(&Outcome) + Sync)) -> Result<bool> {
    let Matrix { configs, jobs, resume, table } = matrix;
    ensure!(!configs.is_empty(), "no cell is left to run, which is no pass");
    let mut folders = HashSet::new();
    for config in &configs {
        ensure!(
            folders.insert(config.folder()),
            "two cells would lie in {}, and the second would replace the first: give them different seeds, in two calls",
            config.folder().display()
        );
    }
    let queue = Mutex::new(VecDeque::from(configs));
    // Held while a row is written, too: rows do not mix.
    let all_valid = Mutex::new(true);
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let work = || -> Result<()> {
        while let Some(config) = next() {
            let outcome = match resume.then(|| earlier(&config)).flatten() {
                Some(results) => Outcome { config, results: Ok(results), earlier: true },
                None => Outcome { results: run_apart(&config), config, earlier: false },
            };
            let mut all_valid = all_valid.lock().unwrap_or_else(PoisonError::into_inner);
            *all_valid &= outcome.is_valid();
            append(&table, &outcome.row())?;
            say(&outcome);
        }
        Ok(())
    };
    std::thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| bail!("a run panicked")))
    })?;
    Ok(all_valid.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Does a run in a process of its own: judging a long one takes gigabytes, which are given back only so.
fn run_apart(config: &Config) -> Result<Results> {
    let mut command = Command::new(std::env::current_exe().context("where this program lies")?);
    command.arg("run").args(config.arguments()).args(["--output", "json"]);
    command.arg("--binary").arg(&config.binary).arg("--runs").arg(&config.runs);
    let output = run_program(command).context("starting a run")?;
    match serde_json::from_slice(&output.stdout) {
        Ok(results) => Ok(results),
        Err(_) => bail!("{} ({})", String::from_utf8_lossy(&output.stderr).trim(), output.status),
    }
}

/// The results of a run that was told the same, of the same programs, and is done.
fn earlier(config: &Config) -> Option<Results> {
    let text = std::fs::read(config.folder().join("results.json")).ok()?;
    let results: Results = serde_json::from_slice(&text).ok()?;
    // Only the run itself asks the program for its version; what tells builds apart is the hashes.
    let told = Config { version: results.config.version.clone(), ..config.clone() };
    (results.config == told).then_some(results)
}

/// Adds a row, if it does not stand there from an earlier call.
fn append(path: &Path, row: &str) -> Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    }
    let there = std::fs::read_to_string(path).unwrap_or_default();
    if there.contains(row) {
        return Ok(());
    }
    let mut file =
        OpenOptions::new().create(true).append(true).open(path).with_context(|| path.display().to_string())?;
    if there.is_empty() {
        file.write_all(table_head().as_bytes())?;
    }
    Ok(file.write_all(row.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::Verdict;

    fn config(runs: &Path, nemesis: &str) -> Config {
        Config {
            workload: "register".into(),
            nemesis: nemesis.into(),
            time_s: 1,
            nodes: 3,
            seed: 9,
            rate: 0,
            workers: 1,
            args: Vec::new(),
            binary: "aerodb".into(),
            runs: runs.to_owned(),
            planted: None,
            version: String::new(),
            program: "one".into(),
            harness: "one".into(),
        }
    }

    /// Puts results there, as a run of these programs left them.
    fn done(config: &Config, verdict: Verdict) {
        let results = Results {
            verdict,
            operations: Default::default(),
            latency_ms: Default::default(),
            per_second: 0.0,
            findings: Vec::new(),
            endings: Vec::new(),
            config: Config { version: "0.1.0".into(), ..config.clone() },
            folder: config.folder(),
        };
        std::fs::create_dir_all(config.folder()).unwrap();
        std::fs::write(config.folder().join("results.json"), serde_json::to_vec(&results).unwrap()).unwrap();
    }

    #[test]
    fn only_results_of_the_same_programs_are_taken() {
        let runs = tempfile::tempdir().unwrap();
        let config = config(runs.path(), "kill");
        assert!(earlier(&config).is_none());
        done(&config, Verdict::Valid);
        assert!(earlier(&config).is_some());
        for other in [
            Config { program: "two".into(), ..config.clone() },
            Config { harness: "two".into(), ..config.clone() },
            Config { time_s: 2, ..config.clone() },
        ] {
            assert!(earlier(&other).is_none(), "{other:?}");
        }
    }

    #[test]
    fn an_earlier_result_is_told_and_counts() {
        let runs = tempfile::tempdir().unwrap();
        let configs = vec![config(runs.path(), "kill"), config(runs.path(), "none")];
        done(&configs[0], Verdict::Invalid);
        done(&configs[1], Verdict::Valid);
        let table = runs.path().join("results.md");
        for _ in 0..2 {
            let told = Mutex::new(Vec::new());
            let matrix = Matrix { configs: configs.clone(), jobs: 1, resume: true, table: table.clone() };
            let valid = run(matrix, &|outcome| told.lock().unwrap().push(outcome.line()["verdict"].clone())).unwrap();
            assert!(!valid && *told.lock().unwrap() == ["invalid", "valid"], "{told:?}");
            // The head of two lines, and a row each.
            assert_eq!(std::fs::read_to_string(&table).unwrap().lines().count(), 4);
        }
    }

    #[test]
    fn nothing_to_run_is_no_pass_and_no_run_replaces_another() {
        let runs = tempfile::tempdir().unwrap();
        let attempt = |configs: Vec<Config>| {
            let table = runs.path().join("results.md");
            run(Matrix { configs, jobs: 2, resume: false, table }, &|_| ()).unwrap_err().to_string()
        };
        assert!(attempt(Vec::new()).contains("no pass"));
        let (one, other) = (config(runs.path(), "kill"), Config { nodes: 5, ..config(runs.path(), "kill") });
        assert!(attempt(vec![one, other]).contains("would replace the first"));
        assert!(!runs.path().join("results.md").exists());
    }
}
