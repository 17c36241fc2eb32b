//! What one operation does to one document: insert, replace, change, delete. Commands of one document and transactions of
//! many are made of these.

use aerodb_proto as proto;
use bytes::Bytes;
use proto::precondition::Kind as Condition;
use proto::{Collection, DocumentRef, NewDocument, Precondition, Refusal, outcome};

use super::change::Change;
use super::overlay::{FETCHED_MAX, Overlay};
use super::{Decision, references, refusal, schema};
use crate::catalog::is_system;
use crate::error::Error;
use crate::filter::Filter;
use crate::json::{Spliced, Value};
use crate::limits::Limits;
use crate::prepare::{self, fields_of};
use crate::state::record::Document;
use crate::{body, json, planted};

/// The revision and the time that a command gets if it changes anything.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) revision: u64,
    pub(super) time_ms: u64,
}

/// Why an operation comes to no end.
pub(super) enum Stop {
    /// It is decided against.
    Refused(Refusal),
    /// The storage failed.
    Failed(Error),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Stop {
    /// The same, about the document `id`.
    pub(super) fn of_document(self, id: &str) -> Self {
        match self {
            Stop::Refused(refusal) => Stop::Refused(Refusal { document_id: id.to_owned(), ..refusal }),
            failed @ Stop::Failed(_) => failed,
        }
    }

    /// The same, with the place in the request of the document that it is about.
    pub(super) fn place(self, find: impl FnOnce(&str) -> Option<usize>) -> Self {
        match &self {
            Stop::Refused(refusal) => match find(&refusal.document_id) {
                Some(index) => self.at(index),
                None => self,
            },
            Stop::Failed(_) => self,
        }
    }

    /// The same, of the operation at `index` of its request.
    pub(super) fn at(self, index: usize) -> Self {
        match self {
            Stop::Refused(refusal) => Stop::Refused(Refusal { index: Some(index as u32), ..refusal }),
            failed @ Stop::Failed(_) => failed,
        }
    }
}

/// A document as an operation left it.
pub(super) struct Written {
    pub(super) reference: DocumentRef,
    /// It did not exist before.
    pub(super) created: bool,
}

/// Stages what operations do to documents.
pub(super) struct Writer<'a> {
    pub(super) overlay: &'a mut Overlay,
    pub(super) place: Place,
    pub(super) limits: &'a Limits,
}

