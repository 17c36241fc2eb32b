//! After the chaos: every node serves, all hold the same, and everything is read back from each of them.

use std::sync::Arc;
use std::time::Duration;

use aerodb_raft::Consistency;
use tokio::time::{Instant, sleep};

use crate::call::{Ask, Reply, Wanted};
use crate::check::model::{Fields, Op, Pre};
use crate::check::oracle::{By, End, Read, What};
use crate::client::{COLLECTIONS, Client};
use crate::run::DEADLINE;
use crate::world::{World, now};

const PATIENCE: Duration = Duration::from_secs(2);

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
            let problem = format!("{} s after everything was healed: {owed}", DEADLINE.as_secs());
            return world.checker.lock().violate(problem);
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Every node takes a write and answers a linearizable read of everything.
async fn serves(world: &Arc<World>, client: &mut Client) -> Result<(), String> {
    for node in world.places.keys() {
        let fields = Fields::from([("w".to_owned(), -(*node as i64))]);
        let (collection, id) = (COLLECTIONS[0].0.to_owned(), format!("last-{node}"));
        let op = Op::Put { collection, id, fields, pre: Pre::Any };
        match client.write_at(*node, op, PATIENCE).await {
            End::Answered(_) => {}
            other => return Err(format!("n{node} does not take a write: {other:?}")),
        }
    }
    for node in world.places.keys() {
        for (collection, _) in COLLECTIONS {
            read_all(world, client, *node, collection).await?;
        }
    }
    Ok(())
}

async fn read_all(world: &World, client: &mut Client, node: u64, collection: &str) -> Result<(), String> {
    let (floor, collection) = (*world.floor.lock(), collection.to_owned());
    let wanted = Wanted::List { collection: collection.clone(), least: None, by_a: false, limit: 1_000, cursor: None };
    match client.ask(node, Ask::Read(wanted, Consistency::Linearizable, PATIENCE)).await {
        Some(Reply::Seen(seen)) => {
            let what = What::List { collection, least: None, by_a: false };
            let by = By { node, asked_at: now(), age: seen.age };
            world.history.lock().reads.push(Read { what, revision: seen.revision, floor, bodies: seen.bodies, by });
            Ok(())
        }
        other => Err(format!("n{node} does not answer a linearizable read: {other:?}")),
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
