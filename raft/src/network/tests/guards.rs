//! What a node does not let in.

use aerodb_proto as proto;
use futures::stream::{self, StreamExt};
use openraft::errors::RPCError;
use openraft::network::{NetStreamAppend, NetVote};
use tonic::Code;

use crate::convert;
use crate::types::Vote;

use super::super::wire::{self, Ballot};
use super::super::*;
use super::fake::*;

fn target(to: u64) -> proto::Target {
    proto::Target { group: 0, to, from: 1, cluster_id: "here".to_owned() }
}

#[test]
fn a_message_for_somebody_else_is_refused_with_a_clear_message() {
    let me = Identity::new(2, "127.0.0.1:7502", "here");
    let refused = |target: proto::Target| {
        let status = me.check_raft(Some(&target)).unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        status.message().to_owned()
    };
    me.check_raft(Some(&target(2))).unwrap();
    me.check_raft(Some(&proto::Target { cluster_id: String::new(), ..target(2) })).unwrap();
    assert_eq!(refused(target(3)), "node 2 is at 127.0.0.1:7502, not node 3");
    assert_eq!(refused(target(0)), "node 2 is at 127.0.0.1:7502, not node 0");
    assert_eq!(refused(proto::Target { group: 1, ..target(2) }), "node 2 at 127.0.0.1:7502 has no group 1");
    let other = proto::Target { cluster_id: "there".to_owned(), ..target(2) };
    assert_eq!(refused(other.clone()), "node 2 at 127.0.0.1:7502 belongs to another cluster");
    let twin = proto::Target { from: 2, ..target(2) };
    assert_eq!(refused(twin.clone()), "another node than the one at 127.0.0.1:7502 says that it is node 2");
    me.check(Some(&twin)).unwrap();
    assert_eq!(me.check(None).unwrap_err().code(), Code::InvalidArgument);

    me.check_status(Some(&target(0))).unwrap();
    me.check_status(Some(&other)).unwrap();
    assert!(me.check_status(Some(&target(3))).is_err());

    let nobody = Identity::new(0, "127.0.0.1:7503", "");
    assert!(nobody.check(Some(&target(0))).is_err());
    nobody.check_status(Some(&target(0))).unwrap();
    nobody.set_node_id(3);
    nobody.set_cluster_id("here");
    nobody.check(Some(&target(3))).unwrap();
    assert!(nobody.check(Some(&proto::Target { cluster_id: "there".to_owned(), ..target(3) })).is_err());
}

#[tokio::test]
async fn every_call_is_guarded() {
    let server = Server::start(Raft::default()).await;
    let channels =
        Channels::new(std::sync::Arc::new(TcpConnector), std::sync::Arc::new(crate::spawn::Tasks), options());
    let mut client = channels.client(NODE, &server.addr, Lane::Control);
    let wrong = || Some(proto::Target { cluster_id: "there".to_owned(), ..target(NODE) });
    let expected = format!("node 2 at {} belongs to another cluster", server.addr);
    let mut codes = Vec::new();
    macro_rules! refused {
        ($call:expr) => {
            let status = $call.await.map(|_| ()).unwrap_err();
            assert_eq!(status.message(), expected);
            codes.push(status.code());
        };
    }
    let append = wire::append_to_wire(&append(0, 1), wrong().unwrap());
    let ballot = wire::ballot_to_wire(&Ballot::new(Vote::new(4, 1), None), wrong().unwrap());
    let vote = Some(convert::vote_proto(&leader()));
    let chunk = proto::SnapshotChunk { target: wrong(), ..Default::default() };
    let command = proto::ForwardRequest { target: wrong(), ..Default::default() };
    refused!(client.append_once(append.clone()));
    refused!(client.vote(ballot.clone()));
    refused!(client.pre_vote(ballot));
    let from_leader = vote;
    refused!(client.transfer_leader(proto::TransferLeaderRequest {
        target: wrong(),
        from_leader,
        ..Default::default()
    }));
    refused!(client.offer_snapshot(proto::OfferSnapshotRequest { target: wrong(), vote, manifest: None }));
    refused!(client.send_snapshot(stream::iter([chunk])));
    refused!(client.read_index(proto::ReadIndexRequest { target: wrong(), seconds_term: TERM }));
    refused!(client.second(proto::SecondRequest { target: wrong() }));
    refused!(client.promote(proto::PromoteRequest { target: wrong(), ..Default::default() }));
    let mut answers = client.append(stream::iter([append])).await.unwrap().into_inner();
    refused!(answers.message());
    let mut answers = client.forward(stream::iter([command])).await.unwrap().into_inner();
    refused!(answers.message());
    assert_eq!(codes, [Code::FailedPrecondition; 11]);
    assert!(server.raft.appended.lock().is_empty());
    assert!(server.raft.ballots.lock().is_empty());
    client.status(proto::StatusRequest { target: wrong() }).await.unwrap();
}

