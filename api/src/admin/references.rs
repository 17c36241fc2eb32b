//! References between collections, as a collection's owner writes and reads them.

use aerodb_engine::prepare;
use aerodb_proto as proto;
use proto::IndexState;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::error::{Code, Problem};
use crate::state::ApiState;

/// A field that holds the id of a document of a collection, or several in an array, or null.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct NewReference {
    /// A path, such as `author_id` or `lines.product_id`.
    field: String,
    /// The collection of these documents; it may be the same one.
    collection: String,
    /// `restrict` unless said otherwise.
    on_delete: Option<OnDelete>,
}

/// What becomes of documents that refer to one which is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnDelete {
    /// It cannot be deleted.
    Restrict,
    /// They are deleted with it.
    Cascade,
    /// The field becomes null; an element of an array goes.
    SetNull,
}

/// A reference.
#[derive(Serialize, ToSchema)]
pub(crate) struct Reference {
    field: String,
    collection: String,
    on_delete: OnDelete,
    /// `building`: it binds what is written, and documents from before are being looked at. `ready`: whatever any document
    /// refers to is there. `failed`: one refers to what is not; it binds nothing.
    state: &'static str,
    /// The index that it is, for queries too.
    index: String,
    /// Why it failed. Mend the document, and set the references again.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

impl From<proto::OnDelete> for OnDelete {
    fn from(on_delete: proto::OnDelete) -> Self {
        match on_delete {
            proto::OnDelete::Restrict => Self::Restrict,
            proto::OnDelete::Cascade => Self::Cascade,
            proto::OnDelete::SetNull => Self::SetNull,
        }
    }
}

/// What an index is called whose state this is.
pub(super) fn state_name(state: IndexState) -> &'static str {
    match state {
        IndexState::Building => "building",
        IndexState::Ready => "ready",
        IndexState::Failed => "failed",
    }
}

/// The references of a collection.
pub(super) fn of(collection: &proto::Collection) -> Vec<Reference> {
    let reference = |index: &proto::Index| {
        let reference = index.reference.as_ref()?;
        Some(Reference {
            field: index.fields.first().map(|field| field.path.clone()).unwrap_or_default(),
            collection: reference.collection.clone(),
            on_delete: reference.on_delete().into(),
            state: state_name(index.state()),
            index: index.name.clone(),
            failure: Some(index.failure.clone()).filter(|failure| !failure.is_empty()),
        })
    };
    collection.indexes.iter().filter_map(reference).collect()
}

/// The references in a body; none where there is none.
pub(super) fn read(references: Option<&RawValue>, state: &ApiState) -> Result<Vec<proto::NewReference>, Problem> {
    match references {
        Some(references) => Ok(prepare::references(references.get().as_bytes(), state.limits())?),
        None => Ok(Vec::new()),
    }
}

/// Whether documents from before a reference of the collection are being looked at.
pub(super) fn are_building(collection: &proto::Collection) -> bool {
    references(collection).any(|index| index.state() == IndexState::Building)
}

/// The first reference that documents stand against, as the answer to whoever set it.
pub(super) fn failed(collection: &proto::Collection) -> Option<Problem> {
    let index = references(collection).find(|index| index.state() == IndexState::Failed)?;
    let field = index.fields.first().map_or("", |field| &field.path);
    let detail = format!(
        "the reference at {field:?} cannot be: {}. It binds nothing: mend the document, and set the references again",
        index.failure
    );
    Some(Problem::new(Code::ReferenceFailed, detail))
}

fn references(collection: &proto::Collection) -> impl Iterator<Item = &proto::Index> {
    collection.indexes.iter().filter(|index| index.reference.is_some())
}

/// What a reference's index says of it.
#[derive(Serialize, ToSchema)]
pub(super) struct ReferenceOf {
    collection: String,
    on_delete: OnDelete,
}

impl From<&proto::Reference> for ReferenceOf {
    fn from(reference: &proto::Reference) -> Self {
        Self { collection: reference.collection.clone(), on_delete: reference.on_delete().into() }
    }
}
