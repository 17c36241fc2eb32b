//! How AeroDB is spoken to by the load generator.

use aerodb_load::http::{Api, Call, Node};
use aerodb_load::{Request, id};

use super::options::Settings;
use crate::client::{Problem, segment};

/// Requests to one collection.
pub(super) struct DataApi {
    /// `/api/` and the collection.
    path: String,
    /// What comes behind the path of a read.
    query: &'static str,
}

impl DataApi {
    /// The requests of a benchmark.
    pub(super) fn new(settings: &Settings) -> Self {
        let query = if settings.is_stale() { "?consistency=stale" } else { "" };
        Self { path: format!("/api/{}", segment(&settings.collection)), query }
    }

    /// The nodes of a benchmark.
    pub(super) fn nodes(settings: &Settings) -> anyhow::Result<Vec<Node>> {
        let token = settings.token.as_ref().map(|token| format!("Bearer {}", token.expose()));
        let headers: Vec<(&str, &str)> = token.iter().map(|token| ("authorization", token.as_str())).collect();
        settings.urls.iter().map(|url| Node::new(url, &headers).map_err(anyhow::Error::msg)).collect()
    }
}

impl Api for DataApi {
    fn call(&self, request: &Request, call: &mut Call<'_>) {
        let Self { path, query } = self;
        match request {
            Request::Read { number } => call.write("GET", format_args!("{path}/{}{query}", id(*number)), None),
            Request::Write { number, document } => {
                call.write("PUT", format_args!("{path}/{}", id(*number)), Some(document));
            }
            Request::Insert { document } => call.write("POST", format_args!("{path}"), Some(document)),
        }
    }

    fn refusal(&self, status: u16, body: &[u8]) -> String {
        Problem::from_answer(status, None, body).code()
    }
}
