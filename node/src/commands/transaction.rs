//! `aerodb transaction`: several operations, all of them or none; from a file, or decided by a program that is asked anew
//! whenever what it was shown has changed meanwhile.

mod program;

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::random_key;
use crate::client::{ConnectArgs, Done, Place, Seen, resend, transact};
use crate::exit::Advice;
use crate::output::{Align, Output, Table, cell};
use crate::units;

/// The longest file that is read, and the most that a program may say. A node takes less.
const BODY_BYTES_MAX: u64 = 64 << 20;
/// How often a program is asked anew unless --retries says otherwise.
const RETRIES_DEFAULT: u32 = 10;

/// The operations, or what decides about them.
#[derive(Debug, Args)]
#[command(after_help = r#"A file holds an array of operations, or an object with them:
  [{"op":"patch","collection":"acct","id":"a1","patch":{"$inc":{"n":-5}},"if":{"n":{"$gte":5}}},
   {"op":"patch","collection":"acct","id":"a2","patch":{"$inc":{"n":5}}}]

Read, decide and write, anew whenever somebody else was quicker:
  aerodb transaction --read acct/a1 --read acct/a2 --build \
    'jq "[.documents[] | {op:\"put\", collection, id, document: (.document | .n = .n / 2)}]"'"#)]
pub(crate) struct TransactionCommand {
    /// A file of JSON with the operations; - for standard input
    #[arg(value_name = "FILE", required_unless_present = "read", conflicts_with = "read")]
    file: Option<PathBuf>,
    /// A document that the operations follow from; all are read at one revision (repeatable)
    #[arg(long, value_name = "COLLECTION/ID", value_parser = place, requires = "build")]
    read: Vec<Place>,
    /// A shell command that gets {"revision", "documents": [{"collection", "id", "document"}]} on its standard input and
    /// prints an array of operations; [] changes nothing. It may be run several times
    #[arg(long, value_name = "COMMAND", requires = "read")]
    build: Option<String>,
    /// How often it is tried again after a conflict. A file is sent again only while a condition of it (if, if_exists,
    /// if_absent) does not hold; one that names a revision never is [default: 0 with a file, 10 with --build]
    #[arg(long, value_name = "N")]
    retries: Option<u32>,
    /// Makes a repetition of this command return the first answer [default: by chance]
    #[arg(long, value_name = "KEY", conflicts_with = "read")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    connect: ConnectArgs,
}

fn place(text: &str) -> Result<Place, String> {
    match text.split_once('/') {
        Some((collection, id)) if !collection.is_empty() && !id.is_empty() => {
            Ok(Place { collection: collection.to_owned(), id: id.to_owned() })
        }
        _ => Err("write it like acct/a1".to_owned()),
    }
}

/// Does it, and shows what came of each operation.
pub(crate) async fn run(command: TransactionCommand, output: Output) -> anyhow::Result<()> {
    let done = match (&command.file, &command.build) {
        (Some(file), _) => {
            let body = whole(file)?;
            let client = command.connect.client()?;
            let key = command.idempotency_key.clone().unwrap_or_else(random_key);
            resend(&client, &body, &key, command.retries.unwrap_or(0)).await?
        }
        (None, build) => {
            let build = build.as_deref().unwrap_or_default();
            let client = command.connect.client()?;
            let decide = async |seen: &Seen| operations(&program::ask(build, seen).await?).map_err(Into::into);
            transact(&client, &command.read, command.retries.unwrap_or(RETRIES_DEFAULT), decide).await?
        }
    };
    show(&done, output)
}

fn show(done: &Done, output: Output) -> anyhow::Result<()> {
    let Some(answer) = &done.answer else {
        let value = json!({"revision": null, "results": [], "attempts": done.attempts});
        return Ok(output.result(&value, || "nothing to do: no operations".to_owned())?);
    };
    let mut value: Value = answer.json()?;
    if let Some(results) = value["results"].as_array_mut() {
        results.truncate(done.operations);
    }
    value["attempts"] = done.attempts.into();
    Ok(output.result(&value, || render(&value))?)
}

