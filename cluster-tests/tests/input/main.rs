//! Line 6 of issue 2: bad input gets the documented error, and leaves no trace.

// Tests measure real time, and stop at the first surprise.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, unreachable_pub)]

mod cases;
mod raw;

use cases::{Case, Key};
use cluster_tests::{Cluster, Options, SERVICE_KEY};
use reqwest::Method;
use serde_json::{Value, json};

/// What must never be told to a client: names of ours, of files, of what is beneath.
const INTERNAL: [&str; 8] = [".rs", "/root", "/tmp", "panicked", "rocksdb", "openraft", "stack backtrace", "unwrap"];

struct Node {
    cluster: Cluster,
    addr: String,
}

impl Node {
    /// A node with a collection `c` and some documents in it.
    async fn start() -> Self {
        let cluster = Cluster::start(1, Options { proxy: false, ..Options::default() }).await.unwrap();
        let client = cluster.client(1);
        client.post("/admin/collections", &json!({"name": "c"})).await.unwrap().expect_status(201).unwrap();
        for id in ["a", "b", "d", "e", "f"] {
            client.put(&format!("/api/c/{id}"), &json!({"n": 1, "k": id})).await.unwrap().expect_status(201).unwrap();
        }
        client.put("/api/c/rows", &json!({"rows": [{"x": 1}, {"x": 2}]})).await.unwrap().ok().unwrap();
        client.put("/api/c/big", &json!({"pad": "x".repeat(600 << 10)})).await.unwrap().ok().unwrap();
        let used =
            client.request(Method::PUT, "/api/c/a").header("idempotency-key", "used").json(&json!({"n": 2, "k": "a"}));
        used.send().await.unwrap().expect_status(200).unwrap();
        let addr = cluster.node(1).url().trim_start_matches("http://").to_owned();
        Self { cluster, addr }
    }

    /// All that the node holds, in a word: with the place in the log, so that not even an entry goes unnoticed.
    async fn state(&self) -> Value {
        self.cluster.client(1).get("/admin/digest").await.unwrap().ok().unwrap().body
    }

    async fn check_all(&self, cases: Vec<Case>) {
        let before = self.state().await;
        let mut wrong = Vec::new();
        let count = cases.len();
        for case in cases {
            let shown = shown(&case);
            match self.check(case).await {
                Ok(()) => {}
                Err(error) => wrong.push(format!("{shown}: {error:#}")),
            }
            let after = self.state().await;
            assert_eq!(after, before, "{shown} left a trace");
        }
        self.cluster.check_alive().unwrap();
        assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    }

    async fn check(&self, case: Case) -> anyhow::Result<()> {
        let answer = raw::send(&self.addr, bytes(&case)).await?;
        let answer = answer.ok_or_else(|| anyhow::anyhow!("closed without an answer"))?;
        let (status, code) = (answer.status, answer.body["code"].as_str().unwrap_or("none").to_owned());
        anyhow::ensure!(
            (status, code.as_str()) == (case.status, case.code),
            "{status} {code}, not {} {}: {}",
            case.status,
            case.code,
            answer.body
        );
        well_formed(&answer)
    }
}

/// The problem is as RFC 9457 and the contract want it, and tells nothing that is ours alone.
fn well_formed(answer: &raw::Answer) -> anyhow::Result<()> {
    let body = &answer.body;
    let content_type = answer.header("content-type");
    anyhow::ensure!(content_type == Some("application/problem+json"), "content-type {content_type:?}");
    anyhow::ensure!(body["status"] == answer.status, "status {}", body["status"]);
    for name in ["type", "title", "detail", "request_id"] {
        anyhow::ensure!(body[name].as_str().is_some_and(|text| !text.is_empty()), "{name}: {body}");
    }
    anyhow::ensure!(answer.header("x-request-id") == body["request_id"].as_str(), "x-request-id: {body}");
    for name in ["aerodb-node", "aerodb-revision"] {
        anyhow::ensure!(answer.header(name).is_some(), "no {name}");
    }
    if answer.status == 401 {
        anyhow::ensure!(answer.header("www-authenticate").is_some(), "no WWW-Authenticate");
    }
    if answer.status == 405 {
        anyhow::ensure!(answer.header("allow").is_some(), "no Allow");
    }
    let text = body.to_string();
    anyhow::ensure!(text.len() < 8_000, "an answer of {} bytes", text.len());
    let told = INTERNAL.iter().find(|word| text.contains(**word));
    anyhow::ensure!(told.is_none(), "tells {told:?}: {text}");
    Ok(())
}

