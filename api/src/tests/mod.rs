//! The whole API over one node in this process: real stores and real replication, without a socket for clients.

mod conventions;
mod pages;
mod panics;
mod shortcut;
mod starting;
mod unread;

use std::sync::Arc;
use std::time::Duration;

use aerodb_engine::Limits;
use aerodb_engine::kv::rocks::RocksEnv;
use aerodb_raft::{Fence, Handle, Options, Services, SystemClock, SystemMachine, TcpConnector, Threads};
use axum::Router;
use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::router::{routes, serving};
use crate::{ApiOptions, ApiState, Front, Service};

const KEY: &str = "a key for tests";
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of an answer, at most.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A node with its API.
struct Api {
    service: Service,
    state: ApiState,
    handle: Handle,
    threads: Threads,
    _dir: TempDir,
}

/// `answer` as hyper sends it: it says how long a body is where nobody else has.
fn as_sent(method: Method, mut answer: http::Response<Body>) -> http::Response<Body> {
    let has_body =
        method != Method::HEAD && ![StatusCode::NOT_MODIFIED, StatusCode::NO_CONTENT].contains(&answer.status());
    if let Some(length) = answer.body().size_hint().exact().filter(|_| has_body) {
        answer.headers_mut().entry(header::CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    answer
}

/// An answer, read whole.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks that this is an error as all of them are, with this code.
    fn refused(&self, status: u16, code: &str) -> Value {
        let body = self.json();
        assert_eq!((self.status.as_u16(), &body["code"], &body["status"]), (status, &code.into(), &status.into()));
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!(body["request_id"], self.header("x-request-id"), "{self:?}");
        assert_eq!(body["type"], format!("urn:aerodb:error:{code}"));
        assert!(body["title"].is_string() && body["detail"].is_string(), "{body}");
        assert_eq!(self.headers.contains_key("retry-after"), status == 503, "{self:?}");
        body
    }
}

impl Api {
    async fn start() -> Self {
        Self::with(ApiOptions::default(), Limits::default(), Router::new()).await
    }

    /// A node whose API has these options and limits, and a few routes more.
    async fn with(options: ApiOptions, limits: Limits, more: Router<ApiState>) -> Self {
        let dir = TempDir::new().unwrap();
        let threads = Threads::default();
        let replication = Options {
            listen_peer: "127.0.0.1:0".to_owned(),
            peer_addr: "127.0.0.1:1".to_owned(),
            service_key: KEY.to_owned(),
            ..Options::new(1, dir.path())
        };
        let services = Services {
            env: Arc::new(RocksEnv::new(8 << 20)),
            clock: Arc::new(SystemClock::new()),
            random: Arc::new(|bytes| bytes.fill(7)),
            connector: Arc::new(TcpConnector),
            spawner: Arc::new(threads.clone()),
            machine: Arc::new(SystemMachine),
            registry: prometheus::Registry::new(),
            limits: limits.clone(),
            fence: Fence::default(),
        };
        let handle = aerodb_raft::start(replication, services).await.unwrap();
        timeout(PATIENCE, handle.wait_named()).await.expect("the cluster gets its name");
        timeout(PATIENCE, handle.wait_recovered()).await.expect("it catches up with itself");
        let front = Front::new(1, prometheus::Registry::new(), options, CancellationToken::new()).unwrap();
        let state = ApiState::new(front, handle.clone(), limits);
        let service = serving(routes(&state).merge(more), state.clone());
        Self { service, state, handle, threads, _dir: dir }
    }

    /// Sends a request with the service key, and its answer as soon as its head is there.
    async fn open(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Body) -> http::Response<Body> {
        let mut request = Request::builder().method(method.clone()).uri(path).header("apikey", KEY);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        as_sent(method, self.service.answer(request.body(body).unwrap()).await)
    }

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let answer =
            timeout(PATIENCE, self.open(method, path, headers, body.into())).await.expect("there is an answer");
        let (parts, body) = answer.into_parts();
        let body = timeout(PATIENCE, axum::body::to_bytes(body, ANSWER_BYTES_MAX)).await.expect("the answer ends");
        Answer { status: parts.status, headers: parts.headers, body: body.unwrap() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], Body::empty()).await
    }

    /// Writes, and expects that it is done. Returns the revision.
    async fn write(&self, method: Method, path: &str, body: impl Into<Body>) -> u64 {
        let answer = self.send(method, path, &[(header::CONTENT_TYPE.as_str(), "application/json")], body).await;
        assert!(answer.status.is_success(), "{answer:?}");
        answer.header("aerodb-revision").parse().unwrap()
    }

    async fn create(&self, name: &str) {
        self.write(Method::POST, "/admin/collections", format!(r#"{{"name":"{name}"}}"#)).await;
    }

    /// Ends the node before its folder goes.
    async fn end(self) {
        let Self { service, state, handle, threads, _dir } = self;
        drop((service, state));
        handle.shutdown().await;
        drop(handle);
        let joined = tokio::task::spawn_blocking(move || threads.join());
        timeout(PATIENCE, joined).await.expect("the node's threads end").unwrap();
    }
}