fn render(answer: &Value) -> String {
    let columns = [("op", Align::Left), ("document", Align::Left), ("", Align::Left), ("now", Align::Left)];
    let mut table = Table::new(columns);
    let results = super::items(answer, "results");
    for result in results {
        let id = format!("{}/{}", cell(result.get("collection")), cell(result.get("id")));
        let created = if result["created"] == true { "created" } else { "" };
        let now = match &result["document"] {
            Value::Null => "not there".to_owned(),
            document => fields(document),
        };
        table.row([cell(result.get("op")), id, created.to_owned(), now]);
    }
    let mut text = format!("{table}\n\n{}", units::plural(results.len() as u64, "operation"));
    if let Some(revision) = answer["revision"].as_u64() {
        text.push_str(&format!(" at revision {revision}"));
    }
    if let Some(attempts @ 2..) = answer["attempts"].as_u64() {
        text.push_str(&format!(", at attempt {attempts}"));
    }
    text
}

/// A document without what the row says already.
fn fields(document: &Value) -> String {
    let own = |(name, _): &(&String, &Value)| *name != "id" && !name.starts_with('_');
    let own: serde_json::Map<_, _> = document
        .as_object()
        .into_iter()
        .flatten()
        .filter(own)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    Value::Object(own).to_string()
}

/// The body that a file holds. What stands in it is the node's to judge.
fn whole(file: &Path) -> Result<Box<RawValue>, Advice> {
    let name = if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() };
    let failed = |error: std::io::Error| Advice::usage(format!("cannot read {name}")).why(error.to_string());
    let mut text = String::new();
    let input: &mut dyn Read = match file == Path::new("-") {
        true => &mut std::io::stdin().lock(),
        false => &mut std::fs::File::open(file).map_err(failed)?,
    };
    let bytes = input.take(BODY_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if bytes as u64 > BODY_BYTES_MAX {
        return Err(Advice::usage(format!("{name} is longer than {}", units::bytes(BODY_BYTES_MAX))));
    }
    body(&text).map_err(|error| {
        Advice::usage(format!("{name} holds no transaction"))
            .why(error.to_string())
            .remedy(r#"write an array of operations: [{"op":"delete","collection":"c","id":"a"}]"#)
    })
}

/// An object is a body already; an array is the operations of one.
fn body(text: &str) -> serde_json::Result<Box<RawValue>> {
    let value: &RawValue = serde_json::from_str(text)?;
    match value.get().starts_with('[') {
        true => RawValue::from_string(format!(r#"{{"operations":{value}}}"#)),
        false => Ok(value.to_owned()),
    }
}

/// The operations that a program printed: an array, or an object with nothing else in it. Nothing at all is none.
fn operations(text: &str) -> Result<Vec<Box<RawValue>>, Advice> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        operations: Vec<Box<RawValue>>,
    }
    let text = text.trim();
    let read = match text.bytes().next() {
        None => return Ok(Vec::new()),
        Some(b'{') => serde_json::from_str(text).map(|Body { operations }| operations),
        Some(_) => serde_json::from_str(text),
    };
    read.map_err(|error| {
        Advice::failed("what the program printed are no operations; nothing was written")
            .why(error.to_string())
            .remedy("print an array of operations, and nothing else, to standard output")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_named_by_collection_and_id() {
        let read = |text| place(text).map(|place| (place.collection, place.id));
        assert_eq!(read("acct/a1"), Ok(("acct".into(), "a1".into())));
        assert_eq!(read("c/a/b"), Ok(("c".into(), "a/b".into())));
        for wrong in ["", "a", "/a", "c/"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_array_is_enough() {
        assert_eq!(body(" [1.50] ").unwrap().get(), r#"{"operations":[1.50]}"#);
        assert_eq!(body(r#" {"a":1} "#).unwrap().get(), r#"{"a":1}"#);
        assert!(body("[1] 2").is_err());
    }

    #[test]
    fn what_a_program_prints() {
        let count = |text| operations(text).map(|operations| operations.len());
        for (text, expected) in [("", 0), ("[]\n", 0), (r#"[{"op":"get"}]"#, 1), (r#"{"operations":[1,2]}"#, 2)] {
            assert_eq!(count(text).unwrap(), expected, "{text}");
        }
        for wrong in ["null", "7", "{}", r#"{"operations":[],"read_revision":7}"#, "[1] done"] {
            assert!(count(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_answer() {
        let answer = json!({"revision":9,"attempts":2,"results":[
            {"op":"put","collection":"c","id":"a","created":true,"document":{"id":"a","_revision":9,"n":1}},
            {"op":"delete","collection":"c","id":"b","document":null}]});
        let expected = "\
OP      DOCUMENT           NOW
put     c/a       created  {\"n\":1}
delete  c/b                not there

2 operations at revision 9, at attempt 2";
        assert_eq!(render(&answer), expected);
    }
}
