//! A panic in a request is that request's only.

use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use futures::stream;

use super::*;
use crate::error::Problem;
use crate::panics::{contained, spawn};
use crate::response::typed;

const SECRET: &str = "the state lies in /var/lib";

/// Routes that panic in each of the places in which a request has something done.
fn routes_that_panic() -> Router<ApiState> {
    Router::new()
        .route("/test/handler", get(in_handler))
        .route("/test/blocking", get(in_blocking))
        .route("/test/task", get(in_task))
        .route("/test/body", get(in_body))
        .route("/test/contained", get(async || contained().and_then(|found| found.request_id).unwrap_or_default()))
}

async fn in_handler() -> Response {
    panic!("{SECRET}")
}

async fn in_blocking(State(state): State<ApiState>) -> Result<Response, Problem> {
    state.blocking(|_| -> Result<Response, _> { panic!("{SECRET}") }).await
}

async fn in_task() -> Result<Response, Problem> {
    spawn(async { panic!("{SECRET}") }).await.map_err(Problem::internal).map(|()| Response::default())
}

async fn in_body() -> Response {
    let parts = stream::iter(0..3).map(|part| {
        assert!(part < 2, "{SECRET}");
        Ok::<_, std::convert::Infallible>("part")
    });
    use futures::StreamExt;
    typed(StatusCode::OK, "text/plain", Body::from_stream(parts))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_answered_and_the_node_goes_on() {
    let api = Api::with(ApiOptions::default(), Limits::default(), routes_that_panic()).await;
    for place in ["handler", "blocking", "task"] {
        let path = format!("/test/{place}");
        let answer = api.send(Method::GET, &path, &[("x-request-id", "mine")], Body::empty()).await;
        answer.refused(500, "internal");
        assert_eq!(answer.header("x-request-id"), "mine");
        assert_eq!(answer.header("aerodb-node"), "1");
        let text = format!("{answer:?}");
        assert!(!text.contains("/var/lib") && !text.contains("panic"), "{text}");
    }

    let cut = api.open(Method::GET, "/test/body", &[], Body::empty()).await;
    assert_eq!(cut.status(), StatusCode::OK);
    let sent = axum::body::to_bytes(cut.into_body(), ANSWER_BYTES_MAX).await;
    assert!(!sent.unwrap_err().to_string().contains("/var/lib"), "it is cut off, and does not say why");

    let known = api.send(Method::GET, "/test/contained", &[("x-request-id", "mine")], Body::empty()).await;
    assert_eq!(known.body, "mine", "the hook learns for which request");
    api.create("c").await;
    assert_eq!(api.get("/health/ready").await.status, StatusCode::OK);
    api.end().await;
}
