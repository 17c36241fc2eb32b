//! A read index by the word of one voter: only for a leader that still is one, where two are a majority.

use super::group::Group;
use super::{PATIENCE, create};
use crate::second::Seconds;

fn seconds(group: &Group, id: u64) -> Seconds {
    let node = &group.node(id).node;
    Seconds::new(id, node.raft.clone(), node.peers.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_is_seconded_in_its_own_term_by_another_voter_only() {
    let group = Group::start(3, |_| ()).await;
    let known = group.leader().await;
    let leader = known.leader.unwrap();
    let other = group.others(leader)[0];
    group.node(leader).write(create()).await;
    // Who has heard of the leader stands behind it in its term.
    group.node(other).read(PATIENCE).await.unwrap();
    assert_eq!(group.node(other).node.voter.stands_behind(leader), known.term);
    assert_eq!(group.node(other).node.voter.stands_behind(other), 0, "it votes for the leader, not for itself");

    let seconds = seconds(&group, leader);
    let point = seconds.by(other, known.term).await.unwrap().expect("two of three");
    assert_eq!(point.term, known.term);
    assert!(seconds.ask().await.unwrap().is_some());
    for (voter, term, why) in [
        (other, known.term - 1, "an earlier term"),
        (other, known.term + 1, "a later term"),
        (other, 0, "in no term"),
        (leader, known.term, "one's own word counts once"),
        (9, known.term, "not a voter"),
    ] {
        assert_eq!(seconds.by(voter, term).await.unwrap(), None, "{why}");
    }
    assert_eq!(self::seconds(&group, other).by(leader, known.term).await.unwrap(), None, "it does not lead");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposed_leader_is_seconded_by_nobody() {
    let group = Group::start(3, |_| ()).await;
    let before = group.leader().await;
    let deposed = before.leader.unwrap();
    group.isolate(deposed);
    let after = group.leader_after(before.term).await;
    for other in group.others(deposed) {
        let voter = &group.node(other).node.voter;
        assert_eq!(voter.stands_behind(deposed), 0, "node {other} has voted for another since");
        assert_eq!(voter.stands_behind(after.leader.unwrap()), after.term);
    }
    assert_eq!(seconds(&group, deposed).ask().await.unwrap(), None, "it reaches nobody");
    group.net.heal();
    group.node(deposed).read(PATIENCE).await.unwrap();
    // An answer that was long on its way, to a leader that has learned better.
    let late = seconds(&group, deposed).by(group.others(deposed)[0], before.term).await.unwrap();
    assert_eq!(late, None);
}

/// Of five, two are no majority.
#[tokio::test(flavor = "multi_thread")]
async fn of_five_voters_one_is_not_enough() {
    let group = Group::start(5, |_| ()).await;
    let known = group.leader().await;
    let leader = known.leader.unwrap();
    group.node(leader).read(PATIENCE).await.unwrap();
    let seconds = seconds(&group, leader);
    assert_eq!(seconds.ask().await.unwrap(), None);
    assert_eq!(seconds.by(group.others(leader)[0], known.term).await.unwrap(), None);
}
