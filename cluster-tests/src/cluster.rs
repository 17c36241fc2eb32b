//! A cluster under test.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tempfile::TempDir;

use crate::NodeId;
use crate::client::Client;
use crate::network::Network;
use crate::node::{Node, Setup};
use crate::ports::PortLease;
use crate::wait::{give_up, wait_until};

/// The service key of every cluster under test.
pub const SERVICE_KEY: &str = "cluster-tests-service-key-00000000000000000000";

/// How much of each log is shown when a test fails.
const TAIL_LINES: usize = 80;
/// What a node says of its whole state.
const DIGEST: &str = "/admin/digest";
/// How long one look at a node may take: long enough for a busy node, short enough not to stand in a wait's way.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// The same of a digest, for which a node reads all that it holds, perhaps beside the others on the same processors.
const DIGEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How to start a cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether the peer traffic goes through proxies that can cut it. Costs some processor time, so tests that measure
    /// and cut nothing turn it off.
    pub proxy: bool,
    /// More arguments for `aerodb server`.
    pub args: Vec<String>,
    /// More environment.
    pub env: Vec<(String, String)>,
    /// How long the cluster may take until all nodes are ready and know one leader; `None` does not wait.
    pub ready_within: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self { proxy: true, args: Vec::new(), env: Vec::new(), ready_within: Some(Duration::from_secs(60)) }
    }
}

/// A leader and the term in which it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leader {
    /// The node.
    pub id: NodeId,
    /// The term.
    pub term: u64,
}

/// What all nodes agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converged {
    /// The index applied everywhere.
    pub applied_index: u64,
    /// The revision everywhere.
    pub revision: u64,
    /// The digest of the whole state; `None` if the nodes offer none, then only the index and revision were compared.
    pub digest: Option<String>,
}

/// Some nodes, their network and their folder. Ends with its drop.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    network: Option<Arc<Network>>,
    client: Client,
    /// Whether one of our own waits failed: then the evidence is kept even if the test does not panic.
    troubled: AtomicBool,
    /// `None` only while dropping. After the nodes, so that it goes when they are gone.
    folder: Option<TempDir>,
}

impl Cluster {
    /// Starts `n` nodes with ids from 1 in a folder of their own.
    pub async fn start(n: usize, options: Options) -> Result<Self> {
        Self::start_binary(&binary()?, n, options).await
    }

    /// The same with this program instead of the one that was built beside the test.
    pub async fn start_binary(binary: &Path, n: usize, options: Options) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("aerodb-test-").tempdir().context("make a folder")?;
        let ports: Vec<_> = (0..n).map(|_| Ok((PortLease::take()?, PortLease::take()?))).collect::<Result<_>>()?;
        let listening: Vec<_> =
            (1..).zip(&ports).map(|(id, (_, peer))| (id, ([127, 0, 0, 1], peer.port()).into())).collect();
        let network = if options.proxy { Some(Arc::new(Network::start(&listening)?)) } else { None };
        let known_as = |id, addr: &std::net::SocketAddr| network.as_ref().map_or(*addr, |network| network.addr(id));
        let peers: Vec<_> = listening.iter().map(|(id, addr)| format!("{id}={}", known_as(*id, addr))).collect();
        let peers = peers.join(",");

        let mut nodes = Vec::new();
        for ((id, listening), (http, peer)) in listening.iter().zip(ports) {
            let data_dir = folder.path().join(format!("node-{id}"));
            let flags = [
                ("--node-id", id.to_string()),
                ("--data-dir", data_dir.display().to_string()),
                ("--http-addr", http.addr()),
                ("--peer-addr", peer.addr()),
                ("--advertise-peer", known_as(*id, listening).to_string()),
                ("--peers", peers.clone()),
            ];
            let mut args = vec!["server".to_owned(), "--insecure".to_owned()];
            args.extend(flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
            args.extend(options.args.iter().cloned());
            let mut env = vec![("AERODB_SERVICE_KEY".to_owned(), SERVICE_KEY.to_owned())];
            env.extend(options.env.iter().cloned());
            let log = folder.path().join(format!("node-{id}.log"));
            let (binary, network) = (binary.to_owned(), network.clone());
            nodes.push(Node::new(*id, Setup { binary, args, env, data_dir, log, http, peer, network }));
        }
        let client = Client::new(String::new(), Some(SERVICE_KEY))?;
        let cluster = Self { nodes, network, client, troubled: AtomicBool::new(false), folder: Some(folder) };
        for node in &cluster.nodes {
            node.start()?;
        }
        if let Some(deadline) = options.ready_within {
            cluster.wait_ready(deadline).await?;
            cluster.wait_leader(deadline).await?;
        }
        Ok(cluster)
    }

