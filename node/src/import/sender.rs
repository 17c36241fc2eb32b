//! Sends batches, and falls back to single records where a batch is refused.

use aerodb_records::{Position, Record};

use super::fallback::{self, Outcome};
use super::identity::Identity;
use super::options::{ImportCommand, OnError};
use super::progress::Progress;
use super::report::Report;
use super::stopped_at;
use crate::client::{Answer, Call, Client, segment};
use crate::exit::{self, Advice, Exit};

/// The statuses that say that something is wrong with what was sent, so that its parts may fare better alone.
const REFUSALS_OF_CONTENT: [u16; 5] = [400, 409, 412, 413, 422];

/// The import while it runs.
pub(super) struct Sender<'a> {
    pub(super) client: &'a Client,
    pub(super) command: &'a ImportCommand,
    pub(super) identity: Identity,
    pub(super) progress: Progress,
    pub(super) report: Report,
    /// The cluster's revision before anything was sent.
    pub(super) revision_before: Option<u64>,
}

impl Sender<'_> {
    /// Sends a batch. When this returns well, all of it is dealt with.
    pub(super) async fn send(&mut self, batch: &[Record]) -> anyhow::Result<()> {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else {
            return Ok(());
        };
        let call = Call::post(format!("/api/{}", segment(&self.command.collection)))
            .raw_json(body(batch))
            .idempotency_key(self.identity.key("batch", first.start, last.next.offset));
        match self.client.send(&call).await {
            Ok(answer) => {
                self.count(&answer, batch.len() as u64);
                self.advance(last.next.clone());
                Ok(())
            }
            Err(error) if error.problem().is_some_and(|problem| REFUSALS_OF_CONTENT.contains(&problem.status)) => {
                self.send_each(batch).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Sends the records of a refused batch one by one, to find out which of them is to blame.
    async fn send_each(&mut self, batch: &[Record]) -> anyhow::Result<()> {
        use futures::StreamExt;
        let at_once = fallback::at_once_max(batch, self.command);
        let (client, command, identity) = (self.client, self.command, self.identity.clone());
        let outcomes = futures::stream::iter(batch).map(|record| {
            let identity = identity.clone();
            async move { (record, fallback::send(client, command, &identity, record).await) }
        });
        let mut outcomes = std::pin::pin!(outcomes.buffered(at_once));
        while let Some((record, outcome)) = outcomes.next().await {
            match outcome? {
                Outcome::Done(answer) => self.count(&answer, 1),
                Outcome::Skipped => self.report.skipped += 1,
                Outcome::Refused(why) => self.refused(record, &why)?,
            }
            self.advance(record.next.clone());
        }
        Ok(())
    }

    /// A record that cannot even be sent.
    pub(super) fn bad_record(&mut self, record: &Record) -> anyhow::Result<()> {
        if let Err(why) = &record.content {
            self.refused(record, why)?;
        }
        self.advance(record.next.clone());
        Ok(())
    }

    fn refused(&mut self, record: &Record, why: &str) -> anyhow::Result<()> {
        let goes_on = self.command.on_error == OnError::Skip;
        self.report.failed(record.line, why, goes_on);
        match self.command.on_error {
            OnError::Skip => Ok(()),
            // What it stopped at is said once, with the error.
            OnError::Stop => Err(BadRecord { line: record.line, why: why.to_owned() }.into()),
        }
    }

    fn count(&mut self, answer: &Answer, records: u64) {
        // A write has a revision above all earlier ones. Below that, the answer is the one that an earlier run got.
        let replayed = matches!((answer.revision, self.revision_before), (Some(now), Some(before)) if now <= before);
        if replayed {
            self.report.already_there += records;
        } else {
            self.report.imported += records;
            self.report.revision = self.report.revision.max(answer.revision);
        }
    }

    fn advance(&mut self, position: Position) {
        self.report.moved_to(&position);
        self.progress.advance(position);
    }

    /// The end of the file.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        self.progress.remove();
        self.report.finish(None)
    }

    /// Somebody pressed Ctrl-C.
    pub(super) fn interrupted(self) -> anyhow::Result<()> {
        self.leave("it was interrupted".to_owned(), Exit::Failed)
    }

    /// The file cannot be read on.
    pub(super) fn broken(self, line: u64, why: &str) -> anyhow::Result<()> {
        self.leave(format!("line {line}: {why}"), Exit::Failed)
    }

    /// Sending failed.
    pub(super) fn stopped(self, error: anyhow::Error) -> anyhow::Result<()> {
        let exit = exit::code_of(&error);
        if let Some(BadRecord { line, why }) = error.downcast_ref::<BadRecord>() {
            let why = format!("line {line}: {why}\n       (--on-error skip passes over bad records)");
            return self.leave(why, exit);
        }
        self.leave(error.to_string().replace('\n', "\n       "), exit)
    }

    fn leave(self, why: String, exit: Exit) -> anyhow::Result<()> {
        self.progress.save();
        let advice: Advice = stopped_at(self.progress.position(), self.progress.is_resumable(), why).with_exit(exit);
        self.report.finish(Some(advice))
    }
}

/// The record that an import stopped at.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {why}")]
struct BadRecord {
    line: u64,
    why: String,
}

fn body(batch: &[Record]) -> Vec<u8> {
    let documents = batch.iter().filter_map(|record| record.content.as_ref().ok());
    let mut body = vec![b'['];
    for document in documents {
        if body.len() > 1 {
            body.push(b',');
        }
        body.extend_from_slice(&document.json);
    }
    body.push(b']');
    body
}
