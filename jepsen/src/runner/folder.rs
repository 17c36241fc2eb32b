//! A run's folder, and the judgement of what lies in it.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::Config;
use crate::checker::{Finding, Last, Run, Verdict, common, logs};
use crate::history::{Event, History, Kind, read_jsonl, write_edn, write_jsonl};
use crate::workload::{self, Workload};
use crate::world::unmount_under;
use crate::{nemesis, report};

/// The verdict of a run and all that it rests on: `results.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// The worst of all findings.
    pub verdict: Verdict,
    /// Operations by how they ended.
    pub operations: BTreeMap<String, u64>,
    /// Milliseconds of those that succeeded, by percentile.
    pub latency_ms: BTreeMap<String, f64>,
    /// Operations that succeeded per second, over the whole run.
    pub per_second: f64,
    /// Each checker's finding.
    pub findings: Vec<Finding>,
    /// How nodes ended by themselves.
    pub endings: Vec<String>,
    /// What the run was told.
    pub config: Config,
    /// Where it lies.
    pub folder: PathBuf,
}

impl Results {
    /// Whether the run passed.
    pub fn is_valid(&self) -> bool {
        self.verdict == Verdict::Valid
    }

    /// What went wrong first, in words; `None` unless the run is invalid.
    pub fn first_anomaly(&self) -> Option<String> {
        if self.verdict != Verdict::Invalid {
            return None;
        }
        let mut anomalies = self.findings.iter().flat_map(|finding| &finding.anomalies);
        let first = anomalies.next().map(|anomaly| format!("{}: {}", anomaly.rule, anomaly.text));
        Some(first.unwrap_or_else(|| self.endings.join("; ")))
    }
}

/// A folder to keep a run in. Nobody else works in it as long as this lives.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    _lock: Option<File>,
}

impl Folder {
    /// An empty folder for this run. An earlier run of the same name goes.
    ///
    /// The folder is there with its `config.json` or not at all, whenever this is interrupted: both ways it is made anew
    /// next time.
    pub(super) fn create(config: &Config) -> Result<Self> {
        let lock = lock(config)?;
        let path = config.runs.canonicalize()?.join(config.name());
        let beside = |what: &str| path.with_file_name(format!(".{what}-{}", config.name()));
        let (old, new) = (beside("old"), beside("new"));
        // What runs that were killed left mounted would be emptied with the folder.
        [&path, &old, &new].into_iter().for_each(|folder| unmount_under(folder));
        remove(&old)?;
        remove(&new)?;
        if path.exists() {
            let ours = path.join("config.json").exists() || std::fs::read_dir(&path)?.next().is_none();
            ensure!(
                ours,
                "{} is there and holds no run: name another folder with --runs, or remove it",
                path.display()
            );
            std::fs::rename(&path, &old).with_context(|| format!("moving {} away", path.display()))?;
        }
        std::fs::create_dir_all(&new).with_context(|| format!("creating {}", new.display()))?;
        std::fs::write(new.join("config.json"), serde_json::to_vec_pretty(config)?)?;
        std::fs::rename(&new, &path).with_context(|| format!("creating {}", path.display()))?;
        remove(&old)?;
        Ok(Self { path, _lock: Some(lock) })
    }

    /// Keeps what happened.
    pub(super) fn keep(&self, events: &[Event], last: &Last, coverage: &nemesis::Coverage) -> Result<()> {
        write_jsonl(events, &self.path.join("history.jsonl"))?;
        write_edn(events, &self.path.join("history.edn"))?;
        last.write(&self.path.join("last.jsonl"))?;
        Ok(std::fs::write(self.path.join("coverage.json"), serde_json::to_vec_pretty(coverage)?)?)
    }

    /// Keeps the judgement.
    pub(super) fn conclude(&self, results: &Results, page: &str) -> Result<()> {
        std::fs::write(self.path.join("results.json"), serde_json::to_vec_pretty(results)?)?;
        Ok(std::fs::write(self.path.join("report.html"), page)?)
    }
}

