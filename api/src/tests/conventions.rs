//! What all routes have in common, as the contract with clients has it.

use super::*;

async fn with_document() -> Api {
    let api = Api::with(
        ApiOptions { cors_origins: vec!["https://app.example".into()], body_bytes_max: 2_000, ..ApiOptions::default() },
        Limits::default(),
        Router::new(),
    )
    .await;
    api.create("c").await;
    api.write(Method::PUT, "/api/c/a", r#"{"n":1}"#).await;
    api
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_says_who_answered_and_at_which_revision() {
    let api = with_document().await;
    let written = api.get("/api/c/a").await.json()["_revision"].as_u64().unwrap();
    for (method, path) in [
        (Method::GET, "/api/c/a"),
        (Method::GET, "/api/c/b"),
        (Method::GET, "/api/nowhere"),
        (Method::GET, "/api/c?limit=0"),
        (Method::GET, "/api/c?limit=1001"),
        (Method::GET, "/nowhere"),
        (Method::DELETE, "/cluster"),
        (Method::GET, "/health/live"),
        (Method::GET, "/metrics"),
        (Method::HEAD, "/api/c/a"),
        (Method::HEAD, "/api/c/b"),
    ] {
        for (sent, kept) in [("abc-1", true), ("", false), ("a b", false), (&*"x".repeat(129), false)] {
            let answer = api.send(method.clone(), path, &[("x-request-id", sent)], Body::empty()).await;
            assert_eq!(answer.header("aerodb-node"), "1", "{path}");
            assert_eq!(answer.header("aerodb-revision").parse(), Ok(written), "{method} {path}");
            let id = answer.header("x-request-id");
            assert!(if kept { id == sent } else { id.len() == 36 }, "{path}: {id}");
            if answer.status.is_client_error() && method != Method::HEAD {
                let code = answer.json()["code"].as_str().unwrap().to_owned();
                answer.refused(answer.status.as_u16(), &code);
            }
        }
    }
    let stranger = api.service.answer(Request::get("/api/c").body(Body::empty()).unwrap()).await;
    assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED);
    assert!(stranger.headers().contains_key("www-authenticate") && stranger.headers().contains_key("aerodb-node"));
    drop(stranger);
    api.end().await;
}

/// Who was let in last is known by its key: nobody else is taken for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_refused_after_the_right_one_too() {
    let api = with_document().await;
    let other = format!("{}X", &KEY[..KEY.len() - 1]);
    for path in ["/api/c/a", "/api/c"] {
        for (key, status) in [(KEY, 200), (&other, 401), (&KEY[1..], 401), (&format!("{KEY}X"), 401), (KEY, 200)] {
            let request = Request::get(path).header("apikey", key).body(Body::empty()).unwrap();
            assert_eq!(api.service.answer(request).await.status().as_u16(), status, "{path} {key:?}");
        }
    }
    api.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_is_a_get_without_its_body_and_a_known_document_is_not_sent_again() {
    let api = with_document().await;
    let get = api.get("/api/c/a").await;
    let head = api.send(Method::HEAD, "/api/c/a", &[], Body::empty()).await;
    assert!(head.body.is_empty() && !get.body.is_empty());
    for name in ["etag", "content-type", "content-length", "aerodb-revision"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
        assert!(!get.header(name).is_empty(), "{name}");
    }
    assert_eq!(api.send(Method::HEAD, "/api/c/b", &[], Body::empty()).await.status, StatusCode::NOT_FOUND);
    let etag = get.header("etag");
    for (method, sent, status) in [
        (Method::GET, etag, 304),
        (Method::HEAD, etag, 304),
        (Method::GET, "*", 304),
        (Method::GET, "\"1\"", 200),
        (Method::GET, "1", 400),
    ] {
        let answer = api.send(method, "/api/c/a", &[("if-none-match", sent)], Body::empty()).await;
        assert_eq!(answer.status.as_u16(), status, "{sent}");
        assert!(status != 304 || (answer.body.is_empty() && answer.header("etag") == etag), "{answer:?}");
        assert!(status != 304 || !answer.headers.contains_key("content-length"), "{answer:?}");
    }
    api.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_says_no_more_than_is_wanted() {
    let api = with_document().await;
    let headers = [("content-type", "application/json"), ("prefer", "return=minimal")];
    for (method, path, body, status, location) in [
        (Method::POST, "/api/c", r#"[{"id":"x"},{"id":"y"}]"#, 201, ""),
        (Method::POST, "/api/c", r#"{"id":"z"}"#, 201, "/api/c/z"),
        (Method::PUT, "/api/c/w", "{}", 201, "/api/c/w"),
        (Method::PUT, "/api/c/w", r#"{"n":2}"#, 204, ""),
        (Method::PATCH, "/api/c/w", r#"{"m":3}"#, 204, ""),
    ] {
        let answer = api.send(method.clone(), path, &headers, body).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (status, 0), "{method} {path}: {answer:?}");
        assert_eq!(answer.header("preference-applied"), "return=minimal");
        assert_eq!(answer.header("etag"), format!("\"{}\"", answer.header("aerodb-revision")));
        assert_eq!(answer.header("location"), location);
    }
    let written = api.get("/api/c/w").await.json();
    assert_eq!((&written["n"], &written["m"]), (&2.into(), &3.into()));
    // A refusal is told in full.
    api.send(Method::POST, "/api/c", &headers, r#"{"id":"z"}"#).await.refused(409, "already_exists");
    api.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_bounded_and_have_a_type() {
    let api = with_document().await;
    let json = ("content-type", "application/json");
    let long = format!(r#"{{"t":"{}"}}"#, "x".repeat(2_000));
    for (method, path) in [
        (Method::PUT, "/api/c/a"),
        (Method::PATCH, "/api/c/a"),
        (Method::POST, "/api/c"),
        (Method::POST, "/api/c/query"),
    ] {
        let answer = api.send(method.clone(), path, &[json], long.clone()).await;
        let body = answer.refused(413, "body_too_large");
        assert!(body["detail"].as_str().unwrap().contains("2000"), "{body}");
        // Also when it does not say how long it is.
        let parts = futures::stream::iter([Ok::<_, std::convert::Infallible>(long.clone())]);
        api.send(method, path, &[json], Body::from_stream(parts)).await.refused(413, "body_too_large");
    }
    // Lines have bounds of their own: a stream of them may be as long as it likes.
    let lines: String = (0..100).map(|n| format!("{{\"n\":{n},\"text\":\"{}\"}}\n", "x".repeat(100))).collect();
    let report = api.send(Method::POST, "/api/c", &[("content-type", "application/x-ndjson")], lines).await;
    let text = String::from_utf8(report.body.to_vec()).unwrap();
    let summary: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&summary["inserted"], &summary["complete"]), (&100.into(), &true.into()), "{summary}");

    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1"] {
        let answer = api.send(Method::PUT, "/api/c/a", &[("content-type", content_type)], "{}").await;
        answer.refused(415, "unsupported_media_type");
    }
    let zipped = api.send(Method::PUT, "/api/c/a", &[json, ("content-encoding", "gzip")], "{}").await;
    zipped.refused(415, "unsupported_media_type");
    api.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_compressed_where_it_pays() {
    let api = with_document().await;
    for n in 0..20 {
        api.write(Method::PUT, &format!("/api/c/{n}"), format!(r#"{{"t":"{}"}}"#, "x".repeat(200))).await;
    }
    for (accept, path, encoding) in [
        ("zstd, gzip", "/api/c", "zstd"),
        ("gzip", "/api/c", "gzip"),
        ("gzip", "/openapi.json", "gzip"),
        ("br", "/api/c", ""),
        ("gzip", "/api/c/a", ""),
    ] {
        let answer = api.send(Method::GET, path, &[("accept-encoding", accept)], Body::empty()).await;
        assert_eq!(answer.header("content-encoding"), encoding, "{accept} {path}");
    }
    for (accept, kind, lines) in [("application/x-ndjson", "application/x-ndjson", 21), ("text/csv", "text/csv", 22)] {
        let answer = api.send(Method::GET, "/api/c", &[("accept", accept)], Body::empty()).await;
        assert!(answer.header("content-type").starts_with(kind), "{answer:?}");
        assert_eq!(String::from_utf8(answer.body.to_vec()).unwrap().lines().count(), lines);
    }
    api.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_known_origins_may_use_it_from_a_browser() {
    let api = with_document().await;
    let preflight = [("access-control-request-method", "PUT"), ("access-control-request-headers", "apikey,if-match")];
    for (origin, allowed) in [("https://app.example", "https://app.example"), ("https://evil.example", "")] {
        let headers = [&[("origin", origin)], &preflight[..]].concat();
        let asked = api.send(Method::OPTIONS, "/api/c/a", &headers, Body::empty()).await;
        assert_eq!(asked.header("access-control-allow-origin"), allowed);
        let answer = api.send(Method::GET, "/api/c/b", &[("origin", origin)], Body::empty()).await;
        answer.refused(404, "not_found");
        assert_eq!(answer.header("access-control-allow-origin"), allowed, "errors too can be read");
        if !allowed.is_empty() {
            assert!(asked.header("access-control-allow-headers").contains("if-match"), "{asked:?}");
            let exposed = answer.header("access-control-expose-headers");
            for name in ["etag", "aerodb-revision", "aerodb-node", "x-request-id", "retry-after"] {
                assert!(exposed.contains(name), "{name} is missing in {exposed}");
            }
        }
    }
    api.end().await;
}
