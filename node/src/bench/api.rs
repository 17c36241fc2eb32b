//! How AeroDB is spoken to by the load generator.

use aerodb_load::Rest;
use aerodb_load::http::Node;

use super::options::Settings;
use crate::client::{Problem, segment};

/// Requests to the collection of a benchmark.
pub(super) fn documents(settings: &Settings) -> Rest {
    Rest {
        path: format!("/api/{}", segment(&settings.collection)),
        query: if settings.is_stale() { "?consistency=stale" } else { "" },
        refusal: |status, body| Problem::from_answer(status, None, body).code(),
    }
}

/// The nodes of a benchmark.
pub(super) fn nodes(settings: &Settings) -> anyhow::Result<Vec<Node>> {
    let token = settings.token.as_ref().map(|token| format!("Bearer {}", token.expose()));
    let headers: Vec<(&str, &str)> = token.iter().map(|token| ("authorization", token.as_str())).collect();
    settings.urls.iter().map(|url| Node::new(url, &headers).map_err(anyhow::Error::msg)).collect()
}
