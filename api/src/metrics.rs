//! The API's own metrics, and `/metrics`, which shows those of every crate.

use std::borrow::Borrow;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::{Method, StatusCode};
use prometheus::{Encoder, Histogram, HistogramOpts, HistogramVec, IntGauge, Registry, TextEncoder};

use crate::context::Route;
use crate::error::Problem;
use crate::front::Front;
use crate::panics;
use crate::response::typed;
use crate::shortcut;

/// Seconds: from an answer out of memory to a request that waited through an election.
const BUCKETS: [f64; 15] =
    [0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// What is measured of requests. Labels are bounded: templates of routes, known methods, classes of status.
pub(crate) struct HttpMetrics {
    duration: HistogramVec,
    /// Of documents that were read: found once, not for each.
    document: Histogram,
    in_flight: IntGauge,
    streams: IntGauge,
}

/// Counts one more for as long as it lives.
pub(crate) struct Counted<G: Borrow<IntGauge> = IntGauge>(G);

impl<G: Borrow<IntGauge>> Counted<G> {
    fn new(gauge: G) -> Self {
        gauge.borrow().inc();
        Self(gauge)
    }
}

impl<G: Borrow<IntGauge>> Drop for Counted<G> {
    fn drop(&mut self) {
        self.0.borrow().dec();
    }
}

impl HttpMetrics {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let help = "Time from a request's headers to its answer's headers, in seconds.";
        let options = HistogramOpts::new("aerodb_http_request_duration_seconds", help).buckets(BUCKETS.to_vec());
        let duration = HistogramVec::new(options, &["route", "method", "status_class"])?;
        let read = [shortcut::DOCUMENT, method_label(&Method::GET), class_label(StatusCode::OK)];
        let document = duration.with_label_values(&read);
        let in_flight = IntGauge::new("aerodb_http_requests_in_flight", "Requests that are being answered now.")?;
        let streams = IntGauge::new(
            "aerodb_http_streams_open",
            "Change feeds, event streams, exports and NDJSON inserts that are open now.",
        )?;
        registry.register(Box::new(duration.clone()))?;
        registry.register(Box::new(in_flight.clone()))?;
        registry.register(Box::new(streams.clone()))?;
        Ok(Self { duration, document, in_flight, streams })
    }

    pub(crate) fn in_flight(&self) -> Counted<&IntGauge> {
        Counted::new(&self.in_flight)
    }

    pub(crate) fn stream(&self) -> Counted {
        Counted::new(self.streams.clone())
    }

    pub(crate) fn observe(&self, route: &Route, method: &Method, status: StatusCode, took: Duration) {
        let took = took.as_secs_f64();
        match route {
            Route::Document if status.is_success() => self.document.observe(took),
            _ => {
                let labels = [route.name(), method_label(method), class_label(status)];
                self.duration.with_label_values(&labels).observe(took);
            }
        }
    }
}

fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn class_label(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}

/// The metrics of this node, in the text format of Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "operations", operation_id = "readMetrics", security(()),
    responses((status = 200, description = "Prometheus text format", content_type = "text/plain", body = String))
)]
pub(crate) async fn metrics(State(front): State<Front>) -> Result<Response, Problem> {
    // Collectors may ask the storage for its figures, which blocks.
    let registry = front.registry().clone();
    let text = panics::spawn_blocking(move || {
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).map(|()| text)
    });
    let text = text.await.map_err(Problem::joined)?.map_err(Problem::internal)?;
    Ok(typed(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_bounded() {
        let registry = Registry::new();
        let metrics = HttpMetrics::new(&registry).unwrap();
        let odd = Method::from_bytes(b"BREW").unwrap();
        metrics.observe(&Route::Document, &odd, StatusCode::NOT_FOUND, Duration::from_millis(1));
        metrics.observe(&Route::Document, &Method::GET, StatusCode::NOT_MODIFIED, Duration::from_millis(1));
        metrics.observe(&Route::Document, &Method::GET, StatusCode::OK, Duration::from_millis(1));
        let counted = metrics.in_flight();
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for (method, class) in [("other", "4xx"), ("GET", "3xx"), ("GET", "2xx")] {
            let count =
                format!(r#"_count{{method="{method}",route="/api/{{collection}}/{{id}}",status_class="{class}"}} 1"#);
            assert!(text.contains(&count), "{count} is missing in {text}");
        }
        assert!(text.contains("aerodb_http_requests_in_flight 1"));
        drop(counted);
        assert_eq!(metrics.in_flight.get(), 0);
    }
}
