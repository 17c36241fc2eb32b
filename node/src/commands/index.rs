//! `aerodb index list | create | drop`.

mod build;
mod table;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{items, question, random_key};
use crate::client::{Call, Client, ConnectArgs, segment};
use crate::exit::Advice;
use crate::output::Output;
pub(super) use table::render;

/// The longest name that an index may have.
const NAME_BYTES_MAX: usize = 64;

/// What can be done with the indexes of a collection.
#[derive(Debug, Subcommand)]
pub(crate) enum IndexCommand {
    /// List the indexes of a collection, with their state
    List {
        /// The name of the collection
        collection: String,
        #[command(flatten)]
        connect: ConnectArgs,
    },
    /// Create an index; it is built while reads and writes go on
    Create(CreateCommand),
    /// Remove an index
    Drop(DropCommand),
}

/// The index to create.
#[derive(Debug, Args)]
pub(crate) struct CreateCommand {
    /// The name of the collection
    collection: String,
    /// A field, ascending unless said otherwise: age, address.city:desc (repeatable: the order counts)
    #[arg(long = "field", short = 'F', value_name = "PATH[:asc|desc]", required = true, value_parser = field)]
    fields: Vec<Field>,
    /// The name of the index [default: made of its fields]
    #[arg(long, short)]
    name: Option<String>,
    /// No two documents may have the same values
    #[arg(long)]
    unique: bool,
    /// Only documents that match are in it
    #[arg(long, short, value_name = "JSON")]
    filter: Option<String>,
    /// Wait until it is ready, and fail if it cannot be
    #[arg(long, short)]
    wait: bool,
    /// Be content if the same index is there already
    #[arg(long)]
    if_not_exists: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// The index to drop.
#[derive(Debug, Args)]
pub(crate) struct DropCommand {
    /// The name of the collection
    collection: String,
    /// The name of the index
    name: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// A field of an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Field {
    path: String,
    order: &'static str,
}

/// Reads `address.city:desc`. A path may have colons in it: only what follows the last one can be a direction.
fn field(text: &str) -> Result<Field, String> {
    let (path, order) = match text.rsplit_once(':') {
        Some((path, "asc")) => (path, "asc"),
        Some((path, "desc")) => (path, "desc"),
        Some((_, order)) if matches!(order.to_ascii_lowercase().as_str(), "asc" | "desc" | "") => {
            return Err(format!("'{order}' is no direction: write :asc or :desc"));
        }
        _ => (text, "asc"),
    };
    if path.is_empty() {
        return Err("a field has a name".to_owned());
    }
    if path.contains(',') {
        return Err("one field each: give --field again for the next one".to_owned());
    }
    Ok(Field { path: path.to_owned(), order })
}

/// Does what was asked.
pub(crate) async fn run(command: IndexCommand, output: Output) -> anyhow::Result<()> {
    match command {
        IndexCommand::List { collection, connect } => {
            let answer = indexes_of(&connect.client()?, &collection).await?;
            Ok(output.result(&answer, || match items(&answer, "indexes") {
                [] => format!("{collection} has no indexes"),
                indexes => render(indexes, None),
            })?)
        }
        IndexCommand::Create(command) => create(command, output).await,
        IndexCommand::Drop(command) => drop(command, output).await,
    }
}

/// The list of a collection's indexes, as the node gives it.
pub(super) async fn indexes_of(client: &Client, collection: &str) -> anyhow::Result<Value> {
    Ok(client.send(&Call::get(path(collection))).await?.json()?)
}

fn path(collection: &str) -> String {
    format!("/admin/collections/{}/indexes", segment(collection))
}

fn path_of(collection: &str, name: &str) -> String {
    format!("{}/{}", path(collection), segment(name))
}

/// The index as a request has it.
#[derive(Serialize)]
struct New<'a> {
    name: &'a str,
    fields: &'a [Field],
    unique: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<Box<RawValue>>,
}

