//! The machines: real processes of the real binary, each in a network namespace of its own when we are root, and what can
//! be done to them.
//!
//! A world is a folder, a slot (`slot.rs`: names and addresses that no other run has), nodes (`node.rs`), a network
//! (`network.rs`) and, where a fault needs them, disks that can lose power (`disk.rs`), a file system that fails when told
//! to (`fuse.rs`) and clocks that can be set (`clock.rs`). It knows nothing of when to do what: that is `nemesis`.
//!
//! **Nothing outlives a world.** Nodes die with this process however it ends; namespaces, bridges and mounts go with the
//! world's drop, when the process is told to stop, and at the latest when the next world starts on this machine.

pub mod clock;
mod disk;
pub mod files;
mod fuse;
mod kernel;
mod look;
pub mod network;
mod node;
mod packages;
mod process;
mod proxy;
mod slot;
mod sync;
mod tool;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cluster_tests::{PortLease, give_up, wait_until};

pub use fuse::{DiskFaults, DiskToll};
pub use look::{Leader, State};
pub use network::{Faults, Network, Party, Toll, Treatment};
pub use node::{Ending, Node};
pub use packages::{Missing, advice, is_root, missing};

use crate::planted;
use clock::Skew;
use disk::Disks;
use fuse::Fuse;
use kernel::Kernel;
use node::Setup;
use proxy::Proxy;
use slot::Slot;
use sync::Guarded;

/// The service key of every cluster under test.
const SERVICE_KEY: &str = "jepsen-service-key-00000000000000000000";
/// Bounds that let a log be purged within seconds.
const SMALL_LIMITS: [&str; 2] = ["snapshot_log_entries=200", "log_keep_entries=50"];
/// How long a new cluster may take until all nodes are ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// What a run asks for.
#[derive(Clone, Debug)]
pub struct Spec {
    /// How many nodes, with ids from 1.
    pub nodes: usize,
    /// What every random choice follows from.
    pub seed: u64,
    /// The folder of the run. It must have no spaces in its path.
    pub folder: PathBuf,
    /// The program under test.
    pub binary: PathBuf,
    /// What the faults of the run need.
    pub needs: Needs,
    /// More flags for `aerodb server`.
    pub args: Vec<String>,
    /// The planted bug that is on in the nodes.
    pub planted: Option<String>,
}

/// What the faults of a run need beside plain processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// A network namespace for each node, whose packets can be dropped. Without this need a world still uses them when it
    /// can, which is as root and with the tools installed.
    pub namespaces: bool,
    /// Data on disks that can lose power or be full.
    pub power_cut: bool,
    /// Data behind a file system that fails when told to.
    pub fuse: bool,
    /// Wall clocks that can be set.
    pub clock: bool,
    /// A proxy of our own between the nodes, which delays.
    pub proxy: bool,
    /// Nodes that make snapshots and purge their log after a few hundred entries.
    pub snapshots: bool,
}

impl Needs {
    /// What either needs.
    pub fn and(self, other: Self) -> Self {
        Self {
            namespaces: self.namespaces || other.namespaces,
            power_cut: self.power_cut || other.power_cut,
            fuse: self.fuse || other.fuse,
            clock: self.clock || other.clock,
            proxy: self.proxy || other.proxy,
            snapshots: self.snapshots || other.snapshots,
        }
    }
}

/// What was done to the nodes since the start, and what they did by themselves.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Processes that were ended with SIGKILL.
    pub killed: u64,
    /// Nodes whose power was cut.
    pub power_cut: u64,
    /// Nodes that were stopped with SIGSTOP.
    pub paused: u64,
    /// Nodes whose data was emptied.
    pub wiped: u64,
    /// Nodes that ended by themselves.
    pub endings: Vec<Ending>,
}

