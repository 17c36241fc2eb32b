//! Three nodes of AeroDB, as `aerodb server` starts them.

use std::path::PathBuf;

use aerodb_load::http::{Api, Call, HttpTarget, Node};
use aerodb_load::{Request, id};
use anyhow::{Error, Result};
use cluster_tests::{Cluster, Options, SERVICE_KEY};

use super::{Mode, READY_WITHIN};

pub(crate) struct Aerodb {
    pub(crate) cluster: Cluster,
}

impl Aerodb {
    /// Starts three nodes of this program, or of the one that was built beside this.
    pub(crate) async fn start(binary: Option<&PathBuf>) -> Result<Self> {
        let options = Options { proxy: false, ready_within: Some(READY_WITHIN), ..Options::default() };
        let cluster = match binary {
            Some(binary) => Cluster::start_binary(binary, 3, options).await?,
            None => Cluster::start(3, options).await?,
        };
        Ok(Self { cluster })
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

    pub(crate) fn target(&self, mode: Mode, bytes: u32) -> Result<HttpTarget<Data>> {
        let token = format!("Bearer {SERVICE_KEY}");
        let urls = self.cluster.nodes().iter().map(cluster_tests::Node::url);
        let nodes = urls.map(|url| Node::new(&url, &[("authorization", &token)]).map_err(Error::msg));
        let mut nodes = nodes.collect::<Result<Vec<_>>>()?;
        let query = if mode == Mode::Stale { "?consistency=stale" } else { "" };
        if mode == Mode::Stale {
            nodes.truncate(1);
        }
        Ok(HttpTarget::new(nodes, Data { path: format!("/api/bench{bytes}"), query }))
    }
}

/// The API of documents.
pub(crate) struct Data {
    path: String,
    query: &'static str,
}

impl Api for Data {
    fn call(&self, request: &Request, call: &mut Call<'_>) {
        let Self { path, query } = self;
        match request {
            Request::Read { number } => call.write("GET", format_args!("{path}/{}{query}", id(*number)), None),
            Request::Write { number, document } => {
                call.write("PUT", format_args!("{path}/{}", id(*number)), Some(document));
            }
            Request::Insert { document } => call.write("POST", format_args!("{path}"), Some(document)),
        }
    }

    fn refusal(&self, status: u16, body: &[u8]) -> String {
        let problem: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        problem["code"].as_str().map_or_else(|| format!("http_{status}"), str::to_owned)
    }
}
