//! What commands say. Results go to standard output, everything around them to standard error, so that results can be
//! piped. This module is the only one that writes to either.

mod table;

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

pub(crate) use table::{Align, Table, cell};

/// The form of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Tables and sentences for people.
    Table,
    /// JSON for programs.
    Json,
}

/// Where commands put their results.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    format: Format,
}

impl Output {
    /// Output in one form.
    pub(crate) fn new(format: Format) -> Self {
        Self { format }
    }

    /// Whether a program reads the result.
    pub(crate) fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Whether somebody watches standard error, so that progress may be drawn there.
    pub(crate) fn shows_progress(self) -> bool {
        self.format == Format::Table && io::stderr().is_terminal()
    }

    /// A line of the result.
    pub(crate) fn line(self, text: impl Display) -> io::Result<()> {
        write_line(io::stdout().lock(), text)
    }

    /// The result as JSON, indented where a person looks at it.
    pub(crate) fn json(self, value: &impl Serialize) -> io::Result<()> {
        let text =
            if io::stdout().is_terminal() { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
        self.line(text.map_err(io::Error::other)?)
    }

    /// The result: as JSON, or as the text that the second argument makes.
    pub(crate) fn result(self, value: &impl Serialize, text: impl FnOnce() -> String) -> io::Result<()> {
        if self.is_json() { self.json(value) } else { self.line(text()) }
    }

    /// A remark beside the result, on standard error. Programs that read JSON get it there too: it never mixes.
    pub(crate) fn note(self, text: impl Display) {
        // Nothing can be done, and nobody told, when standard error is gone.
        let _ = write_line(io::stderr().lock(), text);
    }

    /// A remark for people only.
    pub(crate) fn aside(self, text: impl Display) {
        if !self.is_json() {
            self.note(text);
        }
    }

    /// Asks a question that is answered by yes or no. Without a terminal the answer is no.
    pub(crate) fn confirm(self, question: &str) -> io::Result<bool> {
        if !io::stdin().is_terminal() {
            return Ok(false);
        }
        let mut stderr = io::stderr().lock();
        write!(stderr, "{question} [y/N] ")?;
        stderr.flush()?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }
}

fn write_line(mut to: impl Write, text: impl Display) -> io::Result<()> {
    writeln!(to, "{text}")?;
    to.flush()
}

/// Whether an error only says that the reader of our output has gone (`aerodb query … | head`).
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::BrokenPipe))
}
