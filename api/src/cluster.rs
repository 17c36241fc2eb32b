//! `/cluster`: who is there, who leads, who lags; and making a replica the leader. What is shown is what this node
//! knows now; it is answered without a leader too.

use std::time::Duration;

use aerodb_raft::{self as raft, PromoteError};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Caller;
use crate::error::{Code, Problem};
use crate::events::event;
use crate::negotiate::Form;
use crate::openapi::Problems;
use crate::panics::of_cluster;
use crate::params::Params;
use crate::path::NodePath;
use crate::response::{ReadAt, Unbuffered, serialized, typed};
use crate::state::ApiState;

/// How often `/cluster/events` looks.
const EVENTS_LOOK: Duration = Duration::from_millis(200);
/// At least every how many looks it sends what it saw, changed or not.
const EVENTS_LOOKS_SILENT: u32 = 5;

/// The routes of `/cluster`.
pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(cluster))
        .routes(routes!(events))
        .routes(routes!(lag))
        .routes(routes!(node))
        .routes(routes!(promotion))
        .routes(routes!(promote))
}

/// The cluster as this node sees it.
#[derive(Serialize, ToSchema)]
pub(crate) struct Topology {
    cluster_id: String,
    /// The node that answers.
    node: u64,
    term: u64,
    /// The id of the node that leads; null while nobody is known to.
    leader: Option<u64>,
    revision: u64,
    quorum: Quorum,
    nodes: Vec<Node>,
}

/// Whether writes can be decided.
#[derive(Serialize, ToSchema)]
pub(crate) struct Quorum {
    /// Voters.
    size: usize,
    /// Voters that are up.
    healthy: usize,
    /// Whether those are a majority.
    ok: bool,
}

/// A node. What this node does not know is null.
#[derive(Serialize, ToSchema)]
pub(crate) struct Node {
    id: u64,
    /// `leader`, `follower` or `learner`.
    role: &'static str,
    /// `healthy`, `lagging`, `recovering` or `unreachable`.
    state: &'static str,
    http_addr: String,
    peer_addr: String,
    version: String,
    zone: String,
    uptime_ms: Option<u64>,
    /// CPU time that its process has used.
    cpu_seconds: Option<f64>,
    memory_bytes: Option<u64>,
    disk_used_bytes: Option<u64>,
    disk_free_bytes: Option<u64>,
    /// How long ago it was last heard from.
    last_contact_ms: Option<u64>,
    last_index: Option<u64>,
    matched_index: Option<u64>,
    applied_index: Option<u64>,
    durable_index: Option<u64>,
    /// The revision that it has applied.
    revision: Option<u64>,
    lag: Lag,
    /// A snapshot on its way to it; only the leader knows.
    snapshot_transfer: Option<Transfer>,
}

/// A snapshot on its way to a node.
#[derive(Serialize, ToSchema)]
pub(crate) struct Transfer {
    sent_bytes: u64,
    total_bytes: u64,
}

/// How far a node is behind the leader.
#[derive(Serialize, ToSchema)]
pub(crate) struct Lag {
    entries: u64,
    /// As far as the node that answers can tell.
    bytes: u64,
    /// For how long it has been behind.
    seconds: f64,
}

/// How far each node is behind, now and in the last hour.
#[derive(Serialize, ToSchema)]
pub(crate) struct LagReport {
    nodes: Vec<NodeLag>,
    /// Oldest first.
    history: Vec<LagSample>,
}

/// How far one node is behind.
#[derive(Serialize, ToSchema)]
pub(crate) struct NodeLag {
    id: u64,
    #[serde(flatten)]
    lag: Lag,
}

/// How far the nodes were behind at one time.
#[derive(Serialize, ToSchema)]
pub(crate) struct LagSample {
    /// Milliseconds since the epoch.
    time_ms: u64,
    nodes: Vec<NodeLag>,
}

/// Whether a replica could lead.
#[derive(Serialize, ToSchema)]
pub(crate) struct Promotion {
    eligible: bool,
    checks: Vec<Check>,
}

/// One condition of a promotion.
#[derive(Serialize, ToSchema)]
pub(crate) struct Check {
    name: String,
    ok: bool,
    /// The figure behind it.
    detail: String,
}

/// A promotion that happened.
#[derive(Serialize, ToSchema)]
pub(crate) struct Promoted {
    leader: u64,
    term: u64,
    took_ms: u64,
}

fn checks(checks: Vec<raft::Check>) -> Vec<Check> {
    checks.into_iter().map(|raft::Check { name, ok, detail }| Check { name, ok, detail }).collect()
}

