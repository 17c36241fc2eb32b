//! One run: start the machines, let clients work while faults strike, heal, read everything back, judge.

mod folder;
mod last_reads;
mod load;
mod stalls;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub use folder::{Results, judge_again};

use crate::checker::{Last, Run};
use crate::client::Client;
use crate::history::{History, Recorder};
use crate::workload::{self, Worker, Workload};
use crate::world::{Spec, World};
use crate::{nemesis, report};
use folder::Folder;

/// How long a cluster may take until it is whole again after everything was healed.
const HEALTHY_WITHIN: Duration = Duration::from_secs(60);
/// How long clients go on after the last fault, as a part of the whole time, and its bounds in seconds.
const CALM_PART: u64 = 6;
const CALM_SECONDS: (u64, u64) = (4, 15);
/// How long the setup of a workload may take.
const SETUP_WITHIN: Duration = Duration::from_secs(30);

/// What a run is told. It is kept in the run's folder, and says everything that is needed to run it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// What clients do.
    pub workload: String,
    /// What goes wrong.
    pub nemesis: String,
    /// How long clients work, seconds.
    pub time_s: u64,
    /// Nodes.
    pub nodes: usize,
    /// What every choice is drawn from.
    pub seed: u64,
    /// Operations a second of all workers together; 0: as many as they can.
    pub rate: u64,
    /// Clients.
    pub workers: u64,
    /// More flags of `aerodb server`.
    #[serde(default)]
    pub args: Vec<String>,
    /// The program under test.
    pub binary: PathBuf,
    /// Where runs are kept.
    pub runs: PathBuf,
    /// The planted bug that is on in the nodes; see `planted`.
    #[serde(default)]
    pub planted: Option<String>,
    /// What the program under test says about itself.
    #[serde(default)]
    pub version: String,
}

impl Config {
    /// The folder of this run.
    pub fn folder(&self) -> PathBuf {
        self.runs.join(format!("{}-{}-{}", self.workload, self.nemesis, self.seed))
    }

    /// The arguments of `jepsen run` that do it again, with the program and the folder that it takes by itself.
    pub fn arguments(&self) -> Vec<String> {
        let Self { workload, nemesis, time_s, nodes, seed, rate, workers, .. } = self;
        let numbers =
            [("time", *time_s), ("nodes", *nodes as u64), ("seed", *seed), ("rate", *rate), ("workers", *workers)];
        let mut arguments = vec!["--workload".to_owned(), workload.clone(), "--nemesis".to_owned(), nemesis.clone()];
        arguments.extend(numbers.iter().flat_map(|(name, value)| [format!("--{name}"), value.to_string()]));
        arguments.extend(self.args.iter().map(|arg| format!("--server-arg={arg}")));
        if let Some(bug) = &self.planted {
            arguments.extend(["--planted".to_owned(), bug.clone()]);
        }
        arguments
    }

    /// The command that does it again.
    pub fn command(&self) -> String {
        let binary = self.planted.iter().map(|_| format!(" --binary {}", self.binary.display()));
        let binary: String = binary.collect();
        format!("cargo run --release -p jepsen -- run {}{binary}", self.arguments().join(" "))
    }
}

