//! `aerodb export`: a collection as a file, all of it at one revision. What was written before an interruption is kept
//! beside the file (`file`, `progress`), and the same command goes on with it.

mod csv;
mod file;
mod format;
mod progress;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::{Call, Client, ConnectArgs, segment};
use crate::commands::question;
use crate::exit::Advice;
use crate::output::Output;
use crate::units;
use file::{Paths, Target};
use format::{Format, Writer};
use progress::{Place, Progress, Settings, Written};

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
    /// The file; it appears once it is whole, and the same command goes on with one that was interrupted
    /// [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Begin anew instead of going on with what an interrupted export left
    #[arg(long)]
    restart: bool,
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
    command.filter.as_deref().map(question::filter).transpose()?;
    let client = command.connect.patient_client()?;
    let begun = Instant::now();
    let settings = Settings::of(&command);
    let paths = Paths::of(command.out.as_deref());
    let earlier = match &paths {
        Some(paths) if !command.restart => progress::earlier(paths, &settings)?,
        _ => None,
    };
    let resumed = earlier.is_some();
    let (mut place, page) = match earlier {
        Some(place) => (place, None),
        None => {
            // Nothing is made before it is answered: an error of the first request leaves no file behind.
            let page = fetch(&client, &command, None).await?;
            let (revision, count) = (page.revision, page.count);
            (Place { revision, count, cursor: None, written: Written::default() }, Some(page))
        }
    };
    if resumed {
        let (done, at) = (units::plural(place.written.documents, "document"), place.revision.unwrap_or_default());
        output.aside(format!("going on after {done}, at revision {at} (--restart begins anew)"));
    }
    let target = match (&paths, command.format) {
        (Some(paths), _) => Target::part(paths, place.written.bytes)?,
        (None, Format::Csv) => Target::unnamed()?,
        (None, Format::Jsonl | Format::Json) => Target::stdout(),
    };
    let mut writer = Writer::new(command.format, target, place.written.clone());
    let mut progress = Progress::new(paths.clone(), settings);
    let bar = bar(output, &place);
    let walked = walk(&client, &command, page, &mut place, &mut writer, &mut progress, &bar).await;
    bar.finish_and_clear();
    let walked = walked.and_then(|()| progress.save(&mut writer, &place));
    if let Err(error) = walked {
        return Err(left(&place, writer, progress, error));
    }
    writer.finish(paths.as_ref())?;
    summary(&command, &place, resumed, begun.elapsed(), output)
}

/// Reads page after page from `place` on and writes them. `place` is behind the last page that was written as a whole.
async fn walk(
    client: &Client,
    command: &ExportCommand,
    mut page: Option<Page>,
    place: &mut Place,
    writer: &mut Writer,
    progress: &mut Progress,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let stop = interrupted(progress.is_resumable());
    tokio::pin!(stop);
    loop {
        let now = match (page.take(), place.cursor.clone()) {
            (Some(page), _) => page,
            (None, None) => return Ok(()),
            (None, Some(cursor)) => tokio::select! {
                page = fetch(client, command, Some(cursor)) => page.map_err(|error| gone(error, place))?,
                () = &mut stop => return Err(Advice::failed("the export was interrupted").into()),
            },
        };
        if now.revision != place.revision {
            anyhow::bail!(
                "the pages of the answer are of different revisions: {:?} and {:?}",
                place.revision,
                now.revision
            );
        }
        for document in &now.items {
            writer.write(document)?;
        }
        place.written = writer.written().clone();
        place.cursor = now.next_cursor;
        bar.set_position(place.written.documents);
        progress.note(writer, place)?;
        if place.cursor.is_none() {
            return Ok(());
        }
    }
}

/// Returns once somebody presses Ctrl-C. Where nothing could be kept for later, the process simply ends by it.
async fn interrupted(resumable: bool) {
    if !resumable || tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The error of a page behind the first one. A cursor that is not good any more will never be.
fn gone(error: anyhow::Error, place: &Place) -> anyhow::Error {
    let problem = error.downcast_ref::<crate::client::Error>().and_then(crate::client::Error::problem);
    let Some(problem) = problem.filter(|problem| matches!(problem.code().as_str(), "compacted" | "invalid_cursor"))
    else {
        return error;
    };
    let at = place.revision.unwrap_or_default();
    Advice::failed(format!("the export cannot be finished at revision {at}: it must begin anew"))
        .why(problem.reason())
        .remedy("use --restart; a collection that takes long to export needs a longer history (`collection create --history`)")
        .into()
}

/// What is said of an export that stopped before its end.
fn left(place: &Place, mut writer: Writer, mut progress: Progress, error: anyhow::Error) -> anyhow::Error {
    let final_word = error.downcast_ref::<Advice>().is_some_and(Advice::has_remedy);
    // Where it cannot be kept how far the export is (a full disk), what was kept before still holds.
    if !progress.is_resumable() || progress.save(&mut writer, place).is_err() || final_word {
        return error;
    }
    let done = units::plural(place.written.documents, "document");
    Advice::failed(format!("the export stopped after {done}"))
        .why(error.to_string().replace('\n', "\n       "))
        .remedy("run the same command again to go on from there, or with --restart to begin anew")
        .with_exit(crate::exit::code_of(&error))
        .into()
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
    place: &Place,
    resumed: bool,
    took: Duration,
    output: Output,
) -> anyhow::Result<()> {
    let (documents, revision) = (place.written.documents, place.revision);
    let value = serde_json::json!({
        "collection": command.collection, "documents": documents, "revision": revision, "file": command.out,
        "resumed": resumed, "seconds": took.as_secs_f64(),
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

fn bar(output: Output, place: &Place) -> ProgressBar {
    if !output.shows_progress() {
        return ProgressBar::hidden();
    }
    let target = ProgressDrawTarget::stderr_with_hz(10);
    let template = if place.count.is_some() {
        "{bar:30} {percent:>3} %  {pos} documents  {per_sec}  {eta} left"
    } else {
        "{spinner} {pos} documents  {per_sec}"
    };
    let bar = ProgressBar::with_draw_target(place.count, target);
    // A template that does not parse leaves the plain bar.
    let bar = bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_position(place.written.documents);
    bar.reset_eta();
    bar
}

#[cfg(test)]
mod tests;
