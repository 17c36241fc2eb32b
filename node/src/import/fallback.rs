//! One record at a time: what is done with the records of a batch that was refused as a whole.

use std::collections::BTreeSet;

use aerodb_records::{Document, Record};

use super::identity::Identity;
use super::options::{ImportCommand, OnConflict, OnError};
use crate::client::{Answer, Call, Client, Error, segment};

/// How many records are under way at one time, where their order does not matter.
const AT_ONCE_MAX: usize = 16;

/// What became of a record.
pub(super) enum Outcome {
    /// It is a document now.
    Done(Answer),
    /// There was a document with its id, which stays.
    Skipped,
    /// It is bad, and this is why.
    Refused(String),
}

/// How many records of a batch may be under way at one time. Those behind a record that stops the import must not have
/// been sent, unless sending them again changes nothing; and of two with one id the later one must win.
pub(super) fn at_once_max(batch: &[Record], command: &ImportCommand) -> usize {
    let ids: Vec<&String> = batch.iter().filter_map(|record| record.content.as_ref().ok()?.id.as_ref()).collect();
    let all_have_ids = ids.len() == batch.len();
    let distinct = ids.iter().collect::<BTreeSet<_>>().len() == ids.len();
    let may_run_ahead = command.on_error == OnError::Skip || (all_have_ids && command.on_conflict != OnConflict::Error);
    if distinct && may_run_ahead { AT_ONCE_MAX } else { 1 }
}

/// Sends one record.
pub(super) async fn send(
    client: &Client,
    command: &ImportCommand,
    identity: &Identity,
    record: &Record,
) -> Result<Outcome, Error> {
    let document = match &record.content {
        Ok(document) => document,
        Err(why) => return Ok(Outcome::Refused(why.clone())),
    };
    let key = identity.key("record", record.start, record.next.offset);
    let call = call(&command.collection, command.on_conflict, document).idempotency_key(key);
    match client.send(&call).await {
        Ok(answer) => Ok(Outcome::Done(answer)),
        Err(error) => match error.problem() {
            // `If-None-Match: *` failed: there is a document with this id.
            Some(problem) if problem.status == 412 && command.on_conflict == OnConflict::Skip => Ok(Outcome::Skipped),
            // Whether this record is at fault or all of them are: the caller decides whether to go on.
            Some(problem) if matches!(problem.status, 400 | 409 | 412 | 413 | 422) => {
                Ok(Outcome::Refused(problem.reason()))
            }
            _ => Err(error),
        },
    }
}

/// The request for one record. With an id, a replacement says exactly what is to happen if the id is taken.
fn call(collection: &str, on_conflict: OnConflict, document: &Document) -> Call {
    let collection = format!("/api/{}", segment(collection));
    let call = match (&document.id, on_conflict) {
        (None, _) | (Some(_), OnConflict::Error) => Call::post(collection),
        (Some(id), OnConflict::Replace) => Call::put(format!("{collection}/{}", segment(id))),
        (Some(id), OnConflict::Skip) => Call::put(format!("{collection}/{}", segment(id))).header("if-none-match", "*"),
    };
    call.raw_json(document.json.clone())
}
