//! What a node does by itself, all the time: it keeps its figures, asks the others how they are, makes snapshots, and on
//! the leader lets old history and old keys go.

mod build;
mod expire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aerodb_proto as proto;
use openraft::async_runtime::watch::WatchReceiver;
use proto::command::Op;
use proto::{Command, outcome};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::lag;
use crate::network::Lane;
use crate::node::Node;
use crate::progress::Applied;
use crate::spawn::run_blocking;
use crate::topology::{Heard, Lag, LagSample};

/// How often the leader is asked how it is: what its followers show is so much older than what it shows.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// How many times less often the other members are asked: they only have their figures to tell.
const ASK_OTHERS_EVERY: u64 = 2;
/// What a member said so recently is not asked again for the topology.
const FRESH: Duration = Duration::from_millis(100);
/// How long the topology waits for members that are asked again.
const ASK_AGAIN_PATIENCE: Duration = Duration::from_millis(200);
/// After this much silence a member counts as unreachable.
pub(crate) const SILENCE_MAX: Duration = Duration::from_millis(2_000);
/// How often the upkeep that costs something runs.
const TEND_EVERY: Duration = Duration::from_secs(1);
/// How many times longer than usual the log may grow while a snapshot is being sent.
const GROWTH_WHILE_SENDING_MAX: u64 = 4;
/// How often the leader looks for history and keys that have grown too old.
const COLLECT_EVERY: Duration = Duration::from_secs(10);
/// How often the lag is noted for its history, and for how long it is kept; and how often the files are measured.
const SAMPLE_EVERY: Duration = Duration::from_secs(10);
const SAMPLES_MAX: usize = 360;
/// Idempotency keys forgotten with one command.
const KEYS_PER_COMMAND: usize = 1_000;
/// A pause before it is asked again whether this node has caught up.
const RECOVERY_PAUSE: Duration = Duration::from_millis(20);
/// How long a command of the node itself may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Starts everything that runs beside requests.
pub(crate) fn start(node: &Arc<Node>) {
    tokio::spawn(recover(node.clone()));
    tokio::spawn(keep_figures(node.clone()));
    let asked = Arc::new(AtomicU64::new(0));
    every(node, ASK_EVERY, move |node| ask_all(node, asked.fetch_add(1, Ordering::Relaxed)));
    every(node, TEND_EVERY, tend);
    every(node, COLLECT_EVERY, collect);
    every(node, SAMPLE_EVERY, sample);
    tokio::spawn(name_cluster(node.clone()));
    tokio::spawn(build::build_indexes(node.clone()));
    tokio::spawn(expire::expire_documents(node.clone()));
}

fn every<F>(node: &Arc<Node>, period: Duration, work: impl Fn(Arc<Node>) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let node = node.clone();
    tokio::spawn(async move {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = node.stop.cancelled() => return,
                _ = ticks.tick() => work(node.clone()).await,
            }
        }
    });
}

/// Hazard 1: until what the cluster had committed is applied here, this node may be behind its own former self.
async fn recover(node: Arc<Node>) {
    loop {
        tokio::select! {
            () = node.stop.cancelled() => return,
            done = node.raft.wait_for_recovery(Some(Duration::from_secs(10))) => match done {
                Ok(_) => break,
                Err(error) => tracing::debug!(%error, "not caught up yet"),
            },
        }
        // Raft that has ended by itself answers at once, and for ever.
        sleep(RECOVERY_PAUSE).await;
    }
    node.recovered.send_replace(true);
    tracing::info!(applied = node.applied.borrow().index, "this node has caught up");
}