async fn create(command: CreateCommand, output: Output) -> anyhow::Result<()> {
    let filter = command.filter.as_deref().map(question::filter).transpose()?;
    let name = command.name.clone().unwrap_or_else(|| name_of(&command.fields));
    let new = New { name: &name, fields: &command.fields, unique: command.unique, filter };
    let client = if command.wait { command.connect.patient_client()? } else { command.connect.client()? };
    let call = Call::post(path(&command.collection)).json(&new)?.idempotency_key(random_key());
    let mut index: Value = match client.send(&call).await {
        Ok(answer) => answer.json()?,
        Err(error) => match error.problem().map(|problem| problem.code()).as_deref() {
            Some("index_exists") if command.if_not_exists => same(&client, &command.collection, &new).await?,
            Some("index_exists") => {
                let advice = Advice::failed("give another --name, or --if-not-exists if that one is meant");
                return Err(anyhow::Error::from(error).context(advice));
            }
            _ => return Err(error.into()),
        },
    };
    if command.wait && index["state"] == "building" {
        index = build::wait(&client, &command.collection, &name, output).await?;
    }
    if index["state"] == "failed" {
        return Err(build::failed(&command.collection, &name, &index["failure"]).into());
    }
    Ok(output.result(&index, || {
        if index["state"] == "ready" {
            return format!("index {name} is ready, with {} entries", table::number(&index["entries"]));
        }
        format!(
            "index {name} is being built, {} documents so far; `aerodb index list {}` shows how far it is",
            table::number(&index["built_documents"]),
            command.collection,
        )
    })?)
}

/// The index that is there already, if it is the one that was to be made.
async fn same(client: &Client, collection: &str, new: &New<'_>) -> anyhow::Result<Value> {
    let there: Value = client.send(&Call::get(path_of(collection, new.name))).await?.json()?;
    let wanted = json!(new);
    let differs = ["fields", "unique", "filter"].into_iter().find(|member| {
        // No filter is null on one side and left out on the other.
        there.get(*member).filter(|value| !value.is_null()) != wanted.get(*member).filter(|value| !value.is_null())
    });
    match differs {
        None => Ok(there),
        Some(member) => Err(Advice::failed(format!("there is another index {} already", new.name))
            .why(format!("its {member} is {}, and {} was asked for", there[member], wanted[member]))
            .remedy("give another --name, or drop it first")
            .into()),
    }
}

async fn drop(command: DropCommand, output: Output) -> anyhow::Result<()> {
    let (collection, name) = (&command.collection, &command.name);
    if !command.yes && !output.confirm(&format!("Drop index {name} of collection {collection}?"))? {
        return Err(Advice::usage(format!("index {name} was not dropped"))
            .why("it was not confirmed")
            .remedy("answer y, or give --yes")
            .into());
    }
    let call = Call::delete(path_of(collection, name)).idempotency_key(random_key());
    let answer = command.connect.client()?.send(&call).await?;
    let value = json!({"dropped": name, "collection": collection, "revision": answer.revision});
    Ok(output.result(&value, || format!("dropped index {name} of {collection}"))?)
}

/// A name that tells the fields: `age_desc_address_city`. It begins with a letter and holds what a name may hold.
fn name_of(fields: &[Field]) -> String {
    let of_field = |field: &Field| match field.order {
        "desc" => format!("{}_desc", field.path),
        _ => field.path.clone(),
    };
    let text = fields.iter().map(of_field).collect::<Vec<_>>().join("_");
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let text: String = text.chars().map(plain).collect();
    let text = if text.starts_with(|c: char| c.is_ascii_alphabetic()) { text } else { format!("by_{text}") };
    text[..text.len().min(NAME_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::super::client::tests::{FakeNode, Reply, client};
    use super::*;

    #[test]
    fn fields_have_a_direction() {
        let read = |text| field(text).map(|field| (field.path, field.order));
        assert_eq!(read("age"), Ok(("age".into(), "asc")));
        assert_eq!(read("a.b:desc"), Ok(("a.b".into(), "desc")));
        assert_eq!(read("a:b"), Ok(("a:b".into(), "asc")));
        for wrong in ["", ":desc", "a:", "a:DESC", "a,b"] {
            assert!(field(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_are_made_of_fields() {
        let name = |fields: &[&str]| name_of(&fields.iter().map(|text| field(text).unwrap()).collect::<Vec<_>>());
        assert_eq!(name(&["age:desc", "address.city"]), "age_desc_address_city");
        assert_eq!(name(&["0"]), "by_0");
        assert_eq!(name(&["é"]), "by__");
        assert_eq!(name(&["x".repeat(100).as_str()]).len(), NAME_BYTES_MAX);
    }

    #[tokio::test]
    async fn what_is_there_already_must_be_the_same() {
        let there = r#"{"name":"a","fields":[{"path":"a","order":"asc"}],"unique":false,"state":"ready","entries":1}"#;
        let node = FakeNode::start(vec![Reply::Say(200, "", there.into())]).await;
        let client = client(&[&node.url]);
        let fields = [field("a").unwrap()];
        let new = |unique| New { name: "a", fields: &fields, unique, filter: None };
        assert_eq!(same(&client, "c", &new(false)).await.unwrap()["state"], "ready");
        let error = same(&client, "c", &new(true)).await.unwrap_err().to_string();
        assert!(error.contains("its unique is false, and true was asked for"), "{error}");
    }
}
