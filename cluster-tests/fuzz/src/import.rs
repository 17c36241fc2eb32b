//! A file to import, behind a byte that says how it is read: nothing in it makes a reader panic, how it comes in pieces
//! makes no difference, reading goes on behind any record, and what CSV becomes is JSON that a node takes.

use std::collections::BTreeMap;
use std::io::Read;

use aerodb_engine::Limits;
use aerodb_engine::json::{self, Value};
use aerodb_engine::prepare;
use aerodb_records::{Csv, Document, JsonArray, Jsonl, Position, Source, Values, names_of};
use serde_json::value::RawValue;

/// Records behind each of which reading is begun again.
const RESUMED_MAX: usize = 8;

/// How a file is read.
#[derive(Clone, Copy)]
struct Manner {
    format: u8,
    values: Values,
    id_field: bool,
}

impl Manner {
    fn of(byte: u8) -> Self {
        let values = if byte & 4 == 0 { Values::Inferred } else { Values::Texts };
        Self { format: byte % 4, values, id_field: byte & 8 != 0 }
    }

    fn is_csv(self) -> bool {
        self.format > 1
    }

    /// The records of a file from a place on; none where the file cannot be read at all.
    fn open<'f>(self, file: &'f [u8], at: Position, pieces: usize) -> Option<Box<dyn Source + 'f>> {
        let rest = Pieces { bytes: &file[usize::try_from(at.offset).unwrap()..], pieces };
        let id_field = self.id_field.then(|| "a".to_owned());
        Some(match self.format {
            0 => Box::new(Jsonl::new(rest, at, id_field)),
            1 => Box::new(JsonArray::new(rest, at, id_field)),
            _ => {
                let names = if at.offset > 0 { Some(names_of(file).unwrap()) } else { None };
                Box::new(Csv::new(rest, at, names, self.values, id_field).ok()?)
            }
        })
    }
}

/// Bytes that come a few at a time.
struct Pieces<'f> {
    bytes: &'f [u8],
    pieces: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = buffer.len().min(self.pieces);
        self.bytes.read(&mut buffer[..most])
    }
}

/// A record, or the end of a file that is broken, as it can be compared.
#[derive(Debug, PartialEq)]
enum Step {
    Record { line: u64, start: u64, next: Position, content: Result<Document, String> },
    Broken { line: u64, why: String },
}

fn all(mut source: Box<dyn Source + '_>) -> Vec<Step> {
    let mut steps = Vec::new();
    loop {
        match source.next() {
            Ok(Some(record)) => steps.push(Step::Record {
                line: record.line,
                start: record.start,
                next: record.next,
                content: record.content,
            }),
            Ok(None) => return steps,
            Err(broken) => {
                steps.push(Step::Broken { line: broken.line, why: broken.why });
                return steps;
            }
        }
    }
}

pub(crate) fn run(data: &[u8]) {
    let [first, file @ ..] = data else { return };
    let manner = Manner::of(*first);
    let Some(source) = manner.open(file, Position::START, usize::MAX) else { return };
    let steps = all(source);
    if let Some(source) = manner.open(file, Position::START, 3) {
        assert_eq!(all(source), steps, "in small pieces");
    }
    let mut behind = 0;
    for (number, step) in steps.iter().enumerate() {
        let Step::Record { start, next, content, .. } = step else { continue };
        assert!(
            behind <= *start && start < &next.offset && next.offset <= file.len() as u64,
            "{step:?} behind {behind}"
        );
        behind = next.offset;
        if let Ok(document) = content {
            good(document, manner);
        }
        if number < RESUMED_MAX {
            let rest = manner.open(file, next.clone(), usize::MAX).unwrap();
            assert_eq!(all(rest), steps[number + 1..], "behind {step:?}");
        }
    }
}

/// A record that is sent is an object; one that was made here is one that a node can read.
fn good(document: &Document, manner: Manner) {
    let text = String::from_utf8_lossy(&document.json);
    // Values pass as they are written: whether a number fits is the node's to say.
    assert!(serde_json::from_slice::<BTreeMap<String, &RawValue>>(&document.json).is_ok(), "{text}");
    if !manner.is_csv() {
        return;
    }
    let value = prepare::body(&document.json, &Limits::default()).unwrap_or_else(|error| panic!("{text}: {error}"));
    let id = value.get("id").and_then(Value::as_str);
    assert_eq!(id, document.id.as_deref(), "{text}");
    assert!(json::parse(&value.to_bytes(), &json::STORED).unwrap().equals(&value), "{text}");
}
