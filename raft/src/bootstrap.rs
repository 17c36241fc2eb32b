//! How a node begins: as part of a new cluster, with the data that it has, or with its data lost.
//!
//! A member whose folder is empty may have voted, and acknowledged entries, that it does not remember. If it simply
//! joined in again, a majority could be made of nodes that never heard of an acknowledged write. So it first asks
//! **all** the other voters what they know, takes over the highest vote among them, and neither votes nor stands until
//! it has applied what a leader of at least that term had committed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aerodb_engine::Engine;
use aerodb_engine::kv::Store;
use aerodb_proto as proto;
use futures::future::join_all;
use openraft::storage::RaftLogStorage;
use openraft::{
    RaftLogReader,
    errors::{InitializeError, RaftError},
};
use tokio::time::{sleep, timeout};

use crate::convert;
use crate::log::LogStore;
use crate::network::Lane;
use crate::node::{Node, StartError};
use crate::options::Options;
use crate::peers::Peers;
use crate::starting::Starting;
use crate::types::Vote;

/// How a node begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// It is one of the first members of a new cluster.
    New,
    /// It has its data.
    Resume,
    /// Its data was lost; the cluster goes on.
    Relearn,
}

const ASK_PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(100);
/// How often a node that waits for the others says so.
const SAY_EVERY: u32 = 50;

/// What the data folder holds, as the other members are told until the node runs.
pub(crate) async fn look(
    options: &Options,
    log: &mut LogStore,
    engine: &Engine,
) -> std::io::Result<proto::StatusResponse> {
    let state = log.get_log_state().await?;
    let vote = log.get_log_reader().await.read_vote().await?;
    let applied = engine.meta().applied;
    Ok(proto::StatusResponse {
        group: crate::network::GROUP,
        node_id: options.node_id,
        // A vote without data is not enough: a member that began to relearn has one, and must not be taken for new.
        initialized: state.last_log_id.is_some() || vote.is_some() || applied.is_some(),
        vote: vote.as_ref().map(convert::vote_proto),
        last_log_id: state.last_log_id.as_ref().map(convert::log_id_proto).or(applied),
        applied,
        version: options.version.clone(),
        http_addr: options.http_addr.clone(),
        peer_addr: options.peer_addr.clone(),
        zone: options.zone.clone(),
        recovering: true,
        ..proto::StatusResponse::default()
    })
}

/// Finds out how this node begins. May wait for others, as long as it takes.
pub(crate) async fn decide(
    found: &proto::StatusResponse,
    log: &mut LogStore,
    store: &dyn Store,
    peers: &Peers,
    starting: &Starting,
) -> Result<Begin, StartError> {
    let failed = |error: std::io::Error| StartError::Raft(error.to_string());
    // It died while it learned: the vote that it took over then still stands, and what it had forgotten it still lacks.
    if marker::is_set(store).map_err(failed)? {
        return Ok(Begin::Relearn);
    }
    // A state without a log has forgotten votes and acknowledged entries just as an empty folder has.
    let state = log.get_log_state().await.map_err(failed)?;
    if state.last_log_id.is_some() || found.vote.is_some() {
        return Ok(Begin::Resume);
    }
    let others = peers.others();
    let majority = others.len().div_ceil(2) + 1;
    let mut rounds = 0;
    loop {
        let heard = ask(peers).await;
        let lives = |status: &proto::StatusResponse| {
            status.initialized && status.last_log_id.is_some_and(|last| last.index > 0)
        };
        let silent = others.keys().filter(|id| !heard.contains_key(id));
        let silent = silent.map(|id| format!("node {id}")).collect::<Vec<_>>().join(", ");
        let what = if heard.values().any(lives) {
            if heard.len() == others.len() {
                marker::set(store).map_err(failed)?;
                if let Some(vote) = highest_vote(&heard) {
                    log.save_vote(&vote).await.map_err(failed)?;
                }
                tracing::warn!("the cluster goes on and this node's data is gone: it learns from the others first");
                return Ok(Begin::Relearn);
            }
            format!(
                "this node's data is gone; it waits until all other members can be asked what they know; not here: \
                 {silent}"
            )
        } else if heard.len() + 1 >= majority {
            return Ok(Begin::New);
        } else {
            format!(
                "{} of {} members are here; a new cluster starts with {majority}; not here: {silent}",
                heard.len() + 1,
                others.len() + 1
            )
        };
        say(starting, &mut rounds, &what);
        sleep(PAUSE).await;
    }
}

