//! Operations as HTTP requests.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::header::{HeaderMap, IF_MATCH, IF_NONE_MATCH};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde_json::{Map, Value, json};

use super::answer::Answer;
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
                Err(error) => Answer::broken(op, node, format!("an answer that is none: {error:#}"), true),
            };
        }
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        let code = problem["code"].as_str().map_or_else(|| format!("status_{status}"), str::to_owned);
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
    /// When there is no answer, or none with status 200.
    pub async fn follow(&self, node: u64, collection: &str, since: u64) -> Result<Response> {
        let url = self.url(node, &["api", collection, "_changes"])?;
        let query = [("since", since.to_string()), ("follow", "true".into()), ("consistency", "stale".into())];
        // The whole stream has no deadline, its beginning has.
        let sent = self.with(Method::GET, url).query(&query).send();
        let response = tokio::time::timeout(ANSWER, sent).await.context("timeout")??;
        match response.status().as_u16() {
            200 => Ok(response),
            status => bail!("status {status}: {}", response.text().await.unwrap_or_default()),
        }
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

/// What a successful answer says, in the form in which it is recorded.
fn understood(op: &Op, headers: &HeaderMap, body: &[u8]) -> Result<(Value, Option<String>)> {
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

/// A finite change feed: it must end with a bookmark, else it broke off.
fn changes(body: &[u8]) -> Result<Value> {
    let mut changes = Vec::new();
    for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line: Value = serde_json::from_slice(line)?;
        match line["type"].as_str() {
            Some("bookmark") => {
                return Ok(json!({ "changes": changes, "bookmark": line["revision"], "more": line["more"] }));
            }
            Some("error") => bail!("the feed ended with {}", line["code"]),
            _ => changes.push(line),
        }
    }
    bail!("the feed ended without a bookmark")
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// The innermost cause: the outer ones only say that something went wrong.
fn describe(error: &reqwest::Error) -> String {
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