#[tokio::test]
async fn our_own_calls_come_through() {
    let server = Server::start(Raft::default()).await;
    let channels =
        Channels::new(std::sync::Arc::new(TcpConnector), std::sync::Arc::new(crate::spawn::Tasks), options());
    let mut client = channels.client(NODE, &server.addr, Lane::Forward);
    let here = || Some(target(NODE));
    let read_index = proto::ReadIndexRequest { target: here(), seconds_term: 0 };
    assert_eq!(client.read_index(read_index).await.unwrap().into_inner().term, TERM);
    assert_eq!(client.second(proto::SecondRequest { target: here() }).await.unwrap().into_inner().term, TERM);
    let promote = proto::PromoteRequest { target: here(), ..Default::default() };
    assert_eq!(client.promote(promote).await.unwrap().into_inner().leader, NODE);
    let command = |number| proto::ForwardedCommand { number, ..Default::default() };
    let requests =
        [0..2, 2..5].map(|numbers| proto::ForwardRequest { target: here(), commands: numbers.map(command).collect() });
    let responses = client.forward(stream::iter(requests)).await.unwrap().into_inner();
    let answers: Vec<_> = responses.map(|response| response.unwrap().answers).collect().await;
    let numbers: Vec<_> = answers.concat().iter().map(|answer| answer.number).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
    let mut stranger = channels.at(&server.addr);
    let question = proto::StatusRequest { target: Some(proto::Target::default()) };
    assert_eq!(stranger.status(question).await.unwrap().into_inner().node_id, NODE);
}

#[tokio::test]
async fn a_recovering_node_takes_neither_entries_nor_gives_votes() {
    let server = Server::start(Raft { grants: true, ..Raft::default() }).await;
    server.gate.set_accept_appends(false);
    server.gate.set_accept_votes(false);
    let mut node = client(&server).await;
    let ballot = || Ballot::new(Vote::new(4, 1), None);
    assert!(matches!(node.vote(ballot(), soft_ttl(500)).await, Err(RPCError::Unreachable(_))));
    assert!(matches!(node.pre_vote(ballot(), soft_ttl(500)).await, Err(RPCError::Unreachable(_))));
    let mut answers = node.stream_append(stream::iter([append(0, 1)]), soft_ttl(500)).await.unwrap();
    assert!(matches!(answers.next().await, Some(Err(RPCError::Unreachable(_)))));
    drop(answers);
    let mut beat = heartbeat_client(&server).await;
    let mut answers = beat.stream_append(stream::iter([heartbeat()]), soft_ttl(500)).await.unwrap();
    assert!(matches!(answers.next().await, Some(Err(RPCError::Unreachable(_)))));

    server.gate.set_accept_appends(true);
    let mut answers = node.stream_append(stream::iter([append(0, 1)]), soft_ttl(500)).await.unwrap();
    assert!(matches!(answers.next().await, Some(Ok(Ok(_)))));
    drop(answers);
    assert!(matches!(node.vote(ballot(), soft_ttl(500)).await, Err(RPCError::Unreachable(_))));
    server.gate.set_accept_votes(true);
    assert!(node.vote(ballot(), soft_ttl(500)).await.unwrap().vote_granted);
}

#[tokio::test]
async fn answers_before_a_refused_message_still_come() {
    let server = Server::start(Raft::default()).await;
    let channels =
        Channels::new(std::sync::Arc::new(TcpConnector), std::sync::Arc::new(crate::spawn::Tasks), options());
    let mut client = channels.client(NODE, &server.addr, Lane::Replication);
    let good = |index| wire::append_to_wire(&append(index, 1), target(NODE));
    let gap = good(7);
    let mut hole = gap.clone();
    hole.prev_log_id = Some(convert::log_id_proto(&log_id(3)));
    let requests = [good(0), good(1), hole, good(2)];
    let answers = client.append(stream::iter(requests)).await.unwrap().into_inner();
    let answers: Vec<_> = answers.collect().await;
    assert_eq!(answers.len(), 3);
    assert!(answers[0].is_ok() && answers[1].is_ok());
    assert_eq!(answers[2].as_ref().unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(server.raft.appended.lock().len(), 2);
}

#[test]
fn entries_that_no_leader_would_send_are_refused() {
    let check = |change: &dyn Fn(&mut proto::AppendRequest)| {
        let mut message = wire::append_to_wire(&append(5, 1), target(NODE));
        change(&mut message);
        wire::append_from_wire(message)
    };
    check(&|_| {}).unwrap();
    let not_elected = |message: &mut proto::AppendRequest| {
        message.vote = Some(proto::Vote { term: TERM, node_id: 1, committed: false });
    };
    check(&not_elected).unwrap_err();
    check(&|message| message.vote = None).unwrap_err();
    check(&|message| message.vote = Some(proto::Vote { term: TERM - 1, node_id: 1, committed: true })).unwrap_err();
    check(&|message| message.prev_log_id = None).unwrap_err();
    check(&|message| message.prev_log_id = Some(proto::LogId { term: TERM + 1, index: 4 })).unwrap_err();
    check(&|message| message.entries.push(message.entries[0].clone())).unwrap_err();
    check(&|message| message.entries[0] = b"rubbish"[..].into()).unwrap_err();
    check(&|message| message.prev_log_id = Some(proto::LogId { term: TERM, index: u64::MAX })).unwrap_err();
}
