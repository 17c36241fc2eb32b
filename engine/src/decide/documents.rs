//! Documents: insert, replace, merge patch, delete.

use aerodb_proto as proto;
use bytes::Bytes;
use proto::precondition::Kind as Condition;
use proto::{Effect, NewDocument, Precondition, Refusal, effect::Kind, outcome};

use super::overlay::Overlay;
use super::{Decision, refusal};
use crate::catalog::is_system;
use crate::error::Error;
use crate::limits::Limits;
use crate::planted;
use crate::prepare::{self, fields_of};
use crate::state::record::Document;
use crate::time::rfc3339;
use crate::{json, patch};

/// The revision and the time that a command gets if it changes anything.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) revision: u64,
    pub(super) time_ms: u64,
}

pub(super) fn insert(
    overlay: &mut Overlay,
    insert: &proto::InsertDocuments,
    place: Place,
    limits: &Limits,
) -> Result<Decision, Error> {
    let Some(collection) = collection_id(overlay, &insert.collection) else {
        return Ok(Decision::Refuse(no_collection(&insert.collection, CREATE_IT)));
    };
    let mut effects = Vec::with_capacity(insert.documents.len());
    let mut documents = Vec::with_capacity(insert.documents.len());
    for (index, document) in insert.documents.iter().enumerate() {
        let index = index as u32;
        if overlay.document(collection, &document.id)?.is_some() {
            let detail = format!("there is a document {:?} in {:?} already", document.id, insert.collection);
            let refusal = Refusal { document_id: document.id.clone(), ..refusal("already_exists", detail) };
            return Ok(Decision::Refuse(Refusal { index: Some(index), ..refusal }));
        }
        effects.push(write(overlay, collection, document, None, place));
        match reference(overlay, collection, &document.id, limits)? {
            Ok(reference) => documents.push(reference),
            Err(refusal) => return Ok(Decision::Refuse(Refusal { index: Some(index), ..refusal })),
        }
    }
    if effects.is_empty() {
        let result = result(&insert.collection, collection, documents, insert.many, false);
        return Ok(Decision::Noop { revision: place.revision - 1, result });
    }
    Ok(Decision::Change { effects, result: result(&insert.collection, collection, documents, insert.many, true) })
}

pub(super) fn put(
    overlay: &mut Overlay,
    put: &proto::PutDocument,
    place: Place,
    limits: &Limits,
) -> Result<Decision, Error> {
    let Some(collection) = collection_id(overlay, &put.collection) else {
        return Ok(Decision::Refuse(no_collection(&put.collection, CREATE_IT)));
    };
    let document = put.document.clone().unwrap_or_default();
    let existing = overlay.document(collection, &document.id)?;
    if let Some(refusal) = failed(&put.preconditions, existing.as_ref(), &document.id) {
        return Ok(Decision::Refuse(refusal));
    }
    let effect = write(overlay, collection, &document, existing.as_ref(), place);
    written(overlay, &put.collection, collection, &document.id, effect, existing.is_none(), limits)
}

pub(super) fn patch(
    overlay: &mut Overlay,
    command: &proto::PatchDocument,
    place: Place,
    limits: &Limits,
) -> Result<Decision, Error> {
    let Some(collection) = collection_id(overlay, &command.collection) else {
        return Ok(Decision::Refuse(no_collection(&command.collection, CREATE_IT)));
    };
    let existing = overlay.document(collection, &command.id)?;
    if let Some(refusal) = failed(&command.preconditions, existing.as_ref(), &command.id) {
        return Ok(Decision::Refuse(refusal));
    }
    let Some(existing) = existing else {
        return Ok(Decision::Refuse(no_document(&command.collection, &command.id)));
    };
    // The node that prepared the patch may have other limits: what does not fit here is no damage.
    let changes = match json::parse(&command.merge_patch, &prepare::json_limits(limits)) {
        Ok(changes) => changes,
        Err(error) => return Ok(Decision::Refuse(refusal(error.code(), error.to_string()))),
    };
    let stored = json::parse(&existing.body, &json::STORED).map_err(|e| Error::malformed("a document", e))?;
    let before = fields_of(stored);
    let mut after = before.clone();
    patch::merge(&mut after, &changes);
    if after == before {
        let reference =
            proto::DocumentRef { id: command.id.clone(), revision: existing.revision, body: existing.body.clone() };
        let result = result(&command.collection, collection, vec![reference], false, false);
        return Ok(Decision::Noop { revision: place.revision - 1, result });
    }
    let document = NewDocument { id: command.id.clone(), fields: after.to_bytes().into() };
    let effect = write(overlay, collection, &document, Some(&existing), place);
    written(overlay, &command.collection, collection, &command.id, effect, false, limits)
}

pub(super) fn delete(overlay: &mut Overlay, delete: &proto::DeleteDocument, _place: Place) -> Result<Decision, Error> {
    let Some(collection) = collection_id(overlay, &delete.collection) else {
        return Ok(Decision::Refuse(no_collection(&delete.collection, "nothing was deleted")));
    };
    let existing = overlay.document(collection, &delete.id)?;
    if let Some(refusal) = failed(&delete.preconditions, existing.as_ref(), &delete.id) {
        return Ok(Decision::Refuse(refusal));
    }
    let Some(existing) = existing else {
        return Ok(Decision::Refuse(no_document(&delete.collection, &delete.id)));
    };
    overlay.stage_document(collection, &delete.id, None);
    let effect = proto::DeleteDoc {
        collection_id: collection,
        id: Bytes::copy_from_slice(delete.id.as_bytes()),
        previous_revision: existing.revision,
    };
    Ok(Decision::Change {
        effects: vec![Effect { kind: Some(Kind::DeleteDoc(effect)) }],
        result: outcome::Result::Deleted(proto::Deleted { id: delete.id.clone() }),
    })
}

