//! Three nodes of etcd, over their JSON gateway, with etcd's own settings but for how much may be stored.

use std::path::Path;
use std::time::Duration;

use aerodb_load::http::{Api, Call, HttpTarget, Node};
use aerodb_load::{Request, id};
use anyhow::{Context, Error, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use cluster_tests::{PortLease, wait_until};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Mode, READY_WITHIN, Server};
use crate::packages;

pub(crate) struct Etcd {
    pub(crate) nodes: Vec<Server>,
    pub(crate) urls: Vec<String>,
    pub(crate) version: String,
    /// The place of the leader that it began with.
    pub(crate) first_leader: usize,
    http: reqwest::Client,
    _ports: Vec<PortLease>,
    _folder: TempDir,
}

impl Etcd {
    pub(crate) async fn start() -> Result<Self> {
        let program = packages::ETCD.find()?;
        let said = packages::run(std::process::Command::new(&program).arg("--version"))?;
        let version = said.lines().next().unwrap_or_default().trim_start_matches("etcd Version: ").to_owned();
        let folder = tempfile::Builder::new().prefix("aerodb-compare-etcd-").tempdir()?;
        let ports: Vec<PortLease> = (0..6).map(|_| PortLease::take()).collect::<Result<_>>()?;
        let (clients, peers) = ports.split_at(3);
        let url = |port: &PortLease| format!("http://{}", port.addr());
        let members: Vec<String> = peers.iter().zip(1..).map(|(port, id)| format!("n{id}={}", url(port))).collect();
        let (urls, members): (Vec<String>, _) = (clients.iter().map(url).collect(), members.join(","));
        let mut nodes = Vec::new();
        for (id, (client, peer)) in (1..).zip(urls.iter().zip(peers.iter().map(url))) {
            nodes.push(start_node(&program, folder.path(), id, client, &peer, &members)?);
        }
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
        let mut etcd = Self { nodes, urls, version, first_leader: 0, http, _ports: ports, _folder: folder };
        etcd.first_leader = etcd.wait_leader().await?;
        Ok(etcd)
    }

    pub(crate) fn target(&self, mode: Mode, bytes: u32) -> Result<HttpTarget<Gateway>> {
        let nodes = self.urls.iter().map(|url| Node::new(url, &[]).map_err(Error::msg));
        let mut nodes = nodes.collect::<Result<Vec<_>>>()?;
        if mode == Mode::Stale {
            nodes.truncate(1);
        }
        Ok(HttpTarget::new(nodes, Gateway { prefix: format!("bench{bytes}/"), serializable: mode == Mode::Stale }))
    }

    /// Waits until all nodes that run agree on a leader; gives its place in the list.
    pub(crate) async fn wait_leader(&self) -> Result<usize> {
        wait_until(READY_WITHIN, "etcd to have a leader", || async {
            let mut leaders = Vec::new();
            let mut members = Vec::new();
            for (url, node) in self.urls.iter().zip(&self.nodes) {
                if node.pid().is_none() {
                    members.push(String::new());
                    continue;
                }
                let url = format!("{url}/v3/maintenance/status");
                let status: Value = self.http.post(url).json(&json!({})).send().await?.json().await?;
                members.push(status["header"]["member_id"].as_str().unwrap_or_default().to_owned());
                leaders.push(status["leader"].as_str().unwrap_or_default().to_owned());
            }
            let leader = leaders.first().context("no node runs")?;
            ensure!(leaders.iter().all(|other| other == leader) && leader.len() > 1, "they name {leaders:?}");
            members.iter().position(|member| member == leader).context("the leader is none of them")
        })
        .await
    }
}

fn start_node(program: &Path, folder: &Path, id: u64, client: &str, peer: &str, members: &str) -> Result<Server> {
    let name = format!("n{id}");
    let args = [
        ("--name", name.clone()),
        ("--data-dir", folder.join(&name).display().to_string()),
        ("--listen-client-urls", client.to_owned()),
        ("--advertise-client-urls", client.to_owned()),
        ("--listen-peer-urls", peer.to_owned()),
        ("--initial-advertise-peer-urls", peer.to_owned()),
        ("--initial-cluster", members.to_owned()),
        ("--logger", "zap".to_owned()),
        // Its limit of 2 GB would end a long comparison.
        ("--quota-backend-bytes", (16u64 << 30).to_string()),
    ];
    let args = args.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
    Server::start(program, args, &folder.join(format!("{name}.log")))
}

/// The gateway that makes JSON of etcd's gRPC.
pub(crate) struct Gateway {
    prefix: String,
    serializable: bool,
}

impl Api for Gateway {
    fn call(&self, request: &Request, call: &mut Call<'_>) {
        let key = |number: u64| BASE64.encode(format!("{}{}", self.prefix, id(number)));
        match request {
            Request::Read { number } => {
                let serializable = if self.serializable { r#","serializable":true"# } else { "" };
                let body = format!(r#"{{"key":"{}"{serializable}}}"#, key(*number));
                call.write("POST", &["/v3/kv/range"], Some(body.as_bytes()));
            }
            Request::Write { number, document } => {
                let body = format!(r#"{{"key":"{}","value":"{}"}}"#, key(*number), BASE64.encode(document));
                call.write("POST", &["/v3/kv/put"], Some(body.as_bytes()));
            }
            // etcd has no insert that chooses a key; this comparison asks for none.
            Request::Insert { .. } => call.write("POST", &["/v3/kv/insert"], Some(b"{}")),
        }
    }

    fn refusal(&self, status: u16, body: &[u8]) -> String {
        let problem: Value = serde_json::from_slice(body).unwrap_or_default();
        problem["error"].as_str().map_or_else(|| format!("http_{status}"), str::to_owned)
    }
}
