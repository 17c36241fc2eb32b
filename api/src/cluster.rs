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
    size: u64,
    /// Voters that are up.
    healthy: u64,
    /// Whether those are a majority.
    ok: bool,
}

/// A node. What this node does not know is null.
#[derive(Serialize, ToSchema)]
pub(crate) struct Node {
    id: u64,
    /// `leader`, `follower` or `learner`.
    role: String,
    /// `healthy`, `lagging`, `unreachable`, ..
    state: String,
    http_addr: String,
    peer_addr: String,
    version: String,
    zone: String,
    uptime_ms: Option<u64>,
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
    lag: Lag,
    /// A snapshot on its way to this node: from 0 to 1.
    snapshot_progress: Option<f64>,
}

/// How far a node is behind the leader.
#[derive(Serialize, ToSchema)]
pub(crate) struct Lag {
    entries: Option<u64>,
    bytes: Option<u64>,
    seconds: Option<f64>,
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

/// How far one node was behind at one time.
#[derive(Serialize, ToSchema)]
pub(crate) struct LagSample {
    /// Milliseconds since the epoch.
    at_ms: u64,
    id: u64,
    #[serde(flatten)]
    lag: Lag,
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
    checks.into_iter().map(|raft::Check { name, ok, detail, .. }| Check { name, ok, detail }).collect()
}

async fn topology(state: &ApiState) -> Topology {
    shapes::topology(state.handle().node_id(), state.handle().topology().await)
}

/// The cluster: who leads, who is there, who lags.
#[utoipa::path(get, path = "/cluster", tag = "cluster", responses((status = 200, body = Topology), Problems))]
async fn cluster(State(state): State<ApiState>, _caller: Caller, request: Request) -> Result<Response, Problem> {
    Params::parse(request.uri().query())?.finish()?;
    let topology = topology(&state).await;
    Ok(ReadAt::revision(topology.revision).mark(serialized(StatusCode::OK, &topology)?))
}

/// The same as Server-Sent Events: on every change, and each second.
#[utoipa::path(
    get, path = "/cluster/events", tag = "cluster",
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
    nodes: Vec<(u64, String, String)>,
}

impl Outline {
    fn of(topology: &Topology) -> Self {
        let nodes = topology.nodes.iter().map(|node| (node.id, node.role.clone(), node.state.clone())).collect();
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
            self.caller.confirm(&self.state.handle().local()).ok()?;
            (self.silent, self.last) = (0, Some(outline));
            let mut text = String::new();
            event(&mut text, "cluster", None, &serde_json::to_string(&topology).ok()?);
            return Some(text.into());
        }
    }
}

/// How far each replica is behind the leader, now and over the last hour.
#[utoipa::path(get, path = "/cluster/lag", tag = "cluster", responses((status = 200, body = LagReport), Problems))]
async fn lag(State(state): State<ApiState>, _caller: Caller, request: Request) -> Result<Response, Problem> {
    Params::parse(request.uri().query())?.finish()?;
    let nodes = topology(&state).await.nodes.into_iter().map(|node| NodeLag { id: node.id, lag: node.lag }).collect();
    let history = state.handle().lag().into_iter().map(shapes::lag_sample).collect();
    serialized(StatusCode::OK, &LagReport { nodes, history })
}

/// One node of the cluster.
#[utoipa::path(
    get, path = "/cluster/nodes/{node}", tag = "cluster",
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
    get, path = "/cluster/nodes/{node}/promotion", tag = "cluster",
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
    if topology(&state).await.nodes.iter().all(|node| node.id != id) {
        return Err(unknown(id));
    }
    let promotion = state.handle().promotion(id).await?;
    serialized(StatusCode::OK, &Promotion { eligible: promotion.eligible, checks: checks(promotion.checks) })
}

/// Makes that replica the leader. No acknowledged write is lost; requests under way wait and succeed. A replica that is
/// not eligible is refused with 409 and the conditions that it does not meet, and nothing is changed.
#[utoipa::path(
    post, path = "/cluster/nodes/{node}/promote", tag = "cluster",
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
    match state.handle().promote(id, state.options().promote_timeout).await {
        Ok(raft::Promoted { leader, term, took_ms, .. }) => serialized(StatusCode::OK, &Promoted { leader, term, took_ms }),
        Err(PromoteError::NotEligible(failed)) => {
            let failed = checks(failed);
            let reasons: Vec<_> = failed.iter().map(|check| format!("{}: {}", check.name, check.detail)).collect();
            let detail = format!("node {id} cannot be made the leader: {}", reasons.join("; "));
            let failed = serde_json::to_value(failed).map_err(Problem::internal)?;
            Err(Problem::new(Code::NotEligible, detail).with("checks", failed))
        }
        Err(PromoteError::UnknownNode) => Err(unknown(id)),
        Err(PromoteError::Failed(error)) => Err(error.into()),
    }
}

/// From what replication reports to what is shown.
mod shapes {
    use super::{Lag, LagSample, Node, Quorum, Topology, raft};

    pub(super) fn topology(node: u64, topology: raft::Topology) -> Topology {
        let raft::Topology { cluster_id, term, leader, revision, quorum, nodes, .. } = topology;
        let quorum = Quorum { size: quorum.size as u64, healthy: quorum.healthy as u64, ok: quorum.ok };
        Topology { cluster_id, node, term, leader, revision, quorum, nodes: nodes.into_iter().map(self::node).collect() }
    }

    fn node(node: raft::NodeStatus) -> Node {
        Node {
            id: node.id,
            role: node.role.to_string(),
            state: node.state.to_string(),
            http_addr: node.http_addr,
            peer_addr: node.peer_addr,
            version: node.version,
            zone: node.zone,
            uptime_ms: node.uptime_ms.into(),
            cpu_seconds: node.cpu_seconds.into(),
            memory_bytes: node.memory_bytes.into(),
            disk_used_bytes: node.disk_used_bytes.into(),
            disk_free_bytes: node.disk_free_bytes.into(),
            last_contact_ms: node.last_contact_ms,
            last_index: node.last_index.into(),
            matched_index: node.matched_index,
            applied_index: node.applied_index.into(),
            durable_index: node.durable_index.into(),
            lag: lag(node.lag),
            snapshot_progress: node.snapshot_progress,
        }
    }

    fn lag(lag: raft::Lag) -> Lag {
        Lag { entries: lag.entries.into(), bytes: lag.bytes.into(), seconds: lag.seconds.into() }
    }

    pub(super) fn lag_sample(sample: raft::LagSample) -> LagSample {
        LagSample { at_ms: sample.at_ms, id: sample.node_id, lag: lag(sample.lag) }
    }
}