fn bytes(case: &Case) -> Vec<u8> {
    let has = |name: &str| case.headers.iter().any(|(found, _)| found == name);
    let bearer = format!("Bearer {SERVICE_KEY}");
    let mut headers: Vec<(&str, &str)> =
        case.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    if case.key == Key::Service {
        headers.push(("authorization", &bearer));
    }
    let body = case.body.clone().unwrap_or_default();
    let length = body.len().to_string();
    if case.body.is_some() && !has("content-type") {
        headers.push(("content-type", "application/json"));
    }
    if case.chunked {
        headers.push(("transfer-encoding", "chunked"));
    } else if case.body.is_some() && !has("content-length") {
        headers.push(("content-length", &length));
    }
    let mut bytes = raw::head(case.method, &case.target, &headers);
    bytes.extend_from_slice(b"\r\n");
    if case.chunked {
        for chunk in body.chunks(64 << 10) {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
    } else {
        bytes.extend_from_slice(&body);
    }
    bytes
}

fn shown(case: &Case) -> String {
    let body = case.body.as_deref().map(|body| String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned());
    let target: String = case.target.chars().take(120).collect();
    format!("{} {target} {:?} {body:?}", case.method, case.headers)
}

#[tokio::test]
async fn bodies_that_are_no_document() {
    Node::start().await.check_all(cases::bodies()).await;
}

#[tokio::test]
async fn bodies_that_are_too_large() {
    Node::start().await.check_all(cases::sizes()).await;
}

#[tokio::test]
async fn ids_that_none_may_have() {
    Node::start().await.check_all(cases::ids()).await;
}

#[tokio::test]
async fn lists_and_filters_that_are_none() {
    let node = Node::start().await;
    node.check_all(cases::lists()).await;
    node.check_all(cases::filters()).await;
}

#[tokio::test]
async fn what_the_state_stands_against() {
    Node::start().await.check_all(cases::conflicts()).await;
}

#[tokio::test]
async fn places_that_do_not_exist_and_callers_who_may_not() {
    let node = Node::start().await;
    node.check_all(cases::routes()).await;
    node.check_all(cases::callers()).await;
}

#[tokio::test]
async fn cursors_belong_to_their_query() {
    let node = Node::start().await;
    let client = node.cluster.client(1);
    let before = node.state().await;
    let page = async |query: &str| client.get(&format!("/api/c?limit=2&{query}")).await.unwrap();
    let first = page("order=k").await.ok().unwrap();
    let cursor = first.body["next_cursor"].as_str().expect("there is more").to_owned();
    let next = page(&format!("order=k&cursor={cursor}")).await.ok().unwrap();
    assert_ne!(next.body["items"], first.body["items"], "the cursor itself is good");

    let other_queries = ["", "order=k.desc", "order=k,n", "order=k&select=n", "order=k&filter=%7B%22n%22:1%7D"];
    for other in other_queries {
        let answer = page(&format!("{other}&cursor={cursor}")).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, Some("invalid_cursor")), "{other}: {answer}");
    }
    // Every single letter counts.
    for at in 0..cursor.len() {
        let mut changed = cursor.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        let answer = page(&format!("order=k&cursor={changed}")).await;
        // The last letter may hold bits that mean nothing; a decoder that takes any of them is too lenient.
        assert_eq!((answer.status.as_u16(), answer.code()), (400, Some("invalid_cursor")), "letter {at}: {answer}");
    }
    for cut in [1, cursor.len() / 2, cursor.len() - 1] {
        let answer = page(&format!("order=k&cursor={}", &cursor[..cut])).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, Some("invalid_cursor")), "cut at {cut}: {answer}");
    }
    // Nor does it open another collection, were it of the same name.
    client.post("/admin/collections", &json!({"name": "other"})).await.unwrap().ok().unwrap();
    let answer = client.get(&format!("/api/other?limit=2&order=k&cursor={cursor}")).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.code()), (400, Some("invalid_cursor")), "{answer}");
    client.delete("/admin/collections/other").await.unwrap().ok().unwrap();
    let after = node.state().await;
    assert_eq!(
        after["revision"].as_u64(),
        before["revision"].as_u64().map(|revision| revision + 2),
        "those two and no more"
    );
}

