//! Transactions: operations on any documents, all of them or none, at one revision.
//!
//! A caller that read at some revision and writes what follows from it names that revision: if no document that the
//! transaction names has changed since, it is as if everything had been read now (optimistic concurrency control by
//! validation at commit; Kung and Robinson, 1981).

use aerodb_proto as proto;
use proto::operation::Action;
use proto::{DocumentRef, NewDocument, Operated, Operation, Refusal, Transaction, outcome};

use super::change::Change;
use super::documents::{CREATE_IT, Stop, Target, Writer};
use super::{Decision, references, refusal};
use crate::error::Error;
use crate::planted;
use crate::state::record::Past;
use crate::state::{self, HISTORY, keys};

pub(super) fn transact(writer: &mut Writer<'_>, transaction: &Transaction) -> Result<Decision, Stop> {
    let (read_revision, max) = (transaction.read_revision, writer.limits.transaction_bytes_max);
    if read_revision >= writer.place.revision {
        let detail = format!("read_revision is {read_revision}, and the cluster is at {}", writer.place.revision - 1);
        return Err(refusal("revision_ahead", detail).into());
    }
    let mut operations = Vec::with_capacity(transaction.operations.len());
    let mut bytes = 0;
    for (index, operation) in transaction.operations.iter().enumerate() {
        let operated = operate(writer, operation, read_revision).map_err(|stop| named(stop, operation).at(index))?;
        bytes += operated.document.as_ref().map_or(0, |document| document.body.len());
        if bytes > max || writer.overlay.staged_bytes() > 2 * max {
            let detail = format!("the documents that it reads and writes take more than {max} bytes: split it");
            return Err(Stop::from(refusal("too_large", detail)).at(index));
        }
        operations.push(operated);
    }
    let place = |stop: Stop| stop.place(|id| transaction.operations.iter().rposition(|operation| operation.id == id));
    references::settle(writer).map_err(place)?;
    for (operation, operated) in transaction.operations.iter().zip(&mut operations) {
        as_it_ends(writer, &operation.id, operated)?;
    }
    writer.finish(outcome::Result::Transacted(proto::Transacted { operations })).map_err(place)
}

/// What a transaction has written is answered as it leaves it: that is what its revision stands for, and what a repeated
/// request finds.
fn as_it_ends(writer: &Writer<'_>, id: &str, operated: &mut Operated) -> Result<(), Error> {
    if operated.document.as_ref().is_some_and(|document| document.revision == writer.place.revision) {
        let left = writer.overlay.document(operated.collection_id, id)?;
        operated.document =
            left.map(|left| DocumentRef { id: id.to_owned(), revision: left.revision, body: left.body });
    }
    Ok(())
}

fn operate(writer: &mut Writer<'_>, operation: &Operation, read_revision: u64) -> Result<Operated, Stop> {
    let to = Target::of(writer.overlay, &operation.collection, CREATE_IT)?;
    let (id, preconditions) = (&operation.id, &operation.preconditions[..]);
    if read_revision != 0 && !planted!("read-revision-ignored") {
        check_unchanged(writer, &to, id, read_revision)?;
    }
    let find = |writer: &Writer<'_>| writer.overlay.document(to.id, id);
    let written = match &operation.action {
        Some(Action::Insert(fields)) => {
            writer.check(&to, id, preconditions, find(writer)?.as_ref())?;
            writer.insert(&to, &NewDocument { id: id.clone(), fields: fields.clone() })?
        }
        Some(Action::Put(fields)) => {
            writer.put(&to, &NewDocument { id: id.clone(), fields: fields.clone() }, preconditions)?
        }
        Some(Action::Patch(patch)) => writer.patch(&to, id, &Change::parse(patch, writer.limits)?, preconditions)?,
        Some(Action::Delete(_)) => {
            writer.delete(&to, id, preconditions)?;
            return Ok(Operated { collection_id: to.id, document: None, created: false });
        }
        Some(Action::Get(_)) => {
            let found = find(writer)?;
            writer.check(&to, id, preconditions, found.as_ref())?;
            let document =
                found.map(|found| DocumentRef { id: id.clone(), revision: found.revision, body: found.body });
            return Ok(Operated { collection_id: to.id, document, created: false });
        }
        None => return Err(refusal("unknown_operation", "this version does not know the operation").into()),
    };
    Ok(Operated { collection_id: to.id, document: Some(written.reference), created: written.created })
}

/// In a transaction, whatever stands in the way of one operation is in conflict with what its caller knew.
fn named(stop: Stop, operation: &Operation) -> Stop {
    match stop {
        Stop::Refused(refusal) => Stop::Refused(Refusal {
            code: if refusal.code == "precondition_failed" { "conflict".to_owned() } else { refusal.code },
            document_id: operation.id.clone(),
            ..refusal
        }),
        failed @ Stop::Failed(_) => failed,
    }
}

/// A refusal unless the document is, before the transaction, what it was at `read_revision`.
fn check_unchanged(writer: &Writer<'_>, to: &Target, id: &str, read_revision: u64) -> Result<(), Stop> {
    let changed = match writer.overlay.base(to.id, id)? {
        Some(document) => document.revision > read_revision,
        None => match writer.overlay.pending_deletion(to.id, id) {
            Some(deleted) => deleted > read_revision,
            None => was_there(writer, to.id, id, read_revision)?,
        },
    };
    if !changed {
        return Ok(());
    }
    let detail = format!("the document {id:?} of {:?} has changed since revision {read_revision}", to.name);
    Err(refusal("conflict", detail).into())
}

/// Whether a document that is not there now was there at `revision`, or since.
fn was_there(writer: &Writer<'_>, collection: u32, id: &str, revision: u64) -> Result<bool, Stop> {
    let snapshot = writer.overlay.snapshot();
    let watermark = state::watermark(&*snapshot, collection)?;
    if revision < watermark {
        let detail = format!("revisions before {watermark} are no longer kept: read again");
        return Err(refusal("compacted", detail).into());
    }
    let (from, to) = (keys::history_of(collection, id.as_bytes()), keys::history_end(collection, id.as_bytes()));
    let newest =
        snapshot.scan(HISTORY, &from, &to, false).next().map_err(Error::from)?.map(|(_, value)| value.to_vec());
    let until = newest.map(|value| Past::decode_to(&value)).transpose().map_err(Error::from)?;
    Ok(until.is_some_and(|until| until > revision))
}
