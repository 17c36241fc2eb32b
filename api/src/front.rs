//! What stands before every route, also before the node takes part in its cluster: who answers, how it is measured, and
//! what the answers have in common.

use std::sync::{Arc, OnceLock};

use http::HeaderValue;
use prometheus::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::metrics::HttpMetrics;
use crate::options::ApiOptions;

/// What the API is before there is anything to serve. Cheap to clone.
#[derive(Clone)]
pub struct Front(Arc<Shared>);

struct Shared {
    /// This node's id, as answers name it.
    node: HeaderValue,
    options: ApiOptions,
    registry: Registry,
    metrics: HttpMetrics,
    shutdown: CancellationToken,
    /// The revision applied on this node, once it takes part.
    revision: OnceLock<watch::Receiver<u64>>,
}

impl Front {
    /// The front of the node `node_id`; its metrics go to `registry`. Streams end when `shutdown` is cancelled.
    ///
    /// # Errors
    /// When the registry has metrics of these names already.
    pub fn new(
        node_id: u64,
        registry: Registry,
        options: ApiOptions,
        shutdown: CancellationToken,
    ) -> Result<Self, prometheus::Error> {
        let metrics = HttpMetrics::new(&registry)?;
        Ok(Self(Arc::new(Shared {
            // Of static memory, once a process: each answer has a copy, and copies of anything else are counted, by all processors
            // in one place.
            node: HeaderValue::from_static(node_id.to_string().leak()),
            options,
            registry,
            metrics,
            shutdown,
            revision: OnceLock::new(),
        })))
    }

    /// This node's id, as answers name it.
    pub(crate) fn node(&self) -> &HeaderValue {
        &self.0.node
    }

    pub(crate) fn options(&self) -> &ApiOptions {
        &self.0.options
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.0.registry
    }

    pub(crate) fn metrics(&self) -> &HttpMetrics {
        &self.0.metrics
    }

    pub(crate) fn shutdown(&self) -> &CancellationToken {
        &self.0.shutdown
    }

    /// From now on answers name the revision that `revision` follows.
    pub(crate) fn follow(&self, revision: watch::Receiver<u64>) {
        // A second one would follow the same node.
        let _ = self.0.revision.set(revision);
    }

    /// The revision that this node has applied; none while it does not know.
    pub(crate) fn revision(&self) -> Option<u64> {
        self.0.revision.get().map(|revision| *revision.borrow())
    }
}
