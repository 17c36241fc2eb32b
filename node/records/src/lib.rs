//! Records as they come out of a file, each with its place in it. Whatever the file holds, memory is bounded by the
//! longest record that is read, and reading can go on behind any record.

mod csv;
mod document;
mod json;
mod jsonl;
mod rows;

use serde::{Deserialize, Serialize};

pub use csv::{Csv, Values, names_of};
pub use document::Document;
pub use json::JsonArray;
pub use jsonl::Jsonl;

/// The longest record that is read, bytes. What a node takes is less; this keeps a wrong file from filling the memory.
pub const RECORD_BYTES_MAX: u64 = 16 << 20;

/// What some programs put at the start of a file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A place in a file: all before it is dealt with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Bytes from the start.
    pub offset: u64,
    /// The line that begins there, or is in it.
    pub line: u64,
}

impl Position {
    /// The start of a file.
    pub const START: Self = Self { offset: 0, line: 1 };
}

/// A file of which no record can be read as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct Unusable {
    /// What is not possible.
    pub what: String,
    /// Why not.
    pub why: String,
}

impl Unusable {
    fn new(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into() }
    }
}

/// One record of a file, good or bad.
#[derive(Debug)]
pub struct Record {
    /// The line that it begins on.
    pub line: u64,
    /// Where it begins.
    pub start: u64,
    /// Where the next one begins, at the earliest.
    pub next: Position,
    /// The document that it is, or why it is none.
    pub content: Result<Document, String>,
}

/// A file that cannot be read on from here.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken {
    /// The line.
    pub line: u64,
    /// What is wrong.
    pub why: String,
}

impl Broken {
    fn new(line: u64, why: impl ToString) -> Self {
        Self { line, why: why.to_string() }
    }
}

/// Something that records come out of, one after the other.
pub trait Source: Send {
    /// The next record, or nothing at the end.
    ///
    /// # Errors
    /// When what follows cannot be told apart into records, or the file cannot be read.
    fn next(&mut self) -> Result<Option<Record>, Broken>;
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
