//! Schemas: what a document that is written must look like, and how a new schema comes into force.
//!
//! A strict schema binds writes from the moment at which it is set, beside the one before it. Documents from before are
//! checked by steps that the leader proposes, in the order of ids. Once the last one is found to fit, the new schema
//! takes the place of the old one, at one revision; if some do not fit, it binds no more, and says which.

use std::sync::Arc;

use aerodb_proto as proto;
use proto::{Collection, Effect, Offender, Refusal, Validation, WalkProgress, effect::Kind, outcome};

use super::documents::{Place, Stop, Target};
use super::overlay::Overlay;
use super::{Decision, indexes, references, refusal};
use crate::limits::Limits;
use crate::schema::Schema;
use crate::state::keys::SCHEMA_WALK;

/// Documents that do not fit a new schema and are named.
const OFFENDERS_MAX: usize = 20;

/// A refusal when `fields` do not fit what binds. `checked` is the version of the collection's schemas under which the node
/// that prepared the command found that they do.
pub(super) fn check(overlay: &Overlay, to: &Target, id: &str, fields: &[u8]) -> Result<(), Stop> {
    let Some(schemas) = overlay.catalog().schemas(to.id) else { return Ok(()) };
    if to.checked_version == schemas.version {
        return Ok(());
    }
    for schema in schemas.binding() {
        let new = schemas.next.as_ref().is_some_and(|next| Arc::ptr_eq(next, schema));
        let refusal = match schema.violations(fields) {
            Ok(violations) if violations.is_empty() => continue,
            Ok(violations) => {
                let which = if new { "the new schema, which is being checked," } else { "the schema" };
                let first = violations.first().map_or("", |violation| &violation.message);
                let detail = format!("the document does not fit {which} of {:?}: {first}", to.name);
                Refusal { violations, ..refusal("schema_violation", detail) }
            }
            Err(problem) => {
                refusal("schema_unusable", format!("the schema of {:?} cannot be used: {problem}", to.name))
            }
        };
        return Err(Stop::from(refusal).of_document(id));
    }
    Ok(())
}

/// Changes what a collection says of itself: its history's length, its schema, its references.
pub(super) fn change(
    overlay: &mut Overlay,
    change: &proto::ChangeSettings,
    place: Place,
    limits: &Limits,
) -> Result<Decision, Stop> {
    let before = indexes::writable(overlay, &change.collection, "nothing was changed")?;
    let mut after = before.clone();
    if let Some(seconds) = change.history_retention_seconds {
        after.history_retention_seconds = seconds;
    }
    if let Some(revisions) = change.history_revisions_max {
        after.history_revisions_max = revisions;
    }
    if let Some(bytes) = change.history_bytes_max {
        after.history_bytes_max = bytes;
    }
    if let Some(forbidden) = change.full_scans_forbidden {
        after.full_scans_forbidden = forbidden;
    }
    if change.drop_schema {
        (after.schema, after.next_schema) = (None, None);
    } else if let Some(wanted) = wanted(&before, change)? {
        set(&mut after, wanted, place);
    }
    let cleared = match &change.references {
        Some(wanted) => references::replace(overlay, &mut after, &wanted.references, place, limits)?,
        None => Vec::new(),
    };
    if after == before {
        let info = proto::CollectionInfo { collection: Some(after) };
        return Ok(Decision::Noop { revision: place.revision - 1, result: outcome::Result::Collection(info) });
    }
    let mut effects = Vec::new();
    if (&after.schema, &after.next_schema) != (&before.schema, &before.next_schema) {
        after.schema_version = place.revision;
        // Whatever was being checked is not any more.
        effects.push(note(overlay, after.id, None));
    }
    indexes::changed(overlay, after, cleared, effects)
}

/// The schema that a change asks for; `None` when it does not speak of schemas.
fn wanted(before: &Collection, change: &proto::ChangeSettings) -> Result<Option<proto::Schema>, Refusal> {
    let validation = change.validation.map(|_| change.validation());
    let json = match &change.schema {
        Some(json) => json.clone(),
        None if validation.is_none() => return Ok(None),
        // One that failed is not what its owner sees in force.
        None => match before.next_schema.as_ref().filter(|next| !next.failed).or(before.schema.as_ref()) {
            Some(schema) => schema.json.clone(),
            None => {
                let detail = format!("{:?} has no schema: `validation` says what to do with one", before.name);
                return Err(refusal("schema_not_found", detail));
            }
        },
    };
    let known = before.schema.as_ref().map(|schema| schema.validation());
    let validation = validation.or(known).unwrap_or(Validation::Strict);
    Ok(Some(proto::Schema { json, validation: validation.into(), ..proto::Schema::default() }))
}

