//! Panics: what is contained, and what is not.
//!
//! A panic in a request is a bug that one request met: it is logged, the request is answered with 500, and the node goes
//! on. A panic anywhere else (replication, deciding, applying, storage, upkeep) leaves behind a node that lacks a task
//! and does not know it; such a node is not to be trusted and ends (A7). The program's panic hook decides which of the
//! two it is, on the thread that panics, by asking [`contained`]; so whoever works for a request says so here: the
//! request's own task, its blocking work, the tasks that it starts, and the body of its answer, which is sent after the
//! handler has returned.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use futures::FutureExt;
use hyper::body::{Frame, SizeHint};
use tokio::task::JoinHandle;

use crate::request_id::RequestId;

/// For whom something runs.
#[derive(Clone, Debug)]
enum Work {
    /// For this request.
    Request(RequestId),
    /// For a connection: what a client sends is read, and no request knows of it yet.
    Connection,
    /// For the cluster, though a request waits for it on the same task.
    Cluster,
}

tokio::task_local! {
    static WORK: Work;
}

/// A panic that concerns one client only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contained {
    /// The request that met it; none when it was met before there was one.
    pub request_id: Option<String>,
}

/// Asked on a thread that panics: whether the panic is caught, and concerns one client only. When not, the process must
/// end.
pub fn contained() -> Option<Contained> {
    WORK.try_with(|work| match work {
        Work::Request(RequestId(id)) => Some(Contained { request_id: Some(id.to_string()) }),
        Work::Connection => Some(Contained { request_id: None }),
        Work::Cluster => None,
    })
    .ok()
    .flatten()
}

/// `work` is done for the request `id`. Whoever calls this catches what it panics with.
pub(crate) fn of_request<F: Future>(id: RequestId, work: F) -> impl Future<Output = F::Output> {
    WORK.scope(Work::Request(id), work)
}

/// `work` serves a connection, on a task of its own.
pub(crate) fn of_connection<F: Future>(work: F) -> impl Future<Output = F::Output> {
    WORK.scope(Work::Connection, work)
}

/// `work` is replication's. It runs on the task of the request that asks for it, yet what it leaves half done when it
/// panics is not the request's own.
pub(crate) fn of_cluster<F: Future>(work: F) -> impl Future<Output = F::Output> {
    WORK.scope(Work::Cluster, work)
}

/// Starts a task that works for whom the caller works. What it panics with is its result.
pub(crate) fn spawn<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    match WORK.try_with(Work::clone) {
        Ok(caller) => tokio::spawn(WORK.scope(caller, work)),
        Err(_) => tokio::spawn(work),
    }
}

/// The same for work that blocks.
pub(crate) fn spawn_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let caller = WORK.try_with(Work::clone).ok();
    tokio::task::spawn_blocking(move || match caller {
        Some(caller) => WORK.sync_scope(caller, work),
        None => work(),
    })
}

/// What a panic says.
pub(crate) fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// The future's result, or what it panicked with. (Not an `async fn`: it would have room for `work` twice.)
pub(crate) fn caught<F: Future>(work: F) -> impl Future<Output = Result<F::Output, String>> {
    AssertUnwindSafe(work).catch_unwind().map(|done| done.map_err(|panic| text(&*panic)))
}

/// `body` as a part of the request `id`: when it panics the answer is cut off, and nobody takes a part for the whole.
pub(crate) fn guard(id: RequestId, body: Body) -> Body {
    // What is in memory already runs no code of ours.
    if body.size_hint().exact().is_some() { body } else { Body::new(Guarded { id, inner: Some(body) }) }
}

struct Guarded {
    id: RequestId,
    /// Gone once it has panicked.
    inner: Option<Body>,
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let work = Work::Request(self.id.clone());
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let polled = WORK.sync_scope(work, || catch_unwind(AssertUnwindSafe(|| Pin::new(inner).poll_frame(context))));
        polled.unwrap_or_else(|_| {
            self.inner = None;
            Poll::Ready(Some(Err(axum::Error::new("a bug has cut off this answer"))))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_some_and(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn id() -> RequestId {
        RequestId("r-1".into())
    }

    fn of(id: &str) -> Option<Contained> {
        Some(Contained { request_id: Some(id.into()) })
    }

    #[tokio::test]
    async fn whoever_works_for_a_request_is_contained() {
        assert_eq!(contained(), None);
        of_request(id(), async {
            assert_eq!(contained(), of("r-1"));
            assert_eq!(spawn(async { contained() }).await.unwrap(), of("r-1"));
            assert_eq!(spawn_blocking(contained).await.unwrap(), of("r-1"));
            assert_eq!(tokio::spawn(async { contained() }).await.unwrap(), None, "a task of its own is not");
            assert_eq!(of_cluster(async { contained() }).await, None);
            assert_eq!(of_cluster(async { spawn_blocking(contained).await.unwrap() }).await, None);
            assert_eq!(contained(), of("r-1"), "and again after it");
        })
        .await;
        assert_eq!(of_connection(async { contained() }).await, Some(Contained { request_id: None }));
        assert_eq!(contained(), None);
    }

    #[tokio::test]
    async fn a_body_that_panics_is_cut_off() {
        let parts = futures::stream::iter(0..3).map(|n| {
            assert_eq!(contained(), of("r-1"));
            assert!(n < 2, "on purpose");
            Ok::<_, Infallible>(Bytes::from_static(b"part"))
        });
        use futures::StreamExt;
        let mut sent = guard(id(), Body::from_stream(parts)).into_data_stream();
        assert_eq!(sent.next().await.unwrap().unwrap(), "part");
        assert_eq!(sent.next().await.unwrap().unwrap(), "part");
        assert!(sent.next().await.unwrap().is_err(), "the third is no end");
        assert!(sent.next().await.is_none());
    }

    #[tokio::test]
    async fn what_panics_says_so() {
        assert_eq!(caught(async { 7 }).await, Ok(7));
        assert_eq!(caught(async { panic!("on {}", "purpose") }).await.map(|(): ()| ()), Err("on purpose".into()));
    }
}
