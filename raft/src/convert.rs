//! Between openraft's types and the protobuf that goes to disk and over the wire (A9).

use std::collections::{BTreeMap, BTreeSet};

use aerodb_proto as proto;
use prost::Message;

use crate::types::{CommittedLeaderId, Entry, LogId, Membership, Payload, Peer, Proposal, StoredMembership, Vote};

/// Bytes that should be one of our messages and are not: damage, or a newer version's.
#[derive(Debug, thiserror::Error)]
#[error("a stored or received {what} cannot be read: {detail}")]
pub(crate) struct Malformed {
    what: &'static str,
    detail: String,
}

impl Malformed {
    fn new(what: &'static str, detail: impl ToString) -> Self {
        Self { what, detail: detail.to_string() }
    }
}

impl From<Malformed> for std::io::Error {
    fn from(error: Malformed) -> Self {
        std::io::Error::new(std::io::ErrorKind::InvalidData, error)
    }
}

impl From<Malformed> for tonic::Status {
    fn from(error: Malformed) -> Self {
        tonic::Status::invalid_argument(error.to_string())
    }
}

pub(crate) fn log_id(id: &proto::LogId) -> LogId {
    LogId::new(CommittedLeaderId::new(id.term), id.index)
}

pub(crate) fn log_id_proto(id: &LogId) -> proto::LogId {
    proto::LogId { term: id.committed_leader_id().term, index: id.index() }
}

pub(crate) fn vote(vote: &proto::Vote) -> Vote {
    if vote.committed { Vote::new_committed(vote.term, vote.node_id) } else { Vote::new(vote.term, vote.node_id) }
}

pub(crate) fn vote_proto(vote: &Vote) -> proto::Vote {
    proto::Vote { term: vote.leader_id.term, node_id: vote.leader_id.voted_for, committed: vote.committed }
}

/// A vote that a message must carry.
pub(crate) fn required_vote(found: Option<&proto::Vote>) -> Result<Vote, Malformed> {
    found.map(vote).ok_or_else(|| Malformed::new("vote", "it is missing"))
}

pub(crate) fn membership(message: &proto::Membership) -> Result<Membership, Malformed> {
    let configs = message.configs.iter().map(|set| set.ids.iter().copied().collect::<BTreeSet<_>>()).collect();
    let nodes: BTreeMap<u64, Peer> = message
        .nodes
        .iter()
        .map(|(id, node)| (*id, Peer { http_addr: node.http_addr.clone(), peer_addr: node.peer_addr.clone() }))
        .collect();
    Membership::new(configs, nodes).map_err(|e| Malformed::new("membership", e))
}

pub(crate) fn membership_proto(membership: &Membership) -> proto::Membership {
    let configs = membership.get_joint_config().iter();
    let nodes = membership.nodes();
    proto::Membership {
        configs: configs.map(|set| proto::VoterSet { ids: set.iter().copied().collect() }).collect(),
        nodes: nodes
            .map(|(id, node)| {
                let info = proto::NodeInfo { http_addr: node.http_addr.clone(), peer_addr: node.peer_addr.clone() };
                (*id, info)
            })
            .collect(),
    }
}

pub(crate) fn stored_membership(message: &proto::StoredMembership) -> Result<StoredMembership, Malformed> {
    let configuration = match &message.membership {
        Some(found) if !found.configs.is_empty() => membership(found)?,
        _ => Membership::default(),
    };
    Ok(StoredMembership::new(message.log_id.as_ref().map(log_id), configuration))
}

/// The bytes of an entry, as they are stored and sent.
pub(crate) fn encode_entry(entry: &Entry) -> bytes::Bytes {
    let payload = match &entry.payload {
        Payload::Blank => proto::log_entry::Payload::Blank(true),
        Payload::Normal(proposal) => proto::log_entry::Payload::Batch(proposal.0.clone()),
        Payload::Membership(found) => proto::log_entry::Payload::Membership(membership_proto(found)),
    };
    proto::LogEntry { log_id: Some(log_id_proto(&entry.log_id)), payload: Some(payload) }.encode_to_vec().into()
}

/// The entry that `bytes` hold; a batch inside shares them.
pub(crate) fn decode_entry(bytes: bytes::Bytes) -> Result<Entry, Malformed> {
    let message = proto::LogEntry::decode(bytes).map_err(|e| Malformed::new("log entry", e))?;
    let id = message.log_id.ok_or_else(|| Malformed::new("log entry", "it has no log id"))?;
    let payload = match message.payload {
        Some(proto::log_entry::Payload::Blank(_)) => Payload::Blank,
        Some(proto::log_entry::Payload::Batch(bytes)) => Payload::Normal(Proposal(bytes)),
        Some(proto::log_entry::Payload::Membership(found)) => Payload::Membership(membership(&found)?),
        None => return Err(Malformed::new("log entry", "its kind is not known to this version")),
    };
    Ok(Entry { log_id: log_id(&id), payload })
}
