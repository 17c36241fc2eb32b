//! Documents whose time is over go: on the leader, by steps between the commands of clients. Another leader looks again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use aerodb_engine::view::{Expired, ReadError};
use aerodb_proto as proto;
use proto::command::Op;
use proto::{Command, outcome};
use tokio::time::{Instant, sleep};

use super::PATIENCE;
use crate::node::Node;
use crate::spawn::run_blocking;

/// How often the leader looks for documents whose time is over.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);
/// Entries that are looked at for one command, and documents that go with it at most.
const EXPIRE_ENTRIES_PER_STEP: usize = 500;
/// Steps of one index before the others have their turn.
const EXPIRE_STEPS_PER_TURN: usize = 20;
/// Documents that others refer to, so that they stay though their time is over: how many are remembered, and for how long
/// they are not proposed again.
const KEPT_DOCUMENTS_MAX: usize = 10_000;
const KEPT_FOR: Duration = Duration::from_secs(10);

/// On the leader: proposes that documents go whose time is over by an index with `ttl_seconds`.
pub(super) async fn expire_documents(node: Arc<Node>) {
    let (mut catalog, mut leadership) = (node.catalog.clone(), node.leadership.clone());
    // Where the search through an index goes on: what lies before has not expired, or could not go.
    let mut places: HashMap<(u32, u32), Vec<u8>> = HashMap::new();
    let mut kept = Kept::default();
    loop {
        let expiring = match node.leads() {
            true => node.engine.view().map(|view| view.expiring()).unwrap_or_default(),
            false => Vec::new(),
        };
        places.retain(|index, _| expiring.contains(index));
        kept.forget_old();
        for &index in &expiring {
            let from = places.remove(&index);
            places.extend(expire_turn(&node, index, from, &mut kept).await.map(|place| (index, place)));
        }
        let idle = expiring.is_empty();
        let changed = tokio::select! {
            () = node.stop.cancelled() => return,
            // A node without such an index is not woken.
            () = sleep(EXPIRE_EVERY), if !idle => Ok(()),
            changed = catalog.changed(), if idle => changed,
            changed = leadership.changed(), if idle => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

/// Some steps through one index, beginning at `from`; where to go on, or `None` at its end.
async fn expire_turn(
    node: &Arc<Node>,
    index: (u32, u32),
    mut from: Option<Vec<u8>>,
    kept: &mut Kept,
) -> Option<Vec<u8>> {
    let mut limit = EXPIRE_ENTRIES_PER_STEP;
    for _ in 0..EXPIRE_STEPS_PER_TURN {
        let (here, place, now_ms) = (node.clone(), from.clone(), node.clock.now_ms());
        let look = move || here.engine.view()?.expired(index, place.as_deref(), now_ms, limit);
        let expired: Result<Expired, ReadError> = run_blocking(node.spawner.as_ref(), look).await;
        let Expired { mut command, next } = match expired {
            Ok(expired) => expired,
            Err(error) => {
                tracing::warn!(%error, "documents whose time is over cannot be found");
                return None;
            }
        };
        kept.leave_out(&mut command);
        let documents = command.documents.len();
        if documents > 0 {
            let seen = command.clone();
            let command = Command { op: Some(Op::Expire(command)), ..Command::default() };
            match node.submitter.submit_internal(command, Instant::now() + PATIENCE).await {
                Ok(outcome) => match outcome.result {
                    // Too much for one command: the same again, by smaller steps, and past a document that cannot go.
                    Some(outcome::Result::Refusal(refusal)) if limit == 1 => {
                        tracing::warn!(?refusal, "a document whose time is over cannot go");
                    }
                    Some(outcome::Result::Refusal(_)) => {
                        limit = (limit / 8).max(1);
                        continue;
                    }
                    Some(outcome::Result::Done(done)) if !done.kept.is_empty() => kept.note(&seen, done),
                    _ => tracing::debug!(documents, "documents whose time was over are gone"),
                },
                // Another leader, or none: looked at again later.
                Err(_) => return from,
            }
        }
        from = Some(next?);
    }
    from
}

/// Documents that others refer to, and that therefore stay: they are not proposed again for a while, in which they would hold up
/// the leader for nothing.
#[derive(Default)]
struct Kept {
    /// By collection, document and the revision that was seen.
    documents: HashSet<(u32, String, u64)>,
    since: Option<Instant>,
}

impl Kept {
    /// They have their turn again after a while: whoever referred to them may be gone.
    fn forget_old(&mut self) {
        if self.since.is_some_and(|since| since.elapsed() > KEPT_FOR) {
            *self = Self::default();
        }
    }

    fn leave_out(&self, command: &mut proto::ExpireDocuments) {
        if !self.documents.is_empty() {
            let of = command.collection_id;
            command.documents.retain(|seen| !self.documents.contains(&(of, seen.id.clone(), seen.revision)));
        }
    }

    fn note(&mut self, seen: &proto::ExpireDocuments, done: proto::Done) {
        if self.since.is_none() {
            let (documents, because) = (done.kept.len(), done.kept_because.as_str());
            tracing::warn!(documents, because, "documents whose time is over stay, because others refer to them");
            self.since = Some(Instant::now());
        }
        let ids: HashSet<String> = done.kept.into_iter().collect();
        let stay = seen.documents.iter().filter(|document| ids.contains(&document.id));
        let stay = stay.map(|document| (seen.collection_id, document.id.clone(), document.revision));
        let room = KEPT_DOCUMENTS_MAX.saturating_sub(self.documents.len());
        self.documents.extend(stay.take(room));
    }
}
