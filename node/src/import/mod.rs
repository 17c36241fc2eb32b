//! `aerodb import`: the records of a file become the documents of a collection.
//!
//! A reader thread turns the file into batches (`reader`, `source`), this task sends them one after the other
//! (`sender`), and what was done is kept in a small file (`progress`), so that an import that was stopped goes on where
//! it was. Each batch has an idempotency key that follows from the file and the place in it (`identity`), so that
//! sending it twice inserts it once.

mod fallback;
mod identity;
mod options;
mod progress;
mod reader;
mod report;
mod sender;
mod source;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aerodb_records::Position;
use tokio_util::sync::CancellationToken;

use crate::client::Call;
use crate::commands::random_key;
use crate::exit::Advice;
use crate::output::Output;
pub(crate) use options::ImportCommand;
use options::Input;
use progress::Progress;
use reader::Piece;
use report::Report;
use sender::Sender;

/// Imports a file.
pub(crate) async fn run(command: ImportCommand, output: Output) -> anyhow::Result<()> {
    let client = command.connect.patient_client()?;
    let input = Input::open(&command)?;
    if command.create {
        create_collection(&client, &command.collection).await?;
    }
    let target = identity::target(&client, &command.collection).await?;
    let (progress, identity) = Progress::open(&input, &target, &command)?;
    let start = progress.position().clone();
    if start.offset > 0 {
        output.aside(format!("going on at line {} (--restart begins anew)", start.line));
    }
    let report = Report::start(output, &input, &start);
    let stop = stop_on_signal(output);
    let mut pieces = reader::start(&input, &command, start)?;
    let mut sender =
        Sender { client: &client, command: &command, identity, progress, report, revision_before: target.revision };
    loop {
        let piece = tokio::select! {
            piece = pieces.recv() => piece,
            () = stop.cancelled() => return sender.interrupted(),
        };
        let done = match piece {
            None => return sender.finish(),
            Some(Piece::Fatal { line, why }) => return sender.broken(line, &why),
            Some(Piece::Bad(record)) => sender.bad_record(&record),
            Some(Piece::Batch(batch)) => tokio::select! {
                done = sender.send(&batch) => done,
                // What is in flight may or may not be done; its key makes sure that it is done once.
                () = stop.cancelled() => return sender.interrupted(),
            },
        };
        if let Err(error) = done {
            return sender.stopped(error);
        }
    }
}

async fn create_collection(client: &crate::client::Client, name: &str) -> anyhow::Result<()> {
    let call =
        Call::post("/admin/collections").json(&serde_json::json!({ "name": name }))?.idempotency_key(random_key());
    match client.send(&call).await {
        Ok(_) => Ok(()),
        Err(error) if error.problem().is_some_and(|problem| problem.status == 409) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The first Ctrl-C stops between two batches, the second at once.
fn stop_on_signal(output: Output) -> CancellationToken {
    let stop = CancellationToken::new();
    let cancel = stop.clone();
    let asked = Arc::new(AtomicBool::new(false));
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            if asked.swap(true, Ordering::Relaxed) {
                std::process::exit(crate::exit::Exit::Failed as i32);
            }
            output.aside("stopping …");
            cancel.cancel();
        }
    });
    stop
}

/// The error of an import that stopped before its end.
fn stopped_at(position: &Position, resumable: bool, why: String) -> Advice {
    let remedy = if resumable {
        "run the same command again to go on from there, or with --restart to begin anew"
    } else {
        "standard input cannot be continued; import from a file to be able to"
    };
    Advice::failed(format!("the import stopped at line {}", position.line)).why(why).remedy(remedy)
}

#[cfg(test)]
mod tests;