    /// The ids of all nodes.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        1..=self.nodes.len() as NodeId
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn node(&self, id: NodeId) -> &Node {
        self.nodes.iter().find(|node| node.id() == id).unwrap_or_else(|| panic!("there is no node {id}"))
    }

    /// The peer network.
    ///
    /// # Panics
    /// If the cluster was started without proxies.
    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("start the cluster with Options::proxy to cut its network")
    }

    /// A client of one node, with the service key.
    pub fn client(&self, id: NodeId) -> Client {
        self.client.at(self.node(id).url())
    }

    /// The folder with everything: `node-K` and `node-K.log`.
    pub fn folder(&self) -> &Path {
        self.folder.as_ref().map_or(Path::new(""), TempDir::path)
    }

    /// Cuts one node off from all others, both ways.
    pub fn partition(&self, id: NodeId) {
        self.network().isolate(id);
    }

    /// Ends all cuts.
    pub fn heal(&self) {
        self.network().heal();
    }

    /// What one node says under `GET /cluster`.
    pub async fn status(&self, id: NodeId) -> Result<Value> {
        self.look(id, "/cluster").await?.context("GET /cluster is not there")
    }

    /// Who leads, as the running nodes that know of the highest term say, if any of them knows.
    pub async fn leader(&self) -> Option<Leader> {
        self.views().await.into_iter().filter_map(|(_, view)| view.ok()?.leader()).max_by_key(|leader| leader.term)
    }

    /// Waits until a majority, with the leader among it, names the same leader in the same term.
    pub async fn wait_leader(&self, deadline: Duration) -> Result<Leader> {
        self.wait_leader_after(0, deadline).await
    }

    /// The same for a leader of a later term than `term`.
    pub async fn wait_leader_after(&self, term: u64, deadline: Duration) -> Result<Leader> {
        let what = format!("a leader of a term after {term}, known to a majority");
        self.wait_until(deadline, &what, || async {
            let views = self.views().await;
            let seen = || {
                let told = |(id, view): &(NodeId, Result<View>)| match view {
                    Ok(view) => format!("node {id}: term {} leader {:?}", view.term, view.leader),
                    Err(error) => format!("node {id}: {error:#}"),
                };
                views.iter().map(told).collect::<Vec<_>>().join("; ")
            };
            let known = |(_, view): &(NodeId, Result<View>)| view.as_ref().ok().and_then(View::leader);
            let newest = views.iter().filter_map(known).max_by_key(|leader| leader.term);
            let leader = newest.filter(|leader| leader.term > term).with_context(seen)?;
            let agree = views.iter().filter(|view| known(view) == Some(leader)).map(|(id, _)| *id);
            let agree: Vec<NodeId> = agree.collect();
            ensure!(agree.len() > self.nodes.len() / 2 && agree.contains(&leader.id), "{}", seen());
            Ok(leader)
        })
        .await
    }

    /// Waits until all running nodes say that they are ready.
    pub async fn wait_ready(&self, deadline: Duration) -> Result<()> {
        self.wait_until(deadline, "all running nodes to be ready", || async {
            for id in self.running() {
                let answer = self.request(id, "/health/ready").await?;
                ensure!(answer.status == StatusCode::OK, "node {id}: {answer}");
            }
            Ok(())
        })
        .await
    }

    /// Waits until all running nodes have applied the same and hold the same state.
    ///
    /// Writes must have stopped: nodes that move on are never equal at two moments.
    pub async fn wait_converged(&self, deadline: Duration) -> Result<Converged> {
        self.wait_until(deadline, "all running nodes to hold the same state", || async {
            let looks = self.running().into_iter().map(async |id| (id, self.state(id).await));
            let states = futures::future::join_all(looks).await;
            let seen = format!("{states:?}");
            let states: Vec<_> = states.into_iter().map(|(_, state)| state).collect::<Result<_>>()?;
            let first = states.first().cloned().context("no node runs")?;
            ensure!(states.iter().all(|state| *state == first), "{seen}");
            Ok(first)
        })
        .await
    }

    /// [`wait_until`] that ends at once, with the node's log, when a node dies by itself.
    pub async fn wait_until<T, F, Fut>(&self, deadline: Duration, what: &str, mut condition: F) -> Result<T>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let watched = || {
            let look = condition();
            async {
                self.check_alive().map_err(give_up)?;
                look.await
            }
        };
        let result = wait_until(deadline, what, watched).await;
        if result.is_err() {
            self.troubled.store(true, Ordering::Relaxed);
        }
        result
    }

    /// An error if a node ended that nobody killed.
    pub fn check_alive(&self) -> Result<()> {
        for node in &self.nodes {
            if let Some(status) = node.died() {
                self.troubled.store(true, Ordering::Relaxed);
                return Err(anyhow!("node {} ended by itself: {status}\n{}", node.id(), node.log_tail(20)));
            }
        }
        Ok(())
    }

    fn running(&self) -> Vec<NodeId> {
        self.nodes.iter().filter(|node| node.is_running()).map(Node::id).collect()
    }

    async fn request(&self, id: NodeId, path: &str) -> Result<crate::Answer> {
        let timeout = if path == DIGEST { DIGEST_TIMEOUT } else { LOOK_TIMEOUT };
        self.client(id).request(Method::GET, path).timeout(timeout).send().await
    }

    /// A JSON answer, or `None` if the node does not have that route.
    async fn look(&self, id: NodeId, path: &str) -> Result<Option<Value>> {
        let answer = self.request(id, path).await?;
        if matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
            return Ok(None);
        }
        Ok(Some(answer.ok().with_context(|| format!("node {id}: GET {path}"))?.body))
    }

    async fn views(&self) -> Vec<(NodeId, Result<View>)> {
        let looks = self.running().into_iter().map(async |id| (id, self.view(id).await));
        futures::future::join_all(looks).await
    }

    async fn view(&self, id: NodeId) -> Result<View> {
        let status = self.status(id).await?;
        let term = status["term"].as_u64().with_context(|| format!("no term in {status}"))?;
        Ok(View { term, leader: status["leader"].as_u64() })
    }

    async fn state(&self, id: NodeId) -> Result<Converged> {
        let (from, digest) = match self.look(id, DIGEST).await? {
            Some(answer) => {
                let digest = answer["digest"].as_str().map(str::to_owned);
                (answer, Some(digest.context("no digest")?))
            }
            // A node without digests still says how far it is.
            None => {
                let status = self.status(id).await?;
                let own = status["nodes"].as_array().and_then(|all| all.iter().find(|node| node["id"] == id));
                let mut own = own.with_context(|| format!("node {id} is not in {status}"))?.clone();
                own["revision"] = status["revision"].clone();
                (own, None)
            }
        };
        let figure = |name: &str| from[name].as_u64().with_context(|| format!("no {name} in {from}"));
        Ok(Converged { applied_index: figure("applied_index")?, revision: figure("revision")?, digest })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &self.nodes {
            let _ = node.kill();
        }
        let failed = std::thread::panicking() || self.troubled.load(Ordering::Relaxed);
        if let Some(folder) = self.folder.take()
            && (failed || std::env::var_os("AERODB_TEST_KEEP").is_some())
        {
            let kept = folder.keep();
            if failed {
                for node in &self.nodes {
                    eprintln!("=== node {}: the end of its log ===\n{}", node.id(), node.log_tail(TAIL_LINES));
                }
            }
            eprintln!("=== data and logs are kept in {} ===", kept.display());
        }
    }
}

/// What one node believes.
struct View {
    term: u64,
    leader: Option<NodeId>,
}

impl View {
    fn leader(&self) -> Option<Leader> {
        self.leader.map(|id| Leader { id, term: self.term })
    }
}

/// The program under test: `AERODB_BIN`, or the one that was built into the same target folder as the test.
///
/// # Errors
/// When there is none.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("AERODB_BIN") {
        return Ok(path.into());
    }
    // The test itself is TARGET/release/deps/name-hash.
    let test = std::env::current_exe().context("where is this test?")?;
    let beside = test.ancestors().skip(1).map(|folder| folder.join("aerodb")).take(2).find(|path| path.is_file());
    beside.with_context(|| {
        format!("no aerodb beside {}: build it first (cargo build --release), or set AERODB_BIN", test.display())
    })
}

#[cfg(test)]
mod tests;
