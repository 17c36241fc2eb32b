//! Work on many documents that the leader proposes step by step, between the commands of clients. How far it has come is in the
//! state, or found again by looking, so that another leader goes on.

use std::collections::HashMap;
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

/// Documents that are read for one step of the check of a schema, and their bytes: few of them are decided on.
const CHECK_DOCUMENTS_PER_STEP: u64 = 2_000;
const CHECK_BYTES_PER_STEP: usize = 2 << 20;
/// A pause before a build goes on that could not.
const BUILD_PAUSE: Duration = Duration::from_millis(200);
/// How often the leader looks for documents whose time is over.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);
/// Entries that are looked at for one command, and documents that go with it at most.
const EXPIRE_ENTRIES_PER_STEP: usize = 500;
/// Steps of one index before the others have their turn.
const EXPIRE_STEPS_PER_TURN: usize = 20;

/// On the leader: proposes the steps of builds of indexes and of checks of schemas, one after the other, wherever the last
/// leader stopped.
pub(super) async fn build_indexes(node: Arc<Node>) {
    let (mut catalog, mut leadership) = (node.catalog.clone(), node.leadership.clone());
    loop {
        if node.leads() && !build_step(&node).await {
            // What was proposed may be decided and not applied yet, or the leader about to change.
            tokio::select! {
                () = node.stop.cancelled() => return,
                () = sleep(BUILD_PAUSE) => {}
            }
            continue;
        }
        let changed = tokio::select! {
            () = node.stop.cancelled() => return,
            changed = catalog.changed() => changed,
            changed = leadership.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

/// All steps that there are, one after the other; true when none is left.
async fn build_step(node: &Arc<Node>) -> bool {
    loop {
        let here = node.clone();
        let step: Result<_, ReadError> = run_blocking(node.spawner.as_ref(), move || next_step(&here)).await;
        let (op, after) = match step {
            Ok(Some(step)) => step,
            Ok(None) => return true,
            Err(error) => {
                tracing::warn!(%error, "an index's build, or a schema's check, cannot go on");
                return false;
            }
        };
        let command = Command { op: Some(op), ..Command::default() };
        let decided = node.submitter.submit_internal(command, Instant::now() + PATIENCE).await;
        match decided {
            // The step is applied once its outcome is here: the next one begins where it ended.
            Ok(outcome) if !matches!(outcome.result, Some(outcome::Result::Refusal(_))) => {
                tracing::debug!(after, "a step of an index's build, or of a schema's check, is done");
            }
            _ => return false,
        }
    }
}

/// What is to be done next, and behind which id it begins.
fn next_step(node: &Node) -> Result<Option<(Op, String)>, ReadError> {
    let view = node.engine.view()?;
    if let Some(step) = view.build_step(node.options.build_step_documents_max)? {
        let after = step.after.clone();
        return Ok(Some((Op::BuildIndex(step), after)));
    }
    let step = view.schema_step(CHECK_DOCUMENTS_PER_STEP, CHECK_BYTES_PER_STEP)?;
    Ok(step.map(|step| {
        let after = step.after.clone();
        (Op::CheckSchema(step), after)
    }))
}

/// On the leader: proposes that documents go whose time is over by an index with `ttl_seconds`.
pub(super) async fn expire_documents(node: Arc<Node>) {
    let (mut catalog, mut leadership) = (node.catalog.clone(), node.leadership.clone());
    // Where the search through an index goes on: what lies before has not expired, or could not go.
    let mut places: HashMap<(u32, u32), Vec<u8>> = HashMap::new();
    loop {
        let expiring = match node.leads() {
            true => node.engine.view().map(|view| view.expiring()).unwrap_or_default(),
            false => Vec::new(),
        };
        places.retain(|index, _| expiring.contains(index));
        for &index in &expiring {
            let from = places.remove(&index);
            places.extend(expire_turn(&node, index, from).await.map(|place| (index, place)));
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
async fn expire_turn(node: &Arc<Node>, index: (u32, u32), mut from: Option<Vec<u8>>) -> Option<Vec<u8>> {
    let mut limit = EXPIRE_ENTRIES_PER_STEP;
    for _ in 0..EXPIRE_STEPS_PER_TURN {
        let (here, place, now_ms) = (node.clone(), from.clone(), node.clock.now_ms());
        let look = move || here.engine.view()?.expired(index, place.as_deref(), now_ms, limit);
        let expired: Result<Expired, ReadError> = run_blocking(node.spawner.as_ref(), look).await;
        let Expired { command, next } = match expired {
            Ok(expired) => expired,
            Err(error) => {
                tracing::warn!(%error, "documents whose time is over cannot be found");
                return None;
            }
        };
        let documents = command.documents.len();
        if documents > 0 {
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
