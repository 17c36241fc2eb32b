//! A run's folder, and the judgement of what lies in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::Config;
use crate::checker::{Finding, Last, Run, Verdict, common};
use crate::history::{Event, History, Kind, read_jsonl, write_edn, write_jsonl};
use crate::workload::{self, Workload};
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
}

/// A folder to keep a run in.
pub(super) struct Folder {
    pub(super) path: PathBuf,
}

impl Folder {
    /// An empty folder for this run. An earlier run of the same name goes.
    pub(super) fn create(config: &Config) -> Result<Self> {
        let path = config.runs.join(format!("{}-{}-{}", config.workload, config.nemesis, config.seed));
        if path.join("config.json").exists() {
            std::fs::remove_dir_all(&path).with_context(|| format!("emptying {}", path.display()))?;
        }
        ensure!(!path.exists(), "{} is there and holds no run", path.display());
        std::fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        std::fs::write(path.join("config.json"), serde_json::to_vec_pretty(config)?)?;
        Ok(Self { path })
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

/// Judges a run that lies in a folder, once more: with the checkers as they are now.
///
/// # Errors
/// When there is no run.
pub fn judge_again(path: &Path) -> Result<Results> {
    let text = std::fs::read(path.join("config.json")).with_context(|| format!("{} holds no run", path.display()))?;
    let config: Config = serde_json::from_slice(&text)?;
    let run = Run {
        history: History::new(&read_jsonl(&path.join("history.jsonl"))?),
        last: Last::read(&path.join("last.jsonl"))?,
        coverage: serde_json::from_slice(&std::fs::read(path.join("coverage.json"))?)?,
        nemesis: config.nemesis.clone(),
        nodes: (1..=config.nodes as u64).collect(),
    };
    let results = judge(&config, workload::named(&config.workload)?.as_ref(), &run);
    let results = Results { folder: path.to_owned(), ..results };
    Folder { path: path.to_owned() }.conclude(&results, &report::page(&config, &results, &run))?;
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
        folder: config.runs.join(format!("{}-{}-{}", config.workload, config.nemesis, config.seed)),
        config: config.clone(),
    }
}
