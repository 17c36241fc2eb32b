//! One seed, from an empty cluster to the verdict.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use turmoil::Sim;

use crate::call;
use crate::check::Coverage;
use crate::check::oracle::{self, Judgement};
use crate::client::Client;
use crate::echo;
use crate::finale;
use crate::nemesis::Nemesis;
use crate::node;
use crate::plan::{Asked, Plan, Workload, name};
use crate::scratch;
use crate::trace;
use crate::world::World;

/// After everything is healed the cluster must be whole again within this time, simulated.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The simulated time between two comparisons of all that the nodes hold.
const COMPARED_EVERY: Duration = Duration::from_millis(250);

/// What a seed came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// A hash over all that happened: equal for the same seed, in any process.
    pub hash: String,
    /// Events in that hash.
    pub events: u64,
    /// Nodes.
    pub nodes: u64,
    /// Simulated time, milliseconds.
    pub simulated_ms: u64,
    /// Revisions committed.
    pub revisions: u64,
    /// What was seen happening.
    pub coverage: Coverage,
    /// What went wrong.
    pub violations: Vec<String>,
    /// The last events, when something went wrong.
    pub last: Vec<String>,
}

/// Runs `seed`. `aloud` prints each event as it comes; `log` adds lines of the libraries to them.
///
/// # Errors
/// When the simulation itself cannot run: that says nothing about the product.
pub fn seed(seed: u64, asked: &Asked, aloud: bool, log: Option<&Targets>) -> Result<Report> {
    // Runs share nothing but the thread, and whatever a run leaves in its thread is set anew here.
    trace::begin(aloud);
    aerodb_raft::seed_this_thread(Some(seed));
    let lines = Targets::new()
        .with_target("aerodb_raft", if aloud { LevelFilter::DEBUG } else { LevelFilter::INFO })
        .with_target("aerodb_engine", LevelFilter::INFO)
        .with_target("turmoil::sim", LevelFilter::INFO)
        .with_targets(log.cloned().unwrap_or_default());
    let subscriber = tracing_subscriber::registry().with(trace::Lines.with_filter(lines));
    tracing::subscriber::with_default(subscriber, || {
        let plan = Plan::draw(seed, asked);
        trace::note(format!("{plan:?}"));
        let own;
        let root = match &asked.folder {
            Some(folder) => {
                std::fs::create_dir_all(folder).context("a folder for real files")?;
                folder.as_path()
            }
            None => {
                own = scratch::folder()?;
                own.path()
            }
        };
        let world = Arc::new(World::new(plan, root));
        let simulated = play(&world);
        Ok(judge(&world, simulated))
    })
}

/// Plays until the clients are done or something went wrong; gives the simulated time.
fn play(world: &Arc<World>) -> Duration {
    let plan = &world.plan;
    let mut sim = turmoil::Builder::new()
        .rng_seed(plan.seed)
        .epoch(std::time::UNIX_EPOCH + Duration::from_secs(1_767_225_600))
        .simulation_duration(Duration::from_secs(3_600))
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(plan.latency.0)
        .max_message_latency(plan.latency.1)
        .tcp_capacity(1 << 14)
        .enable_random_order()
        .build();
    for (id, place) in &world.places {
        let (world, place) = (world.clone(), place.clone());
        sim.host(name(*id), move || node::live(world.clone(), place.clone()));
    }
    let clients = world.clone();
    sim.client("clients", async move {
        everybody(clients).await;
        Ok(())
    });
    let mut nemesis = Nemesis::new(world.clone());
    let mut rng = SmallRng::seed_from_u64(plan.seed ^ 0xdead);
    stagger(&mut sim, world, &mut nemesis, &mut rng);
    let mut compared = Duration::ZERO;
    loop {
        let done = sim.step();
        let now = sim.elapsed();
        trace::set_now(now);
        let mut failed = None;
        match done {
            Ok(true) => return now,
            Ok(false) => {}
            Err(error) => failed = Some(format!("a node or a client ended: {error}")),
        }
        if let Some(alarm) = trace::alarms().first() {
            failed = Some(format!("a node raised an alarm: {alarm}"));
        }
        if now > plan.chaos + DEADLINE * 2 {
            failed = Some("the clients did not end: somebody waits for ever".to_owned());
        }
        if let Some(failed) = failed {
            world.checker.lock().violate(failed);
        }
        if !world.checker.lock().violations().is_empty() {
            return now;
        }
        if now >= plan.chaos && !*world.healed.lock() {
            nemesis.heal(&mut sim, now);
            *world.healed.lock() = true;
        }
        if now >= compared + COMPARED_EVERY {
            compared = now;
            compare(world);
            verify_indexes(world);
        }
        nemesis.step(&mut sim, now);
    }
}

