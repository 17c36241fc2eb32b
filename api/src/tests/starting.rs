//! What a node answers before it takes part, and the moment in which it begins to.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::{Door, serve, starting};

fn front() -> Front {
    Front::new(7, prometheus::Registry::new(), ApiOptions::default(), CancellationToken::new()).unwrap()
}

async fn ask(service: &Service, method: Method, path: &str) -> Answer {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    let (parts, body) = service.answer(request).await.into_parts();
    let body = axum::body::to_bytes(body, ANSWER_BYTES_MAX).await.unwrap();
    Answer { status: parts.status, headers: parts.headers, body }
}

#[tokio::test]
async fn a_starting_node_lives_and_says_why_it_does_not_serve() {
    let waiting = aerodb_raft::Starting::default();
    let service = starting(front(), waiting.clone());
    assert_eq!(ask(&service, Method::GET, "/health/live").await.status, StatusCode::OK);
    for path in ["/health/startup", "/health/ready"] {
        let answer = ask(&service, Method::GET, path).await;
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "1"));
        assert_eq!(answer.json()["reason"], &*waiting.text(), "{path}");
    }
    for (method, path) in [
        (Method::GET, "/api/c/a"),
        (Method::POST, "/api/c"),
        (Method::GET, "/cluster"),
        (Method::GET, "/nowhere"),
        (Method::POST, "/metrics"),
    ] {
        let answer = ask(&service, method, path).await;
        let body = answer.refused(503, "starting");
        assert!(body["detail"].as_str().unwrap().contains(&*waiting.text()), "{body}");
        assert_eq!(answer.header("aerodb-node"), "7");
        assert!(!answer.headers.contains_key("aerodb-revision"), "it does not know its revision yet");
    }
    let metrics = ask(&service, Method::GET, "/metrics").await;
    assert!(String::from_utf8_lossy(&metrics.body).contains("aerodb_http_requests_in_flight"), "{metrics:?}");
    assert!(ask(&service, Method::GET, "/openapi.json").await.json()["paths"].is_object());
}

/// One request over a connection that stays; returns the status line.
async fn over(stream: &mut TcpStream, path: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\napikey: {KEY}\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    head.lines().next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_door_opens_on_connections_that_are_there() {
    let api = Api::start().await;
    api.create("c").await;
    api.write(Method::PUT, "/api/c/a", "{}").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (door, stop) = (Door::new(starting(front(), aerodb_raft::Starting::default())), CancellationToken::new());
    let serving = tokio::spawn(serve(listener, door.clone(), stop.clone(), Duration::from_secs(5)));
    let talk = async {
        assert_eq!(over(&mut stream, "/health/startup").await, "http/1.1 503 service unavailable");
        assert_eq!(over(&mut stream, "/cluster").await, "http/1.1 503 service unavailable");
        door.open(api.service.clone());
        assert_eq!(over(&mut stream, "/health/startup").await, "http/1.1 200 ok");
        // By the short way, which leaves it to hyper to say how long the body is.
        assert_eq!(over(&mut stream, "/api/c/a").await, "http/1.1 200 ok");
        assert_eq!(over(&mut stream, "/api/c/b").await, "http/1.1 404 not found");
        assert_eq!(over(&mut stream, "/cluster").await, "http/1.1 200 ok");
    };
    timeout(PATIENCE, talk).await.expect("each request is answered");
    stop.cancel();
    drop((stream, door));
    timeout(PATIENCE, serving).await.expect("it ends").unwrap().unwrap();
    api.end().await;
}