/// Takes the name of this run for ourselves. The lock goes with this process, however it ends.
fn lock(config: &Config) -> Result<File> {
    let locks = config.runs.join(".locks");
    std::fs::create_dir_all(&locks).with_context(|| format!("creating {}", locks.display()))?;
    let path = locks.join(config.name());
    let lock = File::options().create(true).append(true).open(&path).with_context(|| path.display().to_string())?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => bail!(
            "another process does a run in {} now: wait for it, or name another folder with --runs",
            config.folder().display()
        ),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("locking {}", path.display())),
    }
}

/// Removes a folder if it is there.
fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Lines of the nodes' logs that no node may ever write, whatever is done to it.
pub(super) fn complaints(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with("node-") || !name.ends_with(".log") {
            continue;
        }
        // A node that is killed may leave half a character.
        for line in BufReader::new(File::open(&path)?).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            if logs::is_complaint(&line) {
                found.push(format!("{name}: {line}"));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Judges a run that lies in a folder, once more: with the checkers as they are now.
///
/// # Errors
/// When there is no run.
pub fn judge_again(path: &Path) -> Result<Results> {
    let text = std::fs::read(path.join("config.json")).with_context(|| format!("{} holds no run", path.display()))?;
    let config: Config = serde_json::from_slice(&text)?;
    ensure!(
        path.join("coverage.json").is_file(),
        "the run in {} never came to its end, so there is nothing to judge: do it again with {}",
        path.display(),
        config.command()
    );
    let run = Run {
        history: History::new(&read_jsonl(&path.join("history.jsonl"))?),
        last: Last::read(&path.join("last.jsonl"))?,
        coverage: serde_json::from_slice(&std::fs::read(path.join("coverage.json"))?)?,
        nemesis: config.nemesis.clone(),
        nodes: (1..=config.nodes as u64).collect(),
        complaints: complaints(path)?,
    };
    let results = judge(&config, workload::named(&config.workload)?.as_ref(), &run);
    let results = Results { folder: path.to_owned(), ..results };
    Folder { path: path.to_owned(), _lock: None }.conclude(&results, &report::page(&config, &results, &run))?;
    Ok(results)
}

/// Lets every checker look at a run.
pub(super) fn judge(config: &Config, workload: &dyn Workload, run: &Run) -> Results {
    let checkers = common().into_iter().chain(workload.checkers());
    let findings: Vec<Finding> = checkers.map(|checker| checker.check(run)).collect();
    let verdict = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Unknown);
    let mut operations: BTreeMap<String, u64> = BTreeMap::new();
    // Up to an hour, to three digits; microseconds.
    let mut latencies = Histogram::<u64>::new_with_bounds(1, 3_600_000_000, 3).ok();
    for operation in &run.history.operations {
        *operations.entry(report::word(operation.kind).to_owned()).or_default() += 1;
        if let (Kind::Ok, Some(latencies)) = (operation.kind, &mut latencies) {
            latencies.saturating_record((operation.end_ns - operation.begin_ns) / 1_000);
        }
    }
    let succeeded = operations.get("ok").copied().unwrap_or(0);
    let percentile = |p: f64| latencies.as_ref().map_or(0.0, |l| l.value_at_quantile(p) as f64 / 1_000.0);
    let percentiles = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)];
    Results {
        verdict,
        latency_ms: percentiles.iter().map(|(name, p)| ((*name).to_owned(), percentile(*p))).collect(),
        per_second: succeeded as f64 / (run.history.end_ns as f64 / 1e9).max(1e-9),
        operations,
        findings,
        endings: run.coverage.endings.clone(),
        folder: config.folder(),
        config: config.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::testing::{Script, change, get, put, with};

    fn config(runs: &Path) -> Config {
        Config {
            workload: "register".into(),
            nemesis: "none".into(),
            time_s: 1,
            nodes: 3,
            seed: 9,
            rate: 0,
            workers: 1,
            args: Vec::new(),
            binary: "aerodb".into(),
            runs: runs.to_owned(),
            planted: None,
            version: "0".into(),
            program: String::new(),
            harness: String::new(),
        }
    }

    /// Judges a run, keeps it, and judges what was kept; `read` is the revision and the tag that a read answers.
    fn check(read: (u64, &str)) -> (Results, Results, String) {
        let script = Script::default();
        script.does(0, &put("a", "1"), 1, with("a", 1, "1")).does(0, &put("a", "2"), 2, with("a", 2, "2"));
        script.does(1, &get("a"), read.0, with("a", read.0, read.1));
        let feed = [change(1, "a", "1", None), change(2, "a", "2", Some((1, "1")))];
        let run = Run { nemesis: "none".into(), ..script.run(&feed) };
        let runs = tempfile::tempdir().unwrap();
        let config = config(runs.path());
        let folder = Folder::create(&config).unwrap();
        folder.keep(&script.events(), &run.last, &run.coverage).unwrap();
        let first = judge(&config, workload::named("register").unwrap().as_ref(), &run);
        let again = judge_again(&folder.path).unwrap();
        let page = std::fs::read_to_string(folder.path.join("report.html")).unwrap();
        assert_eq!(std::fs::read_to_string(folder.path.join("history.edn")).unwrap().lines().count(), 6);
        assert!(Folder::create(&config).is_err(), "nobody else takes it meanwhile");
        drop(folder);
        assert!(Folder::create(&config).is_ok(), "a run of the same name replaces it");
        (first, again, page)
    }

    #[test]
    fn a_run_that_was_kept_is_judged_alike() {
        for (read, rule) in [((2, "2"), None), ((1, "1"), Some("stale read")), ((2, "1"), Some("wrong read"))] {
            let (first, again, page) = check(read);
            assert_eq!(first.findings, again.findings);
            let found: Vec<&str> =
                first.findings.iter().flat_map(|finding| &finding.anomalies).map(|a| a.rule.as_str()).collect();
            match rule {
                // Node 1 alone was asked, so that nothing can be said of the others.
                None => assert!(found.iter().all(|rule| *rule == "not available"), "{found:?}"),
                Some(rule) => assert!(found.contains(&rule) && page.contains(rule), "{found:?}"),
            }
            assert!(page.contains(&config(Path::new("")).command()) && page.ends_with("</html>\n"));
            // One file: nothing is fetched and nothing runs.
            assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("href="));
        }
    }
    #[test]
    fn a_folder_that_was_being_made_is_made_again() {
        let runs = tempfile::tempdir().unwrap();
        let config = config(runs.path());
        let path = config.folder();
        // Interrupted at any step: emptied, moved away, half made.
        std::fs::create_dir_all(&path).unwrap();
        std::fs::create_dir_all(runs.path().join(".old-register-none-9/node-1")).unwrap();
        std::fs::create_dir_all(runs.path().join(".new-register-none-9")).unwrap();
        drop(Folder::create(&config).unwrap());
        let left: Vec<_> = std::fs::read_dir(runs.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.len() == 2 && path.join("config.json").is_file(), "{left:?}");
        // A run that did not come to its end.
        let error = judge_again(&path).unwrap_err().to_string();
        assert!(error.contains("never came to its end"), "{error}");
        // What is not ours is left alone.
        std::fs::remove_file(path.join("config.json")).unwrap();
        std::fs::write(path.join("thesis.txt"), "text").unwrap();
        assert!(Folder::create(&config).is_err() && path.join("thesis.txt").exists());
    }

    #[test]
    fn a_panic_in_a_log_is_found() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("node-2.log"), b"all is well\nthread 'main' panicked at a.rs:1\n\xff")
            .unwrap();
        std::fs::write(folder.path().join("other.log"), "panicked at").unwrap();
        assert_eq!(complaints(folder.path()).unwrap(), ["node-2.log: thread 'main' panicked at a.rs:1"]);
    }
}
