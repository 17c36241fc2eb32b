//! CSV needs its columns first, and only the last document tells which there are. So documents are put aside as lines of
//! JSON, and become rows once all of them were seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};

use serde_json::value::RawValue;

/// Adds the fields of `document` to `columns`.
pub(super) fn note_columns(document: &RawValue, columns: &mut BTreeSet<String>) -> anyhow::Result<()> {
    let fields: BTreeMap<String, serde::de::IgnoredAny> = serde_json::from_str(document.get())?;
    for name in fields.into_keys() {
        columns.insert(name);
    }
    Ok(())
}

/// Writes the documents of `lines` as rows, under the names of all columns: the id, the fields, those of the system.
pub(super) fn write_rows(lines: File, columns: BTreeSet<String>, to: &mut impl Write) -> anyhow::Result<()> {
    let mut columns: Vec<String> = columns.into_iter().collect();
    columns.sort_by_key(|name| (name != "id", name.starts_with('_')));
    let mut rows = csv::Writer::from_writer(to);
    if !columns.is_empty() {
        rows.write_record(&columns)?;
    }
    for line in BufReader::with_capacity(1 << 18, lines).lines() {
        let line = line?;
        let document: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&line)?;
        rows.write_record(columns.iter().map(|name| document.get(name).map_or_else(String::new, |value| text(value))))?;
    }
    Ok(rows.flush()?)
}

/// A value as the text of a field: texts without quotes, nothing for null, all else as it is written.
fn text(value: &RawValue) -> String {
    match value.get() {
        "null" => String::new(),
        json => serde_json::from_str::<String>(json).unwrap_or_else(|_| json.to_owned()),
    }
}
