//! Votes, pre-votes and transfers of leadership.

use openraft::errors::RPCError;
use openraft::network::{NetBackoff, NetTransferLeader, NetVote};
use openraft::raft::TransferLeaderError;

use crate::types::Vote;

use super::super::wire::{Ballot, Transfer};
use super::fake::*;

fn ballot() -> Ballot {
    let mut ballot = Ballot::new(Vote::new(4, 1), Some(log_id(5)));
    ballot.leadership_transfer = true;
    ballot
}

/// Hazard 5: openraft's own `pre_vote` grants without asking anybody.
#[tokio::test]
async fn hazard_5_a_pre_vote_is_forwarded_and_not_granted_by_itself() {
    let server = Server::start(Raft::default()).await;
    let mut node = client(&server).await;
    let answer = node.pre_vote(ballot(), soft_ttl(500)).await.unwrap();
    assert!(!answer.vote_granted);
    assert_eq!(answer.last_log_id, Some(log_id(7)));
    assert_eq!(*server.raft.ballots.lock(), [("pre_vote", ballot())]);

    let granting = Server::start(Raft { grants: true, ..Raft::default() }).await;
    assert!(client(&granting).await.pre_vote(ballot(), soft_ttl(500)).await.unwrap().vote_granted);

    granting.stop.cancel();
    granting.served.await.unwrap().unwrap();
    let mut gone = network();
    let mut gone = openraft::RaftNetworkFactory::new_client(
        &mut gone,
        NODE,
        &crate::types::Peer { http_addr: String::new(), peer_addr: granting.addr.clone() },
    )
    .await;
    assert!(matches!(gone.pre_vote(ballot(), soft_ttl(500)).await, Err(RPCError::Unreachable(_))));
}

#[tokio::test]
async fn a_vote_is_asked_for_and_given() {
    let server = Server::start(Raft { grants: true, ..Raft::default() }).await;
    let answer = client(&server).await.vote(ballot(), soft_ttl(500)).await.unwrap();
    assert!(answer.vote_granted);
    assert_eq!(answer.vote, Vote::new(4, 1));
    assert_eq!(*server.raft.ballots.lock(), [("vote", ballot())]);
}

#[tokio::test]
async fn a_node_that_accepts_and_says_nothing_times_out() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = crate::types::Peer { http_addr: String::new(), peer_addr: silent.local_addr().unwrap().to_string() };
    let mut factory = network();
    let mut node = openraft::RaftNetworkFactory::new_client(&mut factory, NODE, &peer).await;
    assert!(matches!(node.vote(ballot(), soft_ttl(50)).await, Err(RPCError::Timeout(_))));
}

#[tokio::test]
async fn leadership_is_handed_over_or_refused_with_the_reason() {
    let server = Server::start(Raft::default()).await;
    let mut node = client(&server).await;
    let transfer = Transfer::new(leader(), NODE, Some(log_id(5)));
    assert_eq!(node.transfer_leader(transfer.clone(), soft_ttl(500)).await.unwrap(), Ok(()));
    for refusal in [
        TransferLeaderError::VoteChanged { expected: leader(), actual: Vote::new(9, 7) },
        TransferLeaderError::LogNotFlushed { expected: Some(log_id(5)), actual: Some(log_id(4)) },
        TransferLeaderError::LogNotFlushed { expected: Some(log_id(5)), actual: None },
    ] {
        *server.raft.transferred.lock() = Err(refusal.clone());
        assert_eq!(node.transfer_leader(transfer.clone(), soft_ttl(500)).await.unwrap(), Err(refusal));
    }
}

#[tokio::test]
async fn pauses_are_short_and_never_end() {
    let server = Server::start(Raft::default()).await;
    let pauses = client(&server).await.backoff().unwrap().take(1000).map(|pause| pause.as_millis());
    let pauses: Vec<_> = pauses.collect();
    assert_eq!(pauses[..6], [50, 100, 200, 400, 500, 500]);
    assert_eq!(pauses[999], 500);
}
