//! What the other nodes ask of this one beside Raft.

use std::sync::{Arc, OnceLock};

use aerodb_proto as proto;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, Stream};
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Status;

use crate::network::{GROUP, Identity, PeerHandler};
use crate::node::Node;
use crate::promotion::{Check, PromoteError};
use crate::propose::{Answer, Place, Reply, Task};

/// Bytes that one message of answers gathers; one answer may be bigger, and ends its message.
const ANSWERS_BYTES: usize = 64 << 10;

/// Answers the other nodes. Before the node runs it says who it is and what it found in its data folder.
pub(crate) struct Handler {
    found: proto::StatusResponse,
    identity: Arc<Identity>,
    node: OnceLock<Arc<Node>>,
}

impl Handler {
    /// `found`: what the data folder holds. A member that asks who is new must not take a node that is still starting
    /// for one.
    pub(crate) fn new(found: proto::StatusResponse, identity: Arc<Identity>) -> Self {
        Self { found, identity, node: OnceLock::new() }
    }

    /// The node runs from now on.
    pub(crate) fn attach(&self, node: Arc<Node>) {
        drop(self.node.set(node));
    }

    fn node(&self) -> Result<&Arc<Node>, Status> {
        self.node.get().ok_or_else(|| Status::unavailable("the node is starting"))
    }
}

impl PeerHandler for Handler {
    fn read_index(&self, request: proto::ReadIndexRequest) -> BoxFuture<'_, Result<proto::ReadIndexResponse, Status>> {
        Box::pin(async move {
            let voter = request.target.map_or(0, |target| target.from);
            let point = self.node()?.leader_reads.confirm_for(voter, request.seconds_term).await;
            let point = point.map_err(|error| Status::unavailable(error.to_string()))?;
            let read_log_id = Some(proto::LogId { term: point.term, index: point.index });
            Ok(proto::ReadIndexResponse { group: GROUP, term: point.term, read_log_id })
        })
    }

    fn second(&self, request: proto::SecondRequest) -> Result<proto::SecondResponse, Status> {
        let leader = request.target.map_or(0, |target| target.from);
        Ok(proto::SecondResponse { group: GROUP, term: self.node()?.voter.stands_behind(leader) })
    }

    fn forward(
        &self,
        mut requests: BoxStream<'static, proto::ForwardRequest>,
    ) -> BoxStream<'static, Result<proto::ForwardResponse, Status>> {
        let (answers, given) = mpsc::unbounded_channel();
        let responses = gathered(given);
        let Some(node) = self.node.get().cloned() else { return responses.boxed() };
        tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                for forwarded in request.commands {
                    let proto::ForwardedCommand { session, number, attempt, term, command, acknowledged } = forwarded;
                    let place = Place { session, number, attempt };
                    let (bytes, arrived, reply) =
                        (command.len(), Instant::now(), Reply::stream(place, answers.clone()));
                    match proto::Command::decode(command) {
                        Ok(command) => {
                            let command = Arc::new(command);
                            let task = Task { place, term, command, bytes, arrived, acknowledged, reply };
                            node.proposer.submit(task);
                        }
                        Err(error) => {
                            tracing::error!(%error, "a forwarded command cannot be read");
                            reply.send(Answer::NotTaken { overloaded: false });
                        }
                    }
                }
            }
        });
        responses.boxed()
    }

    fn status(&self, _request: proto::StatusRequest) -> BoxFuture<'_, Result<proto::StatusResponse, Status>> {
        Box::pin(async move {
            Ok(match self.node.get() {
                Some(node) => node.status(),
                None => {
                    let cluster_id = self.identity.cluster_id().to_string();
                    proto::StatusResponse { cluster_id, ..self.found.clone() }
                }
            })
        })
    }

    fn promote(&self, request: proto::PromoteRequest) -> BoxFuture<'_, Result<proto::PromoteResponse, Status>> {
        Box::pin(async move {
            let timeout = std::time::Duration::from_millis(request.timeout_ms.clamp(1, 60_000));
            let node = self.node()?;
            let mut response = proto::PromoteResponse { group: GROUP, ..Default::default() };
            if request.dry_run {
                let checks = node.eligibility(request.node_id).checks;
                response.failed = checks.into_iter().map(check_to_wire).collect();
                response.not_leader = !node.leads();
                return Ok(response);
            }
            match node.promote_here(request.node_id, timeout).await {
                Ok(promoted) => {
                    response.leader = promoted.leader;
                    response.term = promoted.term;
                    response.took_ms = promoted.took_ms;
                }
                Err(PromoteError::NotEligible(checks)) => {
                    response.failed = checks.into_iter().map(check_to_wire).collect();
                }
                Err(PromoteError::UnknownNode(id)) => return Err(Status::not_found(format!("there is no node {id}"))),
                Err(PromoteError::Failed(_)) => response.not_leader = true,
            }
            Ok(response)
        })
    }
}

/// Answers that have come together go together.
fn gathered(
    given: mpsc::UnboundedReceiver<proto::ForwardedAnswer>,
) -> impl Stream<Item = Result<proto::ForwardResponse, Status>> {
    stream::unfold(given, |mut given| async move {
        let first = given.recv().await?;
        let mut bytes = first.encoded_len();
        let mut answers = vec![first];
        while bytes < ANSWERS_BYTES
            && let Ok(next) = given.try_recv()
        {
            bytes += next.encoded_len();
            answers.push(next);
        }
        Some((Ok(proto::ForwardResponse { group: GROUP, answers }), given))
    })
}

fn check_to_wire(check: Check) -> proto::PromotionCheck {
    proto::PromotionCheck { name: check.name, ok: check.ok, detail: check.detail }
}
