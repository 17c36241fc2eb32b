//! The rules that make deciding ahead of the log safe, where replication keeps them. The engine's part has its own tests.

use std::time::Duration;

use super::group::{Group, until};
use super::{Outcome, PATIENCE, create, insert};
use crate::Error;

/// Longer than a leader's lease.
const PAST_THE_LEASE: Duration = Duration::from_millis(800);

/// Rule 3: openraft refuses while the lease has run out. What was refused is decided again in the same term, unseen by its
/// client, once a majority has confirmed the leader.
#[tokio::test(flavor = "multi_thread")]
async fn rule_3_an_expired_lease_is_a_standstill_and_no_error() {
    let group = Group::start(3, |_| ()).await;
    let before = group.leader().await;
    let leader = before.leader.unwrap();
    group.node(leader).write(create()).await;
    for follower in group.others(leader) {
        group.node(follower).node.raft.runtime_config().elect(false);
    }
    group.isolate(leader);
    until("the lease to run out", || {
        group.node(leader).node.quorum_age().filter(|age| *age > PAST_THE_LEASE).map(drop)
    })
    .await;
    // It stands still until the links are there again.
    let (written, ()) = tokio::join!(group.node(leader).try_write(insert("a"), PATIENCE), async {
        let early = group.node(leader).read(Duration::from_millis(100)).await;
        assert!(early.is_err(), "{early:?}");
        group.net.heal();
    });
    assert!(matches!(written.unwrap().result, Some(Outcome::Documents(_))));
    assert_eq!(group.leader().await, before, "in the same term");
}

/// Rule 3: openraft does not take a transfer back, so after one nothing more is proposed in that term.
#[tokio::test(flavor = "multi_thread")]
async fn rule_3_after_a_transfer_the_term_is_over() {
    let group = Group::start(3, |_| ()).await;
    let first = group.leader().await.leader.unwrap();
    group.node(first).write(create()).await;
    // A busy machine must not end the term before its time. An election that is under way is let come to its end, which
    // a write through each node is.
    let elections = |on| (1..=3).for_each(|id| group.node(id).node.raft.runtime_config().elect(on));
    elections(false);
    for id in 1..=3 {
        group.node(id).write(insert(&format!("before, through {id}"))).await;
    }
    let before = group.leader().await;
    let leader = before.leader.unwrap();
    // As a promotion does it: until it is drained, a command may come before the bar.
    assert!(group.node(leader).node.proposer.drain().await, "it leads");
    group.node(leader).node.proposer.bar().await;
    for id in 1..=3 {
        let refused = group.node(id).try_write(insert("a"), Duration::from_millis(400)).await;
        let untaken = matches!(refused, Err(Error::DeadlineExceeded(_) | Error::NoLeader));
        assert!(untaken, "nothing was taken: {refused:?}");
    }
    elections(true);
    group.isolate(leader);
    let next = group.leader_after(before.term).await;
    group.net.heal();
    assert_ne!(next.leader, before.leader);
    for id in 1..=3 {
        let written = group.node(id).try_write(insert(&format!("through {id}")), PATIENCE).await;
        assert!(matches!(written.map(|outcome| outcome.result), Ok(Some(Outcome::Documents(_)))));
    }
}

/// Rule 4: a refusal says something of the state, so it is a linearizable read. A leader that cannot ask a majority does
/// not give it.
#[tokio::test(flavor = "multi_thread")]
async fn rule_4_a_refusal_needs_a_majority() {
    let group = Group::start(3, |_| ()).await;
    let leader = group.leader().await.leader.unwrap();
    group.node(leader).write(create()).await;
    group.node(leader).write(insert("a")).await;
    let refused = group.node(leader).try_write(insert("a"), PATIENCE).await.unwrap();
    assert!(matches!(refused.result, Some(Outcome::Refusal(_))));
    group.isolate(leader);
    // Within the lease: it could still decide.
    let unsure = group.node(leader).try_write(insert("a"), Duration::from_millis(150)).await;
    assert!(unsure.is_err(), "answered without a majority: {unsure:?}");
}
