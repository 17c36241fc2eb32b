//! The seam to the real network: production opens TCP connections, a simulation hands in streams of its own.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tonic::transport::server::Connected;

/// How long the port rests after a connection could not be accepted (no file descriptors left, for example).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Makes and takes connections between nodes.
pub trait Connector: Send + Sync + 'static {
    /// Connects to `addr` (host:port). The caller bounds the time.
    fn connect(&self, addr: &str) -> BoxFuture<'static, io::Result<BoxedIo>>;

    /// Listens on `addr` (host:port; port 0: any).
    fn listen(&self, addr: &str) -> BoxFuture<'static, io::Result<Listener>>;
}

/// A port that is listened on.
pub struct Listener {
    /// The address that was bound, with its real port.
    pub local_addr: String,
    /// Connections as they come in. Errors of single connections are dealt with inside.
    pub accepted: BoxStream<'static, BoxedIo>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({})", self.local_addr)
    }
}

/// Bytes in both directions.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// One connection, of whatever kind.
pub struct BoxedIo {
    io: Box<dyn Duplex>,
    /// Who is at the other end, for messages.
    remote: String,
    /// The place among the connections that are allowed at once; given back when the connection closes.
    _place: Option<OwnedSemaphorePermit>,
}

impl BoxedIo {
    /// Wraps a connection to `remote`.
    pub fn new(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, remote: impl Into<String>) -> Self {
        Self { io: Box::new(io), remote: remote.into(), _place: None }
    }

    /// Who is at the other end.
    pub fn remote(&self) -> &str {
        &self.remote
    }

    pub(super) fn holding(self, place: OwnedSemaphorePermit) -> Self {
        Self { _place: Some(place), ..self }
    }
}

impl fmt::Debug for BoxedIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BoxedIo({})", self.remote)
    }
}

impl AsyncRead for BoxedIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for BoxedIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_shutdown(cx)
    }
}

impl Connected for BoxedIo {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

/// Plain TCP, without delay. Dead connections are found by HTTP/2 probes, which are quicker than TCP's.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpConnector;

impl Connector for TcpConnector {
    fn connect(&self, addr: &str) -> BoxFuture<'static, io::Result<BoxedIo>> {
        let addr = addr.to_owned();
        Box::pin(async move {
            let stream = TcpStream::connect(addr.as_str()).await?;
            stream.set_nodelay(true)?;
            Ok(BoxedIo::new(stream, addr))
        })
    }

    fn listen(&self, addr: &str) -> BoxFuture<'static, io::Result<Listener>> {
        let addr = addr.to_owned();
        Box::pin(async move {
            let listener = TcpListener::bind(addr.as_str()).await?;
            let local_addr = listener.local_addr()?.to_string();
            let accepted = stream::unfold(listener, |listener| async move {
                let io = accept(&listener).await;
                Some((io, listener))
            });
            Ok(Listener { local_addr, accepted: accepted.boxed() })
        })
    }
}

async fn accept(listener: &TcpListener) -> BoxedIo {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => match stream.set_nodelay(true) {
                Ok(()) => return BoxedIo::new(stream, remote.to_string()),
                Err(error) => tracing::debug!(%remote, %error, "a peer's connection broke at once"),
            },
            Err(error) => {
                tracing::warn!(%error, "a peer's connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
