//! CSV needs its columns first, and only the last document tells which there are. So documents are put aside in a
//! temporary file, and written once all of them were seen.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, BufWriter, Seek, Write};
use std::path::Path;

use serde_json::value::RawValue;

use super::format::write_line;

/// Documents that wait for their columns.
pub(super) struct Spool {
    file: BufWriter<std::fs::File>,
    columns: BTreeSet<String>,
}

impl Spool {
    /// An empty one. Its file has no name, and is gone with the process.
    pub(super) fn new(folder: &Path) -> anyhow::Result<Self> {
        Ok(Self { file: BufWriter::with_capacity(1 << 18, tempfile::tempfile_in(folder)?), columns: BTreeSet::new() })
    }

    /// Puts a document aside.
    pub(super) fn add(&mut self, document: &RawValue) -> anyhow::Result<()> {
        let fields: BTreeMap<String, serde::de::IgnoredAny> = serde_json::from_str(document.get())?;
        for name in fields.into_keys() {
            self.columns.insert(name);
        }
        Ok(write_line(&mut self.file, document)?)
    }

    /// Writes all that was put aside, under the names of all columns: the id, the fields, those of the system.
    pub(super) fn write_to(self, to: &mut impl Write) -> anyhow::Result<()> {
        let mut columns: Vec<String> = self.columns.into_iter().collect();
        columns.sort_by_key(|name| (name != "id", name.starts_with('_')));
        let mut file = self.file.into_inner().map_err(|error| error.into_error())?;
        file.rewind()?;
        let mut rows = csv::Writer::from_writer(to);
        if !columns.is_empty() {
            rows.write_record(&columns)?;
        }
        for line in BufReader::with_capacity(1 << 18, file).lines() {
            let line = line?;
            let document: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&line)?;
            rows.write_record(
                columns.iter().map(|name| document.get(name).map_or_else(String::new, |value| text(value))),
            )?;
        }
        Ok(rows.flush()?)
    }
}

/// A value as the text of a field: texts without quotes, nothing for null, all else as it is written.
fn text(value: &RawValue) -> String {
    match value.get() {
        "null" => String::new(),
        json => serde_json::from_str::<String>(json).unwrap_or_else(|_| json.to_owned()),
    }
}
