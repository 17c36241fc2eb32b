//! The client against a small server that answers from a script.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::*;
use crate::exit::Exit;

/// A node that answers each request with the next line of its script, and remembers what it was asked.
pub(crate) struct FakeNode {
    /// Where it listens.
    pub(crate) url: String,
    /// The heads and bodies of the requests that it got.
    pub(crate) requests: Arc<Mutex<Vec<String>>>,
}

/// What a fake node does with a request.
#[derive(Clone)]
pub(crate) enum Reply {
    /// Status, further headers, body.
    Say(u16, &'static str, String),
    /// Closes the connection without an answer.
    Hang,
}

impl FakeNode {
    /// Starts a node. After the script it repeats its last line.
    pub(crate) async fn start(script: Vec<Reply>) -> Self {
        let mut script: VecDeque<Reply> = script.into();
        Self::answering(move |_| if script.len() > 1 { script.pop_front() } else { script.front().cloned() }).await
    }

    /// Starts a node that decides by itself what to answer to the text of a request.
    pub(crate) async fn answering(answer: impl FnMut(&str) -> Option<Reply> + Send + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (requests.clone(), Arc::new(Mutex::new(answer)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, answer) = (seen.clone(), answer.clone());
                tokio::spawn(async move { serve(stream, &seen, &*answer).await });
            }
        });
        Self { url, requests }
    }

    /// How many requests it got.
    pub(crate) fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

async fn serve(
    mut stream: tokio::net::TcpStream,
    seen: &Mutex<Vec<String>>,
    answer: &Mutex<impl FnMut(&str) -> Option<Reply>>,
) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut buffer = Vec::new();
    loop {
        let head_end = loop {
            if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8_lossy(&buffer[..head_end]).to_lowercase();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
        while buffer.len() < head_end + length {
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let text: Vec<u8> = buffer.drain(..head_end + length).collect();
        let text = String::from_utf8_lossy(&text).into_owned();
        seen.lock().unwrap().push(text.clone());
        let reply = (answer.lock().unwrap())(&text);
        let Some(Reply::Say(status, headers, body)) = reply else {
            return;
        };
        let message = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(message.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn say(status: u16, headers: &'static str, body: &str) -> Reply {
    Reply::Say(status, headers, body.to_owned())
}

/// A client of the given nodes that does not wait long.
pub(crate) fn client(urls: &[&str]) -> Client {
    Client::new(Options {
        urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        token: Some(Secret::new("secret-token")),
        timeout: Duration::from_secs(3),
        refused_timeout: Duration::from_millis(200),
    })
    .unwrap()
}

/// An address at which nobody listens.
async fn nobody() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn an_answer_with_its_revision() {
    let node = FakeNode::start(vec![say(200, "aerodb-revision: 7\r\n", r#"{"a":1}"#)]).await;
    let answer = client(&[&node.url]).send(&Call::get("/api/c").query("filter", r#"{"a":1}"#)).await.unwrap();
    assert_eq!(answer.revision, Some(7));
    assert_eq!(answer.json::<serde_json::Value>().unwrap()["a"], 1);
    let request = node.requests.lock().unwrap()[0].clone();
    assert!(request.starts_with("GET /api/c?filter=%7B%22a%22%3A1%7D "), "{request}");
    assert!(request.contains("authorization: Bearer secret-token"), "{request}");
}

#[tokio::test]
async fn a_node_that_is_away_is_passed_over_and_remembered() {
    let node = FakeNode::start(vec![say(200, "", "{}")]).await;
    let client = client(&[&nobody().await, &node.url]);
    client.send(&Call::post("/x")).await.unwrap();
    client.send(&Call::post("/x")).await.unwrap();
    assert_eq!(client.current.load(Ordering::Relaxed), 1);
    assert_eq!(node.count(), 2);
}

#[tokio::test]
async fn a_busy_node_is_asked_again_when_it_said() {
    let busy = say(503, "retry-after: 1\r\n", r#"{"title":"No leader","code":"no_leader"}"#);
    let node = FakeNode::start(vec![busy, say(201, "", "{}")]).await;
    let begun = Instant::now();
    client(&[&node.url]).send(&Call::post("/x")).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_cluster_that_stays_away_is_unavailable() {
    let busy = say(503, "", r#"{"title":"Quorum lost","code":"quorum_lost"}"#);
    let node = FakeNode::start(vec![busy]).await;
    let call = Call::get("/x").timeout(Duration::from_millis(300));
    let error = client(&[&nobody().await, &node.url]).send(&call).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Unavailable);
    let text = error.to_string();
    assert!(text.contains("quorum_lost") && text.contains("refused") && !text.contains("secret-token"), "{text}");
}

#[tokio::test]
async fn what_may_have_happened_is_repeated_only_with_a_key() {
    let node = FakeNode::start(vec![Reply::Hang, say(201, "", "{}")]).await;
    let error = client(&[&node.url]).send(&Call::post("/x")).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error}");
    assert_eq!(node.count(), 1);

    let node = FakeNode::start(vec![Reply::Hang, say(504, "", "{}"), say(201, "", "{}")]).await;
    client(&[&node.url]).send(&Call::post("/x").idempotency_key("k-1")).await.unwrap();
    let requests = node.requests.lock().unwrap();
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|request| request.contains("idempotency-key: k-1")));
}

#[tokio::test]
async fn a_refusal_is_final() {
    let node = FakeNode::start(vec![say(409, "", r#"{"title":"Conflict","code":"unique_violation"}"#)]).await;
    let error = client(&[&node.url]).send(&Call::post("/x").idempotency_key("k")).await.unwrap_err();
    assert_eq!(error.problem().map(Problem::code).as_deref(), Some("unique_violation"));
    assert_eq!(error.exit(), Exit::Failed);
    assert_eq!(node.count(), 1);
}