/// A cluster and all that it runs on. Ends with its drop.
#[derive(Debug)]
pub struct World {
    // In the order in which they must go.
    nodes: Vec<Arc<Node>>,
    layers: BTreeMap<u64, Fuse>,
    network: Arc<Network>,
    disks: Option<Arc<Disks>>,
    clocks: bool,
    tally: Guarded<Tally>,
    http: reqwest::Client,
    spec: Spec,
    _ports: Vec<PortLease>,
    _slot: Arc<Slot>,
}

impl World {
    /// Builds the machines, starts all nodes and waits until they are ready with one leader.
    pub async fn start(spec: Spec) -> Result<Self> {
        let world = Self::build(spec).await?;
        for id in world.ids() {
            world.start_node(id).await?;
        }
        world.wait_ready(READY_WITHIN).await?;
        Ok(world)
    }

    /// The same without starting any node.
    pub async fn build(spec: Spec) -> Result<Self> {
        let lacking = missing(&spec.needs);
        if let Some(advice) = advice(&lacking) {
            bail!("the faults of this run need more than is here:\n{advice}");
        }
        tokio::task::spawn_blocking(move || Self::build_blocking(spec)).await?
    }

    fn build_blocking(mut spec: Spec) -> Result<Self> {
        std::fs::create_dir_all(&spec.folder).with_context(|| format!("create {:?}", spec.folder))?;
        spec.folder = spec.folder.canonicalize()?;
        let spaced = spec.folder.to_string_lossy().contains(char::is_whitespace);
        ensure!(!spaced, "the folder of a run must have no spaces in its path: {:?}", spec.folder);
        ensure!((1..=100).contains(&spec.nodes), "a cluster of {} nodes", spec.nodes);
        let ids: Vec<u64> = (1..=spec.nodes as u64).collect();
        let slot = Slot::take(&spec.folder)?;
        let namespaces = spec.needs.namespaces || missing(&Needs { namespaces: true, ..Needs::default() }).is_empty();

        let disks = if spec.needs.power_cut { Some(Disks::start(&spec.folder, &ids)?) } else { None };
        let proxy = if spec.needs.proxy || !namespaces { Some(Proxy::start(spec.seed)?) } else { None };
        let kernel = if namespaces { Some(Kernel::start(slot.clone(), &ids, proxy.is_some())?) } else { None };
        let (mut places, mut ports) = (Vec::new(), Vec::new());
        for &id in &ids {
            let place = match (&kernel, &proxy) {
                (Some(kernel), proxy) => {
                    if let Some(proxy) = proxy {
                        kernel.listen_for(id, proxy)?;
                    }
                    let peer = format!("{}:{}", kernel::known_as(id), kernel::PEER_PORT);
                    let http = format!("{}:{}", kernel.addr(id), kernel::HTTP_PORT);
                    Place { http, listen: peer.clone(), peer }
                }
                (None, Some(proxy)) => {
                    let (http, peer) = (PortLease::take()?, PortLease::take()?);
                    let known = proxy.serve_loopback(id, ([127, 0, 0, 1], peer.port()).into())?;
                    let place = Place { http: http.addr(), listen: peer.addr(), peer: known.to_string() };
                    ports.extend([http, peer]);
                    place
                }
                (None, None) => bail!("no way between the nodes"),
            };
            places.push(place);
        }
        let peers = ids.iter().zip(&places).map(|(id, place)| format!("{id}={}", place.peer));
        let peers = peers.collect::<Vec<_>>().join(",");
        ensure!(!(spec.needs.fuse && spec.needs.power_cut), "a disk that loses power cannot lie behind one that fails");
        let (mut nodes, mut layers) = (Vec::new(), BTreeMap::new());
        for (&id, place) in ids.iter().zip(&places) {
            let mut home = match &disks {
                Some(disks) => disks.point(id)?,
                None => spec.folder.join(format!("node-{id}")),
            };
            if spec.needs.fuse {
                let layer = Fuse::mount(&home.join("below"), &home.join("disk"), spec.seed ^ id)?;
                home = layer.point().to_owned();
                layers.insert(id, layer);
            }
            nodes.push(Arc::new(Node::new(setup(&spec, id, place, &peers, home.join("data"))?)));
        }
        // A proxy from the environment has no place between a test and its cluster.
        let http = reqwest::Client::builder().no_proxy().build().context("make a client")?;
        Ok(Self {
            nodes,
            layers,
            network: Arc::new(Network::new(kernel, proxy)),
            disks: disks.map(Arc::new),
            clocks: spec.needs.clock,
            tally: Guarded::default(),
            http,
            spec,
            _ports: ports,
            _slot: slot,
        })
    }

