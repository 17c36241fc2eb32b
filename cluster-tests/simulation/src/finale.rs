//! After the chaos: every node serves, all hold the same, and everything is read back from each of them.

use std::sync::Arc;
use std::time::Duration;

use aerodb_raft::Consistency;
use tokio::time::{Instant, sleep};

use crate::call::{Ask, Reply, Wanted, WhyNot};
use crate::check::model::query::Query;
use crate::check::model::{Fields, Op, Pre};
use crate::check::oracle::{End, Read, What};
use crate::client::{COLLECTIONS, Client, Sight};
use crate::plan::Workload;
use crate::run::DEADLINE;
use crate::world::World;

const PATIENCE: Duration = Duration::from_secs(2);

/// Events of one page of a feed.
const EVENTS: usize = 300;

/// From the moment at which everything is healed every node must serve within the deadline, whatever clients still do.
pub(crate) async fn come_back(world: &Arc<World>) {
    while !*world.healed.lock() {
        sleep(Duration::from_millis(20)).await;
    }
    let deadline = Instant::now() + DEADLINE;
    let mut client = Client::new(world.clone());
    while let Err(owed) = serves(world, &mut client).await {
        if Instant::now() >= deadline {
            let problem = format!("{} s after everything was healed: {owed}", DEADLINE.as_secs());
            return world.checker.lock().violate(problem);
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Looks at everything, or says what the cluster owes after the deadline.
pub(crate) async fn look_at_everything(world: &Arc<World>) {
    let deadline = Instant::now() + DEADLINE;
    let mut client = Client::new(world.clone());
    loop {
        let owed = match serves(world, &mut client).await {
            Ok(()) => match agrees(world, &mut client).await {
                Ok(()) => return,
                Err(owed) => owed,
            },
            Err(owed) => owed,
        };
        if Instant::now() >= deadline {
            let problem = format!("{} s after the clients were done: {owed}", DEADLINE.as_secs());
            return world.checker.lock().violate(problem);
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Every node takes a write and answers a linearizable read of everything.
async fn serves(world: &Arc<World>, client: &mut Client) -> Result<(), String> {
    for node in world.places.keys() {
        let fields = Fields::from([("w".to_owned(), (-(*node as i64)).into())]);
        let (collection, id) = (COLLECTIONS[0].0.to_owned(), format!("last-{node}"));
        let op = Op::Put { collection, id, fields, pre: Pre::Any };
        match client.write_at(*node, op, PATIENCE).await {
            End::Answered(_) => {}
            other => return Err(format!("n{node} does not take a write: {other:?}")),
        }
    }
    for node in world.places.keys() {
        for (collection, _) in world.plan.collections() {
            read_all(world, client, *node, collection).await?;
            follow_all(world, client, *node, collection).await?;
        }
        if world.plan.workload == Workload::Append && !client.read_last_lists(*node, PATIENCE).await {
            return Err(format!("n{node} does not show the lists"));
        }
    }
    Ok(())
}

async fn read_all(world: &World, client: &mut Client, node: u64, collection: &str) -> Result<(), String> {
    let (collection, query) = (collection.to_owned(), Query::default());
    let what = What::List { collection: collection.clone(), query: query.clone() };
    let wanted = Wanted::List { collection, query, limit: 1_000, cursor: None, as_of: None, count: false };
    let fresh = (Consistency::Linearizable, *world.floor.lock());
    let Some(Ok(sight)) = client.see(node, wanted, fresh, PATIENCE).await else {
        return Err(format!("n{node} does not answer a linearizable read: {what:?}"));
    };
    let Sight { seen, floor, by } = sight;
    let read = Read { what, revision: seen.revision, floor, bodies: seen.bodies, count: None, by };
    world.history.lock().reads.push(read);
    Ok(())
}

/// All that is kept of a collection's feed.
async fn follow_all(world: &World, client: &mut Client, node: u64, collection: &str) -> Result<(), String> {
    let mut since = 0;
    loop {
        let fresh = (Consistency::Linearizable, *world.floor.lock());
        match client.follow(node, collection, since, EVENTS, fresh, PATIENCE).await {
            Some(Ok(Some(next))) => since = next,
            Some(Ok(None)) => return Ok(()),
            Some(Err(WhyNot::Compacted(oldest))) if oldest > since => since = oldest,
            other => return Err(format!("n{node} does not show the feed of {collection}: {other:?}")),
        }
    }
}

/// All nodes have applied the same entry and hold the same.
async fn agrees(world: &Arc<World>, client: &mut Client) -> Result<(), String> {
    let mut digests = Vec::new();
    for node in world.places.keys() {
        match client.ask(*node, Ask::Digest).await {
            Some(Reply::Digest(index, digest)) => digests.push((*node, index, digest)),
            other => return Err(format!("n{node} gives no digest: {other:?}")),
        }
    }
    for node in world.places.keys() {
        match client.ask(*node, Ask::Indexes).await {
            Some(Reply::Indexes(building, problems)) => {
                let checker = &mut *world.checker.lock();
                problems.into_iter().for_each(|problem| checker.violate(format!("n{node}: {problem}")));
                if !building.is_empty() {
                    return Err(format!("on n{node} these indexes are still being built: {building:?}"));
                }
            }
            other => return Err(format!("n{node} does not say how its indexes are: {other:?}")),
        }
    }
    let (_, index, digest) = &digests[0];
    if digests.iter().any(|(_, at, _)| at != index) {
        return Err(format!("the nodes are at different entries: {digests:?}"));
    }
    if digests.iter().any(|(.., other)| other != digest) {
        // Equal places and different contents will not mend themselves.
        world.checker.lock().violate(format!("the nodes hold different states: {digests:?}"));
    }
    Ok(())
}
