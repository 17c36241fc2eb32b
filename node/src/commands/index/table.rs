//! Indexes as a table.

use serde_json::Value;

use crate::output::{Align, Table, cell};
use crate::units;

/// What every node says of an index, and what has a column of its own here.
const KNOWN: [&str; 10] = [
    "name",
    "fields",
    "unique",
    "filter",
    "state",
    "entries",
    "bytes",
    "built_documents",
    "failure",
    "created_revision",
];

/// The table of some indexes, and why those failed that did.
pub(in crate::commands) fn render(indexes: &[Value], documents: Option<u64>) -> String {
    let failures = indexes.iter().filter(|index| !index["failure"].is_null());
    let failures =
        failures.map(|index| format!("\n{} failed: {}", cell(index.get("name")), cell(index.get("failure"))));
    format!("{}{}", table(indexes, documents), failures.collect::<String>())
}

/// A row for each index. With the number of documents of the collection, builds show how far they are.
fn table(indexes: &[Value], documents: Option<u64>) -> Table {
    let mut columns = vec![
        ("name".to_owned(), Align::Left),
        ("fields".to_owned(), Align::Left),
        ("kind".to_owned(), Align::Left),
        ("state".to_owned(), Align::Left),
        ("entries".to_owned(), Align::Right),
    ];
    let has_bytes = indexes.iter().any(|index| index["bytes"].is_u64());
    if has_bytes {
        columns.push(("bytes".to_owned(), Align::Right));
    }
    // What a newer node tells besides: what an index was used for, say.
    let mut more: Vec<&str> = Vec::new();
    for (name, value) in indexes.iter().filter_map(Value::as_object).flatten() {
        if !KNOWN.contains(&name.as_str()) && !more.contains(&name.as_str()) && !value.is_object() && !value.is_array()
        {
            more.push(name);
        }
    }
    columns.extend(more.iter().map(|name| (name.replace('_', " "), Align::Right)));
    let mut table = Table::new(columns);
    for index in indexes {
        let mut row = vec![
            cell(index.get("name")),
            fields(&index["fields"]),
            kind(index),
            state(index, documents),
            number(&index["entries"]),
        ];
        if has_bytes {
            row.push(index["bytes"].as_u64().map(units::bytes).unwrap_or_default());
        }
        row.extend(more.iter().map(|name| number(&index[*name])));
        table.row(row);
    }
    table
}

/// A number with thousands apart; anything else as it is.
pub(super) fn number(value: &Value) -> String {
    value.as_u64().map_or_else(|| cell(Some(value)), units::count)
}

/// As an order is written: `age.desc,name`.
fn fields(fields: &Value) -> String {
    let field = |field: &Value| match field["order"].as_str() {
        Some("desc") => format!("{}.desc", cell(field.get("path"))),
        _ => cell(field.get("path")),
    };
    fields.as_array().into_iter().flatten().map(field).collect::<Vec<_>>().join(",")
}

fn kind(index: &Value) -> String {
    let unique = (index["unique"] == true).then_some("unique");
    let partial = (!index["filter"].is_null()).then_some("partial");
    let reference = index["reference"].is_object().then_some("reference");
    unique.into_iter().chain(partial).chain(reference).collect::<Vec<_>>().join(", ")
}

fn state(index: &Value, documents: Option<u64>) -> String {
    let state = cell(index.get("state"));
    match (index["built_documents"].as_u64(), documents) {
        // Documents that were added since the build began are not in its way: it may be through more than there are.
        (Some(built), Some(documents @ 1..)) => format!("{state} {} %", (100 * built / documents).min(100)),
        (Some(built), _) => format!("{state} {}", units::count(built)),
        _ => state,
    }
}