/// Does a run and judges it.
///
/// # Errors
/// When it could not be done: the machines do not start, a fault cannot be injected. That is no verdict.
pub async fn run(mut config: Config) -> Result<Results> {
    ensure!(config.workers > 0 && config.nodes > 0 && config.time_s > 0, "workers, nodes and time are at least 1");
    config.version = version(&config.binary)?;
    let workload = workload::named(&config.workload)?;
    let folder = Folder::create(&config)?;
    let spec = Spec {
        nodes: config.nodes,
        seed: config.seed,
        folder: folder.path.clone(),
        binary: config.binary.clone(),
        needs: nemesis::needs(&config.nemesis)?,
        args: config.args.clone(),
        planted: config.planted.clone(),
    };
    let world = World::start(spec).await.context("starting the machines")?;
    let recorder = Recorder::new();
    let client = Client::new(&world.endpoints(), world.service_key())?;
    let done = drive(&config, &workload, &world, &recorder, &client).await;
    // Whatever happened is kept, also when the run itself failed.
    let events = recorder.events();
    let (last, coverage) = match done {
        Ok(done) => done,
        Err(error) => {
            folder.keep(&events, &Last::default(), &nemesis::Coverage::default())?;
            return Err(error.context(format!("the run failed; what there is lies in {}", folder.path.display())));
        }
    };
    let data: Vec<PathBuf> = world.nodes().iter().map(|node| node.data_dir().to_owned()).collect();
    drop(world);
    folder.keep(&events, &last, &coverage)?;
    let history = History::new(&events);
    let nodes = client.nodes();
    let run = Run { history, last, coverage, nemesis: config.nemesis.clone(), nodes };
    let results = folder::judge(&config, workload.as_ref(), &run);
    folder.conclude(&results, &report::page(&config, &results, &run))?;
    if results.is_valid() {
        // Data is of use only where something has to be found in it.
        data.iter().for_each(|data| drop(std::fs::remove_dir_all(data)));
    }
    Ok(results)
}

/// Everything that happens while the machines run.
async fn drive(
    config: &Config,
    workload: &Arc<dyn Workload>,
    world: &World,
    recorder: &Recorder,
    client: &Client,
) -> Result<(Last, nemesis::Coverage)> {
    let collections = workload.collections();
    for collection in &collections {
        make_collection(client, collection).await?;
    }
    // A stale read of a node that has not heard of the collection yet would say, rightly, that there is none.
    world.wait_converged(SETUP_WITHIN).await.context("all nodes must know the collections")?;
    let mut first = Worker::new(config.workers, config.workers + 1, client.clone(), recorder.clone(), config.seed);
    tokio::time::timeout(SETUP_WITHIN, workload.setup(&mut first)).await.context("the setup took too long")??;

    let stalls = stalls::Stalls::watch();
    let load = load::start(config, workload, client, recorder);
    let calm = (config.time_s / CALM_PART).clamp(CALM_SECONDS.0, CALM_SECONDS.1).min(config.time_s);
    let calm = Duration::from_secs(calm);
    let duration = Duration::from_secs(config.time_s).saturating_sub(calm);
    let coverage = if config.nemesis == "none" {
        tokio::time::sleep(duration).await;
        nemesis::Coverage::default()
    } else {
        let stop = CancellationToken::new();
        nemesis::run(&config.nemesis, world, recorder, config.seed, duration, stop).await?
    };
    let began = Instant::now();
    let ready = world.wait_ready(HEALTHY_WITHIN).await;
    let error = ready.err().map(|error| format!("{error:#}"));
    recorder.note("healthy", json!({ "after_ms": began.elapsed().as_millis() as u64, "error": error }));
    tokio::time::sleep(calm).await;
    recorder.note("load ends", Value::Null);
    load.stop().await;
    recorder.note("stalls", stalls.finish().await);

    let converged = world.wait_converged(HEALTHY_WITHIN).await;
    let error = converged.as_ref().err().map(|error| format!("{error:#}"));
    recorder.note("digests", json!({ "equal": error.is_none(), "error": error }));
    Ok((last_reads::read(client, &collections).await, coverage))
}

/// Creates a collection, whatever it takes.
async fn make_collection(client: &Client, name: &str) -> Result<()> {
    let deadline = Instant::now() + SETUP_WITHIN;
    let nodes = client.nodes();
    for attempt in 0.. {
        let node = nodes[attempt % nodes.len()];
        let body = json!({ "name": name });
        match client.raw(node, Method::POST, &["admin", "collections"], Some(body)).await {
            // There already: an earlier attempt whose answer did not arrive.
            Ok((201 | 409, _)) => return Ok(()),
            Ok((status, body)) if Instant::now() >= deadline => bail!("creating {name:?}: {status} {body}"),
            Err(error) if Instant::now() >= deadline => return Err(error).context(format!("creating {name:?}")),
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    Ok(())
}

fn version(binary: &std::path::Path) -> Result<String> {
    let output = std::process::Command::new(binary).arg("version").output();
    let output = output.with_context(|| format!("running {}", binary.display()))?;
    ensure!(output.status.success(), "{} version: {}", binary.display(), output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