/// Stages `document` as written at `place`, over `existing`.
pub(super) fn write(
    overlay: &mut Overlay,
    collection: u32,
    document: &NewDocument,
    existing: Option<&Document>,
    place: Place,
) -> Effect {
    let created_ms = existing.map_or(place.time_ms, |existing| existing.created_ms);
    let body = render(document, created_ms, place);
    let stored = Document { revision: place.revision, created_ms, body: body.clone() };
    overlay.stage_document(collection, &document.id, Some(stored));
    let put = proto::PutDoc {
        collection_id: collection,
        id: Bytes::copy_from_slice(document.id.as_bytes()),
        body,
        previous_revision: existing.map_or(0, |existing| existing.revision),
        created_ms,
    };
    Effect { kind: Some(Kind::PutDoc(put)) }
}

/// The final JSON: the id and the system fields, then the caller's fields.
fn render(document: &NewDocument, created_ms: u64, place: Place) -> Bytes {
    let mut body = Vec::with_capacity(document.fields.len() + document.id.len() + 128);
    body.extend(b"{\"id\":");
    json::Value::String(document.id.clone()).write(&mut body);
    let (created, updated) = (rfc3339(created_ms), rfc3339(place.time_ms));
    let system =
        format!(",\"_revision\":{},\"_created_at\":\"{created}\",\"_updated_at\":\"{updated}\"", place.revision);
    body.extend(system.as_bytes());
    if document.fields.len() > 2 {
        body.push(b',');
        body.extend(&document.fields[1..]);
    } else {
        body.push(b'}');
    }
    body.into()
}

fn written(
    overlay: &Overlay,
    name: &str,
    collection: u32,
    id: &str,
    effect: Effect,
    created: bool,
    limits: &Limits,
) -> Result<Decision, Error> {
    Ok(match reference(overlay, collection, id, limits)? {
        Err(refusal) => Decision::Refuse(refusal),
        Ok(reference) => Decision::Change {
            effects: vec![effect],
            result: result(name, collection, vec![reference], false, created),
        },
    })
}

/// The staged document as the answer carries it; a refusal when it grew past its bound.
fn reference(
    overlay: &Overlay,
    collection: u32,
    id: &str,
    limits: &Limits,
) -> Result<Result<proto::DocumentRef, Refusal>, Error> {
    let staged = overlay.document(collection, id)?;
    let Some(staged) = staged else {
        return Err(Error::Inconsistent("a document that was just decided is not there".into()));
    };
    if staged.body.len() > limits.document_bytes_max {
        let detail = format!(
            "the document would be {} bytes with its system fields; at most {} are stored",
            staged.body.len(),
            limits.document_bytes_max
        );
        return Ok(Err(Refusal { document_id: id.to_owned(), ..refusal("document_too_large", detail) }));
    }
    Ok(Ok(proto::DocumentRef { id: id.to_owned(), revision: staged.revision, body: staged.body }))
}

fn result(
    name: &str,
    collection_id: u32,
    documents: Vec<proto::DocumentRef>,
    many: bool,
    created: bool,
) -> outcome::Result {
    outcome::Result::Documents(proto::Documents {
        collection: name.to_owned(),
        collection_id,
        documents,
        many,
        created,
    })
}

/// A collection that callers may write to: the system's own are not.
fn collection_id(overlay: &Overlay, name: &str) -> Option<u32> {
    let collection = overlay.catalog().get(name).filter(|collection| !is_system(&collection.name))?;
    Some(collection.id)
}

/// What to do about a missing collection that was to be written to.
const CREATE_IT: &str = "create it first";

pub(super) fn no_collection(name: &str, so: &str) -> Refusal {
    refusal("collection_not_found", format!("there is no collection called {name:?}: {so}"))
}

fn no_document(collection: &str, id: &str) -> Refusal {
    let detail = format!("there is no document {id:?} in {collection:?}");
    Refusal { document_id: id.to_owned(), ..refusal("not_found", detail) }
}

fn failed(preconditions: &[Precondition], existing: Option<&Document>, id: &str) -> Option<Refusal> {
    let revision = existing.map(|document| document.revision);
    let holds = |condition: &Precondition| match &condition.kind {
        Some(Condition::IfRevision(wanted)) => revision == Some(*wanted),
        Some(Condition::IfAnyRevision(wanted)) => revision.is_some_and(|found| wanted.revisions.contains(&found)),
        Some(Condition::IfExists(wanted)) => !wanted || revision.is_some(),
        Some(Condition::IfAbsent(wanted)) => !wanted || revision.is_none(),
        // A condition of a newer version: it cannot be said to hold.
        None => false,
    };
    if preconditions.iter().all(holds) || planted!("if-match-ignored") {
        return None;
    }
    let detail = match revision {
        Some(revision) => format!("the document {id:?} is at revision {revision}: read it again and decide anew"),
        None => format!("there is no document {id:?}"),
    };
    Some(Refusal { document_id: id.to_owned(), ..refusal("precondition_failed", detail) })
}
