//! What every handler shares, and the few ways in which handlers reach the cluster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aerodb_engine::view::{ReadError, View};
use aerodb_engine::{Catalog, Limits};
use aerodb_proto as proto;
use aerodb_raft::{Consistency, Handle, Read};
use axum::extract::FromRef;
use bytes::Bytes;
use proto::command::Op;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use crate::auth::{Caller, LastCaller};
use crate::consistency::Freshness;
use crate::convert::refused;
use crate::error::{Code, Problem};
use crate::front::Front;
use crate::metrics::HttpMetrics;
use crate::options::ApiOptions;
use crate::panics;
use crate::response::ReadAt;
use crate::unread;

/// Everything that the API works with. Cheap to clone.
#[derive(Clone)]
pub struct ApiState(Arc<Shared>);

struct Shared {
    front: Front,
    handle: Handle,
    limits: Limits,
    /// The revision applied on this node.
    revision: watch::Receiver<u64>,
    last_caller: LastCaller,
    requests: Semaphore,
    body_kib: Arc<Semaphore>,
    answer_kib: Arc<Semaphore>,
    queries: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

impl FromRef<ApiState> for Front {
    fn from_ref(state: &ApiState) -> Self {
        state.front().clone()
    }
}

/// A collection as one view has it.
pub(crate) struct Reading {
    pub(crate) view: Arc<View>,
    pub(crate) collection: Arc<proto::Collection>,
    pub(crate) at: ReadAt,
}

impl ApiState {
    /// An API on top of `handle`. Call it within the runtime that serves.
    pub fn new(front: Front, handle: Handle, limits: Limits) -> Self {
        let semaphore = |permits: usize| Semaphore::new(permits.min(Semaphore::MAX_PERMITS));
        let (options, revision) = (front.options(), handle.changed());
        front.follow(revision.clone());
        Self(Arc::new(Shared {
            revision,
            last_caller: LastCaller::default(),
            requests: semaphore(options.requests_in_flight_max),
            body_kib: Arc::new(semaphore(options.body_bytes_in_flight_max.div_ceil(1024))),
            answer_kib: Arc::new(semaphore(options.answer_bytes_unread_max.div_ceil(1024))),
            queries: Arc::new(semaphore(options.queries_running_max)),
            streams: Arc::new(semaphore(options.streams_open_max)),
            handle,
            limits,
            front,
        }))
    }

    pub(crate) fn front(&self) -> &Front {
        &self.0.front
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.0.handle
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(crate) fn options(&self) -> &ApiOptions {
        self.0.front.options()
    }

    pub(crate) fn last_caller(&self) -> &LastCaller {
        &self.0.last_caller
    }

    pub(crate) fn metrics(&self) -> &HttpMetrics {
        self.0.front.metrics()
    }

    pub(crate) fn shutdown(&self) -> &CancellationToken {
        self.0.front.shutdown()
    }

    /// Wakes whenever this node has applied a revision.
    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.0.revision.clone()
    }

    /// Whatever this node has, fresh or not.
    pub(crate) fn local(&self) -> Result<Arc<View>, Problem> {
        Ok(self.0.handle.local()?)
    }

    /// The collections, as far as this node knows.
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        self.0.handle.catalog()
    }