/// Keeps the cheap figures while something happens: a node that is idle is not woken for them.
async fn keep_figures(node: Arc<Node>) {
    let (mut data, mut server) = (node.raft.data_metrics(), node.raft.server_metrics());
    let figures = |node: &Node| (node.committed_index(), *node.applied.borrow(), *node.leadership.borrow());
    let mut noted = figures(&node);
    note(&node);
    loop {
        let changed = tokio::select! {
            () = node.stop.cancelled() => return,
            changed = data.changed() => changed,
            changed = server.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
        note(&node);
        let now = figures(&node);
        // Heartbeats change what Raft tells, and nothing here.
        if std::mem::replace(&mut noted, now) != now {
            tokio::select! {
                () = node.stop.cancelled() => return,
                () = sleep(lag::STEP) => {}
            }
        }
    }
}

/// Notes the cheap figures.
fn note(node: &Node) {
    let (leadership, applied): (_, Applied) = (*node.leadership.borrow(), *node.applied.borrow());
    let committed = node.committed_index();
    node.lag_clock.lock().note(node.clock.monotonic(), committed);
    let metrics = &node.metrics;
    metrics.term.set(leadership.term as i64);
    metrics.is_leader.set(i64::from(node.leads()));
    metrics.commit_index.set(committed as i64);
    metrics.applied_index.set(applied.index as i64);
    metrics.revision.set(applied.revision as i64);
}

/// Asks the other members how they are, and keeps the lag figures.
async fn ask_all(node: Arc<Node>, turn: u64) {
    let others: Vec<u64> = node.peers.others().into_keys().collect();
    let leader = node.leadership.borrow().leader;
    let due = |id: &&u64| turn.is_multiple_of(ASK_OTHERS_EVERY) || Some(**id) == leader;
    futures::future::join_all(others.iter().filter(due).map(|&id| ask(node.clone(), id))).await;
    node.heard.lock().retain(|id, _| others.contains(id));
    show_lag(&node);
}

/// Asks those whose word is not of this moment any more; whoever is silent is not waited for long.
pub(crate) async fn ask_again(node: &Arc<Node>) {
    let now = node.clock.monotonic();
    let fresh = |id: &u64| node.heard(*id).is_some_and(|heard| now.saturating_sub(heard.at) < FRESH);
    let stale: Vec<u64> = node.peers.others().into_keys().filter(|id| !fresh(id)).collect();
    let asked = futures::future::join_all(stale.into_iter().map(|id| ask(node.clone(), id)));
    drop(timeout(ASK_AGAIN_PATIENCE, asked).await);
}

async fn ask(node: Arc<Node>, id: u64) {
    let Some(mut client) = node.peers.client(id, Lane::Control) else { return };
    let request = proto::StatusRequest { target: Some(node.peers.target(id)) };
    // What the answer says holds for no later moment than this.
    let asked = node.clock.monotonic();
    if let Ok(Ok(response)) = timeout(ASK_EVERY, client.status(request)).await {
        let status = response.into_inner();
        // A leader that is cut off with this node knows of nothing newer either: what it says counts as of the moment when
        // a majority stood behind it.
        if let Some(age) = status.quorum_age_ms {
            let heard_now = aerodb_engine::planted!("age-from-arrival");
            let at = if heard_now { node.clock.monotonic() } else { asked.saturating_sub(Duration::from_millis(age)) };
            node.words.lock().note(at, status.committed.map_or(0, |id| id.index));
        }
        node.heard.lock().insert(id, Heard { status, at: node.clock.monotonic() });
    }
}

fn show_lag(node: &Node) {
    let (entries, seconds) = (&node.metrics.lag_entries, &node.metrics.lag_seconds);
    let lags = lags(node);
    entries.reset();
    seconds.reset();
    for (id, lag) in lags {
        let shown = if node.leads() { id != node.options.node_id } else { id == node.options.node_id };
        if shown {
            let label = id.to_string();
            entries.with_label_values(&[&label]).set(lag.entries as i64);
            seconds.with_label_values(&[&label]).set(lag.seconds);
        }
    }
}

/// How far every member is behind, as this node knows.
fn lags(node: &Node) -> BTreeMap<u64, Lag> {
    let committed = node.committed_index();
    let now = node.clock.monotonic();
    let mut applied: BTreeMap<u64, u64> =
        node.heard.lock().iter().map(|(id, heard)| (*id, heard.status.applied.map_or(0, |id| id.index))).collect();
    applied.insert(node.options.node_id, node.applied.borrow().index);
    let clock = node.lag_clock.lock();
    let lag = |applied: u64| {
        let entries = committed.saturating_sub(applied);
        let seconds = if entries == 0 { 0.0 } else { clock.behind(now, applied).as_secs_f64() };
        Lag { entries, bytes: entries * node.average_entry_bytes(), seconds }
    };
    applied.into_iter().map(|(id, applied)| (id, lag(applied))).collect()
}

async fn sample(node: Arc<Node>) {
    let here = node.clone();
    run_blocking(node.spawner.as_ref(), move || here.process.measure(&here.options.data_dir)).await;
    let sample = LagSample { time_ms: node.clock.now_ms(), nodes: lags(&node) };
    let mut samples = node.lag_samples.lock();
    samples.push_back(sample);
    if samples.len() > SAMPLES_MAX {
        samples.pop_front();
    }
}

/// Looks after the storage: its errors, its figures, snapshots, and history that may go.
async fn tend(node: Arc<Node>) {
    note(&node);
    let here = node.clone();
    let tended = run_blocking(node.spawner.as_ref(), move || tend_storage(&here)).await;
    if let Err(error) = tended {
        node.fence.fence(&error.to_string());
        return;
    }
    if node.identity.cluster_id().is_empty()
        && let Ok(id) = node.engine.cluster_id()
        && !id.is_empty()
    {
        node.identity.set_cluster_id(&id);
    }
    tend_log(&node).await;
}

/// Makes a snapshot when the log has grown long, and lets entries behind the last one go when they take too much room.
async fn tend_log(node: &Node) {
    let options = &node.options;
    let applied = node.applied.borrow().index;
    let covered = node.raft.metrics().borrow_watched().snapshot.map_or(0, |last| last.index());
    let bytes = node.log.bytes_between(covered + 1, applied + 1).await.unwrap_or(0);
    let grown = |times: u64| {
        applied.saturating_sub(covered) > times * options.snapshot_log_entries
            || bytes > times * options.snapshot_log_bytes
    };
    // Whoever gets a snapshot now goes on from it by the log, so the log is kept meanwhile: a new snapshot would let it go
    // and make the receiver begin anew, again and again. Yet no receiver may be so slow that the log grows for ever.
    let patience = if node.transfers.running().is_empty() { 1 } else { GROWTH_WHILE_SENDING_MAX };
    let stopped = |fatal| tracing::debug!(%fatal, "the log is not looked after: replication has stopped");
    if grown(patience)
        && let Err(fatal) = node.raft.trigger().snapshot().await
    {
        return stopped(fatal);
    }
    let keep = node.log.keep_from(covered + 1, options.log_keep_bytes).await;
    match keep {
        Ok(keep) if keep > node.log.first_index() && node.transfers.running().is_empty() => {
            if let Err(fatal) = node.raft.trigger().purge_log(keep - 1).await {
                stopped(fatal);
            }
        }
        Ok(_) => {}
        Err(error) => tracing::debug!(%error, "the log cannot be measured"),
    }
}

fn tend_storage(node: &Node) -> Result<(), aerodb_engine::Error> {
    // Hazard 9: without a write-ahead log a failed flush reaches no writer.
    let errors = node.engine.background_errors();
    if errors > 0 {
        let problem = format!("the storage met {errors} errors in the background");
        return Err(aerodb_engine::kv::Error::new(aerodb_engine::kv::ErrorKind::Io, "flushing", problem).into());
    }
    let durable = node.engine.durable()?.map_or(0, |id| id.index);
    node.metrics.durable_index.set(durable as i64);
    for (name, value) in node.engine.figures() {
        node.metrics.storage.with_label_values(&["state", name]).set(value);
    }
    show_builds(node);
    for _ in 0..50 {
        if !node.engine.collect_step()? {
            break;
        }
    }
    Ok(())
}

/// How far builds of indexes have come. A figure that cannot be had is left out.
fn show_builds(node: &Node) {
    node.metrics.index_build.reset();
    let builds = node.engine.view().ok().and_then(|view| view.builds().ok()).unwrap_or_default();
    for build in builds {
        node.metrics.index_build.with_label_values(&[&build.collection, &build.index]).set(build.part);
    }
}

/// On the leader: proposes that old history and old idempotency keys go.
async fn collect(node: Arc<Node>) {
    if !node.leads() {
        return;
    }
    let now_ms = node.clock.now_ms();
    let Ok(view) = node.engine.view() else { return };
    let deadline = Instant::now() + PATIENCE;
    let propose = |op| node.submitter.submit_internal(Command { op: Some(op), ..Command::default() }, deadline);
    let due = view.watermarks_due(now_ms).unwrap_or_default();
    if !due.is_empty() {
        drop(propose(Op::AdvanceWatermarks(proto::AdvanceWatermarks { watermarks: due })).await);
    }
    let before_ms = now_ms.saturating_sub(node.engine.limits().idempotency_ms);
    let keys = view.idempotency_before(before_ms, KEYS_PER_COMMAND).unwrap_or_default();
    if !keys.is_empty() {
        let garbage = proto::CollectGarbage { idempotency_before_ms: before_ms, idempotency_keys: keys };
        drop(propose(Op::CollectGarbage(garbage)).await);
    }
}

/// The first leader gives the cluster its identity and its first service key; the others learn them from the log.
async fn name_cluster(node: Arc<Node>) {
    loop {
        match node.engine.cluster_id() {
            Ok(id) if !id.is_empty() => {
                node.identity.set_cluster_id(&id);
                return;
            }
            Ok(_) if node.leads() => propose_name(&node).await,
            Ok(_) => {}
            Err(error) => return node.fence.fence(&error.to_string()),
        }
        tokio::select! {
            () = node.stop.cancelled() => return,
            () = sleep(Duration::from_millis(20)) => {}
        }
    }
}

async fn propose_name(node: &Arc<Node>) {
    let (mut id, mut secret) = ([0; 16], [0; 32]);
    (node.random)(&mut id);
    (node.random)(&mut secret);
    let key_id = aerodb_engine::view::api_key_id(&node.options.service_key);
    let bootstrap = proto::Bootstrap {
        cluster_id: id.iter().map(|byte| format!("{byte:02x}")).collect(),
        secret: secret.to_vec().into(),
        service_key: Some(proto::NewDocument {
            id: key_id,
            fields: bytes::Bytes::from_static(br#"{"name":"first service key","role":"service"}"#),
        }),
    };
    let command = Command { op: Some(Op::Bootstrap(bootstrap)), ..Command::default() };
    let decided = node.submitter.submit_internal(command, Instant::now() + PATIENCE).await;
    if let Ok(outcome) = decided
        && outcome.changed
        && matches!(outcome.result, Some(outcome::Result::Done(_)))
    {
        node.named_cluster.send_replace(true);
    }
}

impl Node {
    /// Bytes of an entry of the log, on the average.
    pub(crate) fn average_entry_bytes(&self) -> u64 {
        let entries = self.last_index().saturating_sub(self.log.first_index()) + 1;
        self.log.log_bytes() / entries.max(1)
    }
}
