//! A client of one node: JSON in, JSON out, nothing retried and nothing hidden.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::Value;

/// How long a request may take unless it says otherwise.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Talks to one node with the service key. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

/// What a node answered, whatever the status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// All headers.
    pub headers: HeaderMap,
    /// The body: JSON if it is, else its text as a JSON string; null if empty.
    pub body: Value,
}

/// A request being put together.
#[must_use]
#[derive(Debug)]
pub struct Request {
    inner: reqwest::RequestBuilder,
    what: String,
}

impl Client {
    /// A client of the node at `base` (`http://host:port`).
    pub fn new(base: impl Into<String>, token: Option<&str>) -> Result<Self> {
        // A proxy from the environment has no place between a test and its cluster.
        let http = reqwest::Client::builder().no_proxy().timeout(REQUEST_TIMEOUT).build().context("make a client")?;
        Ok(Self { http, base: base.into(), token: token.map(str::to_owned) })
    }

    /// The same, talking to another node.
    pub fn at(&self, base: impl Into<String>) -> Self {
        Self { base: base.into(), ..self.clone() }
    }

    /// The same, with another token, or none.
    pub fn with_token(&self, token: Option<&str>) -> Self {
        Self { token: token.map(str::to_owned), ..self.clone() }
    }

    /// Starts a request that needs more than the short forms below: headers, another body, a time-out of its own.
    pub fn request(&self, method: Method, path: &str) -> Request {
        let url = format!("{}{path}", self.base);
        let what = format!("{method} {url}");
        let mut inner = self.http.request(method, url);
        if let Some(token) = &self.token {
            inner = inner.bearer_auth(token);
        }
        Request { inner, what }
    }

    /// `GET path`
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.request(Method::GET, path).send().await
    }

    /// `POST path` with a JSON body
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.request(Method::POST, path).json(body).send().await
    }

    /// `PUT path` with a JSON body
    pub async fn put(&self, path: &str, body: &Value) -> Result<Answer> {
        self.request(Method::PUT, path).json(body).send().await
    }

    /// `PATCH path` with a JSON body
    pub async fn patch(&self, path: &str, body: &Value) -> Result<Answer> {
        self.request(Method::PATCH, path).json(body).send().await
    }

    /// `DELETE path`
    pub async fn delete(&self, path: &str) -> Result<Answer> {
        self.request(Method::DELETE, path).send().await
    }
}

impl Request {
    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.inner = self.inner.header(name, value.to_string());
        self
    }

    /// Adds parameters to the query, escaped.
    pub fn query(mut self, parameters: &[(&str, &str)]) -> Self {
        self.inner = self.inner.query(parameters);
        self
    }

    /// Sends `body` as JSON.
    pub fn json(mut self, body: &Value) -> Self {
        self.inner = self.inner.json(body);
        self
    }

    /// Sends these bytes as they are, which need not be anything valid.
    pub fn bytes(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.inner = self.inner.header("content-type", content_type).body(body.into());
        self
    }

    /// How long this request may take, until the last byte of its answer.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.inner = self.inner.timeout(timeout);
        self
    }

    /// Sends it. An error means that there was no whole answer: for a write, the outcome is unknown.
    pub async fn send(self) -> Result<Answer> {
        let Self { inner, what } = self;
        let response = inner.send().await.with_context(|| what.clone())?;
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.bytes().await.with_context(|| format!("{what}: body of {status}"))?;
        let body = match serde_json::from_slice(&bytes) {
            Ok(body) => body,
            Err(_) if bytes.is_empty() => Value::Null,
            Err(_) => Value::String(String::from_utf8_lossy(&bytes).into_owned()),
        };
        Ok(Answer { status, headers, body })
    }
}

impl Answer {
    /// A header as text, if it is there.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// `Aerodb-Revision`: the revision written, or the one read at.
    pub fn revision(&self) -> Option<u64> {
        self.header("aerodb-revision")?.parse().ok()
    }

    /// `code` of a problem, such as `no_leader`.
    pub fn code(&self) -> Option<&str> {
        self.body["code"].as_str()
    }

    /// The answer itself if its status is 2xx, else an error that shows it.
    pub fn ok(self) -> Result<Self> {
        ensure!(self.status.is_success(), "{self}");
        Ok(self)
    }

    /// The answer itself if it has this status, else an error that shows it.
    pub fn expect_status(self, status: u16) -> Result<Self> {
        ensure!(self.status.as_u16() == status, "expected {status}: {self}");
        Ok(self)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Answers one request with these bytes; returns the request's head and body.
    async fn serve(answer: &'static str) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = vec![0; 65_536];
            let n = stream.read(&mut buffer).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&buffer[..n]).into_owned()
        });
        (base, served)
    }

    #[tokio::test]
    async fn a_problem_is_an_answer_too() {
        let answer = "HTTP/1.1 503 x\r\naerodb-revision: 7\r\ncontent-length: 20\r\n\r\n{\"code\":\"no_leader\"}";
        let (base, served) = serve(answer).await;
        let client = Client::new(base, Some("secret")).unwrap();
        let answer = client.request(Method::GET, "/api/c").query(&[("filter", r#"{"a":1}"#)]).send().await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.code(), answer.revision()), (503, Some("no_leader"), Some(7)));
        assert!(format!("{:#}", answer.ok().unwrap_err()).contains("no_leader"));
        let request = served.await.unwrap();
        assert!(request.starts_with("GET /api/c?filter=%7B%22a%22%3A1%7D HTTP/1.1"), "{request}");
        assert!(request.contains("authorization: Bearer secret"), "{request}");
    }

    #[tokio::test]
    async fn text_and_nothing_are_bodies() {
        let (base, _served) = serve("HTTP/1.1 200 x\r\ncontent-length: 4\r\n\r\n# hi").await;
        assert_eq!(Client::new(base, None).unwrap().get("/metrics").await.unwrap().body, "# hi");
        let (base, _served) = serve("HTTP/1.1 204 x\r\n\r\n").await;
        assert_eq!(Client::new(base, None).unwrap().delete("/api/c/a").await.unwrap().body, Value::Null);
    }
}