/// Says why the node waits: at once when it is something new, and now and then.
fn say(starting: &Starting, rounds: &mut u32, what: &str) {
    if starting.say(what) || rounds.is_multiple_of(SAY_EVERY) {
        tracing::info!("{what}");
    }
    *rounds += 1;
}

async fn ask(peers: &Peers) -> BTreeMap<u64, proto::StatusResponse> {
    let asked = peers.others().into_keys().map(|id| async move {
        let mut client = peers.client(id, Lane::Control)?;
        let request = proto::StatusRequest { target: Some(peers.target(id)) };
        let answer = timeout(ASK_PATIENCE, client.status(request)).await.ok()?.ok()?;
        Some((id, answer.into_inner()))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// The highest vote among the others, as one that is not confirmed: only their leader, or a later one, is followed.
fn highest_vote(heard: &BTreeMap<u64, proto::StatusResponse>) -> Option<Vote> {
    let votes = heard.values().filter_map(|status| status.vote);
    let highest = votes.max_by_key(|vote| (vote.term, vote.committed))?;
    Some(convert::vote(&proto::Vote { committed: false, ..highest }))
}

/// Lets the node take part.
pub(crate) async fn begin(node: &Arc<Node>, begin: Begin, store: Arc<dyn Store>) -> Result<(), StartError> {
    node.gate.set_accept_appends(true);
    match begin {
        Begin::Resume => node.gate.set_accept_votes(true),
        Begin::New => {
            let initialized = node.raft.initialize(node.peers.all()).await;
            match initialized {
                // Another member was quicker, or an earlier run was: the same members either way.
                Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
                Err(error) => return Err(StartError::Raft(error.to_string())),
            }
            node.gate.set_accept_votes(true);
        }
        Begin::Relearn => {
            tokio::spawn(relearn(node.clone(), store));
        }
    }
    Ok(())
}

/// Waits until this node has applied what a leader, confirmed from now on, had committed; then it votes again.
async fn relearn(node: Arc<Node>, store: Arc<dyn Store>) {
    loop {
        if let Ok(point) = node.reads.confirm().await {
            let mut applied = node.applied.clone();
            let caught_up = applied.wait_for(|now| now.index >= point.index);
            if timeout(Duration::from_secs(60), caught_up).await.is_ok_and(|reached| reached.is_ok()) {
                break;
            }
        }
        if node.stop.is_cancelled() {
            return;
        }
        sleep(PAUSE).await;
    }
    if let Err(error) = marker::clear(&*store) {
        return node.fence.fence(&error.to_string());
    }
    node.gate.set_accept_votes(true);
    node.raft.runtime_config().elect(true);
    node.relearning.send_replace(false);
    tracing::info!("this node has all that the cluster had committed: it votes again");
}

/// The note in the log's store that this member has not learned everything yet. It is durable before the vote that the
/// member takes over, and goes once it may vote: a member that dies in between must not come back as one that knows.
mod marker {
    use std::io;

    use aerodb_engine::kv::{Cf, Store, WriteBatch};

    /// The `meta` family of the log's store.
    const META: Cf = Cf(1);
    const KEY: &[u8] = b"relearning";

    pub(super) fn is_set(store: &dyn Store) -> io::Result<bool> {
        Ok(store.get(META, KEY)?.is_some())
    }

    pub(super) fn set(store: &dyn Store) -> io::Result<()> {
        let mut batch = WriteBatch::new();
        batch.put(META, KEY, Vec::new());
        Ok(store.write(batch, true)?)
    }

    pub(super) fn clear(store: &dyn Store) -> io::Result<()> {
        let mut batch = WriteBatch::new();
        batch.delete(META, KEY);
        Ok(store.write(batch, true)?)
    }
}
