//! Builds the machines of a run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use cluster_tests::PortLease;

use super::disk::Disks;
use super::fuse::Fuse;
use super::kernel::{self, Kernel};
use super::network::Network;
use super::node::{Node, Setup};
use super::proxy::Proxy;
use super::slot::Slot;
use super::sync::Guarded;
use super::{SERVICE_KEY, World, advice, clock, missing};
use crate::planted;

/// Bounds that let a log be purged within seconds.
const SMALL_LIMITS: [&str; 2] = ["snapshot_log_entries=200", "log_keep_entries=50"];

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

impl Spec {
    /// Whether such machines can be built here. It touches nothing.
    ///
    /// # Errors
    /// When they cannot, and why.
    pub fn check(&self) -> Result<()> {
        let spaced = self.folder.to_string_lossy().contains(char::is_whitespace);
        ensure!(!spaced, "the folder of a run must have no spaces in its path: {:?}", self.folder);
        ensure!((1..=100).contains(&self.nodes), "a cluster of {} nodes: there can be 1 to 100", self.nodes);
        let both = self.needs.fuse && self.needs.power_cut;
        ensure!(!both, "a disk that loses power cannot lie behind one that fails");
        if let Some(advice) = advice(&missing(&self.needs)) {
            bail!("the faults of this run need more than is here:\n{advice}");
        }
        Ok(())
    }
}

impl World {
    pub(super) fn build_blocking(mut spec: Spec) -> Result<Self> {
        std::fs::create_dir_all(&spec.folder).with_context(|| format!("create {:?}", spec.folder))?;
        spec.folder = spec.folder.canonicalize()?;
        spec.check()?;
        let ids: Vec<u64> = (1..=spec.nodes as u64).collect();
        let slot = Slot::take(&spec.folder)?;
        let namespaces = spec.needs.namespaces || missing(&Needs { namespaces: true, ..Needs::default() }).is_empty();

        let disks = if spec.needs.power_cut { Some(Disks::start(&slot, &spec.folder, &ids)?) } else { None };
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
