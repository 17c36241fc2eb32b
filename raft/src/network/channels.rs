//! Connections to the other nodes: one for each kind of traffic, so that heartbeats never wait behind entries,
//! snapshots or commands. They are opened when they are first used and opened again when they break.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use aerodb_proto::peer_client::PeerClient;
use futures::future::BoxFuture;
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tonic::transport::{Channel, Endpoint, Uri};

use super::connector::Connector;
use super::options::{
    CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, MESSAGE_BYTES_MAX, NetworkOptions, STREAM_WINDOW_BYTES,
};
use crate::spawn::Spawner;

/// A client for one connection. Clones share it.
pub(crate) type Client = PeerClient<Channel>;

/// What a connection is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Entries.
    Replication,
    /// Heartbeats, votes, transfers of leadership, read indexes, status: small, and never late.
    Control,
    /// Snapshots.
    Snapshot,
    /// Commands on their way to the leader.
    Forward,
}

/// The connections to one node at one address.
#[derive(Clone)]
pub(crate) struct Lanes {
    addr: Arc<str>,
    replication: Client,
    control: Client,
    snapshot: Client,
    forward: Client,
}

impl Lanes {
    pub(crate) fn client(&self, lane: Lane) -> Client {
        match lane {
            Lane::Replication => self.replication.clone(),
            Lane::Control => self.control.clone(),
            Lane::Snapshot => self.snapshot.clone(),
            Lane::Forward => self.forward.clone(),
        }
    }
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lanes({})", self.addr)
    }
}

/// Runs the tasks of a connection where consensus runs, whoever opened it.
struct WhereConsensusRuns(Arc<dyn Spawner>);

impl Executor<BoxFuture<'static, ()>> for WhereConsensusRuns {
    fn execute(&self, task: BoxFuture<'static, ()>) {
        self.0.consensus(task);
    }
}

/// Runs the tasks of a connection where clients are served, whoever opened it.
struct WhereClientsAreServed(Handle);

impl Executor<BoxFuture<'static, ()>> for WhereClientsAreServed {
    fn execute(&self, task: BoxFuture<'static, ()>) {
        self.0.spawn(task);
    }
}

/// The connections to all nodes.
pub(crate) struct Channels {
    connector: Arc<dyn Connector>,
    spawner: Arc<dyn Spawner>,
    served: Handle,
    options: NetworkOptions,
    nodes: Mutex<BTreeMap<u64, Lanes>>,
}

impl Channels {
    /// Made on the Tokio runtime that clients are served by.
    pub(crate) fn new(connector: Arc<dyn Connector>, spawner: Arc<dyn Spawner>, options: NetworkOptions) -> Self {
        Self { connector, spawner, served: Handle::current(), options, nodes: Mutex::default() }
    }

    pub(crate) fn options(&self) -> &NetworkOptions {
        &self.options
    }

    /// The connections to node `id`, which is at `addr`. They are made anew when it has moved.
    pub(crate) fn to(&self, id: u64, addr: &str) -> Lanes {
        let mut nodes = self.nodes.lock();
        match nodes.get(&id) {
            Some(lanes) if *lanes.addr == *addr => lanes.clone(),
            _ => {
                let lanes = self.open(addr);
                nodes.insert(id, lanes.clone());
                lanes
            }
        }
    }

    /// A client for node `id` at `addr`.
    pub(crate) fn client(&self, id: u64, addr: &str, lane: Lane) -> Client {
        self.to(id, addr).client(lane)
    }

    /// A client for a node of which only the address is known: asking for its status, joining.
    #[cfg(test)]
    pub(crate) fn at(&self, addr: &str) -> Client {
        self.channel(addr.into(), Lane::Control)
    }

    fn open(&self, addr: &str) -> Lanes {
        let addr: Arc<str> = addr.into();
        let open = |lane| self.channel(addr.clone(), lane);
        Lanes {
            replication: open(Lane::Replication),
            control: open(Lane::Control),
            snapshot: open(Lane::Snapshot),
            forward: open(Lane::Forward),
            addr: addr.clone(),
        }
    }

    fn channel(&self, addr: Arc<str>, lane: Lane) -> Client {
        let (connector, limit) = (self.connector.clone(), self.options.connect_timeout);
        // The name is never resolved: `connector` knows where to go, now and when it has to connect again.
        let connect = tower::service_fn(move |_: Uri| {
            let connecting = connector.connect(&addr);
            async move {
                match tokio::time::timeout(limit, connecting).await {
                    Ok(connected) => connected.map(TokioIo::new),
                    Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no connection after {limit:?}"))),
                }
            }
        });
        PeerClient::new(self.endpoint(lane).connect_with_connector_lazy(connect))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn endpoint(&self, lane: Lane) -> Endpoint {
        let (probe_interval, probe_timeout) = match lane {
            Lane::Control => (self.options.keepalive_interval, self.options.keepalive_timeout),
            // A probe that may take long to be answered need not be sent often.
            Lane::Replication | Lane::Snapshot | Lane::Forward => {
                (self.options.keepalive_timeout_bulk, self.options.keepalive_timeout_bulk)
            }
        };
        let endpoint = Endpoint::from_static("http://aerodb.peer");
        let endpoint = match lane {
            Lane::Replication | Lane::Control | Lane::Snapshot => {
                endpoint.executor(WhereConsensusRuns(self.spawner.clone()))
            }
            // Those who wait for answers to commands are tasks of clients' connections, and so is what wakes them.
            Lane::Forward => endpoint.executor(WhereClientsAreServed(self.served.clone())),
        };
        endpoint
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES_MAX)
            .http2_keep_alive_interval(probe_interval)
            .keep_alive_timeout(probe_timeout)
            .keep_alive_while_idle(true)
    }
}

impl fmt::Debug for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channels").field("nodes", &*self.nodes.lock()).finish_non_exhaustive()
    }
}
