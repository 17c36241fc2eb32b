//! The forms in which documents are written.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tempfile::NamedTempFile;

use super::csv;
use super::file::{Paths, Target};
use super::progress::Written;

/// The form of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// One document a line
    Jsonl,
    /// One array
    Json,
    /// A column for each field that any document has; values that have parts as JSON
    Csv,
}

/// Writes documents to a target.
pub(super) struct Writer {
    format: Format,
    target: Target,
    written: Written,
}

impl Writer {
    /// Goes on behind what is `written`; at the beginning that is nothing.
    pub(super) fn new(format: Format, target: Target, written: Written) -> Self {
        Self { format, target, written }
    }

    /// What was written so far.
    pub(super) fn written(&self) -> &Written {
        &self.written
    }

    /// Adds a document.
    pub(super) fn write(&mut self, document: &RawValue) -> anyhow::Result<()> {
        let bytes = match self.format {
            Format::Jsonl => write_line(&mut self.target, document)?,
            Format::Json => {
                let before: &[u8] = if self.written.documents == 0 { b"[\n" } else { b",\n" };
                self.target.write_all(before)?;
                self.target.write_all(document.get().as_bytes())?;
                before.len() + document.get().len()
            }
            Format::Csv => {
                csv::note_columns(document, &mut self.written.columns)?;
                write_line(&mut self.target, document)?
            }
        };
        self.written.bytes += bytes as u64;
        self.written.documents += 1;
        Ok(())
    }

    /// Makes what was written so far safe.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        self.target.settle()
    }

    /// Ends the export: with `paths` the file is there afterwards, under its name and on disk.
    pub(super) fn finish(mut self, paths: Option<&Paths>) -> anyhow::Result<()> {
        if self.format == Format::Csv {
            return self.finish_csv(paths);
        }
        if self.format == Format::Json {
            self.target.write_all(if self.written.documents == 0 { b"[]\n" } else { b"\n]\n" })?;
        }
        self.target.settle()?;
        paths.map_or(Ok(()), Paths::publish)
    }

    fn finish_csv(self, paths: Option<&Paths>) -> anyhow::Result<()> {
        let columns: BTreeSet<String> = self.written.columns;
        let lines = self.target.into_file()?;
        let Some(paths) = paths else {
            return csv::write_rows(lines, columns, &mut BufWriter::new(io::stdout()));
        };
        let mut file =
            BufWriter::with_capacity(1 << 18, NamedTempFile::with_prefix_in(".aerodb-export-", paths.folder())?);
        csv::write_rows(lines, columns, &mut file)?;
        paths.publish_instead(file.into_inner().map_err(|error| error.into_error())?)
    }
}

/// A document on a line of its own, whatever white space a node put into it. Returns the bytes of the line.
fn write_line(to: &mut impl Write, document: &RawValue) -> io::Result<usize> {
    let text = document.get();
    if text.contains('\n') {
        // Within JSON a line break is white space only: in texts it is written as \n.
        to.write_all(text.replace(['\n', '\r'], " ").as_bytes())?;
    } else {
        to.write_all(text.as_bytes())?;
    }
    to.write_all(b"\n")?;
    Ok(text.len() + 1)
}
