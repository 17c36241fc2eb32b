//! Entries and heartbeats.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use openraft::RaftNetworkFactory;
use openraft::errors::RPCError;
use openraft::network::NetStreamAppend;
use openraft::raft::StreamAppendError;
use tokio::time::Instant;

use crate::types::Vote;

use super::super::wire::Append;
use super::fake::*;

#[tokio::test]
async fn a_stream_keeps_order_and_is_pipelined() {
    let server = Server::start(Raft::default()).await;
    // Without pipelining the first answer would never come.
    server.raft.answers_after.store(40, Ordering::SeqCst);
    let mut node = client(&server).await;
    let input = stream::iter((0..100).map(|index| append(index, 10)));
    let answers = node.stream_append(input, soft_ttl(1000)).await.unwrap();
    let answers: Vec<_> = answers.map(|answer| answer.unwrap().unwrap()).collect().await;
    assert_eq!(answers, (0..100).map(|index| Some(log_id(index))).collect::<Vec<_>>());
    let appended = server.raft.appended.lock();
    assert_eq!(appended.len(), 100);
    for (index, request) in appended.iter().enumerate() {
        let sent = append(index as u64, 10);
        assert_eq!((&request.vote, &request.prev_log_id), (&sent.vote, &sent.prev_log_id));
        assert_eq!(request.entries, sent.entries);
    }
}

#[tokio::test]
async fn requests_under_way_are_bounded() {
    let server = Server::start(Raft::default()).await;
    server.raft.answers_after.store(usize::MAX, Ordering::SeqCst);
    let mut node = client(&server).await;
    let input = stream::iter((0..1000).map(|index| append(index, 10)));
    let mut answers = node.stream_append(input, soft_ttl(100)).await.unwrap();
    assert!(matches!(answers.next().await, Some(Err(RPCError::Timeout(_)))));
    assert!(answers.next().await.is_none());
    assert_eq!(server.raft.appended.lock().len(), options().append_in_flight_max);
}

#[tokio::test]
async fn big_entries_go_through() {
    let server = Server::start(Raft::default()).await;
    let mut node = client(&server).await;
    let input = stream::iter((0..4).map(|index| append(index, 20 << 20)));
    let answers = node.stream_append(input, soft_ttl(5000)).await.unwrap();
    let answers: Vec<_> = answers.map(|answer| answer.unwrap().unwrap()).collect().await;
    assert_eq!(answers.last(), Some(&Some(log_id(3))));
    assert_eq!(server.raft.appended.lock()[3].entries, append(3, 20 << 20).entries);
}

#[tokio::test]
async fn refusals_come_through_and_end_the_stream() {
    for (refusal, index) in
        [(StreamAppendError::Conflict(log_id(1)), 2), (StreamAppendError::HigherVote(Vote::new(9, 7)), 2)]
    {
        let server = Server::start(Raft::default()).await;
        let said = refusal.clone();
        *server.raft.answer.lock() = Some(Box::new(move |request| {
            let id = request.entries[0].log_id;
            if id.index() == index { Err(said.clone()) } else { Ok(Some(id)) }
        }));
        let mut node = client(&server).await;
        let input = stream::iter((0..10).map(|index| append(index, 10))).chain(stream::pending());
        let answers = node.stream_append(input.boxed(), soft_ttl(1000)).await.unwrap();
        let answers: Vec<_> = answers.map(|answer| answer.unwrap()).collect().await;
        assert_eq!(answers, [Ok(Some(log_id(0))), Ok(Some(log_id(1))), Err(refusal)]);
    }
}

/// The log was purged under a stream: openraft asks on and on for what is gone, and takes up its next order, which begins
/// behind a snapshot, only once the stream has ended.
#[tokio::test]
async fn a_stream_that_has_nothing_to_say_ends() {
    let server = Server::start(Raft::default()).await;
    *server.raft.answer.lock() = Some(Box::new(|request| Ok(request.prev_log_id)));
    let mut node = client(&server).await;
    let nothing = || Append { prev_log_id: Some(log_id(7)), ..append(8, 0) };
    let purged = stream::repeat_with(move || Append { entries: Vec::new(), ..nothing() });
    let answers = node.stream_append(purged, soft_ttl(1000)).await.unwrap();
    let answers = tokio::time::timeout(Duration::from_secs(20), answers.collect::<Vec<_>>()).await;
    let answers = answers.expect("the stream ends");
    assert!(answers.iter().all(|answer| matches!(answer, Ok(Ok(Some(id))) if *id == log_id(7))), "{answers:?}");
    assert!(answers.len() > 1, "what is committed now and then comes alone: {}", answers.len());
}

#[tokio::test]
async fn an_idle_stream_lives_and_a_silent_node_is_noticed() {
    let server = Server::start(Raft::default()).await;
    let mut node = client(&server).await;
    let (requests, input) = tokio::sync::mpsc::channel(1);
    let input = tokio_stream::wrappers::ReceiverStream::new(input);
    // The stream opens with its first request.
    requests.send(append(0, 10)).await.unwrap();
    let mut answers = node.stream_append(input, soft_ttl(10)).await.unwrap();
    assert!(matches!(answers.next().await, Some(Ok(Ok(_)))));
    let idle = tokio::time::timeout(options().append_stall_timeout * 2, answers.next()).await;
    assert!(idle.is_err(), "nothing was asked, so nothing is missing");

    *server.raft.answer.lock() = None;
    requests.send(append(1, 10)).await.unwrap();
    let began = Instant::now();
    assert!(matches!(answers.next().await, Some(Err(RPCError::Timeout(_)))));
    assert!(began.elapsed() >= options().append_stall_timeout);
    assert!(began.elapsed() < options().append_stall_timeout * 3);
}

