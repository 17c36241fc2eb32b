//! Compression of answers, as the client accepts it.

use std::convert::Infallible;
use std::future::ready;

use axum::body::Body;
use axum::response::Response;
use http::{Extensions, HeaderMap, Request, StatusCode, Version, header};
use tower::{Layer, ServiceExt, service_fn};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, Predicate, SizeAbove};

use crate::response::Unbuffered;

/// Answers smaller than this are not worth compressing.
const COMPRESSED_BYTES_MIN: u16 = 1_024;

/// The encodings that a client accepts; none for the many that say nothing of it.
pub(crate) struct Accepted(Option<HeaderMap>);

impl Accepted {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(header::ACCEPT_ENCODING);
        let mut lines = lines.into_iter().map(|line| (header::ACCEPT_ENCODING, line.clone())).peekable();
        Self(lines.peek().is_some().then(|| HeaderMap::from_iter(lines)))
    }
}

/// `answer`, compressed where that is accepted and worth it.
pub(crate) async fn compressed(accepted: Accepted, answer: Response) -> Response {
    match accepted {
        Accepted(None) => answer,
        // Boxed: few need it, and all would have room for it.
        Accepted(Some(headers)) => Box::pin(by_layer(headers, answer)).await,
    }
}

async fn by_layer(headers: HeaderMap, answer: Response) -> Response {
    let mut request = Request::new(());
    *request.headers_mut() = headers;
    let mut answer = Some(answer);
    let service = service_fn(move |_: Request<()>| ready(Ok::<_, Infallible>(answer.take().unwrap_or_default())));
    let worth_it = DefaultPredicate::new().and(SizeAbove::new(COMPRESSED_BYTES_MIN)).and(may_be_held_back);
    let layer = CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(worth_it);
    match layer.layer(service).oneshot(request).await {
        Ok(answer) => answer.map(Body::new),
        Err(never) => match never {},
    }
}

/// Whether an answer may wait in a compressor until there is more of it.
fn may_be_held_back(_: StatusCode, _: Version, _: &HeaderMap, extensions: &Extensions) -> bool {
    extensions.get::<Unbuffered>().is_none()
}
