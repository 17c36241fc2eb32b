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
mod faults;
pub mod files;
mod fuse;
mod heal;
mod kernel;
mod look;
pub mod network;
mod node;
mod packages;
mod process;
mod proxy;
mod setup;
mod slot;
mod sync;
mod tool;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use cluster_tests::PortLease;

pub use fuse::{DiskFaults, DiskToll};
pub use look::{Leader, State};
pub use network::{Faults, Network, Party, Toll, Treatment};
pub use node::{Ending, Node};
pub use packages::{Missing, advice, is_root, missing};
pub(crate) use process::run as run_program;
pub use setup::{Needs, Spec};
pub(crate) use slot::unmount_under;

use disk::Disks;
use fuse::Fuse;
use kernel::Kernel;
use slot::Slot;
use sync::Guarded;

/// The service key of every cluster under test.
const SERVICE_KEY: &str = "jepsen-service-key-00000000000000000000";
/// How long a new cluster may take until all nodes are ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

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
        tokio::task::spawn_blocking(move || Self::build_blocking(spec)).await?
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

    /// Starts those of these nodes that do not run.
    pub async fn start_stopped(&self, ids: &[u64]) -> Result<()> {
        for node in self.chosen(ids)? {
            if node.pid().is_none() {
                self.start_node(node.id()).await?;
            }
        }
        Ok(())
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

    /// What was done to the nodes since the start.
    pub fn tally(&self) -> Tally {
        let mut tally = self.tally.lock();
        for node in &self.nodes {
            tally.endings.extend(node.take_endings());
        }
        tally.clone()
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
