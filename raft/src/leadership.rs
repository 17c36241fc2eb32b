//! Who leads, as this node knows it.

use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;

use crate::Raft;

/// The term, and who leads it, once a quorum has confirmed it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leadership {
    pub(crate) term: u64,
    pub(crate) leader: Option<u64>,
}

/// Follows openraft's word on who leads until Raft stops.
pub(crate) fn follow(raft: &Raft) -> watch::Receiver<Leadership> {
    let mut metrics = raft.server_metrics();
    let read = |metrics: &mut dyn FnMut() -> (u64, u64, bool)| {
        let (term, voted_for, leads) = metrics();
        Leadership { term, leader: leads.then_some(voted_for) }
    };
    let mut now = {
        let metrics = metrics.clone();
        move || {
            let metrics = metrics.borrow_watched();
            let (term, voted_for) = (metrics.vote.leader_id.term, metrics.vote.leader_id.voted_for);
            // A leader that has just been started again finds on its disk that it leads, and does so no more.
            let former = voted_for == metrics.id && !metrics.state.is_leader();
            (term, voted_for, metrics.vote.committed && !former)
        }
    };
    let (tx, rx) = watch::channel(read(&mut now));
    tokio::spawn(async move {
        while metrics.changed().await.is_ok() {
            let leadership = read(&mut now);
            tx.send_if_modified(|current| std::mem::replace(current, leadership) != leadership);
        }
    });
    rx
}
