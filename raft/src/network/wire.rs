//! Between openraft's messages and the protobuf on the wire. What comes from outside is checked here: openraft asserts
//! what a correct peer would send, and must not meet anything else.

use aerodb_proto as proto;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use tonic::Status;

use crate::convert;
use crate::types::{Entry, LogId, TypeConfig, Vote};

use super::identity::GROUP;

pub(crate) type Append = AppendEntriesRequest<TypeConfig>;
pub(crate) type Appended = StreamAppendResult<TypeConfig>;
pub(crate) type Ballot = VoteRequest<TypeConfig>;
pub(crate) type Voted = VoteResponse<TypeConfig>;
pub(crate) type Transfer = TransferLeaderRequest<TypeConfig>;
pub(crate) type Transferred = TransferLeaderResponse<TypeConfig>;

/// Why a transfer of leadership was refused, on the wire.
const VOTE_CHANGED: &str = "vote_changed";
const LOG_NOT_FLUSHED: &str = "log_not_flushed";

pub(crate) fn append_to_wire(request: &Append, target: proto::Target) -> proto::AppendRequest {
    proto::AppendRequest {
        target: Some(target),
        vote: Some(convert::vote_proto(&request.vote)),
        prev_log_id: optional_to_wire(request.prev_log_id.as_ref()),
        entries: request.entries.iter().map(convert::encode_entry).collect(),
        leader_commit: optional_to_wire(request.leader_commit.as_ref()),
    }
}

/// The request of a leader. Entries share the message's bytes.
pub(crate) fn append_from_wire(message: proto::AppendRequest) -> Result<Append, Status> {
    let vote = convert::required_vote(message.vote.as_ref())?;
    let prev_log_id = message.prev_log_id.as_ref().map(convert::log_id);
    let entries = message.entries.into_iter().map(convert::decode_entry).collect::<Result<Vec<_>, _>>()?;
    check_append(&vote, prev_log_id.as_ref(), &entries)?;
    Ok(Append { vote, prev_log_id, entries, leader_commit: message.leader_commit.as_ref().map(convert::log_id) })
}

/// A leader's entries follow one another, and none is of a later term than its own.
fn check_append(vote: &Vote, prev: Option<&LogId>, entries: &[Entry]) -> Result<(), Status> {
    if !vote.committed {
        return Err(Status::invalid_argument("entries come from a node that was not elected"));
    }
    let mut next = prev.map_or(Some(0), |id| id.index().checked_add(1));
    let mut term = prev.map_or(0, |id| id.committed_leader_id().term);
    for entry in entries {
        let (id, entry_term) = (&entry.log_id, entry.log_id.committed_leader_id().term);
        if Some(id.index()) != next || entry_term < term || entry_term > vote.leader_id.term {
            return Err(Status::invalid_argument(format!("entry {id} does not follow what came before it")));
        }
        (next, term) = (id.index().checked_add(1), entry_term);
    }
    Ok(())
}

pub(crate) fn appended_to_wire(result: &Appended) -> proto::AppendResponse {
    use proto::append_response::Result as Wire;
    let result = match result {
        Ok(matched) => Wire::Matched(proto::Matched { log_id: optional_to_wire(matched.as_ref()) }),
        Err(StreamAppendError::Conflict(id)) => Wire::Conflict(convert::log_id_proto(id)),
        Err(StreamAppendError::HigherVote(vote)) => Wire::HigherVote(convert::vote_proto(vote)),
    };
    proto::AppendResponse { group: GROUP, result: Some(result) }
}

pub(crate) fn appended_from_wire(message: &proto::AppendResponse) -> Result<Appended, Status> {
    use proto::append_response::Result as Wire;
    match &message.result {
        Some(Wire::Matched(matched)) => Ok(Ok(matched.log_id.as_ref().map(convert::log_id))),
        Some(Wire::Conflict(id)) => Ok(Err(StreamAppendError::Conflict(convert::log_id(id)))),
        Some(Wire::HigherVote(vote)) => Ok(Err(StreamAppendError::HigherVote(convert::vote(vote)))),
        None => Err(Status::invalid_argument("the answer to entries is of a kind that this version does not know")),
    }
}

