//! Nodes of AeroDB, as `aerodb server` starts them.

use std::path::PathBuf;

use aerodb_load::Rest;
use aerodb_load::http::{HttpTarget, Node};
use anyhow::{Error, Result};
use cluster_tests::{Cluster, Options, SERVICE_KEY};

use super::{Mode, READY_WITHIN};

pub(crate) struct Aerodb {
    pub(crate) cluster: Cluster,
    /// The place of the leader that it began with.
    pub(crate) first_leader: usize,
}

impl Aerodb {
    /// Starts so many nodes of this program, or of the one that was built beside this, each with these arguments beside those
    /// that all have.
    pub(crate) async fn start(binary: Option<&PathBuf>, nodes: usize, args: &[&str]) -> Result<Self> {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let options = Options { proxy: false, args, ready_within: Some(READY_WITHIN), ..Options::default() };
        let cluster = match binary {
            Some(binary) => Cluster::start_binary(binary, nodes, options).await?,
            None => Cluster::start(nodes, options).await?,
        };
        let first_leader = usize::try_from(cluster.wait_leader(READY_WITHIN).await?.id - 1)?;
        Ok(Self { cluster, first_leader })
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.cluster.nodes().iter().filter_map(cluster_tests::Node::pid).collect()
    }

    /// Makes the collection of documents of this size.
    pub(crate) async fn create(&self, bytes: u32) -> Result<()> {
        let name = serde_json::json!({ "name": format!("bench{bytes}") });
        self.cluster.client(1).post("/admin/collections", &name).await?.ok()?;
        Ok(())
    }

    /// Its nodes, as the load generator talks to them.
    pub(crate) fn nodes(&self) -> Result<Vec<Node>> {
        let token = format!("Bearer {SERVICE_KEY}");
        let headers = [("authorization", token.as_str())];
        let urls = self.cluster.nodes().iter().map(cluster_tests::Node::url);
        urls.map(|url| Node::new(&url, &headers).map_err(Error::msg)).collect()
    }

    pub(crate) fn target(&self, mode: Mode, bytes: u32) -> Result<HttpTarget<Rest>> {
        let mut nodes = self.nodes()?;
        let query = if mode == Mode::Stale { "?consistency=stale" } else { "" };
        if mode == Mode::Stale {
            nodes.truncate(1);
        }
        Ok(HttpTarget::new(nodes, Rest { path: format!("/api/bench{bytes}"), query, refusal: code }))
    }
}

/// What a problem calls itself.
pub(crate) fn code(status: u16, body: &[u8]) -> String {
    let problem: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    problem["code"].as_str().map_or_else(|| format!("http_{status}"), str::to_owned)
}
