//! One life of one node: the real replication and engine, on what the simulation hands in.

use std::sync::Arc;

use aerodb_engine::Limits;
use aerodb_raft::{Fence, Handle, Options, Services, Starting};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;

use crate::call;
use crate::plan::{Plan, name};
use crate::seams::{SimClock, SimConnector, SimMachine, SimThreads};
use crate::store::SimEnv;
use crate::trace;
use crate::world::{Place, Request, World};

/// The port of every node.
pub(crate) const PORT: u16 = 7_000;
/// The secret of the cluster's service key.
pub(crate) const SERVICE_KEY: &str = "the simulation's service key";

/// Lives until the node is crashed. A node that ends by itself says so in its place and waits to be cleared away.
pub(crate) async fn live(world: Arc<World>, place: Arc<Place>) -> turmoil::Result {
    let life = {
        let mut lives = place.lives.lock();
        *lives += 1;
        *lives
    };
    trace::note(format!("n{} begins its life {life}", place.id));
    let fence = Fence::default();
    let (options, services) = given(&world.plan, &place, life, fence.clone());
    let starting = aerodb_raft::start(options, services);
    let handle = tokio::select! {
        biased;
        reason = fence.fenced() => return end(&place, &reason).await,
        started = starting => match started {
            Ok(handle) => handle,
            Err(error) => return end(&place, &format!("it does not start: {error}")).await,
        },
    };
    let (inbox, mut requests) = mpsc::unbounded_channel();
    *place.inbox.lock() = Some(inbox);
    *place.handle.lock() = Some(handle.clone());
    loop {
        tokio::select! {
            biased;
            reason = fence.fenced() => return end(&place, &reason).await,
            request = requests.recv() => {
                let Some(request) = request else { return end(&place, "nobody can reach it any more").await };
                tokio::spawn(serve(handle.clone(), request));
            }
        }
    }
}

async fn serve(handle: Handle, request: Request) {
    let reply = call::answer(&handle, request.ask).await;
    // Whoever asked may have given up.
    drop(request.reply.send(reply));
}

async fn end(place: &Place, reason: &str) -> turmoil::Result {
    // The folder has another name in every run; the trace has not.
    let reason = &reason.replace(&*place.dir.to_string_lossy(), "the folder");
    trace::note(format!("n{} ended by itself: {reason}", place.id));
    *place.ended.lock() = Some(reason.clone());
    std::future::pending().await
}

fn given(plan: &Plan, place: &Place, life: u64, fence: Fence) -> (Options, Services) {
    let seed = plan.seed.wrapping_mul(31).wrapping_add(place.id * 1_009 + life);
    let rng = Mutex::new(SmallRng::seed_from_u64(seed));
    let address = |id: u64| format!("{}:{PORT}", name(id));
    let options = Options {
        node_id: place.id,
        data_dir: place.dir.clone(),
        http_addr: format!("{}:80", name(place.id)),
        peer_addr: address(place.id),
        listen_peer: address(place.id),
        peers: (1..=plan.nodes).map(|id| (id, address(id))).collect(),
        service_key: SERVICE_KEY.to_owned(),
        starting: Starting::default(),
        ..plan.options.clone()
    };
    let services = Services {
        env: Arc::new(SimEnv::new(place.disk.clone())),
        clock: Arc::new(SimClock::new(trace::now(), place.skew_ms.clone())),
        random: Arc::new(move |bytes| rng.lock().fill_bytes(bytes)),
        connector: Arc::new(SimConnector),
        spawner: Arc::new(SimThreads::new(seed ^ 0x5eed, place.slowness.clone())),
        machine: Arc::new(SimMachine),
        registry: prometheus::Registry::new(),
        limits: Limits {
            idempotency_bytes_max: plan.idempotency_bytes_max,
            document_cache_bytes_max: plan.document_cache_bytes_max,
            ..Limits::default()
        },
        fence,
    };
    (options, services)
}
