//! Builds of indexes and checks of schemas: on the leader, by steps between the commands of clients. How far one has come is in
//! the state, so that another leader goes on.

use std::sync::Arc;
use std::time::Duration;

use aerodb_engine::view::ReadError;
use aerodb_proto as proto;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use proto::command::Op;
use proto::{BuildIndex, Command, outcome};
use tokio::time::{Instant, sleep};

use super::PATIENCE;
use crate::node::Node;
use crate::spawn::run_blocking;

/// Steps of one build that are decided or written at once, while the next one is read.
const BUILD_STEPS_UNDER_WAY: usize = 2;
/// Documents that are read for one step of the check of a schema, and their bytes: few of them are decided on.
const CHECK_DOCUMENTS_PER_STEP: u64 = 2_000;
const CHECK_BYTES_PER_STEP: usize = 2 << 20;
/// A pause before a build goes on that could not.
const BUILD_PAUSE: Duration = Duration::from_millis(200);

/// On the leader: proposes the steps of builds of indexes and of checks of schemas, wherever the last leader stopped.
pub(super) async fn build_indexes(node: Arc<Node>) {
    let (mut catalog, mut leadership) = (node.catalog.clone(), node.leadership.clone());
    loop {
        if node.leads() && !build(&node).await {
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

/// All that there is to do; true when nothing is left, or another node leads.
async fn build(node: &Arc<Node>) -> bool {
    while node.leads() {
        let here = node.clone();
        let step: Result<_, ReadError> = run_blocking(node.spawner.as_ref(), move || next_step(&here)).await;
        let done = match step {
            Ok(Some(Op::BuildIndex(step))) => build_index(node, step).await,
            Ok(Some(op)) => submit(node, op).await,
            Ok(None) => return true,
            Err(error) => {
                tracing::warn!(%error, "an index's build, or a schema's check, cannot go on");
                false
            }
        };
        if !done {
            return false;
        }
    }
    true
}

/// What is to be done next, as the state says.
fn next_step(node: &Node) -> Result<Option<Op>, ReadError> {
    let view = node.engine.view()?;
    if let Some(step) = view.build_step(node.options.build_step_documents_max)? {
        return Ok(Some(Op::BuildIndex(step)));
    }
    Ok(view.schema_step(CHECK_DOCUMENTS_PER_STEP, CHECK_BYTES_PER_STEP)?.map(Op::CheckSchema))
}

/// The steps of an index's build from `step` on; true when none is left. The next one is read while the last ones are on their
/// way through the log. A step whose forerunner ended early is passed over in decide: the state then says where to go on.
async fn build_index(node: &Arc<Node>, mut step: BuildIndex) -> bool {
    let mut under_way = FuturesOrdered::new();
    loop {
        let behind = read_behind(node, &step);
        under_way.push_back(submit(node, Op::BuildIndex(step)));
        tokio::pin!(behind);
        let next = loop {
            tokio::select! {
                biased;
                Some(done) = under_way.next(), if !under_way.is_empty() => {
                    if !done {
                        return false;
                    }
                }
                next = &mut behind => break next,
            }
        };
        let left = if next.is_some() { BUILD_STEPS_UNDER_WAY - 1 } else { 0 };
        while under_way.len() > left {
            if under_way.next().await != Some(true) {
                return false;
            }
        }
        match next {
            Some(next) if node.leads() => step = next,
            _ => return true,
        }
    }
}

/// The step behind `step`; `None` when there is none, or it cannot be read: whoever looks into the state again finds out.
fn read_behind(node: &Arc<Node>, step: &BuildIndex) -> impl Future<Output = Option<BuildIndex>> + use<> {
    let place = (!step.last).then(|| BuildIndex {
        collection_id: step.collection_id,
        index_id: step.index_id,
        after: step.up_to.clone(),
        ..BuildIndex::default()
    });
    let node = node.clone();
    async move {
        let (here, place) = (node.clone(), place?);
        let read = move || here.engine.view()?.build_step_at(place, here.options.build_step_documents_max);
        run_blocking(node.spawner.as_ref(), read).await.ok().flatten()
    }
}

/// Proposes a step; true once it is applied.
async fn submit(node: &Node, op: Op) -> bool {
    let command = Command { op: Some(op), ..Command::default() };
    match node.submitter.submit_internal(command, Instant::now() + PATIENCE).await {
        Ok(outcome) => !matches!(outcome.result, Some(outcome::Result::Refusal(_))),
        Err(error) => {
            tracing::debug!(%error, "a step of an index's build, or of a schema's check, is put off");
            false
        }
    }
}
