//! One connection to one node, kept open, with one request at a time on it.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::options::Load;
use crate::client::Problem;

/// How much of an error's description is read.
const PROBLEM_BYTES_MAX: usize = 64 * 1024;

/// A connection of a worker. It connects when it has to, and to another node after an error.
pub(super) struct Connection {
    nodes: Vec<Node>,
    current: usize,
    sender: Option<SendRequest<Full<Bytes>>>,
}

/// A node with the headers that each request to it has, made once.
struct Node {
    authority: String,
    /// What stands before the path in its URL; most often nothing.
    prefix: String,
    headers: HeaderMap,
    headers_with_body: HeaderMap,
}

impl Connection {
    /// A connection of the worker with this number, so that workers are spread over the nodes.
    pub(super) fn new(load: &Load, worker: u32) -> Result<Self, String> {
        let nodes: Vec<Node> = load.urls.iter().map(|url| Node::new(url, load)).collect::<Result<_, _>>()?;
        Ok(Self { current: worker as usize % nodes.len(), nodes, sender: None })
    }

    /// Connects if there is no connection. The error is a word for the report.
    pub(super) async fn connect(&mut self) -> Result<(), String> {
        if self.sender.as_ref().is_some_and(|sender| !sender.is_closed()) {
            return Ok(());
        }
        let node = &self.nodes[self.current];
        let stream = TcpStream::connect(&node.authority).await.map_err(|_| "connect".to_owned())?;
        stream.set_nodelay(true).map_err(|_| "connect".to_owned())?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|_| "connect".to_owned())?;
        // Its end shows in the next request.
        tokio::spawn(async move { drop(connection.await) });
        self.sender = Some(sender);
        Ok(())
    }

    /// Sends a request and reads its answer to the end. The error is a word for the report.
    pub(super) async fn send(&mut self, method: Method, path: &str, body: Option<Bytes>) -> Result<(), String> {
        self.connect().await?;
        let node = &self.nodes[self.current];
        let Some(sender) = self.sender.as_mut() else {
            return Err("connect".to_owned());
        };
        let path = format!("{}{path}", node.prefix);
        let mut request = Request::new(Full::new(body.clone().unwrap_or_default()));
        *request.method_mut() = method;
        *request.uri_mut() = Uri::try_from(path).map_err(|_| "uri".to_owned())?;
        *request.headers_mut() = if body.is_some() { node.headers_with_body.clone() } else { node.headers.clone() };
        sender.ready().await.map_err(|_| "connection_lost".to_owned())?;
        let response = sender.send_request(request).await.map_err(|_| "connection_lost".to_owned())?;
        let status = response.status();
        let mut answer = response.into_body();
        let mut problem = Vec::new();
        while let Some(frame) = answer.frame().await {
            let frame = frame.map_err(|_| "connection_lost".to_owned())?;
            if let Some(data) = frame.data_ref().filter(|_| !status.is_success() && problem.len() < PROBLEM_BYTES_MAX) {
                problem.extend_from_slice(data);
            }
        }
        if status.is_success() { Ok(()) } else { Err(Problem::from_answer(status.as_u16(), None, &problem).code()) }
    }

    /// Leaves this node for the next.
    pub(super) fn move_on(&mut self) {
        self.sender = None;
        self.current = (self.current + 1) % self.nodes.len();
    }
}

impl Node {
    fn new(url: &str, load: &Load) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|error| format!("'{url}' is not a URL: {error}"))?;
        let host = uri.host().ok_or_else(|| format!("'{url}' has no host"))?;
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(80));
        let header = |text: &str| HeaderValue::from_str(text).map_err(|_| "the token cannot be sent".to_owned());
        let mut headers = HeaderMap::new();
        headers.insert(HOST, header(&authority)?);
        if let Some(token) = &load.token {
            let mut value = header(&format!("Bearer {}", token.expose()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let mut headers_with_body = headers.clone();
        headers_with_body.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(Self { authority, prefix: uri.path().trim_end_matches('/').to_owned(), headers, headers_with_body })
    }
}