impl Writer<'_> {
    pub(super) fn insert(&mut self, to: &Target, document: &NewDocument) -> Result<Written, Stop> {
        let is_there = self.overlay.document(to.id, &document.id)?.is_some();
        let body = body::render(document, self.place.time_ms, self.place.time_ms, self.place.revision);
        self.create(to, document, body, is_there)
    }

    /// Inserts a document that is stored as `body`, unless one `is_there`.
    fn create(&mut self, to: &Target, document: &NewDocument, body: Bytes, is_there: bool) -> Result<Written, Stop> {
        if is_there {
            let detail = format!("there is a document {:?} in {:?} already", document.id, to.name);
            return Err(Refusal { document_id: document.id.clone(), ..refusal("already_exists", detail) }.into());
        }
        self.stage(to, document, body, None)
    }

    pub(super) fn put(
        &mut self,
        to: &Target,
        document: &NewDocument,
        preconditions: &[Precondition],
    ) -> Result<Written, Stop> {
        let existing = self.overlay.document(to.id, &document.id)?;
        self.check(to, &document.id, preconditions, existing.as_ref())?;
        self.write(to, document, existing)
    }

    pub(super) fn patch(
        &mut self,
        to: &Target,
        id: &str,
        change: &Change,
        preconditions: &[Precondition],
    ) -> Result<Written, Stop> {
        let existing = self.overlay.document(to.id, id)?;
        self.check(to, id, preconditions, existing.as_ref())?;
        self.change(to, id, change, existing)
    }

    /// Changes a document that is there as `existing`.
    pub(super) fn change(
        &mut self,
        to: &Target,
        id: &str,
        change: &Change,
        existing: Option<Document>,
    ) -> Result<Written, Stop> {
        let Some(existing) = existing else { return Err(no_document(&to.name, id).into()) };
        let fields = match change.splice(&existing.body) {
            Some(Spliced::Same) => None,
            Some(Spliced::Changed(fields)) => Some(fields),
            None => {
                let before = fields_of(stored(&existing)?);
                let after = change.apply(before.clone(), self.limits);
                let after = after.map_err(|refusal| Stop::from(refusal).of_document(id))?;
                (after != before).then(|| after.to_bytes())
            }
        };
        let Some(fields) = fields else {
            let (revision, body) = (existing.revision, existing.body);
            let reference = DocumentRef { id: id.to_owned(), revision, body };
            return Ok(Written { reference, created: false });
        };
        let document = NewDocument { id: id.to_owned(), fields: fields.into() };
        self.write(to, &document, Some(existing))
    }

    pub(super) fn delete(&mut self, to: &Target, id: &str, preconditions: &[Precondition]) -> Result<(), Stop> {
        let existing = self.overlay.document(to.id, id)?;
        self.check(to, id, preconditions, existing.as_ref())?;
        self.remove(to, id, existing)
    }

    /// Deletes a document that is there as `existing`.
    pub(super) fn remove(&mut self, to: &Target, id: &str, existing: Option<Document>) -> Result<(), Stop> {
        if existing.is_none() {
            return Err(no_document(&to.name, id).into());
        }
        self.overlay.stage_document(to.id, id, existing, None);
        Ok(())
    }

    /// Stages `document` over `existing`.
    pub(super) fn write(
        &mut self,
        to: &Target,
        document: &NewDocument,
        existing: Option<Document>,
    ) -> Result<Written, Stop> {
        let created_ms = existing.as_ref().map_or(self.place.time_ms, |existing| existing.created_ms);
        let body = body::render(document, created_ms, self.place.time_ms, self.place.revision);
        self.stage(to, document, body, existing)
    }

    /// Stages `document`, which is stored as `body`, over `existing`.
    fn stage(
        &mut self,
        to: &Target,
        document: &NewDocument,
        body: Bytes,
        existing: Option<Document>,
    ) -> Result<Written, Stop> {
        schema::check(self.overlay, to, &document.id, &document.fields)?;
        let created_ms = existing.as_ref().map_or(self.place.time_ms, |existing| existing.created_ms);
        if body.len() > self.limits.document_bytes_max {
            let (bytes, max) = (body.len(), self.limits.document_bytes_max);
            let detail =
                format!("the document would be {bytes} bytes with its system fields; at most {max} are stored");
            return Err(Refusal { document_id: document.id.clone(), ..refusal("document_too_large", detail) }.into());
        }
        let (created, revision) = (existing.is_none(), self.place.revision);
        let now = Document { revision, created_ms, body: body.clone() };
        self.overlay.stage_document(to.id, &document.id, existing, Some(now));
        let reference = DocumentRef { id: document.id.clone(), revision, body };
        Ok(Written { reference, created })
    }

    /// A refusal when a precondition does not hold for the document, which is there as `existing`.
    pub(super) fn check(
        &self,
        to: &Target,
        id: &str,
        preconditions: &[Precondition],
        existing: Option<&Document>,
    ) -> Result<(), Stop> {
        if preconditions.is_empty() {
            return Ok(());
        }
        // Who asks for a revision has read it, which was before the command.
        let base = self.overlay.base(to.id, id)?.map(|document| document.revision);
        for condition in preconditions {
            let holds = match &condition.kind {
                Some(Condition::IfRevision(wanted)) => base == Some(*wanted),
                Some(Condition::IfAnyRevision(wanted)) => base.is_some_and(|found| wanted.revisions.contains(&found)),
                Some(Condition::IfExists(wanted)) => !wanted || existing.is_some(),
                Some(Condition::IfAbsent(wanted)) => !wanted || existing.is_none(),
                Some(Condition::IfMatches(filter)) => match existing {
                    Some(document) => self.filter(filter)?.matches(&stored(document)?),
                    None => false,
                },
                // A condition of a newer version: it cannot be said to hold.
                None => false,
            };
            if !holds && !planted!("if-match-ignored") {
                return Err(precondition_failed(id, condition, base, existing).into());
            }
        }
        Ok(())
    }

    pub(super) fn filter(&self, bytes: &[u8]) -> Result<Filter, Refusal> {
        let value = json::parse(bytes, &prepare::json_limits(self.limits));
        let value = value.map_err(|error| refusal(error.code(), error.to_string()))?;
        Filter::parse(&value).map_err(|error| refusal(error.code(), error.to_string()))
    }
}

fn precondition_failed(id: &str, condition: &Precondition, base: Option<u64>, existing: Option<&Document>) -> Refusal {
    let detail = match (&condition.kind, base, existing) {
        (Some(Condition::IfMatches(_)), _, Some(_)) => format!("the document {id:?} does not match the filter"),
        (_, Some(revision), _) => {
            format!("the document {id:?} is at revision {revision}: read it again and decide anew")
        }
        (_, None, Some(_)) => format!("the document {id:?} is there already"),
        (_, None, None) => format!("there is no document {id:?}"),
    };
    Refusal { document_id: id.to_owned(), ..refusal("precondition_failed", detail) }
}

pub(super) fn stored(document: &Document) -> Result<Value, Error> {
    json::parse(&document.body, &json::STORED).map_err(|e| Error::malformed("a document", e))
}

/// Only these members of a document.
pub(super) fn read(document: &Document, members: &json::Members) -> Result<Value, Error> {
    body::read(&document.body, members).map_err(|e| Error::malformed("a document", e))
}

/// A collection that is written to.
pub(super) struct Target {
    pub(super) id: u32,
    pub(super) name: String,
    /// The version of the collection's schemas under which the node that prepared the command found that the documents fit.
    pub(super) checked_version: u64,
}

