//! The load as a test sees it: started, watched, and stopped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::client::LoadClient;
use super::known::Known;
use super::op::{Change, Op, document};
use super::record::{Log, Timed};
use super::report::Report;
use crate::{Client, Cluster, NodeId, wait_until};

/// What load to make.
#[derive(Clone, Debug)]
pub struct Options {
    /// The collection; a second one beside it is for documents that the cluster names.
    pub collection: String,
    /// Clients, each with one request under way.
    pub clients: usize,
    /// The nodes that they talk to; all when empty.
    pub nodes: Vec<NodeId>,
    /// Documents of each client's own.
    pub own: usize,
    /// Documents that all write.
    pub shared: usize,
    /// How many of a hundred requests write.
    pub writes_percent: u32,
    /// How long a client rests between two requests; without, it goes as fast as it is answered.
    pub rest: Option<Duration>,
    /// How long one attempt may take. Longer than the product's own deadline, which is 10 s.
    pub attempt_timeout: Duration,
    /// How long a write is tried again before it counts as unresolved.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            collection: "load".into(),
            clients: 12,
            nodes: Vec::new(),
            own: 8,
            shared: 12,
            writes_percent: 50,
            rest: None,
            attempt_timeout: Duration::from_secs(15),
            patience: Duration::from_secs(90),
        }
    }
}

/// What all clients share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) clients: Vec<(NodeId, Client)>,
    pub(super) known: Known,
    log: Mutex<Log>,
    /// Writes under way, by token, since when.
    pending: Mutex<HashMap<String, Instant>>,
    pub(super) stop: watch::Sender<bool>,
}

impl Shared {
    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pending(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The collection of documents that the cluster names.
    pub(super) fn fresh(&self) -> String {
        format!("{}_fresh", self.options.collection)
    }

    /// The id of a shared document.
    pub(super) fn shared_id(document: usize) -> String {
        format!("shared-{document}")
    }
}

/// A load that runs until it is stopped.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
    begun: Instant,
    probes: u64,
}

impl Load {
    /// Makes the collections and the shared documents, and lets the clients go.
    pub async fn start(cluster: &Cluster, options: Options) -> Result<Self> {
        let nodes = if options.nodes.is_empty() { cluster.ids().collect() } else { options.nodes.clone() };
        let shared = Arc::new(Shared {
            clients: nodes.iter().map(|id| (*id, cluster.client(*id))).collect(),
            known: Known::new(options.shared),
            log: Mutex::default(),
            pending: Mutex::default(),
            stop: watch::Sender::new(false),
            options,
        });
        let first = &shared.clients[0].1;
        for name in [shared.options.collection.clone(), shared.fresh()] {
            first.post("/admin/collections", &json!({"name": name})).await?.expect_status(201)?;
        }
        let mut setup = LoadClient::new(shared.clone(), "setup", 0);
        for number in 0..shared.options.shared {
            let token = format!("setup-{number}");
            let body = document(&token, "shared", 0, 50);
            let change = Change::Put { id: Shared::shared_id(number), body };
            setup.write(Op { token, collection: shared.options.collection.clone(), change }).await;
        }
        let mut tasks = JoinSet::new();
        for number in 0..shared.options.clients {
            let client = LoadClient::new(shared.clone(), &format!("c{number}"), number);
            tasks.spawn(client.run());
        }
        Ok(Self { shared, tasks, begun: Instant::now(), probes: 0 })
    }

    /// Sends one more write, to this node first, now. It is recorded like all others.
    pub fn probe(&mut self, node: NodeId) {
        self.probes += 1;
        let token = format!("probe-{}", self.probes);
        let mut client = LoadClient::new(self.shared.clone(), "probe", 0);
        client.begin_at(node);
        let change = Change::Insert { body: document(&token, "probe", self.probes, 20) };
        let op = Op { token, collection: self.shared.fresh(), change };
        self.tasks.spawn(async move { _ = client.write(op).await });
    }

    /// Writes acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.shared.log().acknowledged.len()
    }

    /// Failed attempts so far.
    pub fn failures(&self) -> usize {
        self.shared.log().failures.len()
    }

    /// The last revision that any client was told.
    pub fn revision(&self) -> u64 {
        self.shared.known.mark().revision
    }

    /// Waits until `more` writes are acknowledged beyond those that are now.
    pub async fn wait_progress(&self, more: usize, deadline: Duration) -> Result<()> {
        let before = self.acknowledged();
        wait_until(deadline, &format!("{more} more writes"), || async {
            let now = self.acknowledged();
            ensure!(now >= before + more, "{} so far; {:?}", now - before, self.shared.log().failures.last());
            Ok(())
        })
        .await
    }

    /// How long after `since` the first write was acknowledged that began after it.
    pub async fn first_write_begun_after(&self, since: Instant, deadline: Duration) -> Result<Duration> {
        let mut looked = 0;
        let first = wait_until(deadline, "a write that began after a certain time", || {
            let log = self.shared.log();
            // They come in the order of their ends, so the first that fits is the one.
            let fits = |write: &&Timed| write.begun >= since;
            let found = log.writes[looked..].iter().find(fits).copied();
            looked = log.writes.len();
            let last = log.failures.last().cloned();
            async move {
                ensure!(found.is_some(), "none of {looked}; the last failure: {last:?}");
                Ok(found)
            }
        });
        Ok(first.await?.map(|write| write.ended - since).unwrap_or_default())
    }

    /// The writes that were under way at any time between `from` and `to`, once all of them have ended.
    pub async fn writes_between(&self, from: Instant, to: Instant, deadline: Duration) -> Result<Vec<Timed>> {
        wait_until(deadline, "the writes under way to end", || async {
            let pending = self.shared.pending();
            let open = pending.iter().find(|(_, begun)| **begun <= to);
            ensure!(open.is_none(), "{open:?} is under way; {:?}", self.shared.log().failures.last());
            Ok(())
        })
        .await?;
        let log = self.shared.log();
        Ok(log.writes.iter().filter(|write| write.begun <= to && write.ended >= from).copied().collect())
    }

    /// Lets every client end what it does, and hands over the record.
    pub async fn stop(mut self) -> Report {
        self.shared.stop.send_replace(true);
        while let Some(done) = self.tasks.join_next().await {
            // A client that panicked is a mistake of the test itself.
            if let Err(error) = done {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        let log = std::mem::take(&mut *self.shared.log());
        let collections = vec![self.shared.options.collection.clone(), self.shared.fresh()];
        Report::new(collections, log, self.begun.elapsed())
    }
}