async fn topology(state: &ApiState) -> Topology {
    shapes::topology(state.handle().node_id(), of_cluster(state.handle().topology()).await)
}

/// The cluster: who leads, who is there, who lags.
#[utoipa::path(
    get, path = "/cluster", tag = "cluster", operation_id = "readCluster",
    responses((status = 200, body = Topology), Problems)
)]
async fn cluster(State(state): State<ApiState>, _caller: Caller, request: Request) -> Result<Response, Problem> {
    Params::parse(request.uri().query())?.finish()?;
    let topology = topology(&state).await;
    Ok(ReadAt::revision(topology.revision).mark(serialized(StatusCode::OK, &topology)?))
}

/// The same as Server-Sent Events: on every change, and each second.
#[utoipa::path(
    get, path = "/cluster/events", tag = "cluster", operation_id = "followCluster",
    responses((status = 200, content_type = "text/event-stream", body = String), Problems)
)]
async fn events(State(state): State<ApiState>, caller: Caller, request: Request) -> Result<Response, Problem> {
    Params::parse(request.uri().query())?.finish()?;
    let open = (state.admit_stream()?, state.metrics().stream());
    let mut ticks = interval(EVENTS_LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watch = Watch { state, caller, ticks, silent: 0, last: None };
    let parts = stream::unfold((watch, open), |(mut watch, open)| async move {
        let part = watch.next().await?;
        Some((Ok::<_, std::convert::Infallible>(part), (watch, open)))
    });
    let mut answer = typed(StatusCode::OK, Form::EventStream.content_type(), Body::from_stream(parts));
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer.extensions_mut().insert(Unbuffered);
    Ok(answer)
}

/// A client that watches the cluster.
struct Watch {
    state: ApiState,
    caller: Caller,
    ticks: tokio::time::Interval,
    /// Looks since something was sent.
    silent: u32,
    last: Option<Outline>,
}

/// What makes two topologies differ by more than figures.
#[derive(PartialEq)]
struct Outline {
    term: u64,
    leader: Option<u64>,
    quorum_ok: bool,
    nodes: Vec<(u64, &'static str, &'static str)>,
}

impl Outline {
    fn of(topology: &Topology) -> Self {
        let nodes = topology.nodes.iter().map(|node| (node.id, node.role, node.state)).collect();
        Self { term: topology.term, leader: topology.leader, quorum_ok: topology.quorum.ok, nodes }
    }
}

impl Watch {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            tokio::select! {
                biased;
                () = self.state.shutdown().cancelled() => return None,
                _ = self.ticks.tick() => {}
            }
            self.silent += 1;
            let topology = topology(&self.state).await;
            let outline = Outline::of(&topology);
            if self.silent < EVENTS_LOOKS_SILENT && self.last.as_ref() == Some(&outline) {
                continue;
            }
            // A key that was revoked ends what it opened.
            self.caller.confirm(&*self.state.local().ok()?).ok()?;
            (self.silent, self.last) = (0, Some(outline));
            let mut text = String::new();
            event(&mut text, "cluster", None, &serde_json::to_string(&topology).ok()?);
            return Some(text.into());
        }
    }
}

/// How far each replica is behind the leader, now and over the last hour.
#[utoipa::path(
    get, path = "/cluster/lag", tag = "cluster", operation_id = "readLag",
    responses((status = 200, body = LagReport), Problems)
)]
async fn lag(State(state): State<ApiState>, _caller: Caller, request: Request) -> Result<Response, Problem> {
    Params::parse(request.uri().query())?.finish()?;
    let nodes = topology(&state).await.nodes.into_iter().map(|node| NodeLag { id: node.id, lag: node.lag }).collect();
    let history = state.handle().lag().into_iter().map(shapes::lag_sample).collect();
    serialized(StatusCode::OK, &LagReport { nodes, history })
}

/// One node of the cluster.
#[utoipa::path(
    get, path = "/cluster/nodes/{node}", tag = "cluster", operation_id = "readNode",
    params(("node" = u64, Path, description = "The node's id")),
    responses((status = 200, body = Node), Problems)
)]
async fn node(
    State(state): State<ApiState>,
    _caller: Caller,
    NodePath(id): NodePath,
    request: Request,
) -> Result<Response, Problem> {
    Params::parse(request.uri().query())?.finish()?;
    let found = topology(&state).await.nodes.into_iter().find(|node| node.id == id);
    serialized(StatusCode::OK, &found.ok_or_else(|| unknown(id))?)
}

fn unknown(id: u64) -> Problem {
    Problem::new(Code::NodeNotFound, format!("the cluster has no node {id}"))
}

