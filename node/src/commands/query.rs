//! `aerodb query`: the documents of a collection that a filter matches, or groups of them and their figures.

use clap::Args;
use serde_json::Value;

use super::question::Question;
use crate::client::{ConnectArgs, segment};
use crate::output::{Align, Output, Table, cell};
use crate::units;

/// The most columns that a table gets; with more it is no longer one.
const COLUMNS_MAX: usize = 8;

/// Which documents of which collection.
#[derive(Debug, Args)]
pub(crate) struct QueryCommand {
    /// The collection
    collection: String,
    #[command(flatten)]
    question: Question,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Asks, and shows one page.
pub(crate) async fn run(command: QueryCommand, output: Output) -> anyhow::Result<()> {
    let call = command.question.call(format!("/api/{}/query", segment(&command.collection)), false)?;
    let answer: Value = command.connect.client()?.send(&call).await?.json()?;
    let noun = if command.question.is_grouped() { "group" } else { "document" };
    Ok(output.result(&answer, || render(&answer, noun, &command.question.columns()))?)
}

/// `columns` come first, in this order.
fn render(answer: &Value, noun: &str, columns: &[&str]) -> String {
    let items = answer["items"].as_array().map_or(&[][..], Vec::as_slice);
    let mut text = String::new();
    if !items.is_empty() {
        text = format!("{}\n\n", table(items, columns));
    }
    text.push_str(&units::plural(items.len() as u64, noun));
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

/// The id first where there is one, then the fields; not those of the system.
fn table(items: &[Value], first: &[&str]) -> Table {
    let is_there = |name: &&&str| items.iter().any(|item| item.get(**name).is_some());
    let mut names: Vec<&str> = first.iter().filter(is_there).copied().filter(|name| *name != "id").collect();
    let fields = items.iter().filter_map(Value::as_object).flat_map(|object| object.keys());
    for name in fields.map(String::as_str).filter(|name| *name != "id" && !name.starts_with('_')) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let hidden = names.len().saturating_sub(COLUMNS_MAX);
    names.truncate(COLUMNS_MAX);
    // Groups have none.
    let have_ids = items.iter().any(|item| !item["id"].is_null());
    let mut columns = Vec::new();
    if have_ids {
        columns.push(("id".to_owned(), Align::Left));
    }
    columns.extend(names.iter().map(|name| {
        let numbers = items.iter().all(|item| matches!(item[*name], Value::Number(_) | Value::Null));
        ((*name).to_owned(), if numbers { Align::Right } else { Align::Left })
    }));
    if hidden > 0 {
        columns.push((format!("+{hidden} fields"), Align::Left));
    }
    let mut table = Table::new(columns);
    for item in items {
        let mut row = Vec::new();
        if have_ids {
            row.push(cell(item.get("id")));
        }
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
        assert_eq!(render(&answer, "document", &[]), expected);
        assert_eq!(render(&serde_json::json!({"items":[],"revision":7}), "document", &[]), "0 documents at revision 7");
    }

    #[test]
    fn groups_have_no_ids() {
        let answer = serde_json::json!({"items":[{"city":"Oslo","n":3},{"city":null,"n":1}],"revision":7});
        assert_eq!(render(&answer, "group", &["n", "city", "x"]), "N  CITY\n3  Oslo\n1\n\n2 groups at revision 7");
    }
}
