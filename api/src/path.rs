//! What the path of a request names.

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;

use crate::error::{Code, Problem};

/// `{collection}` of a path.
#[derive(Clone, Debug)]
pub(crate) struct CollectionPath(pub(crate) String);

/// `{collection}` and `{id}` of a path.
#[derive(Clone, Debug)]
pub(crate) struct DocumentPath {
    pub(crate) collection: String,
    pub(crate) id: String,
}

/// `{collection}` and `{index}` of a path.
#[derive(Clone, Debug)]
pub(crate) struct IndexPath {
    pub(crate) collection: String,
    pub(crate) index: String,
}

/// `{node}` of a path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodePath(pub(crate) u64);

impl DocumentPath {
    /// What these two, decoded, name.
    pub(crate) fn of(collection: &str, id: &str) -> Result<Self, Problem> {
        let collection = collection_name(collection)?;
        aerodb_engine::prepare::check_id(id)?;
        Ok(Self { collection, id: id.to_owned() })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for CollectionPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        collection(&params(parts, state).await?).map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for DocumentPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = params(parts, state).await?;
        // A route such as `/api/{collection}/query` is also the document of that id.
        let id = segment(&params, "id").unwrap_or_else(|| last_segment(parts.uri.path()));
        Self::of(segment(&params, "collection").unwrap_or_default(), id)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IndexPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = params(parts, state).await?;
        let (collection, index) = (collection(&params)?, segment(&params, "index").unwrap_or_default().to_owned());
        Ok(Self { collection, index })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for NodePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = params(parts, state).await?;
        let number = crate::params::number(segment(&params, "node").unwrap_or_default(), 1, u64::MAX);
        number.map(Self).map_err(|message| Problem::parameter("node", message))
    }
}

async fn params<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<RawPathParams, Problem> {
    let params = RawPathParams::from_request_parts(parts, state).await;
    params.map_err(|_| Problem::new(Code::InvalidUtf8, "the path is not UTF-8 once it is decoded"))
}

fn collection(params: &RawPathParams) -> Result<String, Problem> {
    collection_name(segment(params, "collection").unwrap_or_default())
}

/// A name that no collection can have, a system collection's among them, is one that is not there.
fn collection_name(name: &str) -> Result<String, Problem> {
    match aerodb_engine::prepare::check_collection_name(name) {
        Ok(()) => Ok(name.to_owned()),
        Err(_) => Err(Problem::collection_not_found(name)),
    }
}

fn segment<'a>(params: &'a RawPathParams, name: &str) -> Option<&'a str> {
    params.iter().find(|(given, _)| *given == name).map(|(_, value)| value)
}

fn last_segment(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}