#[tokio::test]
async fn a_node_that_is_not_there_is_unreachable_and_found_again_when_it_is() {
    let server = Server::start(Raft::default()).await;
    let addr = server.addr.clone();
    let mut node = client(&server).await;
    let (requests, input) = tokio::sync::mpsc::channel(1);
    let input = tokio_stream::wrappers::ReceiverStream::new(input);
    // The stream opens with its first request.
    requests.send(append(0, 10)).await.unwrap();
    let mut answers = node.stream_append(input, soft_ttl(100)).await.unwrap();
    assert!(matches!(answers.next().await, Some(Ok(Ok(_)))));

    server.stop.cancel();
    let ended = answers.next().await;
    assert!(matches!(ended, Some(Err(RPCError::Network(_)))), "{ended:?}");
    drop(answers);
    server.served.await.unwrap().unwrap();
    let refused = node.stream_append(stream::iter([append(0, 10)]), soft_ttl(100)).await;
    assert!(matches!(refused.err(), Some(RPCError::Unreachable(_))));

    let again = Server::start_at(&addr, server.raft.clone()).await;
    let mut answers = node.stream_append(stream::iter([append(1, 10)]), soft_ttl(100)).await.unwrap();
    assert_eq!(answers.next().await.unwrap().unwrap().unwrap(), Some(log_id(1)));
    drop(again);
}

/// Notes when it is dropped.
struct Watched<S>(S, Arc<AtomicBool>);

impl<S: Stream<Item = Append> + Unpin> Stream for Watched<S> {
    type Item = Append;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Append>> {
        self.0.poll_next_unpin(cx)
    }
}

impl<S> Drop for Watched<S> {
    fn drop(&mut self) {
        self.1.store(true, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn the_requests_are_dropped_with_the_answers() {
    let server = Server::start(Raft::default()).await;
    let mut node = client(&server).await;
    let dropped = Arc::new(AtomicBool::new(false));
    let input = Watched(stream::iter([append(0, 10)]).chain(stream::pending()), dropped.clone());
    let mut answers = node.stream_append(input, soft_ttl(100)).await.unwrap();
    assert!(matches!(answers.next().await, Some(Ok(Ok(_)))));
    assert!(!dropped.load(Ordering::SeqCst));
    drop(answers);
    assert!(dropped.load(Ordering::SeqCst), "openraft's next stream needs what the former holds");
}

#[tokio::test]
async fn heartbeats_go_one_by_one_and_end_with_their_input() {
    let server = Server::start(Raft::default()).await;
    let mut node = heartbeat_client(&server).await;
    for _ in 0..3 {
        let mut answers = node.stream_append(stream::iter([heartbeat()]), soft_ttl(500)).await.unwrap();
        assert_eq!(answers.next().await.unwrap().unwrap(), Ok(Some(log_id(9))));
        assert!(answers.next().await.is_none());
    }
    assert_eq!(server.raft.heartbeats.load(Ordering::SeqCst), 3);
    assert_eq!(server.raft.appended.lock()[0].leader_commit, Some(log_id(8)));
}

#[tokio::test]
async fn a_heartbeat_obeys_its_time() {
    let server = Server::start(Raft::default()).await;
    *server.raft.answer.lock() = None;
    let mut node = heartbeat_client(&server).await;
    let began = Instant::now();
    let mut answers = node.stream_append(stream::iter([heartbeat()]), soft_ttl(50)).await.unwrap();
    assert!(matches!(answers.next().await, Some(Err(RPCError::Timeout(_)))));
    assert!(began.elapsed() < Duration::from_millis(200));
}

#[tokio::test]
async fn heartbeats_do_not_wait_behind_entries_that_do_not_move() {
    let server = Server::start(Raft::default()).await;
    // The node takes no entries: windows and queues of the replication connection fill up.
    server.raft.answers_after.store(usize::MAX, Ordering::SeqCst);
    let mut factory = network();
    let mut entries = factory.new_client(super::fake::NODE, &server.peer()).await;
    let mut heartbeats = factory.new_heartbeat_client(super::fake::NODE, &server.peer()).await;
    let pushing = async {
        let input = stream::iter((0..64).map(|index| append(index, 4 << 20)));
        let mut answers = entries.stream_append(input, soft_ttl(10_000)).await.unwrap();
        answers.next().await
    };
    let beating = async {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let mut answers = heartbeats.stream_append(stream::iter([heartbeat()]), soft_ttl(200)).await.unwrap();
            assert_eq!(answers.next().await.unwrap().unwrap(), Ok(Some(log_id(9))));
        }
    };
    tokio::select! {
        _ = pushing => panic!("the entries were answered"),
        () = beating => {}
    }
}
