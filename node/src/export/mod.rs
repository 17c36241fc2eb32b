//! `aerodb export`: a collection as a file, all of it at one revision.

mod csv;
mod file;
mod format;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::{Call, Client, ConnectArgs, segment};
use crate::commands::query;
use crate::output::Output;
use crate::units;
use file::Target;
use format::{Format, Writer};

/// The largest page that a node gives.
const PAGE_DOCUMENTS: u32 = 1_000;

/// What `aerodb export` takes.
#[derive(Debug, Args)]
pub(crate) struct ExportCommand {
    /// The collection
    collection: String,
    /// The form of the file
    #[arg(long, short, value_enum, default_value = "jsonl")]
    format: Format,
    /// The file; it appears once it is whole [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Only documents that match, such as '{"age": {"$gte": 21}}'
    #[arg(long, value_name = "JSON")]
    filter: Option<String>,
    /// Only these fields: a,b.c
    #[arg(long, value_name = "FIELDS")]
    select: Option<String>,
    /// As the collection was at a revision
    #[arg(long, value_name = "REVISION")]
    as_of: Option<u64>,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// A page as it comes. Documents stay as they are written.
#[derive(Deserialize)]
struct Page {
    items: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
    revision: Option<u64>,
    count: Option<u64>,
}

/// Exports a collection.
pub(crate) async fn run(command: ExportCommand, output: Output) -> anyhow::Result<()> {
    query::check_filter(command.filter.as_deref())?;
    let client = command.connect.patient_client()?;
    let begun = Instant::now();
    let mut page = fetch(&client, &command, None).await?;
    let revision = page.revision;
    // Made only now: an error of the first request leaves no file behind.
    let target = Target::open(command.out.as_deref())?;
    let mut writer = Writer::new(command.format, target)?;
    let bar = bar(output, page.count);
    let mut documents = 0;
    loop {
        for document in &page.items {
            writer.write(document)?;
        }
        documents += page.items.len() as u64;
        bar.set_position(documents);
        let Some(cursor) = page.next_cursor.take() else { break };
        page = fetch(&client, &command, Some(cursor)).await?;
        if page.revision != revision {
            anyhow::bail!("the pages of the answer are of different revisions: {revision:?} and {:?}", page.revision);
        }
    }
    writer.finish()?.commit()?;
    bar.finish_and_clear();
    summary(&command, documents, revision, begun.elapsed(), output)
}

async fn fetch(client: &Client, command: &ExportCommand, cursor: Option<String>) -> anyhow::Result<Page> {
    let first = cursor.is_none();
    let call = Call::get(format!("/api/{}", segment(&command.collection)))
        .query("limit", PAGE_DOCUMENTS.to_string())
        .maybe_query("filter", command.filter.clone())
        .maybe_query("select", command.select.clone())
        .maybe_query("as_of", command.as_of.filter(|_| first).map(|revision| revision.to_string()))
        .maybe_query("count", first.then_some("exact"))
        .maybe_query("cursor", cursor);
    Ok(client.send(&call).await?.json()?)
}

/// The summary goes beside the data when the data itself is on standard output.
fn summary(
    command: &ExportCommand,
    documents: u64,
    revision: Option<u64>,
    took: Duration,
    output: Output,
) -> anyhow::Result<()> {
    let value = serde_json::json!({
        "collection": command.collection, "documents": documents, "revision": revision, "file": command.out,
        "seconds": took.as_secs_f64(),
    });
    let mut text = format!("exported {}", units::plural(documents, "document"));
    if let Some(revision) = revision {
        text.push_str(&format!(" at revision {revision}"));
    }
    match &command.out {
        Some(path) => output.result(&value, || format!("{text} to {}", path.display()))?,
        None if output.is_json() => output.note(value),
        None => output.note(text),
    }
    Ok(std::io::stdout().flush()?)
}

fn bar(output: Output, count: Option<u64>) -> ProgressBar {
    if !output.shows_progress() {
        return ProgressBar::hidden();
    }
    let target = ProgressDrawTarget::stderr_with_hz(10);
    let template = if count.is_some() {
        "{bar:30} {percent:>3} %  {pos} documents  {per_sec}  {eta} left"
    } else {
        "{spinner} {pos} documents  {per_sec}"
    };
    let bar = ProgressBar::with_draw_target(count, target);
    // A template that does not parse leaves the plain bar.
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests;
