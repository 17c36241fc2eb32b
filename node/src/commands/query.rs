//! `aerodb query`: the documents of a collection that a filter matches.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::client::{Call, ConnectArgs, segment};
use crate::exit::Advice;
use crate::output::{Align, Output, Table, cell};
use crate::units;

/// The most columns that a table gets; with more it is no longer one.
const COLUMNS_MAX: usize = 8;

/// How fresh an answer must be.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Consistency {
    /// Everything that was acknowledged before is in it.
    Linearizable,
    /// At least as new as a revision that was seen before.
    Session,
    /// What the node has, with its age.
    Stale,
}

impl Consistency {
    /// The word for it in a request.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Linearizable => "linearizable",
            Self::Session => "session",
            Self::Stale => "stale",
        }
    }
}

/// Which documents.
#[derive(Debug, Args)]
pub(crate) struct QueryCommand {
    /// The collection
    collection: String,
    /// Which documents, such as '{"age": {"$gte": 21}}'
    #[arg(long, short, value_name = "JSON")]
    filter: Option<String>,
    /// Which fields of them: a,b.c
    #[arg(long, short, value_name = "FIELDS")]
    select: Option<String>,
    /// In which order: age.desc,name.asc
    #[arg(long, value_name = "FIELDS")]
    order: Option<String>,
    /// How many, at most 1000
    #[arg(long, short, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// How many to pass over
    #[arg(long, value_name = "N")]
    offset: Option<u64>,
    /// Where the page before ended (its next_cursor)
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// Count all that match, too
    #[arg(long)]
    count: bool,
    /// How fresh the answer must be
    #[arg(long, value_enum)]
    consistency: Option<Consistency>,
    /// With --consistency session: the revision that must be in it
    #[arg(long, value_name = "REVISION")]
    min_revision: Option<u64>,
    /// With --consistency stale: how old it may be
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    max_staleness: Option<Duration>,
    /// As the collection was at a revision
    #[arg(long, value_name = "REVISION")]
    as_of: Option<u64>,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Asks, and shows one page.
pub(crate) async fn run(command: QueryCommand, output: Output) -> anyhow::Result<()> {
    check_filter(command.filter.as_deref())?;
    let answer: Value = command.connect.client()?.send(&call(&command)).await?.json()?;
    Ok(output.result(&answer, || render(&answer))?)
}

/// A filter that is not even JSON is found here, where the shell's quoting can be explained.
pub(crate) fn check_filter(filter: Option<&str>) -> Result<(), Advice> {
    let Some(filter) = filter else { return Ok(()) };
    match serde_json::from_str::<serde::de::IgnoredAny>(filter) {
        Ok(_) => Ok(()),
        Err(error) => Err(Advice::usage("the filter is not JSON")
            .why(error.to_string())
            .remedy(r#"put it in single quotes and names in double quotes: --filter '{"age": {"$gte": 21}}'"#)),
    }
}

fn call(command: &QueryCommand) -> Call {
    let call = Call::get(format!("/api/{}", segment(&command.collection)))
        .query("limit", command.limit.to_string())
        .maybe_query("filter", command.filter.clone())
        .maybe_query("select", command.select.clone())
        .maybe_query("order", command.order.clone())
        .maybe_query("offset", command.offset.map(|offset| offset.to_string()))
        .maybe_query("cursor", command.cursor.clone())
        .maybe_query("count", command.count.then_some("exact"))
        .maybe_query("consistency", command.consistency.map(Consistency::as_str))
        .maybe_query("max_staleness_ms", command.max_staleness.map(|time| time.as_millis().to_string()))
        .maybe_query("as_of", command.as_of.map(|revision| revision.to_string()));
    match command.min_revision {
        Some(revision) => call.header("aerodb-min-revision", revision.to_string()),
        None => call,
    }
}

fn render(answer: &Value) -> String {
    let items = answer["items"].as_array().map_or(&[][..], Vec::as_slice);
    let mut text = String::new();
    if !items.is_empty() {
        text = format!("{}\n\n", table(items));
    }
    text.push_str(&units::plural(items.len() as u64, "document"));
    if let Some(count) = answer["count"].as_u64() {
        text.push_str(&format!(" of {}", units::count(count)));
    }
    if let Some(revision) = answer["revision"].as_u64() {
        text.push_str(&format!(" at revision {revision}"));
    }
    if let Some(cursor) = answer["next_cursor"].as_str() {
        text.push_str(&format!("\nmore with --cursor {cursor}"));
    }
    text
}

/// The id first, then the fields; not those of the system.
fn table(items: &[Value]) -> Table {
    let mut names: Vec<&str> = Vec::new();
    let fields = items.iter().filter_map(Value::as_object).flat_map(|object| object.keys());
    for name in fields.map(String::as_str).filter(|name| *name != "id" && !name.starts_with('_')) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let hidden = names.len().saturating_sub(COLUMNS_MAX);
    names.truncate(COLUMNS_MAX);
    let mut columns = vec![("id".to_owned(), Align::Left)];
    columns.extend(names.iter().map(|name| {
        let numbers = items.iter().all(|item| matches!(item[*name], Value::Number(_) | Value::Null));
        ((*name).to_owned(), if numbers { Align::Right } else { Align::Left })
    }));
    if hidden > 0 {
        columns.push((format!("+{hidden} fields"), Align::Left));
    }
    let mut table = Table::new(columns);
    for item in items {
        let mut row = vec![cell(item.get("id"))];
        row.extend(names.iter().map(|name| cell(item.get(*name))));
        if hidden > 0 {
            row.push("…".to_owned());
        }
        table.row(row);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page() {
        let answer = serde_json::json!({"items":[{"id":"a","_revision":3,"n":1,"t":"x"},{"id":"b","_revision":4,"t":"y"}],
            "next_cursor":"c1","count":12,"revision":7});
        let expected = "ID  N  T\na   1  x\nb      y\n\n2 documents of 12 at revision 7\nmore with --cursor c1";
        assert_eq!(render(&answer), expected);
        assert_eq!(render(&serde_json::json!({"items":[],"revision":7})), "0 documents at revision 7");
    }

    #[test]
    fn a_filter_that_is_not_json_is_explained() {
        assert!(check_filter(Some(r#"{"a":1}"#)).is_ok());
        assert!(check_filter(Some("{a:1}")).unwrap_err().to_string().contains("single quotes"));
    }
}
