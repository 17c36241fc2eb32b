//! Operations as HTTP requests.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::header::{HeaderMap, IF_MATCH, IF_NONE_MATCH};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde_json::{Map, Value, json};

use super::answer::{Answer, MALFORMED};
use super::op::{Condition, Consistency, Op, Query, Read};
use crate::history::Kind;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_millis(1_000);
/// How long an answer may take. Shorter than the product's own deadline for writes (10 s): under faults more outcomes
/// stay unknown that way, and more operations take place.
const ANSWER: Duration = Duration::from_millis(4_000);

/// Talks to all nodes. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    endpoints: Arc<Vec<(u64, Url)>>,
    key: Arc<str>,
}

impl Client {
    /// A client of the nodes at these addresses.
    ///
    /// # Errors
    /// When an address is none.
    pub fn new(endpoints: &[(u64, String)], service_key: &str) -> Result<Self> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .http1_only()
            // Nothing is sent twice behind our back: an attempt is an attempt.
            .retry(reqwest::retry::never())
            .pool_max_idle_per_host(64)
            .no_proxy()
            .build()?;
        let parse = |(node, url): &(u64, String)| Ok((*node, Url::parse(url).with_context(|| url.clone())?));
        let endpoints: Result<Vec<_>> = endpoints.iter().map(parse).collect();
        Ok(Self { http, endpoints: Arc::new(endpoints?), key: service_key.into() })
    }

    /// The nodes.
    pub fn nodes(&self) -> Vec<u64> {
        self.endpoints.iter().map(|(node, _)| *node).collect()
    }

    /// Sends `op` to `node`, once.
    pub async fn call(&self, node: u64, op: &Op) -> Answer {
        let request = match self.request(node, op) {
            Ok(request) => request.timeout(ANSWER),
            Err(error) => return Answer::broken(op, node, format!("no request: {error:#}"), false),
        };
        let response = match request.send().await {
            Ok(response) => response,
            // A connection that never came about carried nothing.
            Err(error) => return Answer::broken(op, node, describe(&error), !error.is_connect()),
        };
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = match response.bytes().await {
            Ok(body) => body,
            Err(error) => return Answer::broken(op, node, describe(&error), true),
        };
        let revision = number(&headers, "aerodb-revision");
        if (200..300).contains(&status) {
            return match understood(op, &headers, &body) {
                Ok((body, cursor)) => {
                    Answer { kind: Kind::Ok, error: None, node, revision, body, cursor, reached: true }
                }
                Err(Spoiled { code, why }) => Answer::spoiled(op, node, &code, &why),
            };
        }
        let code = code_of(status, &body);
        if let (404, "not_found", Op::Get { .. } | Op::History { .. }) = (status, code.as_str(), op) {
            // That there is no such document is an answer like any other.
            let body = aged(&headers, json!({ "document": null, "items": [] }));
            return Answer { kind: Kind::Ok, error: None, node, revision, body, cursor: None, reached: true };
        }
        Answer::refused(op, node, status, &code, revision)
    }

    /// Opens the change feed of a collection at `node` and keeps it open; for the change-feed workload.
    ///
    /// # Errors
    /// The code of a refusal, or what the connection did.
    pub async fn follow(&self, node: u64, collection: &str, since: u64) -> Result<Response, String> {
        let url = self.url(node, &["api", collection, "_changes"]).map_err(|error| format!("no request: {error:#}"))?;
        let query = [("since", since.to_string()), ("follow", "true".into()), ("consistency", "stale".into())];
        // The whole stream has no deadline, its beginning has.
        let sent = self.with(Method::GET, url).query(&query).send();
        let response = match tokio::time::timeout(ANSWER, sent).await {
            Ok(response) => response.map_err(|error| describe(&error))?,
            Err(_) => return Err("timeout".to_owned()),
        };
        let status = response.status().as_u16();
        if status == 200 {
            return Ok(response);
        }
        let problem = tokio::time::timeout(ANSWER, response.bytes()).await.map_err(|_| "timeout".to_owned())?;
        Err(code_of(status, &problem.map_err(|error| describe(&error))?))
    }

    /// Sends a request of another kind (`/admin`, `/cluster`) and returns status and JSON body.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn raw(&self, node: u64, method: Method, path: &[&str], body: Option<Value>) -> Result<(u16, Value)> {
        let mut request = self.with(method, self.url(node, path)?).timeout(ANSWER);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let body = response.bytes().await?;
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    fn url(&self, node: u64, path: &[&str]) -> Result<Url> {
        let (_, url) = self.endpoints.iter().find(|(id, _)| *id == node).context("no such node")?;
        let mut url = url.clone();
        url.path_segments_mut().ok().context("an address without a path")?.pop_if_empty().extend(path);
        Ok(url)
    }

    fn with(&self, method: Method, url: Url) -> RequestBuilder {
        self.http.request(method, url).bearer_auth(&self.key)
    }

    fn request(&self, node: u64, op: &Op) -> Result<RequestBuilder> {
        let request = match op {
            Op::Insert { collection, documents, many, .. } => {
                let request = self.with(Method::POST, self.url(node, &["api", collection])?);
                match (many, &documents[..]) {
                    (false, [one]) => request.json(one),
                    _ => request.json(documents),
                }
            }
            Op::Put { collection, id, document, .. } => {
                self.with(Method::PUT, self.url(node, &["api", collection, id])?).json(document)
            }
            Op::Patch { collection, id, patch, .. } => {
                self.with(Method::PATCH, self.url(node, &["api", collection, id])?).json(patch)
            }
            Op::Delete { collection, id, .. } => self.with(Method::DELETE, self.url(node, &["api", collection, id])?),
            Op::Get { collection, id, read } => {
                fresh(self.with(Method::GET, self.url(node, &["api", collection, id])?), *read)
            }
            Op::List { collection, query, read } if query.as_body => {
                let request = self.with(Method::POST, self.url(node, &["api", collection, "query"])?);
                fresh(request, *read).json(&body(query))
            }
            Op::List { collection, query, read } => {
                let request = self.with(Method::GET, self.url(node, &["api", collection])?);
                fresh(request, *read).query(&parameters(query))
            }
            Op::History { collection, id, limit } => {
                let request = self.with(Method::GET, self.url(node, &["api", collection, id, "_history"])?);
                request.query(&limit.map(|limit| [("limit", limit)]))
            }
            Op::Changes { collection, since, limit } => {
                let request = self.with(Method::GET, self.url(node, &["api", collection, "_changes"])?);
                let request = request.query(&[("since", since)]);
                match limit {
                    Some(limit) => request.query(&[("limit", limit)]),
                    None => request,
                }
            }
            Op::Follow { .. } => bail!("a stream is opened with `follow`"),
        };
        let request = match op.condition() {
            Condition::None => request,
            Condition::Revision(revision) => request.header(IF_MATCH, format!("\"{revision}\"")),
            Condition::Exists => request.header(IF_MATCH, "*"),
            Condition::Absent => request.header(IF_NONE_MATCH, "*"),
        };
        Ok(match op.key() {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        })
    }
}