    /// A place among the requests under way.
    pub(crate) fn admit(&self) -> Result<SemaphorePermit<'_>, Problem> {
        let permit = self.0.requests.try_acquire();
        permit.map_err(|_| Problem::new(Code::Overloaded, "this node has as many requests under way as it takes"))
    }

    /// A place for a write, asked for before anything else is done for it.
    pub(crate) fn admit_write(&self) -> Result<(), Problem> {
        match self.0.handle.has_room() {
            true => Ok(()),
            false => Err(Problem::new(Code::Overloaded, "the cluster has as many writes under way as it can do soon")),
        }
    }

    /// Room for a body of `bytes`.
    pub(crate) fn admit_body(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let permit = self.0.body_kib.clone().try_acquire_many_owned(kib);
        permit.map_err(|_| Problem::new(Code::Overloaded, "this node holds as many request bodies as it takes"))
    }

    /// `answer`, which has room on this node until its client has read it.
    pub(crate) fn admit_answer(&self, answer: Bytes) -> Result<Bytes, Problem> {
        if answer.len() <= unread::SMALL_BYTES {
            return Ok(answer);
        }
        // One answer may be longer than all may be together: then it goes alone.
        let bytes = answer.len().min(self.options().answer_bytes_unread_max);
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        match self.0.answer_kib.clone().try_acquire_many_owned(kib) {
            Ok(room) => Ok(unread::unread(answer, room)),
            Err(_) => {
                let detail =
                    "clients have yet to read as many answers as this node keeps; smaller pages find room sooner";
                Err(Problem::new(Code::Overloaded, detail))
            }
        }
    }

    /// A place among the open streams.
    pub(crate) fn admit_stream(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let permit = self.0.streams.clone().try_acquire_owned();
        permit.map_err(|_| Problem::new(Code::Overloaded, "this node has as many streams open as it takes"))
    }

    /// Runs `work`, which reads more than a document or two, where it may block. `work` is handed a question to ask now
    /// and then: whether it should give up, because its time is over or nobody waits for it any more.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&(dyn Fn() -> bool + Sync)) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = tokio::time::timeout(self.options().request_timeout, self.0.queries.clone().acquire_owned()).await;
        let Ok(Ok(permit)) = turn else {
            return Err(Problem::new(Code::Overloaded, "too many queries are running on this node"));
        };
        let deadline = Instant::now() + Duration::from_millis(self.0.limits.query_ms_max);
        let abandoned = CancellationToken::new();
        let _abandon = abandoned.clone().drop_guard();
        let done = panics::spawn_blocking(move || {
            let _permit = permit;
            work(&|| abandoned.is_cancelled() || Instant::now() >= deadline)
        });
        Ok(done.await.map_err(Problem::joined)??)
    }

    /// Runs `work`, which reads a document, where it may wait for the disk. It does not queue behind queries.
    pub(crate) async fn fetching<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Problem> {
        Ok(panics::spawn_blocking(work).await.map_err(Problem::joined)??)
    }

    /// A view that is as fresh as asked, in which the caller's key is valid: rights and data come from one snapshot.
    pub(crate) async fn read(
        &self,
        caller: &Caller,
        consistency: Consistency,
    ) -> Result<(Arc<View>, Option<Duration>), Problem> {
        let read = self.fresh(consistency).await?;
        caller.confirm(&read.view)?;
        Ok((read.view, read.age))
    }

    /// A view that is as fresh as asked, whoever asks.
    pub(crate) async fn fresh(&self, consistency: Consistency) -> Result<Read, Problem> {
        let reading = self.0.handle.read(consistency, self.options().read_timeout);
        Ok(panics::of_cluster(reading).await?)
    }

    /// The collection `name`, as fresh as asked.
    pub(crate) async fn read_collection(
        &self,
        caller: &Caller,
        freshness: Freshness,
        name: &str,
    ) -> Result<Reading, Problem> {
        let (mut view, age) = self.read(caller, freshness.consistency()).await?;
        if view.collection(name).is_none() && freshness.as_of.is_some() {
            // A node that has reached the revision may still lag: that it knows no such collection is a suspicion.
            view = self.read(caller, Consistency::Linearizable).await?.0;
        }
        let revision = freshness.as_of.unwrap_or_else(|| view.revision());
        let at = ReadAt { revision, age: freshness.shows_age().then_some(age) };
        let collection = view.collection(name).ok_or_else(|| Problem::collection_not_found(name).at(at))?;
        Ok(Reading { view, collection, at })
    }

    /// Has the cluster decide `op` for `caller`. A refusal is a problem.
    pub(crate) async fn write(
        &self,
        caller: &Caller,
        idempotency: Option<proto::IdempotencyKey>,
        op: Op,
    ) -> Result<proto::Outcome, Problem> {
        let command = proto::Command {
            caller: Some(caller.identity()),
            idempotency,
            // There are no schemas or indexes that prepare would have bound itself to.
            catalog_revision: 0,
            op: Some(op),
        };
        let writing = self.0.handle.write(command, self.options().request_timeout);
        let mut outcome = panics::of_cluster(writing).await?;
        match outcome.result.take() {
            Some(proto::outcome::Result::Refusal(refusal)) => Err(refused(refusal, outcome.revision)),
            result => Ok(proto::Outcome { result, ..outcome }),
        }
    }
}
