//! `/api`: documents. What is read comes from one `View`; what is written is decided by the cluster.

mod bulk;
mod changes;
mod csv;
pub(crate) mod document;
mod explain;
mod export;
mod feed;
mod history;
mod insert_stream;
mod list;
mod query;
mod transaction;
mod write;

use axum::Router;
use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::{Code, Problem};
use crate::state::ApiState;

/// The routes of `/api`, and `/transactions`.
pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    let as_id = || get(document::get).put(write::put).patch(write::patch).delete(write::delete);
    let empty_id = Router::new().route("/api/{collection}/", axum::routing::any(empty_id));
    OpenApiRouter::new()
        .routes(routes!(list::list, write::insert, bulk::patch, bulk::delete))
        .routes(routes!(document::get, write::put, write::patch, write::delete))
        .routes(routes!(history::history))
        .routes(routes!(changes::changes))
        .routes(routes!(list::query))
        .routes(routes!(transaction::transact))
        .routes(routes!(explain::explain))
        // These are documents' ids like any other: only POST means something else.
        .route("/api/{collection}/query", as_id())
        .route("/api/{collection}/explain", as_id())
        .merge(OpenApiRouter::from(empty_id))
}

/// `/api/c/` names a document without an id.
async fn empty_id() -> Problem {
    Problem::new(Code::InvalidId, "an id has at least one byte").with_mistake("/id", "it is empty")
}
