//! The forms in which documents are written.

use std::io::{self, Write};

use clap::ValueEnum;
use serde_json::value::RawValue;

use super::csv::Spool;
use super::file::Target;

/// The form of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
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
    target: Target,
    state: State,
}

enum State {
    Jsonl,
    Json {
        first: bool,
    },
    /// Columns are known only once all documents were seen.
    Csv(Spool),
}

impl Writer {
    /// Begins a file.
    pub(super) fn new(format: Format, target: Target) -> anyhow::Result<Self> {
        let state = match format {
            Format::Jsonl => State::Jsonl,
            Format::Json => State::Json { first: true },
            Format::Csv => State::Csv(Spool::new(&target.folder())?),
        };
        Ok(Self { target, state })
    }

    /// Adds a document.
    pub(super) fn write(&mut self, document: &RawValue) -> anyhow::Result<()> {
        match &mut self.state {
            State::Jsonl => write_line(&mut self.target, document)?,
            State::Json { first } => {
                self.target.write_all(if *first { b"[\n" } else { b",\n" })?;
                *first = false;
                self.target.write_all(document.get().as_bytes())?;
            }
            State::Csv(spool) => spool.add(document)?,
        }
        Ok(())
    }

    /// Ends the file.
    pub(super) fn finish(mut self) -> anyhow::Result<Target> {
        match self.state {
            State::Jsonl => {}
            State::Json { first } => self.target.write_all(if first { b"[]\n" } else { b"\n]\n" })?,
            State::Csv(spool) => spool.write_to(&mut self.target)?,
        }
        Ok(self.target)
    }
}

/// A document on a line of its own, whatever white space a node put into it.
pub(super) fn write_line(to: &mut impl Write, document: &RawValue) -> io::Result<()> {
    let text = document.get();
    if text.contains('\n') {
        // Within JSON a line break is white space only: in texts it is written as \n.
        to.write_all(text.replace(['\n', '\r'], " ").as_bytes())?;
    } else {
        to.write_all(text.as_bytes())?;
    }
    to.write_all(b"\n")
}
