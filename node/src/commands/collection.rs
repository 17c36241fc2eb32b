//! `aerodb collection list | create | describe | drop`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{items, random_key};
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
    /// Show what a collection is and what is in it
    #[command(visible_alias = "stats")]
    Describe {
        /// The name of the collection
        collection: String,
        #[command(flatten)]
        connect: ConnectArgs,
    },
    /// Remove a collection with all its documents
    Drop(DropCommand),
}

/// How strictly documents are held to their schema.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Validation {
    Strict,
    Warn,
    Off,
}

/// The collection to create.
#[derive(Debug, Args)]
pub(crate) struct CreateCommand {
    /// The name of the collection
    collection: String,
    /// A file with a JSON Schema (2020-12) for the documents
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// How strictly documents are held to the schema
    #[arg(long, value_enum, requires = "schema")]
    validation: Option<Validation>,
    /// Be content if the collection is there already
    #[arg(long)]
    if_not_exists: bool,
    #[command(flatten)]
    connect: ConnectArgs,
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
            let answer: Value = connect.client()?.send(&Call::get(path(&collection))).await?.json()?;
            Ok(output.result(&answer, || describe(&answer))?)
        }
        CollectionCommand::Drop(command) => drop(command, output).await,
    }
}

async fn create(command: CreateCommand, output: Output) -> anyhow::Result<()> {
    let mut body = json!({ "name": command.collection });
    if let Some(file) = &command.schema {
        body["schema"] = read_schema(file)?;
    }
    if let Some(validation) = command.validation.and_then(|validation| validation.to_possible_value()) {
        body["validation"] = validation.get_name().into();
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

fn read_schema(file: &Path) -> Result<Value, Advice> {
    let wrong = |why: String| Advice::usage(format!("cannot read a schema from {}", file.display())).why(why);
    let text = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| wrong(format!("it is not JSON: {error}")))
}

fn list(collections: &[Value]) -> String {
    let mut table = Table::new([
        ("name", Align::Left),
        ("documents", Align::Right),
        ("validation", Align::Left),
        ("created", Align::Left),
    ]);
    for collection in collections {
        table.row([
            cell(collection.get("name")),
            collection["documents"].as_u64().map(units::count).unwrap_or_default(),
            cell(collection.get("validation")),
            cell(collection.get("created_at").or(collection.get("_created_at"))),
        ]);
    }
    table.to_string()
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
        let answer = json!({"items":[{"name":"notes","documents":12345,"validation":"strict"}]});
        let expected = "NAME   DOCUMENTS  VALIDATION  CREATED\nnotes     12,345  strict";
        assert_eq!(list(items(&answer, "collections")), expected);
        assert_eq!(items(&json!([1]), "x").len(), 1);
        assert_eq!(items(&json!({"collections":[1]}), "collections").len(), 1);
        assert_eq!(items(&json!({"other":1}), "collections").len(), 0);
    }
}