#[tokio::test]
async fn requests_that_are_not_http_or_break_off() {
    let node = Node::start().await;
    let before = node.state().await;
    let bearer = format!("authorization: Bearer {SERVICE_KEY}\r\n");
    let with = |head: &str, rest: &[u8]| {
        [head.as_bytes(), b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n", bearer.as_bytes(), rest].concat()
    };
    // What is no request at all is refused, in whatever form, or the connection is closed.
    let json = b"content-type: application/json\r\n";
    for bytes in [
        with("GET /api/c/a\0b", b"\r\n"),
        with("GET  /api/c/a", b"\r\n"),
        with("PUT /api/c/new", &[json, &b"content-length: -1\r\n\r\n{}"[..]].concat()),
        with("PUT /api/c/new", &[json, &b"content-length: 2\r\ncontent-length: 7\r\n\r\n{}"[..]].concat()),
        with("PUT /api/c/new", &[json, &b"x-bad: a\0b\r\ncontent-length: 2\r\n\r\n{}"[..]].concat()),
        with("PUT /api/c/new", &[json, &b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"[..]].concat()),
        b"GET /api/c/a\xff HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        b"\0\0\0\0\r\n\r\n".to_vec(),
        b"hello\r\n\r\n".to_vec(),
        [b"GET /".to_vec(), vec![b'a'; 1 << 20], b" HTTP/1.1\r\n\r\n".to_vec()].concat(),
    ] {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        if let Some(answer) = raw::send(&node.addr, bytes).await.unwrap() {
            assert!((400..500).contains(&answer.status), "{shown:?}: {answer:?}");
        }
        assert_eq!(node.state().await, before, "{shown:?} left a trace");
    }
    // A body of which only a part comes is not written, even if that part would do.
    for rest in [
        "content-length: 100\r\n\r\n{\"n\":1}",
        "transfer-encoding: chunked\r\n\r\n7\r\n{\"n\":1}\r\n",
        "transfer-encoding: chunked\r\n\r\n7\r\n{\"n\"",
    ] {
        let bytes = with("PUT /api/c/new", &[json, rest.as_bytes()].concat());
        raw::send_and_leave(&node.addr, &bytes).await.unwrap();
        assert_eq!(node.state().await, before, "{rest:?} left a trace");
    }
    let answer = node.cluster.client(1).get("/api/c/new").await.unwrap();
    assert_eq!(answer.code(), Some("not_found"), "{answer}");
    node.cluster.check_alive().unwrap();
}

#[tokio::test]
async fn bad_lines_are_reported_and_leave_nothing() {
    let node = Node::start().await;
    let before = node.state().await;
    let lines: [&[u8]; 7] = [
        b"{",
        b"[{\"id\":\"x1\"}]",
        b"{\"id\":\"a\"}",
        b"{\"_x\":1}",
        b"{\"id\":\"\"}",
        b"{\"a\":\"\xff\"}",
        b"{\"a\":1,\"a\":2}",
    ];
    let codes = [
        "invalid_json",
        "not_an_object",
        "already_exists",
        "reserved_field",
        "invalid_id",
        "invalid_utf8",
        "duplicate_key",
    ];
    let client = node.cluster.client(1);
    let request = client.request(Method::POST, "/api/c").bytes("application/x-ndjson", lines.join(&b'\n'));
    let answer = request.send().await.unwrap().expect_status(200).unwrap();
    let reports: Vec<Value> =
        answer.body.as_str().unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(reports.len(), lines.len() + 1, "{answer}");
    for (number, (report, code)) in (1..).zip(reports.iter().zip(codes)) {
        assert_eq!((&report["line"], &report["code"]), (&number.into(), &code.into()), "{report}");
    }
    let summary = &reports[lines.len()];
    assert_eq!((&summary["inserted"], &summary["failed"]), (&0.into(), &7.into()), "{summary}");
    assert_eq!(node.state().await, before, "they left a trace");
}