/// Whether that node could be made the leader now, with every condition and its figure.
#[utoipa::path(
    get, path = "/cluster/nodes/{node}/promotion", tag = "cluster", operation_id = "checkPromotion",
    params(("node" = u64, Path, description = "The node's id")),
    responses((status = 200, body = Promotion), Problems)
)]
async fn promotion(
    State(state): State<ApiState>,
    _caller: Caller,
    NodePath(id): NodePath,
    request: Request,
) -> Result<Response, Problem> {
    Params::parse(request.uri().query())?.finish()?;
    let promotion = of_cluster(state.handle().promotion(id)).await.map_err(|error| not_promoted(id, error))?;
    serialized(StatusCode::OK, &Promotion { eligible: promotion.eligible, checks: checks(promotion.checks) })
}

/// Makes that replica the leader. No acknowledged write is lost; requests under way wait and succeed. A replica that is
/// not eligible is refused with 409 and the conditions that it does not meet, and nothing is changed.
#[utoipa::path(
    post, path = "/cluster/nodes/{node}/promote", tag = "cluster", operation_id = "promoteNode",
    params(("node" = u64, Path, description = "The node's id")),
    responses((status = 200, body = Promoted, description = "It leads"), Problems)
)]
async fn promote(
    State(state): State<ApiState>,
    _caller: Caller,
    NodePath(id): NodePath,
    request: Request,
) -> Result<Response, Problem> {
    Params::parse(request.uri().query())?.finish()?;
    let promoted = of_cluster(state.handle().promote(id, state.options().promote_timeout)).await;
    let raft::Promoted { leader, term, took_ms } = promoted.map_err(|error| not_promoted(id, error))?;
    serialized(StatusCode::OK, &Promoted { leader, term, took_ms })
}

fn not_promoted(id: u64, error: PromoteError) -> Problem {
    match error {
        PromoteError::NotEligible(failed) => {
            let failed = checks(failed);
            let reasons: Vec<_> = failed.iter().map(|check| format!("{}: {}", check.name, check.detail)).collect();
            let detail = format!("node {id} cannot be made the leader: {}", reasons.join("; "));
            Problem::new(Code::NotEligible, detail).with("checks", serde_json::to_value(failed).unwrap_or_default())
        }
        PromoteError::UnknownNode(_) => unknown(id),
        PromoteError::Failed(error) => error.into(),
    }
}

/// From what replication reports to what is shown.
mod shapes {
    use super::{Lag, LagSample, Node, NodeLag, Quorum, Topology, Transfer, raft};

    pub(super) fn topology(node: u64, topology: raft::Topology) -> Topology {
        let raft::Topology { cluster_id, term, leader, revision, quorum, nodes } = topology;
        let quorum = Quorum { size: quorum.size, healthy: quorum.healthy, ok: quorum.ok };
        let nodes = nodes.into_iter().map(member).collect();
        Topology { cluster_id, node, term, leader, revision, quorum, nodes }
    }

    fn member(node: raft::NodeStatus) -> Node {
        // A node that was never heard from has said nothing about itself: its figures are no zeros.
        let heard = !node.version.is_empty();
        let figure = |value: u64| heard.then_some(value);
        // A node looks at its disk for the first time a moment after it has started; what it keeps takes room, always.
        let on_disk = |value: u64| (node.disk_used_bytes > 0).then_some(value);
        Node {
            id: node.id,
            role: node.role,
            state: node.state,
            uptime_ms: figure(node.uptime_ms),
            cpu_seconds: heard.then_some(node.cpu_micros as f64 / 1e6),
            memory_bytes: figure(node.memory_bytes),
            disk_used_bytes: on_disk(node.disk_used_bytes),
            disk_free_bytes: on_disk(node.disk_free_bytes),
            last_contact_ms: node.last_contact_ms,
            last_index: figure(node.last_index),
            matched_index: node.matched_index,
            applied_index: figure(node.applied_index),
            durable_index: figure(node.durable_index),
            revision: figure(node.revision),
            lag: lag(&node.lag),
            snapshot_transfer: node
                .snapshot_transfer
                .map(|(sent_bytes, total_bytes)| Transfer { sent_bytes, total_bytes }),
            http_addr: node.http_addr,
            peer_addr: node.peer_addr,
            version: node.version,
            zone: node.zone,
        }
    }

    fn lag(lag: &raft::Lag) -> Lag {
        Lag { entries: lag.entries, bytes: lag.bytes, seconds: lag.seconds }
    }

    pub(super) fn lag_sample(sample: raft::LagSample) -> LagSample {
        let nodes = sample.nodes.iter().map(|(&id, behind)| NodeLag { id, lag: lag(behind) }).collect();
        LagSample { time_ms: sample.time_ms, nodes }
    }
}