impl Target {
    /// The collection called `name`; a refusal when callers have none of that name. `so` says what follows.
    pub(super) fn of(overlay: &Overlay, name: &str, so: &str) -> Result<Self, Refusal> {
        // The system's own are not for callers.
        match overlay.catalog().get(name).filter(|collection| !is_system(&collection.name)) {
            Some(collection) => Ok(Self::from(&**collection)),
            None => Err(no_collection(name, so)),
        }
    }
}

impl From<&Collection> for Target {
    fn from(collection: &Collection) -> Self {
        Self { id: collection.id, name: collection.name.clone(), checked_version: 0 }
    }
}

pub(super) fn insert(writer: &mut Writer<'_>, insert: &proto::InsertDocuments) -> Result<Decision, Stop> {
    let mut to = Target::of(writer.overlay, &insert.collection, CREATE_IT)?;
    let mut documents = Vec::with_capacity(insert.documents.len());
    for (chunk, some) in insert.documents.chunks(FETCHED_MAX).enumerate() {
        let ids: Vec<&str> = some.iter().map(|document| &*document.id).collect();
        let bodies = body::render_new(some, writer.place.time_ms, writer.place.revision);
        let found = writer.overlay.documents(to.id, &ids)?;
        for (place, ((document, body), existing)) in some.iter().zip(bodies).zip(found).enumerate() {
            let index = chunk * FETCHED_MAX + place;
            // In ascending order.
            let unfit = insert.unfit.binary_search(&(index as u32)).is_ok();
            to.checked_version = if unfit { 0 } else { insert.schema_version };
            // This request itself may bring an id twice.
            let is_there = existing.is_some() || writer.overlay.is_staged(to.id, &document.id);
            documents.push(writer.create(&to, document, body, is_there).map_err(|stop| stop.at(index))?.reference);
        }
    }
    let created = !documents.is_empty();
    let decision = writer.conclude(result(to, documents, insert.many, created));
    decision.map_err(|stop| stop.place(|id| insert.documents.iter().position(|document| document.id == id)))
}

pub(super) fn put(writer: &mut Writer<'_>, put: &proto::PutDocument) -> Result<Decision, Stop> {
    let to = Target { checked_version: put.schema_version, ..Target::of(writer.overlay, &put.collection, CREATE_IT)? };
    let document = put.document.clone().unwrap_or_default();
    let written = writer.put(&to, &document, &put.preconditions)?;
    writer.conclude(result(to, vec![written.reference], false, written.created))
}

pub(super) fn patch(writer: &mut Writer<'_>, patch: &proto::PatchDocument) -> Result<Decision, Stop> {
    let to = Target::of(writer.overlay, &patch.collection, CREATE_IT)?;
    let change =
        Change::parse(&patch.patch, writer.limits).map_err(|refusal| Stop::from(refusal).of_document(&patch.id))?;
    let written = writer.patch(&to, &patch.id, &change, &patch.preconditions)?;
    writer.conclude(result(to, vec![written.reference], false, false))
}

pub(super) fn delete(writer: &mut Writer<'_>, delete: &proto::DeleteDocument) -> Result<Decision, Stop> {
    let to = Target::of(writer.overlay, &delete.collection, "nothing was deleted")?;
    writer.delete(&to, &delete.id, &delete.preconditions)?;
    writer.conclude(outcome::Result::Deleted(proto::Deleted { id: delete.id.clone() }))
}

impl Writer<'_> {
    /// The decision of a command whose operations are all staged.
    ///
    /// # Errors
    /// When a reference or an index stands against it.
    pub(super) fn conclude(&mut self, result: outcome::Result) -> Result<Decision, Stop> {
        references::settle(self)?;
        self.finish(result)
    }

    /// The same, of a command whose references are settled.
    pub(super) fn finish(&mut self, result: outcome::Result) -> Result<Decision, Stop> {
        let effects = self.overlay.staged_effects()?;
        Ok(match effects.is_empty() {
            true => Decision::Noop { revision: self.place.revision - 1, result },
            false => Decision::Change { effects, result },
        })
    }
}

fn result(to: Target, documents: Vec<DocumentRef>, many: bool, created: bool) -> outcome::Result {
    let Target { id: collection_id, name: collection, .. } = to;
    outcome::Result::Documents(proto::Documents { collection, collection_id, documents, many, created })
}

/// What to do about a missing collection that was to be written to.
pub(super) const CREATE_IT: &str = "create it first";

pub(super) fn no_collection(name: &str, so: &str) -> Refusal {
    refusal("collection_not_found", format!("there is no collection called {name:?}: {so}"))
}

fn no_document(collection: &str, id: &str) -> Refusal {
    let detail = format!("there is no document {id:?} in {collection:?}");
    Refusal { document_id: id.to_owned(), ..refusal("not_found", detail) }
}
