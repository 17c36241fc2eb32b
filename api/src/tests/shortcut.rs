//! The short way to documents answers as the router does.

use super::*;
use crate::router::around;

/// All that a client sees of an answer, in an order of its own.
async fn seen(
    service: &Service,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> (StatusCode, Vec<String>, Bytes) {
    let mut request = Request::builder().method(method.clone()).uri(path).header("x-request-id", "the-same");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = service.answer(request.body(Body::empty()).unwrap()).await;
    let (parts, body) = as_sent(method, answer).into_parts();
    let mut lines: Vec<String> = parts.headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
    lines.sort();
    (parts.status, lines, axum::body::to_bytes(body, ANSWER_BYTES_MAX).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_short_way_gives_the_same_answers() {
    let api = Api::start().await;
    api.create("c").await;
    api.create("notes").await;
    for id in ["a", "query", "explain", "a%20b", "%C3%A4", "a+b"] {
        api.write(Method::PUT, &format!("/api/c/{id}"), r#"{"n":1,"m":{"k":[2]}}"#).await;
    }
    api.write(Method::PUT, "/api/c/long", format!(r#"{{"t":"{}"}}"#, "x".repeat(4_096))).await;
    let old = api.write(Method::PUT, "/api/c/a", r#"{"n":2}"#).await;
    let etag = format!("\"{old}\"");
    let router = around(routes(&api.state), api.state.front().clone(), api.state.clone());
    let key = ("apikey", KEY);
    let mut statuses = std::collections::BTreeSet::new();
    for path in [
        "/api/c/a",
        "/api/c/long",
        "/api/c/.",
        "/api/c/..",
        "/api/c/quer",
        "/api/c/query2",
        "/api/c/Query",
        "/api/c/explainx",
        "/api/c/a%2Fb",
        "/api/c/%5F",
        "/api/_x/query",
        &format!("/api/c/{}", "x".repeat(128)),
        &format!("/api/c/{}", "x".repeat(4_096)),
        "/api/c/query",
        "/api/c/explain",
        "/api/c/a%20b",
        "/api/c/%C3%A4",
        "/api/c/ä",
        "/api/c/a+b",
        "/api/c/missing",
        "/api/nowhere/a",
        "/api/_system/a",
        "/api/C!/a",
        "/api/c/",
        "/api/c",
        "/api//a",
        "/api/c/a/",
        "/api/c/a/_history",
        "/api/c/_id",
        "/api/c/%zz",
        "/api/c/%ff",
        "/api/c/a?select=n",
        "/api/c/a?nonsense=1",
        "/api/c/a?as_of=1",
        "/api/c/a?as_of=99999",
        "/api/c/a?consistency=session",
        "/api/c/a?consistency=nonsense",
        "/api/c/a?select=%ff",
    ] {
        for headers in [
            &[key][..],
            &[],
            &[("authorization", "Bearer wrong")],
            &[key, ("if-none-match", &etag)],
            &[key, ("if-match", "\"1\"")],
            &[key, ("if-match", "1")],
            &[key, ("accept-encoding", "gzip")],
        ] {
            for method in [Method::GET, Method::HEAD] {
                let short = seen(&api.service, method.clone(), path, headers).await;
                let long = seen(&router, method.clone(), path, headers).await;
                assert_eq!(short, long, "{method} {path} {headers:?}");
                statuses.insert(short.0.as_u16());
            }
        }
    }
    assert!([200, 304, 400, 401, 404, 412].iter().all(|status| statuses.contains(status)), "{statuses:?}");
    drop(router);
    api.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_counted_and_bounded_as_its_route() {
    let api =
        Api::with(ApiOptions { requests_in_flight_max: 0, ..ApiOptions::default() }, Limits::default(), Router::new())
            .await;
    api.get("/api/c/a").await.refused(503, "overloaded");
    let shown = String::from_utf8(api.get("/metrics").await.body.to_vec()).unwrap();
    let counted = r#"_count{method="GET",route="/api/{collection}/{id}",status_class="5xx"} 1"#;
    assert!(shown.contains(counted), "{shown}");
    api.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_get_documents_too() {
    let origin = "https://app.example";
    let options = ApiOptions { cors_origins: vec![origin.into()], ..ApiOptions::default() };
    let api = Api::with(options, Limits::default(), Router::new()).await;
    api.create("c").await;
    api.write(Method::PUT, "/api/c/a", "{}").await;
    let answer = api.send(Method::GET, "/api/c/a", &[("origin", origin)], Body::empty()).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (StatusCode::OK, origin));
    api.end().await;
}
