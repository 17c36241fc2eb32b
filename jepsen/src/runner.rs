//! One run: start the machines, let clients work while faults strike, heal, read everything back, judge.

mod folder;
mod identity;
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
pub use identity::hash_of;

use crate::checker::{Last, Run};
use crate::client::Client;
use crate::history::{History, Recorder};
use crate::workload::{self, Worker, Workload};
use crate::world::{Spec, World};
use crate::{nemesis, planted, report};
use folder::Folder;

/// How long a cluster may take until it is whole again after everything was healed.
const HEALTHY_WITHIN: Duration = Duration::from_secs(60);
/// How long clients go on after the last fault, as a part of the whole time, and its bounds in seconds.
const CALM_PART: u64 = 6;
const CALM_SECONDS: (u64, u64) = (4, 15);
/// How long collections keep their history and feed, seconds: the longest that there is.
const RETENTION_S: u64 = 366 * 86_400;
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
    /// The hash of the program under test. Its version says the same for every build.
    #[serde(default)]
    pub program: String,
    /// The hash of this program, whose faults and checkers the verdict is of.
    #[serde(default)]
    pub harness: String,
}

impl Config {
    /// The name of this run.
    pub fn name(&self) -> String {
        format!("{}-{}-{}", self.workload, self.nemesis, self.seed)
    }

    /// The folder of this run.
    pub fn folder(&self) -> PathBuf {
        self.runs.join(self.name())
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

impl Config {
    /// Whether such a run can be done here, before anything is touched.
    ///
    /// # Errors
    /// When it cannot, and why.
    fn check(&self) -> Result<Spec> {
        ensure!(self.workers > 0 && self.nodes > 0 && self.time_s > 0, "workers, nodes and time are at least 1");
        if let Some(bug) = &self.planted {
            planted::named(bug)?;
        }
        workload::named(&self.workload)?;
        let spec = Spec {
            nodes: self.nodes,
            seed: self.seed,
            folder: std::path::absolute(self.folder())?,
            binary: self.binary.clone(),
            needs: nemesis::needs(&self.nemesis)?,
            args: self.args.clone(),
            planted: self.planted.clone(),
        };
        spec.check()?;
        Ok(spec)
    }
}

/// Does a run and judges it.
///
/// # Errors
/// When it could not be done: the machines do not start, a fault cannot be injected. That is no verdict.
pub async fn run(mut config: Config) -> Result<Results> {
    // An earlier run of the same name goes: not before it is sure that this one can be done.
    let spec = config.check()?;
    config.version = identity::version(&config.binary)?;
    let workload = workload::named(&config.workload)?;
    let folder = Folder::create(&config)?;
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
            let kept = world.keep_data().await.err().map(|error| format!("; the data could not be kept: {error:#}"));
            let kept = kept.unwrap_or_default();
            return Err(error.context(format!("the run failed; what there is lies in {}{kept}", folder.path.display())));
        }
    };
    // The disks stay until it is known whether something has to be found in them.
    world.kill(&world.ids()).await?;
    folder.keep(&events, &last, &coverage)?;
    let history = History::new(&events);
    let nodes = client.nodes();
    let complaints = folder::complaints(&folder.path)?;
    let run = Run { history, last, coverage, nemesis: config.nemesis.clone(), nodes, complaints };
    let results = folder::judge(&config, workload.as_ref(), &run);
    folder.conclude(&results, &report::page(&config, &results, &run))?;
    let data: Vec<PathBuf> = world.nodes().iter().map(|node| node.data_dir().to_owned()).collect();
    if !results.is_valid() {
        world.keep_data().await.context("keeping the data of a run that is not valid")?;
    }
    drop(world);
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
    let mut coverage = if config.nemesis == "none" {
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
    workload.finish(&mut first).await;
    let last = last_reads::read(client, &collections).await;
    // A node may end in the calm, and after it: none may do so unseen.
    coverage.count_endings(&world.tally().endings);
    Ok((last, coverage))
}

/// Creates a collection, whatever it takes.
async fn make_collection(client: &Client, name: &str) -> Result<()> {
    let deadline = Instant::now() + SETUP_WITHIN;
    let nodes = client.nodes();
    for attempt in 0.. {
        let node = nodes[attempt % nodes.len()];
        // Clocks that are set ahead must not make the feed too old to be read at the end.
        let body = json!({ "name": name, "history": { "retention_seconds": RETENTION_S } });
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
