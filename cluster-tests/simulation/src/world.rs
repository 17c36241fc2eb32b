//! What everybody in a simulation shares: the disks, the nodes that run, and what clients have seen.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use aerodb_raft::Handle;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::call::{Ask, Reply};
use crate::check::oracle::History;
use crate::check::{Checker, Eye};
use crate::nemesis::Kind;
use crate::plan::Plan;
use crate::run::DEADLINE;
use crate::seams::Slowness;
use crate::store::{Disk, Faults};

/// A request on its way into a node, and where its answer goes.
pub struct Request {
    pub(crate) ask: Ask,
    pub(crate) reply: oneshot::Sender<Reply>,
}

/// A node's place in the world; it outlives the node's lives.
pub struct Place {
    /// The node's id.
    pub id: u64,
    /// Where real files lie.
    pub dir: PathBuf,
    /// Its disk.
    pub disk: Disk,
    /// How far its wall clock is off.
    pub skew_ms: Arc<AtomicI64>,
    /// How slow its storage is.
    pub slowness: Arc<Mutex<Slowness>>,
    /// Counts its lives: each draws other random numbers.
    pub lives: Mutex<u64>,
    /// The way into the node, while it runs.
    pub inbox: Mutex<Option<mpsc::UnboundedSender<Request>>>,
    /// The running node.
    pub handle: Mutex<Option<Handle>>,
    /// Why the node ended by itself, if it has.
    pub ended: Mutex<Option<String>>,
}

/// The world.
pub struct World {
    /// What this run is.
    pub plan: Plan,
    /// The nodes, by id.
    pub places: BTreeMap<u64, Arc<Place>>,
    /// The invariants.
    pub checker: Arc<Mutex<Checker>>,
    /// What clients saw.
    pub history: Mutex<History>,
    /// The highest revision that anybody has seen.
    pub floor: Mutex<u64>,
    /// When it rose, and to what; both ascending.
    rises: Mutex<Vec<(Duration, u64)>>,
    /// Clients so far: each needs a number of its own, or two would use one idempotency key.
    pub clients: Mutex<u64>,
    /// True once everything is healed: clients finish what they do, and then look at everything.
    pub healed: Mutex<bool>,
}

impl World {
    /// A world with empty disks and real files below `root`.
    pub fn new(plan: Plan, root: &std::path::Path) -> Self {
        let checker = Arc::new(Mutex::new(Checker::new(plan.nodes)));
        let place = |id: u64| {
            let eye = Eye { node: id, checker: checker.clone() };
            let disk = Disk::new(plan.seed.wrapping_mul(1_000_003).wrapping_add(id), Arc::new(eye));
            disk.set_faults(healthy(&plan));
            let place = Place {
                id,
                dir: root.join(crate::plan::name(id)),
                disk,
                skew_ms: Arc::default(),
                slowness: Arc::new(Mutex::new(plan.slowness)),
                lives: Mutex::new(0),
                inbox: Mutex::default(),
                handle: Mutex::default(),
                ended: Mutex::default(),
            };
            (id, Arc::new(place))
        };
        Self {
            places: (1..=plan.nodes).map(place).collect(),
            checker,
            history: Mutex::default(),
            floor: Mutex::new(0),
            rises: Mutex::default(),
            clients: Mutex::new(0),
            healed: Mutex::new(false),
            plan,
        }
    }

    /// Sends a request into a node; `None` when the node does not run. The receiver fails when the node dies.
    pub fn send(&self, node: u64, ask: Ask) -> Option<oneshot::Receiver<Reply>> {
        let (reply, answer) = oneshot::channel();
        let inbox = self.places.get(&node)?.inbox.lock().clone()?;
        inbox.send(Request { ask, reply }).ok()?;
        Some(answer)
    }

    /// Collections of which history may be given up meanwhile: those that keep little, and all when clocks are turned.
    pub fn forgets(&self) -> Vec<&'static str> {
        let turned = self.plan.kinds.contains(&Kind::Clocks);
        let forgets = |seconds: u64| turned || Duration::from_secs(seconds) < self.plan.chaos + DEADLINE * 2;
        let collections = self.plan.collections().into_iter();
        collections.filter(|(_, seconds)| forgets(*seconds)).map(|(name, _)| name).collect()
    }

    /// Somebody has seen `revision`: nothing that is asked for from now on may be older, if it is to be linearizable.
    pub fn saw(&self, revision: u64) {
        let mut floor = self.floor.lock();
        if revision > *floor {
            *floor = revision;
            self.rises.lock().push((now(), revision));
        }
    }

    /// The highest revision that anybody had seen at `time`.
    pub fn floor_at(&self, time: Duration) -> u64 {
        let rises = self.rises.lock();
        let later = rises.partition_point(|&(at, _)| at <= time);
        later.checked_sub(1).map_or(0, |last| rises[last].1)
    }
}

/// The time since the simulation began.
pub fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

/// The disk of a run while nothing is wrong with it.
pub fn healthy(plan: &Plan) -> Faults {
    Faults { flushes: plan.flushes, flush_ends: 0.3, stalls: plan.stalls, lies: plan.lying_disks, ..Faults::none() }
}
