//! `POST /api/{collection}/explain`: how a query is found, and why so.

use std::time::Instant;

use aerodb_engine::view::{self, Candidate, Explained};
use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::query::Wanted;
use crate::auth::Caller;
use crate::body;
use crate::error::{Code, Problem};
use crate::negotiate::{BodyForm, body_form};
use crate::openapi::Problems;
use crate::params::Params;
use crate::path::CollectionPath;
use crate::response::{ReadAt, serialized};
use crate::state::ApiState;

/// How a query is found.
#[derive(Serialize, ToSchema)]
pub(crate) struct Explanation {
    /// The way that is taken.
    plan: Way,
    /// Whether documents come in the order asked for; else they are sorted.
    ordered: bool,
    /// The conditions that bound the way through an index, each as a filter of its own: all of them hold there.
    #[schema(value_type = Vec<Object>)]
    bounds: Vec<Box<RawValue>>,
    /// Every way that was thought of, and why it was or was not taken.
    candidates: Vec<Way>,
    /// What it took, with `analyze`.
    #[serde(skip_serializing_if = "Option::is_none")]
    actual: Option<Actual>,
    revision: u64,
}

/// A way to documents.
#[derive(Clone, Serialize, ToSchema)]
struct Way {
    /// `scan` (every document), `ids` (those whose ids the filter bounds), `index`, or of several ways `intersection` (what all
    /// lead to) or `union` (what any leads to, for `$or`).
    access: &'static str,
    /// The index of an `index`.
    index: Option<String>,
    /// The ways of an `intersection` or a `union`: indexes by name, and `id`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ways: Vec<String>,
    /// Documents or entries that it meets, about.
    rows: u64,
    /// What it costs, where passing over one document costs 1; null when it cannot be taken.
    cost: Option<f64>,
    chosen: bool,
    reason: String,
}

/// What a query took.
#[derive(Serialize, ToSchema)]
struct Actual {
    /// Documents that were looked at.
    examined: u64,
    /// Documents that matched.
    matched: u64,
    /// Documents of the page.
    returned: u64,
    /// Bytes of the documents that were looked at.
    examined_bytes: u64,
    milliseconds: f64,
}

impl From<&Candidate> for Way {
    fn from(candidate: &Candidate) -> Self {
        let (access, index, ways) = match &candidate.way {
            view::Way::Scan => ("scan", None, Vec::new()),
            view::Way::Ids => ("ids", None, Vec::new()),
            view::Way::Index(name) => ("index", Some(name.clone()), Vec::new()),
            view::Way::Intersection(ways) => ("intersection", None, names(ways)),
            view::Way::Union(ways) => ("union", None, names(ways)),
        };
        Self {
            access,
            index,
            ways,
            rows: candidate.rows.round() as u64,
            cost: candidate.cost.is_finite().then(|| (candidate.cost * 10.0).round() / 10.0),
            chosen: candidate.chosen,
            reason: candidate.reason.clone(),
        }
    }
}

fn names(ways: &[view::Way]) -> Vec<String> {
    let name = |way: &view::Way| match way {
        view::Way::Index(name) => vec![name.clone()],
        view::Way::Scan | view::Way::Ids => vec!["id".to_owned()],
        view::Way::Intersection(ways) | view::Way::Union(ways) => names(ways),
    };
    ways.iter().flat_map(name).collect()
}

/// Explains a query: the way that is taken, the others, and why; with `"analyze": true` it is run too.
#[utoipa::path(
    post, path = "/api/{collection}/explain", tag = "data", operation_id = "explainQuery",
    params(
        ("collection" = String, Path, description = "The collection's name"),
        ("consistency" = Option<String>, Query, description = "`linearizable` (default), `session` or `stale`"),
        ("max_staleness_ms" = Option<u64>, Query, description = "With `stale`: how old at most"),
        ("as_of" = Option<u64>, Query, description = "Read at this revision"),
        ("Aerodb-Min-Revision" = Option<u64>, Header, description = "With `session`: the revision last seen"),
    ),
    request_body(content = crate::openapi::QueryBody, description = "As for a query; `\"analyze\": true` runs it"),
    responses((status = 200, body = Explanation), Problems)
)]
pub(super) async fn explain(
    State(state): State<ApiState>,
    caller: Caller,
    CollectionPath(name): CollectionPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    if body_form(&parts.headers)? != BodyForm::Json {
        return Err(Problem::new(Code::UnsupportedMediaType, "a query is application/json"));
    }
    let params = Params::parse(parts.uri.query())?;
    let body = body::whole(&state, &parts.headers, body, state.options().request_body_bytes_max).await?;
    let bytes = if body.bytes.is_empty() { &b"{}"[..] } else { &body.bytes };
    let (wanted, analyze) = Wanted::to_explain(bytes, params, &parts.headers, state.limits(), caller.id())?;
    let reading = state.read_collection(&caller, wanted.freshness, &name).await?;
    let (view, collection, query) = (reading.view.clone(), reading.collection.clone(), wanted.query);
    let begun = Instant::now();
    let explained = state.blocking(move |expired| view.explain(&collection, &query, analyze, expired)).await;
    let explained = explained.map_err(|problem| problem.at(reading.at))?;
    let at = ReadAt { revision: explained.revision, ..reading.at };
    Ok(at.mark(serialized(StatusCode::OK, &explanation(&explained, begun.elapsed().as_secs_f64() * 1_000.0)?)?))
}

fn explanation(explained: &Explained, milliseconds: f64) -> Result<Explanation, Problem> {
    let chosen = explained.candidates.iter().find(|candidate| candidate.chosen);
    let chosen = chosen.ok_or_else(|| Problem::internal("a plan without a way"))?;
    let actual = explained.actual.map(|actual| Actual {
        examined: actual.examined,
        matched: actual.matched,
        returned: actual.returned,
        examined_bytes: actual.examined_bytes,
        milliseconds: (milliseconds * 1_000.0).round() / 1_000.0,
    });
    let bounds = explained.bounds.iter().map(|filter| RawValue::from_string(filter.to_string()));
    Ok(Explanation {
        plan: chosen.into(),
        ordered: explained.ordered,
        bounds: bounds.collect::<Result<_, _>>().map_err(Problem::internal)?,
        candidates: explained.candidates.iter().map(Way::from).collect(),
        actual,
        revision: explained.revision,
    })
}
