//! Gets of a document, without the router.
//!
//! Nothing is asked more often, and with the document in memory the router took a seventh of all processor time, twice what the
//! document takes: a box for each layer, a copy of each part of the path, a map for what they tell each other. Everything else
//! goes by the router.

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::Method;

use crate::auth;
use crate::context::{Route, answered_by};
use crate::data::document;
use crate::error::Problem;
use crate::path::DocumentPath;
use crate::state::ApiState;

/// The route that is cut short, as the router names it.
pub(crate) const DOCUMENT: &str = "/api/{collection}/{id}";

/// The way to documents. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Shortcut(ApiState);

impl Shortcut {
    pub(crate) fn new(state: ApiState) -> Self {
        Self(state)
    }

    /// Answers `request` as its route would, if it is the get of a document; else it is given back.
    pub(crate) async fn answer(&self, request: Request) -> Result<Response, Request> {
        let is_get = request.method() == Method::GET;
        let Some((collection, id)) = names(request.uri().path()).filter(|_| is_get) else { return Err(request) };
        answered_by(Route::Document);
        let path = DocumentPath::of(collection, id);
        Ok(self.get(path, request).await.into_response())
    }

    async fn get(&self, path: Result<DocumentPath, Problem>, request: Request) -> Result<Response, Problem> {
        let (_admitted, caller) = auth::admit(&self.0, request.headers()).await?;
        document::answer(&self.0, &caller, &path?, request.uri(), request.headers()).await
    }
}

/// The collection and the id in `path`, if the router is sure to take it for [`DOCUMENT`] and there is nothing to decode.
fn names(path: &str) -> Option<(&str, &str)> {
    let (collection, id) = path.strip_prefix("/api/")?.split_once('/')?;
    let is_plain = |name: &str| !name.is_empty() && !name.contains('%');
    // What stands beside documents begins so, or is one of the two words: a test asks for every route there is.
    let is_other = id.contains('/') || id.starts_with('_') || matches!(id, "query" | "explain");
    (is_plain(collection) && is_plain(id) && !is_other).then_some((collection, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_route_is_left_to_the_router() {
        let described = crate::openapi("0");
        let filled = |path: &str| path.replace("{collection}", "c").replace("{id}", "a").replace("{index}", "i");
        let paths = described.paths.paths.keys().map(String::as_str);
        let short: Vec<&str> = paths.filter(|path| names(&filled(path)).is_some()).collect();
        assert_eq!(short, [DOCUMENT]);
    }

    #[test]
    fn what_is_not_plainly_a_document_is_left_to_the_router() {
        assert_eq!(names("/api/c/a"), Some(("c", "a")));
        assert_eq!(names("/api/c/a+b:c.d"), Some(("c", "a+b:c.d")));
        for path in [
            "/api/c",
            "/api/c/",
            "/api//a",
            "/api/",
            "/api",
            "/",
            "",
            "/api/c/a/",
            "/api/c/a/_history",
            "/api/c/a%20b",
            "/api/%63/a",
            "/api/c/_changes",
            "/api/c/query",
            "/api/c/explain",
            "/admin/c/a",
            "/API/c/a",
            "//api/c/a",
        ] {
            assert_eq!(names(path), None, "{path}");
        }
    }
}
