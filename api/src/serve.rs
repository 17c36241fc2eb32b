//! Connections: HTTP/1.1 and HTTP/2 on one port, bounded in number, time and size of headers, and drained at the end.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use futures::FutureExt;
use http::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::context::Service;
use crate::idle::IdleTimer;
use crate::panics;
use crate::small_writes::SmallWrites;

/// Connections at once; further ones wait in the operating system's queue.
const CONNECTIONS_MAX: usize = 16_384;
/// How long a new connection may take until its first request is there.
const FIRST_REQUEST_TIME_MAX: Duration = Duration::from_secs(15);
/// How long a connection may be idle, or take for a later request's headers. Longer than the pools of usual clients
/// and proxies keep connections, so that they close first and no request meets a closing connection.
const IDLE_TIME_MAX: Duration = Duration::from_secs(120);
/// How long a client may take nothing of what it was sent: an answer that nobody reads keeps its room in this node's memory.
const UNREAD_TIME_MAX: Duration = Duration::from_secs(300);
/// Bytes of a request's headers.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// Requests at once on one HTTP/2 connection.
const HTTP2_STREAMS_MAX: u32 = 256;
/// How HTTP/2 begins, and no request of HTTP/1.
const HTTP2_FIRST: &[u8; 3] = b"PRI";
/// How often an HTTP/2 connection is asked whether it is still there.
const HTTP2_PING: Duration = Duration::from_secs(30);
/// What is waited after an error that is not about one connection, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What connections lead to: one service while the node starts, another once it takes part. Cheap to clone.
#[derive(Clone)]
pub struct Door(Arc<Doors>);

struct Doors {
    starting: Service,
    open: OnceLock<Service>,
}

impl Door {
    /// A door to `starting`, until it is opened.
    pub fn new(starting: Service) -> Self {
        Self(Arc::new(Doors { starting, open: OnceLock::new() }))
    }

    /// From now on requests go to `service`, on connections that are open already too.
    pub fn open(&self, service: Service) {
        // Opened twice it leads to the first: a node has one API.
        let _ = self.0.open.set(service);
    }

    async fn answer(&self, request: Request<Incoming>) -> Response {
        let service = self.0.open.get().unwrap_or(&self.0.starting);
        service.answer(request.map(Body::new)).await
    }
}

/// Serves what `door` leads to on `listener` until `shutdown` is cancelled; then takes no new connections, lets requests under way
/// finish for at most `drain`, and closes the rest.
///
/// # Errors
/// Never for a connection's sake; at present never at all.
pub async fn serve(listener: TcpListener, door: Door, shutdown: CancellationToken, drain: Duration) -> io::Result<()> {
    serve_for(listener, door, shutdown, drain, UNREAD_TIME_MAX).await
}

/// The same; clients that take nothing for as long as `unread` are cut off, on Linux.
pub(crate) async fn serve_for(
    listener: TcpListener,
    door: Door,
    shutdown: CancellationToken,
    drain: Duration,
    unread: Duration,
) -> io::Result<()> {
    let server = Arc::new(Server { http1: builder().http1_only(), either: builder() });
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    let cut_off = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &places, unread) => accepted,
        };
        let Some((stream, place)) = accepted else { continue };
        let (server, door, watcher) = (server.clone(), door.clone(), graceful.watcher());
        // A child: it is asked whenever something happens on its connection, and there is one lock in each token.
        let (shutdown, cut_off) = (shutdown.clone(), cut_off.child_token());
        connections.spawn(panics::of_connection(async move {
            let _place = place;
            tokio::select! {
                () = connection(&server, stream, door, watcher, &shutdown) => {}
                () = cut_off.cancelled() => {}
            }
        }));
    }
    drop(listener);
    connections.close();
    if timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(connections = connections.len(), "some requests did not finish in time and are cut off");
    }
    cut_off.cancel();
    connections.wait().await;
    Ok(())
}

/// Starts what HTTP/2 runs beside its connection as a part of that connection.
#[derive(Clone, Copy)]
struct OfConnection;

impl<F> Executor<F> for OfConnection
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, work: F) {
        panics::spawn(work);
    }
}

/// Serves connections, whichever protocol they speak.
struct Server {
    http1: auto::Builder<OfConnection>,
    either: auto::Builder<OfConnection>,
}

impl Server {
    /// What serves `stream`, once its first bytes are there. To find the protocol out, the builder for either reads a few bytes
    /// ahead, and hyper then makes its buffer for the rest twice as big, for as long as the connection lives: what is clearly
    /// HTTP/1 does without.
    async fn of(&self, stream: &TcpStream) -> auto::Builder<OfConnection> {
        let mut first = [0; HTTP2_FIRST.len()];
        let mut builder = match stream.peek(&mut first).await {
            Ok(there) if there == first.len() && first != *HTTP2_FIRST => self.http1.clone(),
            // Also what comes byte by byte, and what ended: to be told apart from then on.
            Ok(_) | Err(_) => self.either.clone(),
        };
        builder.http1().timer(IdleTimer::default());
        builder
    }
}

fn builder() -> auto::Builder<OfConnection> {
    let mut builder = auto::Builder::new(OfConnection);
    builder.http1().header_read_timeout(IDLE_TIME_MAX).max_buf_size(HEADER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEADER_BYTES_MAX as u32)
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .keep_alive_interval(HTTP2_PING)
        .keep_alive_timeout(HTTP2_PING);
    builder
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    unread: Duration,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // Answers are written at once; waiting for more would only add latency.
            let _ = stream.set_nodelay(true);
            // Counts what was sent and not acknowledged, and a window that stays shut.
            #[cfg(target_os = "linux")]
            let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(unread));
            Some((stream, place))
        }
        Err(error) => {
            let ours = !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset);
            if ours {
                tracing::warn!(%error, "no connection could be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
            None
        }
    }
}

async fn connection(
    server: &Server,
    stream: TcpStream,
    door: Door,
    watcher: hyper_util::server::graceful::Watcher,
    shutdown: &CancellationToken,
) {
    let begun = Instant::now();
    let server = tokio::select! {
        biased;
        found = timeout(FIRST_REQUEST_TIME_MAX, server.of(&stream)) => found,
        // Nothing was asked on it yet.
        () = shutdown.cancelled() => return,
    };
    let Ok(server) = server else { return };
    let seen = Arc::new(AtomicBool::new(false));
    let service = {
        let seen = seen.clone();
        hyper::service::service_fn(move |request: Request<Incoming>| {
            seen.store(true, Ordering::Relaxed);
            let door = door.clone();
            // Boxed: a connection keeps room for the future of one request, also while it is idle.
            async move { Ok::<_, Infallible>(door.answer(request).await) }.boxed()
        })
    };
    // Boxed, too: a task that holds it in place has room for it twice.
    let mut serving =
        Box::pin(watcher.watch(server.serve_connection(TokioIo::new(SmallWrites::new(stream)), service).into_owned()));
    let mut first_request = Box::pin(sleep_until(begun + FIRST_REQUEST_TIME_MAX));
    let ended = poll_fn(|context| {
        if let Poll::Ready(ended) = serving.as_mut().poll(context) {
            return Poll::Ready(Some(ended));
        }
        // Whatever is sent byte by byte before the first request, in whichever protocol, ends here.
        let waits = !seen.load(Ordering::Relaxed);
        if waits && first_request.as_mut().poll(context).is_ready() { Poll::Ready(None) } else { Poll::Pending }
    });
    if let Some(Err(error)) = ended.await {
        tracing::debug!(%error, "a connection ended");
    }
}