/// `wanted` comes into force: at once if it refuses nothing, or nothing more than what is in force.
fn set(collection: &mut Collection, wanted: proto::Schema, place: Place) {
    let same = |other: &proto::Schema| (&other.json, other.validation) == (&wanted.json, wanted.validation);
    if collection.schema.as_deref().is_some_and(same) {
        collection.next_schema = None;
        return;
    }
    if collection.next_schema.as_deref().is_some_and(|next| same(next) && !next.failed) {
        return;
    }
    let strict = wanted.validation() == Validation::Strict;
    let wanted = Box::new(proto::Schema { created_revision: place.revision, ..wanted });
    match strict {
        true => collection.next_schema = Some(wanted),
        false => (collection.schema, collection.next_schema) = (Some(wanted), None),
    }
}

/// The schema of a new collection, which has no documents that it could not fit.
pub(super) fn first(schema: &proto::Schema, place: Place) -> proto::Schema {
    proto::Schema { created_revision: place.revision, ..schema.clone() }
}

/// A step of the check of a new schema.
pub(super) fn step(overlay: &mut Overlay, step: &proto::CheckSchema, place: Place) -> Result<Decision, Stop> {
    let noop = Decision::Noop { revision: place.revision - 1, result: outcome::Result::Done(proto::Done::default()) };
    let Some(collection) = overlay.catalog().by_id(step.collection_id).cloned() else { return Ok(noop) };
    let schemas = overlay.catalog().schemas(collection.id);
    let checked = schemas.filter(|schemas| schemas.version == step.schema_version);
    let Some(schema) = checked.and_then(|schemas| schemas.unchecked()).cloned() else { return Ok(noop) };
    let mut progress = overlay.walk_progress(collection.id, SCHEMA_WALK)?;
    if progress.after != step.after {
        // A step of a leader that did not know how far another had come.
        return Ok(noop);
    }
    for seen in &step.offenders {
        if let Some(offender) = offender(overlay, collection.id, &schema, seen)? {
            progress.offending += 1;
            if progress.offenders.len() < OFFENDERS_MAX {
                progress.offenders.push(offender);
            }
        }
    }
    progress.after.clone_from(&step.up_to);
    progress.documents += step.documents;
    if !step.last {
        let effects = vec![note(overlay, collection.id, Some(progress))];
        return Ok(Decision::Internal { effects, result: outcome::Result::Done(proto::Done::default()) });
    }
    let mut after = Collection::clone(&collection);
    if progress.offending == 0 {
        after.schema = after.next_schema.take();
    } else if let Some(next) = &mut after.next_schema {
        next.failed = true;
        (next.offenders, next.offending) = (progress.offenders, progress.offending);
    }
    let effects = vec![note(overlay, after.id, None)];
    indexes::changed(overlay, after, Vec::new(), effects)
}

/// Why a document does not fit, if it is still as it was seen: whoever has changed it since had to fit the schema.
fn offender(
    overlay: &Overlay,
    collection: u32,
    schema: &Schema,
    seen: &proto::SeenDocument,
) -> Result<Option<Offender>, Stop> {
    let document = overlay.document(collection, &seen.id)?;
    let Some(document) = document.filter(|document| document.revision == seen.revision) else { return Ok(None) };
    let violation = match schema.first_violation_of(&document.body) {
        Ok(violation) => violation,
        Err(message) => Some(proto::Violation { message, ..proto::Violation::default() }),
    };
    Ok(violation.map(|violation| Offender { id: seen.id.clone(), violation: Some(violation) }))
}

/// How far the check has come; `None`: it has ended.
fn note(overlay: &mut Overlay, collection_id: u32, progress: Option<WalkProgress>) -> Effect {
    overlay.stage_progress(collection_id, SCHEMA_WALK, progress.clone().unwrap_or_default());
    let step = proto::IndexStep { collection_id, index_id: SCHEMA_WALK, documents: Vec::new(), progress };
    Effect { kind: Some(Kind::IndexStep(step)) }
}