pub(crate) fn ballot_to_wire(request: &Ballot, target: proto::Target) -> proto::VoteRequest {
    proto::VoteRequest {
        target: Some(target),
        vote: Some(convert::vote_proto(&request.vote)),
        last_log_id: optional_to_wire(request.last_log_id.as_ref()),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(crate) fn ballot_from_wire(message: &proto::VoteRequest) -> Result<Ballot, Status> {
    let vote = convert::required_vote(message.vote.as_ref())?;
    let mut ballot = Ballot::new(vote, message.last_log_id.as_ref().map(convert::log_id));
    ballot.leadership_transfer = message.leadership_transfer;
    Ok(ballot)
}

pub(crate) fn voted_to_wire(response: &Voted) -> proto::VoteResponse {
    proto::VoteResponse {
        group: GROUP,
        vote: Some(convert::vote_proto(&response.vote)),
        granted: response.vote_granted,
        last_log_id: optional_to_wire(response.last_log_id.as_ref()),
    }
}

pub(crate) fn voted_from_wire(message: &proto::VoteResponse) -> Result<Voted, Status> {
    let vote = convert::required_vote(message.vote.as_ref())?;
    Ok(Voted::new(vote, message.last_log_id.as_ref().map(convert::log_id), message.granted))
}

pub(crate) fn transfer_to_wire(request: &Transfer, target: proto::Target) -> proto::TransferLeaderRequest {
    proto::TransferLeaderRequest {
        target: Some(target),
        from_leader: Some(convert::vote_proto(request.from_leader())),
        to_node_id: *request.to_node_id(),
        last_log_id: optional_to_wire(request.last_log_id()),
    }
}

pub(crate) fn transfer_from_wire(message: &proto::TransferLeaderRequest) -> Result<Transfer, Status> {
    let from = convert::required_vote(message.from_leader.as_ref())?;
    Ok(Transfer::new(from, message.to_node_id, message.last_log_id.as_ref().map(convert::log_id)))
}

pub(crate) fn transferred_to_wire(response: &Transferred) -> proto::TransferLeaderResponse {
    let mut message = proto::TransferLeaderResponse { group: GROUP, ..Default::default() };
    match response {
        Ok(()) => {}
        Err(TransferLeaderError::VoteChanged { actual, .. }) => {
            message.refused = VOTE_CHANGED.to_owned();
            message.actual_vote = Some(convert::vote_proto(actual));
        }
        Err(TransferLeaderError::LogNotFlushed { actual, .. }) => {
            message.refused = LOG_NOT_FLUSHED.to_owned();
            message.actual_log_id = optional_to_wire(actual.as_ref());
        }
    }
    message
}

/// The answer to `request`.
pub(crate) fn transferred_from_wire(
    message: &proto::TransferLeaderResponse,
    request: &Transfer,
) -> Result<Transferred, Status> {
    match message.refused.as_str() {
        "" => Ok(Ok(())),
        VOTE_CHANGED => Ok(Err(TransferLeaderError::VoteChanged {
            expected: *request.from_leader(),
            actual: convert::required_vote(message.actual_vote.as_ref())?,
        })),
        LOG_NOT_FLUSHED => Ok(Err(TransferLeaderError::LogNotFlushed {
            expected: request.last_log_id().copied(),
            actual: message.actual_log_id.as_ref().map(convert::log_id),
        })),
        other => Err(Status::failed_precondition(format!("leadership was refused: {other}"))),
    }
}

fn optional_to_wire(id: Option<&LogId>) -> Option<proto::LogId> {
    id.map(convert::log_id_proto)
}
