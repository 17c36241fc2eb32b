//! `aerodb collection list | create | describe | stats | drop`.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Value, json};

use super::{items, random_key, stats};
use crate::client::{Call, ConnectArgs, segment};
use crate::exit::Advice;
use crate::output::{Align, Output, Table, cell};
use crate::units;

/// What can be done with collections.
#[derive(Debug, Subcommand)]
pub(crate) enum CollectionCommand {
    /// List the collections
    List {
        #[command(flatten)]
        connect: ConnectArgs,
    },
    /// Create a collection
    Create(CreateCommand),
    /// Show what a collection is and how much is in it
    Describe {
        /// The name of the collection
        collection: String,
        #[command(flatten)]
        connect: ConnectArgs,
    },
    /// Show how much a collection holds, and its indexes
    Stats {
        /// The name of the collection
        collection: String,
        #[command(flatten)]
        connect: ConnectArgs,
    },
    /// Remove a collection with all its documents
    Drop(DropCommand),
}

/// The collection to create.
#[derive(Debug, Args)]
pub(crate) struct CreateCommand {
    /// The name of the collection
    collection: String,
    /// How long earlier versions and changes are kept, such as 10m or 7d [default: the cluster's own, one hour]
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    history: Option<Duration>,
    /// How many revisions back they are kept, at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    history_revisions: Option<u64>,
    /// How many bytes of them are kept, at most
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    history_bytes: Option<u64>,
    /// A field that holds ids of documents of a collection, and what happens when one is deleted: author_id:users:cascade
    /// (repeatable)
    #[arg(long = "reference", value_name = "FIELD:COLLECTION[:restrict|cascade|set_null]", value_parser = reference)]
    references: Vec<Reference>,
    /// Refuse queries that no index bounds, so that none looks at every document
    #[arg(long)]
    no_full_scans: bool,
    /// Be content if the collection is there already
    #[arg(long)]
    if_not_exists: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// A reference to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Reference {
    field: String,
    collection: String,
    on_delete: &'static str,
}

/// Reads `author_id:users:cascade`. A path may have colons in it, a collection's name has none.
fn reference(text: &str) -> Result<Reference, String> {
    let (rest, on_delete) = match text.rsplit_once(':') {
        Some((rest, "restrict")) => (rest, "restrict"),
        Some((rest, "cascade")) => (rest, "cascade"),
        Some((rest, "set_null")) => (rest, "set_null"),
        _ => (text, "restrict"),
    };
    match rest.rsplit_once(':') {
        Some((field, collection)) if !field.is_empty() && !collection.is_empty() => {
            Ok(Reference { field: field.to_owned(), collection: collection.to_owned(), on_delete })
        }
        _ => Err("write the field and the collection that it leads to, such as author_id:users".to_owned()),
    }
}