    /// The ids of all nodes.
    pub fn ids(&self) -> Vec<u64> {
        self.nodes.iter().map(|node| node.id()).collect()
    }

    /// One node.
    ///
    /// # Errors
    /// If there is no such node.
    pub fn node(&self, id: u64) -> Result<&Arc<Node>> {
        self.nodes.iter().find(|node| node.id() == id).with_context(|| format!("there is no node {id}"))
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    /// Node ids with the URL where a client in this process reaches each.
    pub fn endpoints(&self) -> Vec<(u64, String)> {
        self.nodes.iter().map(|node| (node.id(), node.url().to_owned())).collect()
    }

    /// The secret of the first service key.
    #[allow(clippy::unused_self)]
    pub fn service_key(&self) -> &str {
        SERVICE_KEY
    }

    /// The files with all output of the nodes.
    pub fn logs(&self) -> Vec<PathBuf> {
        self.nodes.iter().map(|node| node.log().to_owned()).collect()
    }

    /// The folder of the run.
    pub fn folder(&self) -> &Path {
        &self.spec.folder
    }

    /// What the run asked for.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Whether each node has a network namespace of its own.
    pub fn has_namespaces(&self) -> bool {
        self.network.kernel.is_some()
    }

    /// Where a node is on the run's own network.
    ///
    /// # Errors
    /// If the nodes have no namespaces.
    pub fn address(&self, id: u64) -> Result<String> {
        let kernel = self.network.kernel.as_ref().context("this run has no namespaces")?;
        Ok(kernel.addr(self.node(id)?.id()).to_string())
    }

    /// A command that runs inside a node's network namespace.
    ///
    /// # Errors
    /// If the nodes have no namespaces.
    pub fn command_inside(&self, id: u64, program: &str) -> Result<std::process::Command> {
        let kernel = self.network.kernel.as_ref().context("this run has no namespaces")?;
        let mut command = std::process::Command::new("nsenter");
        command.arg(format!("--net={}", kernel.namespace(id).display())).arg("--").arg(program);
        Ok(command)
    }

    /// Files that are there as long as the run's network is.
    pub fn marks(&self) -> Vec<PathBuf> {
        self.network.kernel.as_ref().map(Kernel::marks).unwrap_or_default()
    }

    // ---- what can be done to nodes ----

    /// Starts a node. It is an error if it runs.
    pub async fn start_node(&self, id: u64) -> Result<()> {
        let (node, network) = (self.node(id)?.clone(), self.network.clone());
        blocking(move || {
            let namespace = network.kernel.as_ref().map(|kernel| kernel.namespace(id));
            let pid = node.start(namespace.as_deref())?;
            if let Some(proxy) = &network.proxy {
                proxy.set_pid(id, Some(pid));
            }
            Ok(())
        })
        .await
    }

    /// Kills these nodes, all at once, with SIGKILL; says how many ran.
    pub async fn kill(&self, ids: &[u64]) -> Result<usize> {
        let nodes = self.chosen(ids)?;
        let killed = blocking(move || {
            for node in &nodes {
                node.kill_begin()?;
            }
            let mut killed = 0;
            for node in &nodes {
                killed += usize::from(node.kill()?);
            }
            Ok(killed)
        })
        .await?;
        self.tally.lock().killed += killed as u64;
        Ok(killed)
    }

    /// Starts those of these nodes that do not run.
    pub async fn start_stopped(&self, ids: &[u64]) -> Result<()> {
        for node in self.chosen(ids)? {
            if node.pid().is_none() {
                self.start_node(node.id()).await?;
            }
        }
        Ok(())
    }

    /// Stops a node with SIGSTOP, if it runs; says whether it did.
    pub async fn pause(&self, id: u64) -> Result<bool> {
        let node = self.node(id)?.clone();
        if !node.is_running() {
            return Ok(false);
        }
        blocking(move || node.pause()).await?;
        self.tally.lock().paused += 1;
        Ok(true)
    }

    /// Lets a node go on after [`World::pause`].
    pub async fn resume(&self, id: u64) -> Result<()> {
        let node = self.node(id)?.clone();
        blocking(move || node.resume()).await
    }

    /// Empties a node's data; kills it before if it runs.
    pub async fn wipe(&self, id: u64) -> Result<()> {
        self.kill(&[id]).await?;
        let node = self.node(id)?.clone();
        blocking(move || node.wipe()).await?;
        self.tally.lock().wiped += 1;
        Ok(())
    }

    /// Cuts the power of these nodes, all at once. They are off then; their data is what their disks had at that instant.
    ///
    /// First their cables are pulled, so that nothing that a node says after the instant is heard; then their disks are
    /// cloned while they still run, in the middle of whatever they do; then they are killed. So what a node has told
    /// others was told before its disk was cloned.
    pub async fn power_cut(&self, ids: &[u64]) -> Result<usize> {
        let disks = self.disks.clone().context("this run has no disks that can lose power")?;
        let (nodes, network) = (self.chosen(ids)?, self.network.clone());
        let nodes: Vec<_> = nodes.into_iter().filter(|node| node.pid().is_some()).collect();
        let count = nodes.len();
        blocking(move || {
            let kernel = network.kernel.as_ref().context("a power cut needs network namespaces")?;
            for node in &nodes {
                kernel.unplug(node.id())?;
            }
            for node in &nodes {
                disks.clone_now(node.id())?;
            }
            for node in &nodes {
                node.kill_begin()?;
            }
            for node in &nodes {
                node.kill()?;
                disks.swap(node.id())?;
                network.renew(node.id())?;
            }
            Ok(())
        })
        .await?;
        self.tally.lock().power_cut += count as u64;
        Ok(count)
    }

    /// Changes what is wrong with the network. When this returns, it is so.
    pub async fn change_network(&self, change: impl FnOnce(&mut Faults) + Send + 'static) -> Result<()> {
        let network = self.network.clone();
        blocking(move || network.change(change)).await
    }

    /// What happened to traffic since the start.
    pub async fn toll(&self) -> Result<Toll> {
        let network = self.network.clone();
        blocking(move || Ok(network.toll())).await
    }

    /// Makes all connections between nodes that are open now at this node dead: nothing arrives on them any more, in
    /// either direction, and neither end is told. New connections work. Says how many there are.
    pub async fn deaden_connections(&self, id: u64) -> Result<usize> {
        let network = self.network.clone();
        blocking(move || {
            let kernel = network.kernel.as_ref().context("dead connections need network namespaces")?;
            let open = kernel.connections(id)?;
            network.change(|faults| {
                for (other, their_port, our_port) in &open {
                    faults.dead_connections.insert((id, *other, *their_port, *our_port));
                    faults.dead_connections.insert((*other, id, *our_port, *their_port));
                }
            })?;
            Ok(open.len())
        })
        .await
    }

    /// Sets a node's wall clock.
    pub fn set_clock(&self, id: u64, skew: Skew) -> Result<()> {
        ensure!(self.clocks, "the clocks of this run cannot be set");
        clock::set(&clock::file(&self.spec.folder, id), skew)
    }

    /// Fills a node's disk until this many bytes are free.
    pub async fn fill_disk(&self, id: u64, left_bytes: u64) -> Result<u64> {
        let disks = self.disks.clone().context("this run has no disks that can be full")?;
        blocking(move || disks.fill(id, left_bytes)).await
    }

    /// Gives the room back that [`World::fill_disk`] took.
    pub async fn unfill_disk(&self, id: u64) -> Result<()> {
        let disks = self.disks.clone().context("this run has no disks that can be full")?;
        blocking(move || disks.unfill(id)).await
    }

    /// How much room a node's disk has.
    pub fn disk_free_bytes(&self, id: u64) -> Result<u64> {
        let disks = self.disks.as_ref().context("this run has no disks that can be full")?;
        let stat = rustix::fs::statvfs(disks.point(id)?)?;
        Ok(stat.f_bavail * stat.f_frsize)
    }

    /// Copies the data of all nodes out of disks that go with the world, into `node-K/kept` of the run's folder. The nodes
    /// are killed first.
    pub async fn keep_data(&self) -> Result<()> {
        if self.disks.is_none() {
            return Ok(());
        }
        self.kill(&self.ids()).await?;
        let copies: Vec<_> = self
            .nodes
            .iter()
            .map(|node| {
                let kept = self.spec.folder.join(format!("node-{}", node.id())).join("kept");
                (node.data_dir().to_owned(), kept)
            })
            .collect();
        blocking(move || {
            for (data, kept) in copies {
                tool::run_args(["cp".as_ref(), "-a".as_ref(), data.as_os_str(), kept.as_os_str()])?;
            }
            Ok(())
        })
        .await
    }

    /// The folders below the run's own that hold nothing but data: of use only where something has to be found in it.
    pub fn data_folders(&self) -> Vec<PathBuf> {
        self.ids().into_iter().map(|id| self.spec.folder.join(format!("node-{id}"))).collect()
    }

    /// Sets what is wrong with a node's disk.
    pub fn set_disk(&self, id: u64, faults: DiskFaults) -> Result<()> {
        self.layer(id)?.set(faults);
        Ok(())
    }

    /// How often a node's disk failed since the start.
    pub fn disk_toll(&self, id: u64) -> Result<DiskToll> {
        Ok(self.layer(id)?.toll())
    }

    fn layer(&self, id: u64) -> Result<&Fuse> {
        self.layers.get(&id).context("the disks of this run cannot be told to fail")
    }

    /// What was done to the nodes since the start.
    pub fn tally(&self) -> Tally {
        let mut tally = self.tally.lock();
        for node in &self.nodes {
            tally.endings.extend(node.take_endings());
        }
        tally.clone()
    }

    // ---- the end of all faults ----

    /// Ends every fault and starts every node that does not run.
    pub async fn heal(&self) -> Result<()> {
        self.change_network(|faults| *faults = Faults::default()).await?;
        for id in self.ids() {
            if self.clocks {
                self.set_clock(id, Skew::default())?;
            }
            if self.disks.is_some() {
                self.unfill_disk(id).await?;
            }
            if self.spec.needs.fuse {
                self.set_disk(id, DiskFaults::default())?;
            }
            self.node(id)?.end_excuse();
            self.resume(id).await?;
        }
        self.start_stopped(&self.ids()).await
    }

    /// Waits until all nodes are ready, one leads, and all hold the same state. Nothing may write meanwhile.
    ///
    /// A node that ends by itself is the end of this wait, unless its data was damaged by us: that one is wiped and
    /// started again, as an operator does, and must come back with what the others have.
    pub async fn wait_healthy(&self, deadline: Duration) -> Result<()> {
        let started = std::time::Instant::now();
        self.wait_ready(deadline).await?;
        self.wait_converged(deadline.saturating_sub(started.elapsed())).await.map(drop)
    }

    /// Waits until all nodes are ready and name the same leader.
    pub async fn wait_ready(&self, deadline: Duration) -> Result<Leader> {
        wait_until(deadline, "all nodes to be ready, with one leader", || async {
            self.replace_damaged().await?;
            let states = self.states().await;
            let mut leaders = BTreeMap::new();
            for (id, state) in &states {
                let state = state.as_ref().map_err(|error| anyhow::anyhow!("node {id}: {error:#}"))?;
                ensure!(state.ready, "node {id} is not ready: {}", state.why);
                let leader = state.leader().with_context(|| format!("node {id} knows no leader"))?;
                leaders.insert(leader.id, leader);
            }
            ensure!(leaders.len() == 1, "the nodes disagree about who leads: {leaders:?}");
            leaders.into_values().next().context("no node")
        })
        .await
    }

    /// Waits until all nodes have applied the same and hold the same state; gives its digest.
    pub async fn wait_converged(&self, deadline: Duration) -> Result<String> {
        wait_until(deadline, "all nodes to hold the same state", || async {
            self.replace_damaged().await?;
            let digests = futures::future::try_join_all(self.ids().into_iter().map(|id| self.digest(id))).await?;
            let first = digests.first().cloned().context("no node")?;
            ensure!(digests.iter().all(|digest| *digest == first), "{digests:?}");
            Ok(first)
        })
        .await
    }

    /// Wipes and starts nodes that ended because of what we did to their data.
    async fn replace_damaged(&self) -> Result<()> {
        for node in &self.nodes {
            let Some(ending) = node.ended() else { continue };
            if node.damaged().is_none() && ending.excuse.is_some() {
                self.start_node(node.id()).await?;
                continue;
            }
            if node.damaged().is_none() {
                let words = if ending.reason.is_empty() { "without a word" } else { &ending.reason };
                return Err(give_up(format!(
                    "node {} ended by itself ({}): {words}\n{}",
                    node.id(),
                    ending.status,
                    node.log_tail(20)
                )));
            }
            self.wipe(node.id()).await?;
            self.start_node(node.id()).await?;
        }
        Ok(())
    }

    fn chosen(&self, ids: &[u64]) -> Result<Vec<Arc<Node>>> {
        ids.iter().map(|id| self.node(*id).cloned()).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for node in &self.nodes {
            let _ = node.kill_begin();
        }
        for node in &self.nodes {
            let _ = node.kill();
        }
    }
}

/// Where a node is.
struct Place {
    /// For clients.
    http: String,
    /// Where it listens for members.
    listen: String,
    /// Where members find it.
    peer: String,
}

fn setup(spec: &Spec, id: u64, place: &Place, peers: &str, data_dir: PathBuf) -> Result<Setup> {
    let flags = [
        ("--node-id", id.to_string()),
        ("--data-dir", data_dir.display().to_string()),
        ("--http-addr", place.http.clone()),
        ("--peer-addr", place.listen.clone()),
        ("--advertise-peer", place.peer.clone()),
        ("--peers", peers.to_owned()),
    ];
    let mut args = vec!["server".to_owned()];
    args.extend(flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
    if spec.needs.snapshots {
        let limits = SMALL_LIMITS.iter().flat_map(|limit| ["--limit".to_owned(), (*limit).to_owned()]);
        args.extend(limits);
    }
    args.extend(spec.args.iter().cloned());
    let mut env = vec![("AERODB_SERVICE_KEY".to_owned(), SERVICE_KEY.to_owned())];
    env.extend(spec.planted.iter().map(|bug| (planted::VARIABLE.to_owned(), bug.clone())));
    if spec.needs.clock {
        env.extend(clock::environment(&clock::file(&spec.folder, id))?);
    }
    let (url, log) = (format!("http://{}", place.http), spec.folder.join(format!("node-{id}.log")));
    Ok(Setup { id, binary: spec.binary.clone(), args, env, url, data_dir, log })
}

/// Runs what may block for some milliseconds where that is allowed.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}

/// A seed for a generator out of a few numbers.
pub(crate) fn seed_of(words: &[u64; 4]) -> [u8; 32] {
    let mut seed = [0; 32];
    for (place, word) in seed.chunks_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    seed
}