/// All that a node has, earlier versions and the feed too, must be what the others had at the same applied index.
fn compare(world: &World) {
    for place in world.places.values() {
        let Some(handle) = place.handle.lock().clone() else { continue };
        // What a bit flip has hit has no digest; the node finds that out when it reads it.
        let Some(digest) = handle.local().ok().and_then(|view| view.digest().ok()) else { continue };
        world.checker.lock().holds(place.id, digest.applied_index, digest.digest);
    }
}

/// The entries of each index on each node must be those that its documents have there.
fn verify_indexes(world: &World) {
    for place in world.places.values() {
        let Some(handle) = place.handle.lock().clone() else { continue };
        // What a bit flip has hit cannot be read; the node finds that out by itself.
        let Some((_, problems)) = handle.local().ok().and_then(|view| call::indexes(&view).ok()) else { continue };
        let checker = &mut *world.checker.lock();
        checker.coverage.indexes_verified += 1;
        problems.into_iter().for_each(|problem| checker.violate(format!("n{}: {problem}", place.id)));
    }
}

/// Nodes do not start at the same moment.
fn stagger(sim: &mut Sim<'_>, world: &World, nemesis: &mut Nemesis, rng: &mut SmallRng) {
    for id in world.places.keys() {
        if rng.random_bool(0.3) {
            nemesis.start_late(sim, *id, Duration::from_millis(rng.random_range(1..800)));
        }
    }
}

/// All clients, and then a look at everything.
async fn everybody(world: Arc<World>) {
    let mut first = Client::new(world.clone());
    first.prepare().await;
    let workload = world.plan.workload;
    let workers = (0..world.plan.clients).map(|n| {
        let client = Client::new(world.clone());
        client.work_at(if n % 2 == 0 { workload } else { Workload::Documents })
    });
    let collections = world.plan.collections().into_iter();
    let subscribers = collections.map(|(collection, _)| Client::new(world.clone()).subscribe(collection));
    let client = || Client::new(world.clone());
    let beside =
        futures::future::join3(echo::work(world.clone()), client().watch_leaders(), client().ask_the_deposed());
    let (workers, subscribers) = (futures::future::join_all(workers), futures::future::join_all(subscribers));
    futures::future::join4(workers, subscribers, beside, finale::come_back(&world)).await;
    finale::look_at_everything(&world).await;
}

fn judge(world: &World, simulated: Duration) -> Report {
    let checker = &mut *world.checker.lock();
    if checker.violations().is_empty() {
        let Judgement { wrong, built, failed } = oracle::judge(&checker.canon, &world.history.lock(), &world.forgets());
        (checker.coverage.indexes_ready, checker.coverage.indexes_failed) = (built, failed);
        wrong.into_iter().take(10).for_each(|wrong| checker.violate(wrong));
    }
    checker.coverage.voids = checker.canon.voids;
    let violations = checker.violations().to_vec();
    let (hash, events) = trace::hash();
    Report {
        seed: world.plan.seed,
        hash: format!("{hash:016x}"),
        events,
        nodes: world.plan.nodes,
        simulated_ms: simulated.as_millis() as u64,
        revisions: checker.canon.revision(),
        coverage: checker.coverage.clone(),
        last: if violations.is_empty() { Vec::new() } else { trace::last() },
        violations,
    }
}
