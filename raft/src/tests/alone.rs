//! A read index by a node's own word: only for one that leads and is the only member, and no longer than that is so.

use openraft::storage::RaftLogStorage;

use super::group::Group;
use super::{Alone as Single, PATIENCE, create};
use crate::Consistency;
use crate::alone::Alone;
use crate::node::Node;
use crate::types::{Peer, Vote};

fn alone(node: &Node) -> Alone {
    Alone::new(node.options.node_id, node.raft.clone(), node.peers.clone(), node.log.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_member_needs_nobodys_word_until_it_votes_for_another() {
    let single = Single::start().await;
    let node = single.handle.node();
    let alone = alone(&node);
    assert_eq!(alone.confirm(), None, "the core of Raft was not asked yet");
    let point = alone.ask().await.unwrap().expect("it leads, and nobody else is there");
    single.write(create()).await;
    assert_eq!(alone.confirm(), Some(point));

    // What answers another's request for a vote does first.
    node.log.clone().save_vote(&Vote::new(point.term + 1, 2)).await.unwrap();
    assert_eq!(alone.confirm(), None, "another may lead by now");
    drop((alone, node));
    single.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn others_are_told_of_everything() {
    let single = Single::start().await;
    let node = single.handle.node();
    single.handle.read(Consistency::Linearizable, PATIENCE).await.unwrap();
    single.write(create()).await;
    let applied = node.applied.borrow().index;
    let here = node.leader_reads.confirm().await.unwrap();
    assert!(here.index < applied, "it was found before the write");
    let there = node.leader_reads.confirm_for(2, 0).await.unwrap();
    assert!(there.index >= applied, "{there:?} is all that who asks knows");
    drop(node);
    single.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_ends_being_alone() {
    let single = Single::start().await;
    let node = single.handle.node();
    let alone = alone(&node);
    single.handle.read(Consistency::Linearizable, PATIENCE).await.unwrap();
    assert!(alone.ask().await.unwrap().is_some());
    node.raft.add_learner(2, Peer::default(), false).await.unwrap();
    assert_eq!(alone.confirm(), None, "what it had found was before the learner");
    assert_eq!(alone.ask().await.unwrap(), None, "the learner may show what the leader has yet to apply");
    assert_eq!(alone.confirm(), None);
    single.handle.read(Consistency::Linearizable, PATIENCE).await.expect("by a round");
    drop((alone, node));
    single.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_nobody_is_alone() {
    let group = Group::start(3, |_| ()).await;
    for id in 1..=3 {
        let alone = alone(&group.node(id).node);
        assert_eq!(alone.ask().await.unwrap(), None);
        assert_eq!(alone.confirm(), None);
    }
}
