//! What becomes of documents that refer to one which is deleted: they go with it, or stand against it, or refer to nothing any
//! more, as each reference says. All of it is part of the command, at its revision.
//!
//! First all go that have to, until nothing follows from it any more: circles are no matter. Then nobody may be left who
//! stands against it; so a document that itself goes does not. Those that are to refer to nothing are written last, once each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aerodb_proto::{NewDocument, OnDelete, Refusal};

use super::{Settlement, name};
use crate::decide::documents::{Stop, Target, Writer, stored};
use crate::decide::refusal;
use crate::error::Error;
use crate::index::Index;
use crate::maps::DocKey;
use crate::prepare::fields_of;

/// What a document is to lose: ids, by the index of the reference.
type Losses = Vec<(Arc<Index>, BTreeSet<String>)>;

/// What is done about a document: its collection, the reference by which it refers, and its id.
type Visit<'v> = dyn FnMut(&mut Writer<'_>, u32, &Arc<Index>, &str) -> Result<(), Stop> + 'v;

impl Settlement {
    /// Deals with whoever refers to `deleted`, documents whose deletion is staged.
    ///
    /// # Errors
    /// When somebody stands against it, or too many documents would change.
    pub(in crate::decide) fn delete(&mut self, writer: &mut Writer<'_>, mut deleted: Vec<DocKey>) -> Result<(), Stop> {
        let mut at = 0;
        while let Some(target) = deleted.get(at).cloned() {
            at += 1;
            self.each_referrer(writer, &target, OnDelete::Cascade, &mut |writer, collection, _, id| {
                let found = writer.overlay.document(collection, id)?;
                writer.overlay.stage_document(collection, id, found, None);
                deleted.push((collection, id.to_owned()));
                within_bounds(writer)
            })?;
        }
        for target in &deleted {
            self.each_referrer(writer, target, OnDelete::Restrict, &mut |writer, collection, index, id| {
                let catalog = writer.overlay.catalog();
                let (of, by) = (name(catalog, target.0), name(catalog, collection));
                let detail = format!(
                    "the document {:?} of {of:?} cannot be deleted: the document {id:?} of {by:?} refers to it at {:?}",
                    target.1,
                    index.path()
                );
                Err(Stop::from(refusal("reference_violation", detail)).of_document(&target.1))
            })?;
        }
        let mut losses: BTreeMap<DocKey, Losses> = BTreeMap::new();
        for target in &deleted {
            self.each_referrer(writer, target, OnDelete::SetNull, &mut |writer, collection, index, id| {
                if losses.len() >= writer.limits.bulk_documents_max {
                    return Err(too_many(writer).into());
                }
                let losses = losses.entry((collection, id.to_owned())).or_default();
                let lost = target.1.clone();
                match losses.iter_mut().find(|(of, _)| of.definition.id == index.definition.id) {
                    Some((_, ids)) => drop(ids.insert(lost)),
                    None => losses.push((index.clone(), BTreeSet::from([lost]))),
                }
                Ok(())
            })?;
        }
        losses.into_iter().try_for_each(|(document, losses)| lose(writer, &document, &losses))
    }

    /// Hands over all who refer to `target` by references of this kind, in the order of collections, references and ids.
    fn each_referrer(
        &mut self,
        writer: &mut Writer<'_>,
        (collection, target): &DocKey,
        kind: OnDelete,
        found: &mut Visit<'_>,
    ) -> Result<(), Stop> {
        let leads_here = |(_, index): &&(u32, Arc<Index>)| index.reference().is_some_and(|it| it.on_delete() == kind);
        let references: Vec<_> =
            writer.overlay.catalog().referrers(*collection).iter().filter(leads_here).cloned().collect();
        let snapshot = self.snapshot.get_or_insert_with(|| writer.overlay.snapshot()).clone();
        for (referrer, index) in &references {
            self.count(writer.limits)?;
            let mut ids = writer.overlay.referrers(&*snapshot, &index.referrers_key(*referrer, target));
            while let Some(id) = ids.next()? {
                self.count(writer.limits)?;
                if self.refers(writer.overlay, (*referrer, index), &id, target)? {
                    found(writer, *referrer, index, &id)?;
                }
            }
        }
        Ok(())
    }
}

/// A document refers to nothing where it referred to what is gone: a write as any other, under the rules of its collection.
fn lose(writer: &mut Writer<'_>, (collection, id): &DocKey, losses: &Losses) -> Result<(), Stop> {
    let Some(existing) = writer.overlay.document(*collection, id)? else { return Ok(()) };
    let mut fields = fields_of(stored(&existing)?);
    losses.iter().for_each(|(index, ids)| index.take_out(&mut fields, ids));
    let of = writer.overlay.catalog().by_id(*collection).map(|collection| Target::from(&**collection));
    let to = of.ok_or_else(|| Error::Inconsistent(format!("the catalog lost the collection {collection}")))?;
    let document = NewDocument { id: id.clone(), fields: fields.to_bytes().into() };
    writer.write(&to, &document, Some(existing)).map_err(|stop| match stop {
        Stop::Refused(mut refusal) => {
            let lost = losses.first().map_or("", |(index, _)| index.path());
            refusal
                .detail
                .insert_str(0, &format!("{lost:?} of the document {id:?} of {:?} cannot be emptied: ", to.name));
            Stop::Refused(refusal)
        }
        failed @ Stop::Failed(_) => failed,
    })?;
    within_bounds(writer)
}

fn too_many(writer: &Writer<'_>) -> Refusal {
    let max = writer.limits.bulk_documents_max;
    let detail = format!(
        "with those that refer to what is deleted more than {max} documents would change: delete fewer at once"
    );
    refusal("too_large", detail)
}

/// A refusal when more would change than one command may.
fn within_bounds(writer: &Writer<'_>) -> Result<(), Stop> {
    let (max, bytes_max) = (writer.limits.bulk_documents_max, writer.limits.transaction_bytes_max);
    if writer.overlay.staged_count() > max {
        return Err(too_many(writer).into());
    }
    let detail = if writer.overlay.staged_bytes() > 2 * bytes_max {
        format!("the documents that refer to what is deleted take more than {bytes_max} bytes: delete fewer at once")
    } else {
        return Ok(());
    };
    Err(refusal("too_large", detail).into())
}
