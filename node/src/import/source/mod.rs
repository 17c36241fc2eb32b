//! Records as they come out of a file, each with its place in it.

mod csv;
mod document;
mod json;
mod jsonl;
mod rows;

use super::options::{Format, ImportCommand, Input};
use super::progress::Position;
use crate::exit::Advice;
pub(super) use document::Document;

/// The longest record that is read. What a node takes is less; this keeps a wrong file from filling the memory.
const RECORD_BYTES_MAX: u64 = 16 << 20;

/// What some programs put at the start of a file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One record of a file, good or bad.
#[derive(Debug)]
pub(super) struct Record {
    /// The line that it begins on.
    pub(super) line: u64,
    /// Where it begins.
    pub(super) start: u64,
    /// Where the next one begins, at the earliest.
    pub(super) next: Position,
    /// The document that it is, or why it is none.
    pub(super) content: Result<Document, String>,
}

/// A file that cannot be read on from here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// The line.
    pub(super) line: u64,
    /// What is wrong.
    pub(super) why: String,
}

impl Broken {
    fn new(line: u64, why: impl ToString) -> Self {
        Self { line, why: why.to_string() }
    }
}

/// Something that records come out of, one after the other.
pub(super) trait Source: Send {
    /// The next record, or nothing at the end.
    fn next(&mut self) -> Result<Option<Record>, Broken>;
}

/// Opens the source of an import at a position.
pub(super) fn open(input: &Input, command: &ImportCommand, at: Position) -> Result<Box<dyn Source>, Advice> {
    let id_field = command.id_field.clone();
    Ok(match input.format {
        Format::Jsonl => Box::new(jsonl::Jsonl::new(input.bytes_from(at.offset)?, at, id_field)),
        Format::Json => Box::new(json::JsonArray::new(input.bytes_from(at.offset)?, at, id_field)),
        Format::Csv => {
            let values = if command.csv_strings { csv::Values::Texts } else { csv::Values::Inferred };
            // The names stand in the first row, wherever the records are read from.
            let names = if at.offset > 0 { Some(csv::names_of(input.bytes_from(0)?)?) } else { None };
            Box::new(csv::Csv::new(input.bytes_from(at.offset)?, at, names, values, id_field)?)
        }
    })
}

/// What a check of a source shows: each record as `line: document` or `line! reason`, and how it ended.
#[cfg(test)]
fn transcript(source: &mut dyn Source) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        match source.next() {
            Ok(Some(Record { line, content: Ok(document), .. })) => {
                lines.push(format!("{line}: {}", String::from_utf8(document.json).unwrap()));
            }
            Ok(Some(Record { line, content: Err(why), .. })) => lines.push(format!("{line}! {why}")),
            Ok(None) => return lines,
            Err(Broken { line, why }) => {
                lines.push(format!("{line}!! {why}"));
                return lines;
            }
        }
    }
}

/// Reads all records, then again from behind each one, and checks that the rest is the same.
#[cfg(test)]
fn check_resume(bytes: &'static [u8], open: impl Fn(&'static [u8], Position) -> Box<dyn Source>) {
    let mut source = open(bytes, Position::START);
    let all = transcript(&mut *open(bytes, Position::START));
    let mut read = 0;
    while let Ok(Some(record)) = source.next() {
        read += 1;
        let rest = &bytes[usize::try_from(record.next.offset).unwrap()..];
        assert_eq!(transcript(&mut *open(rest, record.next)), all[read..], "after record {read}");
    }
}
