//! Hazards of openraft that this crate must keep away from its users, each by its number. Others are shown where they
//! arise: 1 also in the log's tests, 5 in the network's.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::group::{Group, until};
use super::{Alone, Outcome, PATIENCE, create, insert};
use crate::{Error, PromoteError};

/// Less than a leader's lease: it still believes that it leads.
const WITHIN_THE_LEASE: Duration = Duration::from_millis(150);

/// Hazard 1: a leader that was restarted and took itself for the leader still would answer from a state that is behind.
#[tokio::test(flavor = "multi_thread")]
async fn hazard_1_a_restarted_leader_stands_for_election() {
    let node = Alone::start().await;
    node.write(create()).await;
    let before = node.handle.topology().await.term;
    let node = Alone::start_in(node.end().await).await;
    tokio::time::timeout(PATIENCE, node.handle.wait_recovered()).await.expect("it catches up with itself");
    assert!(node.handle.topology().await.term > before, "elected anew, in a later term");
    node.end().await;
}

/// Hazard 2: a lease outlives a majority that has restarted. Every read asks a majority.
#[tokio::test(flavor = "multi_thread")]
async fn hazard_2_a_lease_is_not_enough_for_a_read() {
    let group = Group::start(3, |_| ()).await;
    let leader = group.leader().await.leader.unwrap();
    group.node(leader).read(PATIENCE).await.unwrap();
    group.isolate(leader);
    let read = group.node(leader).read(WITHIN_THE_LEASE).await;
    assert!(matches!(read, Err(Error::NoLeader | Error::QuorumLost)), "{read:?}");
}

/// Hazard 3: a transfer to a replica that does not answer leaves nobody to lead until the next election.
#[tokio::test(flavor = "multi_thread")]
async fn hazard_3_leadership_is_handed_only_to_a_replica_that_answers() {
    let group = Group::start(3, |_| ()).await;
    let before = group.leader().await;
    let leader = group.node(before.leader.unwrap());
    let gone = group.others(before.leader.unwrap())[0];
    group.isolate(gone);
    until("the leader to miss it", || (!leader.node.eligibility(gone).eligible).then_some(())).await;
    let refused = leader.handle.promote(gone, PATIENCE).await;
    let Err(PromoteError::NotEligible(checks)) = refused else { panic!("{refused:?}") };
    assert!(checks.iter().any(|check| check.name == "contact"), "{checks:?}");
    leader.write(create()).await;
    assert_eq!(*leader.node.leadership.borrow(), before, "nothing has changed");
}

/// Hazard 4: how much log stays behind a snapshot is bounded by bytes too, not only by entries.
#[tokio::test(flavor = "multi_thread")]
async fn hazard_4_the_log_behind_a_snapshot_is_bounded_by_bytes() {
    const KEEP_BYTES: u64 = 8 << 10;
    let group = Group::start(1, |options| {
        options.snapshot_log_entries = 50;
        options.log_keep_entries = 1_000_000;
        options.log_keep_bytes = KEEP_BYTES;
    })
    .await;
    let member = group.node(1);
    member.write(create()).await;
    for number in 0..120 {
        member.write(insert(&format!("{number}"))).await;
    }
    let log = &member.node.log;
    until("the log to be purged", || (log.first_index() > 50).then_some(())).await;
    let first = log.first_index();
    let covered = until("the snapshot", || {
        let metrics = member.node.raft.metrics();
        openraft::async_runtime::watch::WatchReceiver::borrow_watched(&metrics).snapshot.map(|id| id.index())
    })
    .await;
    let kept = log.bytes_between(first, covered + 1).await.unwrap();
    assert!(kept > 0 && kept <= KEEP_BYTES, "{kept} bytes are kept behind the snapshot");
}

/// Hazard 6: when leadership changes with writes under way, some of them were appended and some were not. Each happens
/// once, and its client sees neither.
#[tokio::test(flavor = "multi_thread")]
async fn hazard_6_a_write_under_way_at_a_change_of_leader_happens_once() {
    let group = Arc::new(Group::start(3, |_| ()).await);
    let before = group.leader().await;
    let leader = before.leader.unwrap();
    let through = group.others(leader)[0];
    group.node(through).write(create()).await;
    let writers: Vec<_> = (0..40)
        .map(|writer| {
            let group = group.clone();
            tokio::spawn(async move {
                for number in 0..25 {
                    let written = group.node(through).try_write(insert(&format!("{writer} {number}")), PATIENCE).await;
                    let result = written.map(|outcome| outcome.result);
                    // Decided twice, it would find itself there.
                    assert!(matches!(result, Ok(Some(Outcome::Documents(_)))), "{result:?}");
                }
            })
        })
        .collect();
    let revision = || group.node(through).node.applied.borrow().revision;
    until("writes to be under way", || (revision() > 100).then_some(())).await;
    group.isolate(leader);
    group.leader_after(before.term).await;
    let cut_at = revision();
    assert!(cut_at < 1_000, "the leader was cut off in the middle: {cut_at}");
    group.net.heal();
    for writer in writers {
        writer.await.unwrap();
    }
    group.node(through).read(PATIENCE).await.unwrap();
    let view = group.node(through).handle.local().unwrap();
    let notes = view.collection("notes").unwrap();
    assert_eq!(view.stats(&notes).unwrap().documents, 1_000);
}

/// Hazard 7: heartbeats wait behind no fsync, however long it takes.
#[tokio::test(flavor = "multi_thread")]
async fn hazard_7_heartbeats_do_not_wait_behind_fsync() {
    let group = Group::start(3, |_| ()).await;
    let before = group.leader().await;
    let leader = group.node(before.leader.unwrap());
    leader.write(create()).await;
    for id in 1..=3 {
        // Longer than any silence after which a follower stands.
        group.node(id).disk.sync_ms.store(900, Ordering::Relaxed);
    }
    for number in 0..4 {
        leader.write(insert(&format!("{number}"))).await;
    }
    assert_eq!(group.leader().await, before, "nobody stood for election");
    for id in 1..=3 {
        group.node(id).disk.sync_ms.store(0, Ordering::Relaxed);
    }
}

/// Hazard 9: without a write-ahead log a failed flush reaches no writer: it is looked for, and ends the node.
#[tokio::test(flavor = "multi_thread")]
async fn hazard_9_an_error_in_the_background_fences_the_node() {
    let group = Group::start(1, |_| ()).await;
    let member = group.node(1);
    member.write(create()).await;
    member.disk.background_errors.store(1, Ordering::Relaxed);
    tokio::time::timeout(PATIENCE, member.fence.fenced()).await.expect("the node is fenced");
    let refused = member.try_write(insert("a"), PATIENCE).await;
    assert!(matches!(refused, Err(Error::Fenced(_))), "{refused:?}");
}
