//! How a collection comes to its references. Each is an index, whose build looks whether the documents that are there refer to
//! what is there; from its creation on it binds whatever is written.

use aerodb_proto as proto;
use proto::{Collection, IndexState, NewReference, Refusal};

use crate::catalog::is_system;
use crate::decide::documents::{CREATE_IT, Place, no_collection};
use crate::decide::overlay::Overlay;
use crate::decide::refusal;
use crate::limits::Limits;

/// What the names of references' indexes begin with: no index of an owner's has such a name.
const NAME_PREFIX: &str = "_ref_";
/// Characters of the field in a name.
const NAME_FIELD_MAX: usize = 48;

/// Gives a new collection its references. It has no documents, so they are ready at once.
pub(in crate::decide) fn first(
    overlay: &Overlay,
    collection: &mut Collection,
    wanted: &[NewReference],
    place: Place,
    limits: &Limits,
) -> Result<(), Refusal> {
    let resolved = resolve(overlay, collection, wanted, limits)?;
    for (field, reference) in resolved {
        add(collection, field, reference, place);
    }
    for index in &mut collection.indexes {
        index.state = IndexState::Ready.into();
        index.ready_revision = place.revision;
    }
    check_bounds(collection, limits)
}

/// Gives a collection these references in the place of those that it has; returns the ids of the indexes that go. What stays
/// the same stays, and a change of what happens at deletions needs no new look at the documents. One that failed is tried anew.
pub(in crate::decide) fn replace(
    overlay: &Overlay,
    collection: &mut Collection,
    wanted: &[NewReference],
    place: Place,
    limits: &Limits,
) -> Result<Vec<u32>, Refusal> {
    let mut wanted = resolve(overlay, collection, wanted, limits)?;
    let mut gone = Vec::new();
    collection.indexes.retain_mut(|index| {
        let failed = index.state() == IndexState::Failed;
        let Some(current) = &mut index.reference else { return true };
        let path = index.fields.first().map_or("", |field| &field.path);
        let stays = wanted.iter().position(|(field, reference)| {
            field == path && reference.collection_id == current.collection_id && !failed
        });
        match stays {
            Some(at) => {
                current.on_delete = wanted.remove(at).1.on_delete;
                true
            }
            None => {
                gone.push(index.id);
                false
            }
        }
    });
    for (field, reference) in wanted {
        add(collection, field, reference, place);
    }
    check_bounds(collection, limits)?;
    Ok(gone)
}

/// The fields and where their ids lead.
fn resolve(
    overlay: &Overlay,
    collection: &Collection,
    wanted: &[NewReference],
    limits: &Limits,
) -> Result<Vec<(String, proto::Reference)>, Refusal> {
    let max = limits.references_max;
    if wanted.len() > max {
        let detail = format!("a collection has at most {max} references");
        return Err(refusal("too_many_references", detail));
    }
    let mut resolved: Vec<(String, proto::Reference)> = Vec::with_capacity(wanted.len());
    for new in wanted {
        let collection_id = match overlay.catalog().get(&new.collection).filter(|found| !is_system(&found.name)) {
            // It may be on its way.
            _ if new.collection == collection.name => collection.id,
            Some(found) => found.id,
            None => {
                let so = format!("{CREATE_IT}, then refer to it at {:?}", new.field);
                return Err(no_collection(&new.collection, &so));
            }
        };
        let others = overlay.catalog().referrers(collection_id).iter().filter(|(of, _)| *of != collection.id).count();
        let own = resolved.iter().filter(|(_, reference)| reference.collection_id == collection_id).count();
        if others + own >= max {
            let detail = format!("at most {max} references lead to one collection, and {:?} has them", new.collection);
            return Err(refusal("too_many_references", detail));
        }
        let on_delete = new.on_delete;
        let reference = proto::Reference { collection_id, collection: new.collection.clone(), on_delete };
        resolved.push((new.field.clone(), reference));
    }
    Ok(resolved)
}

fn add(collection: &mut Collection, field: String, reference: proto::Reference, place: Place) {
    collection.next_index_id += 1;
    let index = proto::Index {
        id: collection.next_index_id,
        name: free_name(collection, &field),
        fields: vec![proto::IndexField { path: field, descending: false }],
        state: IndexState::Building.into(),
        created_revision: place.revision,
        reference: Some(reference),
        ..proto::Index::default()
    };
    collection.indexes.push(index);
}

/// A name that follows from the field and from what is there.
fn free_name(collection: &Collection, field: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
    let stem: String = field.chars().take(NAME_FIELD_MAX).map(plain).collect();
    let taken = |name: &String| collection.indexes.iter().any(|index| index.name == *name);
    let first = format!("{NAME_PREFIX}{stem}");
    let others = (2..).map(|number: u32| format!("{NAME_PREFIX}{stem}_{number}"));
    std::iter::once(first).chain(others).find(|name| !taken(name)).unwrap_or_default()
}

fn check_bounds(collection: &Collection, limits: &Limits) -> Result<(), Refusal> {
    if collection.indexes.len() > limits.indexes_max {
        let max = limits.indexes_max;
        let detail = format!("a collection has at most {max} indexes, and a reference is one: drop one first");
        return Err(refusal("too_many_indexes", detail));
    }
    Ok(())
}