fn fresh(request: RequestBuilder, read: Read) -> RequestBuilder {
    let request = match read.consistency {
        Consistency::Linearizable => request,
        Consistency::Session(revision) => {
            request.query(&[("consistency", "session")]).header("aerodb-min-revision", revision)
        }
        Consistency::Stale(None) => request.query(&[("consistency", "stale")]),
        Consistency::Stale(Some(ms)) => request.query(&[("consistency", "stale")]).query(&[("max_staleness_ms", ms)]),
    };
    match read.as_of {
        Some(revision) => request.query(&[("as_of", revision)]),
        None => request,
    }
}

fn parameters(query: &Query) -> Vec<(&'static str, String)> {
    let parts = [
        ("filter", query.filter.as_ref().map(Value::to_string)),
        ("select", query.select.clone()),
        ("order", query.order.clone()),
        ("limit", query.limit.map(|limit| limit.to_string())),
        ("offset", query.offset.map(|offset| offset.to_string())),
        ("count", query.count.then(|| "exact".to_owned())),
        ("cursor", query.cursor.clone()),
    ];
    parts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn body(query: &Query) -> Value {
    let mut out = Map::new();
    for (name, value) in parameters(query) {
        let value = match name {
            "filter" => query.filter.clone().unwrap_or_default(),
            "limit" => query.limit.into(),
            "offset" => query.offset.into(),
            _ => value.into(),
        };
        out.insert(name.to_owned(), value);
    }
    Value::Object(out)
}

/// The code of a refusal.
fn code_of(status: u16, body: &[u8]) -> String {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    problem["code"].as_str().map_or_else(|| format!("status_{status}"), str::to_owned)
}

/// Why an answer that came whole, with a status of success, is no success.
struct Spoiled {
    /// What the answer itself says, or [`MALFORMED`].
    code: String,
    why: String,
}

impl From<serde_json::Error> for Spoiled {
    fn from(error: serde_json::Error) -> Self {
        malformed(error.to_string())
    }
}

fn malformed(why: impl Into<String>) -> Spoiled {
    Spoiled { code: MALFORMED.to_owned(), why: why.into() }
}

/// What a successful answer says, in the form in which it is recorded.
fn understood(op: &Op, headers: &HeaderMap, body: &[u8]) -> Result<(Value, Option<String>), Spoiled> {
    let answer = match op {
        Op::Delete { .. } => Value::Null,
        Op::Changes { .. } => changes(body)?,
        Op::Insert { many, .. } => match (many, serde_json::from_slice(body)?) {
            (true, Value::Object(mut answer)) => json!({ "documents": answer.remove("items") }),
            (_, document) => json!({ "documents": [document] }),
        },
        Op::List { .. } => {
            let mut answer: Value = serde_json::from_slice(body)?;
            let cursor = answer["next_cursor"].as_str().map(str::to_owned);
            let mut recorded = json!({ "items": answer["items"].take(), "more": cursor.is_some() });
            for part in ["count", "revision"] {
                if let Some(value) = answer.get(part) {
                    recorded[part] = value.clone();
                }
            }
            return Ok((aged(headers, recorded), cursor));
        }
        Op::History { .. } => {
            let mut answer: Value = serde_json::from_slice(body)?;
            json!({ "items": answer["items"].take(), "more": !answer["next_cursor"].is_null() })
        }
        _ => json!({ "document": serde_json::from_slice::<Value>(body)? }),
    };
    Ok((aged(headers, answer), None))
}

/// A stale answer says its age.
fn aged(headers: &HeaderMap, mut answer: Value) -> Value {
    if let Some(age) = headers.get("aerodb-age-ms").and_then(|age| age.to_str().ok())
        && answer.is_object()
    {
        answer["age_ms"] = age.parse::<u64>().map_or_else(|_| age.into(), Value::from);
    }
    answer
}

/// A finite change feed: it must end with a bookmark, or say why it cannot go on.
fn changes(body: &[u8]) -> Result<Value, Spoiled> {
    let mut changes = Vec::new();
    let mut lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    while let Some(line) = lines.next() {
        let line: Value = serde_json::from_slice(line)?;
        match line["type"].as_str() {
            Some("bookmark") if lines.next().is_some() => {
                return Err(malformed("the feed goes on behind its bookmark"));
            }
            Some("bookmark") => {
                return Ok(json!({ "changes": changes, "bookmark": line["revision"], "more": line["more"] }));
            }
            Some("error") => {
                let code = line["code"].as_str().unwrap_or(MALFORMED).to_owned();
                return Err(Spoiled { code, why: format!("the feed ended with {line}") });
            }
            _ => changes.push(line),
        }
    }
    Err(malformed("the feed ended without a bookmark"))
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// The innermost cause: the outer ones only say that something went wrong.
pub(crate) fn describe(error: &reqwest::Error) -> String {
    if error.is_timeout() && !error.is_connect() {
        return "timeout".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    match error.is_connect() {
        true => format!("no connection: {cause}"),
        false => format!("connection: {cause}"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// What a client makes of this answer.
    async fn answered(op: &Op, answer: String) -> Answer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 4096];
            assert!(stream.read(&mut asked).await.unwrap() > 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let client = Client::new(&[(1, url)], "key").unwrap();
        tokio::join!(client.call(1, op), serve).0
    }

    fn ok(body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn what_came_whole_and_says_nothing_is_told_from_what_broke_off() {
        let get = Op::Get { collection: "c".into(), id: "a".into(), read: Read::default() };
        let feed = Op::Changes { collection: "c".into(), since: 0, limit: None };
        let put = Op::Put {
            collection: "c".into(),
            id: "a".into(),
            document: json!({}),
            condition: Condition::None,
            key: None,
        };
        let change = r#"{"revision":1,"type":"insert"}"#;
        let bookmark = r#"{"type":"bookmark","revision":1,"more":false}"#;
        for (op, body, kind, code) in [
            (&get, r#"{"id":"a"}"#.to_owned(), Kind::Ok, ""),
            (&get, r#"{"id":"a""#.to_owned(), Kind::Fail, MALFORMED),
            (&get, String::new(), Kind::Fail, MALFORMED),
            (&put, "<html>".to_owned(), Kind::Info, MALFORMED),
            (&feed, format!("{change}\n{bookmark}\n"), Kind::Ok, ""),
            (&feed, format!("{change}\n"), Kind::Fail, MALFORMED),
            (&feed, format!("{bookmark}\n{change}\n"), Kind::Fail, MALFORMED),
            (&feed, format!("{change}\n{}\n", r#"{"type":"error","code":"internal"}"#), Kind::Fail, "internal"),
        ] {
            let answer = answered(op, ok(&body)).await;
            assert_eq!((answer.kind, answer.code()), (kind, code), "{body}");
        }
        // Less came than was promised: the connection broke, which says nothing against the node.
        let answer = answered(&get, ok(r#"{"id":"a"}"#).replace(": 10", ": 90")).await;
        assert!(answer.kind == Kind::Fail && answer.code().starts_with("connection: "), "{:?}", answer.error);
    }

    #[tokio::test]
    async fn a_stream_that_is_refused_says_with_which_code() {
        let problem = r#"{"code":"no_leader"}"#;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 4096];
            assert!(stream.read(&mut asked).await.unwrap() > 0);
            stream.write_all(ok(problem).replace("200 OK", "503 Unavailable").as_bytes()).await.unwrap();
        };
        let client = Client::new(&[(1, url)], "key").unwrap();
        assert_eq!(tokio::join!(client.follow(1, "c", 0), serve).0.unwrap_err(), "no_leader");
    }
}
