//! Collections, and the first command of a cluster.

use aerodb_proto as proto;
use proto::{Collection, Effect, effect::Kind, outcome};

use super::documents::{self, Place, Stop, Target, Writer};
use super::overlay::Overlay;
use super::{Decision, references, refusal, schema};
use crate::catalog::{API_KEYS, API_KEYS_NAME, is_system};
use crate::limits::Limits;

pub(super) fn create(
    overlay: &mut Overlay,
    create: &proto::CreateCollection,
    place: Place,
    limits: &Limits,
) -> Result<Decision, Stop> {
    if overlay.catalog().get(&create.name).is_some() {
        let detail = format!("there is a collection called {:?} already", create.name);
        return Err(refusal("collection_exists", detail).into());
    }
    if overlay.catalog().len() >= limits.collections_max {
        let detail = format!("a cluster has at most {} collections: drop one first", limits.collections_max);
        return Err(refusal("too_many_collections", detail).into());
    }
    let id = overlay.next_collection_id();
    let mut collection = Collection {
        id,
        name: create.name.clone(),
        created_revision: place.revision,
        created_ms: place.time_ms,
        history_retention_seconds: match create.history_retention_seconds {
            0 => limits.history_seconds_default,
            seconds => seconds,
        },
        history_revisions_max: create.history_revisions_max,
        history_bytes_max: create.history_bytes_max,
        full_scans_forbidden: create.full_scans_forbidden,
        schema: create.schema.as_ref().map(|schema| Box::new(schema::first(schema, place))),
        schema_version: if create.schema.is_some() { place.revision } else { 0 },
        ..Collection::default()
    };
    references::first(overlay, &mut collection, &create.references, place, limits)?;
    overlay.take_collection_id();
    changed(overlay, collection)
}

fn changed(overlay: &mut Overlay, collection: Collection) -> Result<Decision, Stop> {
    overlay.catalog_mut().insert(collection.clone())?;
    let info = proto::CollectionInfo { collection: Some(collection.clone()) };
    Ok(Decision::Change {
        effects: vec![Effect { kind: Some(Kind::CreateCollection(collection)) }],
        result: outcome::Result::Collection(info),
    })
}

pub(super) fn drop(overlay: &mut Overlay, drop: &proto::DropCollection) -> Result<Decision, Stop> {
    // Without its keys a cluster would take no command any more.
    let Some(collection) = overlay.catalog().get(&drop.name).filter(|_| !is_system(&drop.name)).cloned() else {
        return Err(documents::no_collection(&drop.name, "nothing was dropped").into());
    };
    if let Some((referrer, index)) =
        overlay.catalog().referrers(collection.id).iter().find(|(of, _)| *of != collection.id)
    {
        let by = overlay.catalog().by_id(*referrer).map_or("", |referrer| &referrer.name);
        let detail = format!("{:?} refers to {:?} at {:?}: drop that reference first", by, drop.name, index.path());
        return Err(refusal("collection_referenced", detail).into());
    }
    overlay.catalog_mut().remove(&drop.name);
    let effect = proto::DropCollectionEffect { collection_id: collection.id, name: drop.name.clone() };
    Ok(Decision::Change {
        effects: vec![Effect { kind: Some(Kind::DropCollection(effect)) }],
        result: outcome::Result::Done(proto::Done::default()),
    })
}

/// Gives the cluster its identity and its first service key; does nothing when it has them.
pub(super) fn bootstrap(writer: &mut Writer<'_>, bootstrap: &proto::Bootstrap) -> Result<Decision, Stop> {
    let Writer { overlay, place, .. } = writer;
    if overlay.bootstrapped() {
        let revision = place.revision - 1;
        return Ok(Decision::Noop { revision, result: outcome::Result::Done(proto::Done::default()) });
    }
    overlay.set_bootstrapped();
    let identity = proto::Identity { cluster_id: bootstrap.cluster_id.clone(), secret: bootstrap.secret.clone() };
    let collection = Collection {
        id: overlay.take_collection_id().max(API_KEYS),
        name: API_KEYS_NAME.to_owned(),
        created_revision: place.revision,
        created_ms: place.time_ms,
        ..Collection::default()
    };
    overlay.catalog_mut().insert(collection.clone())?;
    let to = Target::from(&collection);
    let mut effects = vec![
        Effect { kind: Some(Kind::Identity(identity)) },
        Effect { kind: Some(Kind::CreateCollection(collection)) },
    ];
    if let Some(key) = &bootstrap.service_key {
        writer.write(&to, key, None)?;
        effects.extend(writer.overlay.staged_effects()?);
    }
    Ok(Decision::Change { effects, result: outcome::Result::Done(proto::Done::default()) })
}