/// The collection to drop.
#[derive(Debug, Args)]
pub(crate) struct DropCommand {
    /// The name of the collection
    collection: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Does what was asked.
pub(crate) async fn run(command: CollectionCommand, output: Output) -> anyhow::Result<()> {
    match command {
        CollectionCommand::List { connect } => {
            let answer: Value = connect.client()?.send(&Call::get("/admin/collections")).await?.json()?;
            Ok(output.result(&answer, || list(items(&answer, "collections")))?)
        }
        CollectionCommand::Create(command) => create(command, output).await,
        CollectionCommand::Describe { collection, connect } => {
            let client = connect.client()?;
            let mut answer: Value = client.send(&Call::get(path(&collection))).await?.json()?;
            match client.send(&Call::get(format!("{}/stats", path(&collection)))).await {
                Ok(stats) => merge(&mut answer, stats.json()?),
                // What the collection is can be said without.
                Err(error) => output.note(format!("its documents could not be counted: {error}")),
            }
            Ok(output.result(&answer, || describe(&answer))?)
        }
        CollectionCommand::Stats { collection, connect } => {
            let client = connect.client()?;
            stats::run(&client, &collection, output).await
        }
        CollectionCommand::Drop(command) => drop(command, output).await,
    }
}

async fn create(command: CreateCommand, output: Output) -> anyhow::Result<()> {
    let mut body = json!({ "name": command.collection });
    if let Some(history) = command.history {
        body["history"] = json!({ "retention_seconds": history.as_secs() });
    }
    for (name, bound) in [("revisions_max", command.history_revisions), ("bytes_max", command.history_bytes)] {
        if let Some(bound) = bound {
            body["history"][name] = json!(bound);
        }
    }
    if command.no_full_scans {
        body["full_scans"] = json!(false);
    }
    if !command.references.is_empty() {
        body["references"] = json!(command.references);
    }
    let call = Call::post("/admin/collections").json(&body)?.idempotency_key(random_key());
    match command.connect.client()?.send(&call).await {
        Ok(answer) => {
            let created: Value = answer.json()?;
            Ok(output.result(&created, || format!("created collection {}", command.collection))?)
        }
        Err(error) if command.if_not_exists && error.problem().is_some_and(|problem| problem.status == 409) => {
            let value = json!({"name": command.collection, "existed": true});
            Ok(output.result(&value, || format!("collection {} was there already", command.collection))?)
        }
        Err(error) => Err(error.into()),
    }
}

async fn drop(command: DropCommand, output: Output) -> anyhow::Result<()> {
    let name = &command.collection;
    if !command.yes && !output.confirm(&format!("Drop collection {name} with all its documents?"))? {
        return Err(Advice::usage(format!("collection {name} was not dropped"))
            .why("it was not confirmed")
            .remedy("answer y, or give --yes")
            .into());
    }
    let answer = command.connect.client()?.send(&Call::delete(path(name)).idempotency_key(random_key())).await?;
    let value = json!({"dropped": name, "revision": answer.revision});
    Ok(output.result(&value, || format!("dropped collection {name}"))?)
}

fn path(collection: &str) -> String {
    format!("/admin/collections/{}", segment(collection))
}

/// Adds the figures of a collection to its description.
fn merge(description: &mut Value, figures: Value) {
    if let (Value::Object(description), Value::Object(figures)) = (description, figures) {
        description.extend(figures);
    }
}

fn list(collections: &[Value]) -> String {
    let mut table = Table::new([("name", Align::Left), ("history", Align::Right), ("created", Align::Left)]);
    for collection in collections {
        table.row([
            cell(collection.get("name")),
            collection["history"]["retention_seconds"].as_u64().map(kept).unwrap_or_default(),
            cell(collection.get("created_at")),
        ]);
    }
    table.to_string()
}

/// For how long history is kept.
fn kept(seconds: u64) -> String {
    match seconds {
        s if s % 86_400 == 0 => format!("{} d", s / 86_400),
        s if s % 3_600 == 0 => format!("{} h", s / 3_600),
        s if s % 60 == 0 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

/// Every member of a description on its own line; what has members itself as JSON.
fn describe(collection: &Value) -> String {
    let mut table = Table::new([("property", Align::Left), ("value", Align::Left)]);
    for (name, value) in collection.as_object().into_iter().flatten() {
        table.row([name.clone(), cell(Some(value))]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_either_shape() {
        let answer = json!({"items":[{"name":"notes","history":{"retention_seconds":7200},"created_at":"2026-01-02"}]});
        assert_eq!(list(items(&answer, "collections")), "NAME   HISTORY  CREATED\nnotes      2 h  2026-01-02");
        assert_eq!(items(&json!([1]), "x").len(), 1);
        assert_eq!(items(&json!({"collections":[1]}), "collections").len(), 1);
        assert_eq!(items(&json!({"other":1}), "collections").len(), 0);
    }

    #[test]
    fn references_are_read() {
        let read = |text: &str| reference(text).map(|read| (read.field, read.collection, read.on_delete));
        let is = |field: &str, collection: &str, on_delete| Ok((field.to_owned(), collection.to_owned(), on_delete));
        assert_eq!(read("author_id:users"), is("author_id", "users", "restrict"));
        assert_eq!(read("a.b:users:set_null"), is("a.b", "users", "set_null"));
        assert_eq!(read("a:b:users:cascade"), is("a:b", "users", "cascade"));
        for text in ["author_id", ":users", "a:", "a:cascade", ""] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_description_has_the_figures_too() {
        let mut description = json!({"name":"notes","history":{"retention_seconds":90}});
        merge(&mut description, json!({"documents":3,"bytes":120}));
        let text = describe(&description);
        assert!(text.contains("documents  3") && text.contains("bytes      120"), "{text}");
    }
}
