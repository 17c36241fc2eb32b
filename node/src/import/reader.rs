//! A thread that reads the file ahead of what is being sent, and puts records together to batches.

use aerodb_records::{Broken, Position, Record, Source};
use tokio::sync::mpsc;

use super::options::{ImportCommand, Input, OnError};
use super::source;
use crate::exit::Advice;

/// The most bytes of documents in one batch, well below what a node takes in one request.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// How many batches may wait to be sent.
const BATCHES_AHEAD_MAX: usize = 2;

/// What comes out of the file next.
#[derive(Debug)]
pub(super) enum Piece {
    /// Good records, one behind the other.
    Batch(Vec<Record>),
    /// A record that cannot be sent.
    Bad(Record),
    /// The file cannot be read on.
    Fatal { line: u64, why: String },
}

/// Starts reading. The channel closes at the end of the file.
pub(super) fn start(input: &Input, command: &ImportCommand, at: Position) -> Result<mpsc::Receiver<Piece>, Advice> {
    let mut source = source::open(input, command, at)?;
    let (pieces, received) = mpsc::channel(BATCHES_AHEAD_MAX);
    let (batch_max, on_error) = (usize::from(command.batch), command.on_error);
    let read = move || {
        // Whoever listened has stopped: there is nobody left to read for.
        let _ = read_all(&mut *source, batch_max, on_error, &|piece| pieces.blocking_send(piece).map_err(drop));
    };
    let spawned = std::thread::Builder::new().name("import-reader".into()).spawn(read);
    spawned.map_err(|error| Advice::failed("cannot start a thread to read the file").why(error.to_string()))?;
    Ok(received)
}

/// Cuts the records of a source into batches. A bad record that would stop the import goes out behind those before it.
fn read_all(
    source: &mut dyn Source,
    batch_max: usize,
    on_error: OnError,
    give: &dyn Fn(Piece) -> Result<(), ()>,
) -> Result<(), ()> {
    let mut batch: Vec<Record> = Vec::new();
    let mut bytes = 0;
    loop {
        let record = match source.next() {
            Ok(Some(record)) => record,
            end => {
                if !batch.is_empty() {
                    give(Piece::Batch(batch))?;
                }
                return match end {
                    Err(Broken { line, why }) => give(Piece::Fatal { line, why }),
                    Ok(_) => Ok(()),
                };
            }
        };
        let Ok(document) = &record.content else {
            if !batch.is_empty() {
                give(Piece::Batch(std::mem::take(&mut batch)))?;
                bytes = 0;
            }
            give(Piece::Bad(record))?;
            if on_error == OnError::Stop {
                return Ok(());
            }
            continue;
        };
        let more = document.json.len() + 1;
        if batch.len() == batch_max || (bytes + more > BATCH_BYTES_MAX && !batch.is_empty()) {
            give(Piece::Batch(std::mem::take(&mut batch)))?;
            bytes = 0;
        }
        bytes += more;
        batch.push(record);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::super::options::Format;
    use super::*;

    fn check(text: &str, batch_max: usize, on_error: OnError) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, text).unwrap();
        let command = super::super::tests::command(&path);
        let input = Input::open(&command).unwrap();
        assert_eq!(input.format, Format::Jsonl);
        let pieces = RefCell::new(Vec::new());
        let mut source = source::open(&input, &command, Position::START).unwrap();
        let give = |piece| {
            pieces.borrow_mut().push(match piece {
                Piece::Batch(batch) => {
                    let lines: Vec<String> = batch.iter().map(|record| record.line.to_string()).collect();
                    lines.join("+")
                }
                Piece::Bad(record) => format!("bad {}", record.line),
                Piece::Fatal { line, .. } => format!("fatal {line}"),
            });
            Ok(())
        };
        read_all(&mut *source, batch_max, on_error, &give).unwrap();
        pieces.into_inner().join(" ")
    }

    #[test]
    fn batches() {
        let text = "{}\n{}\n{}\n{}\n{}\n";
        assert_eq!(check(text, 2, OnError::Stop), "1+2 3+4 5");
        assert_eq!(check("", 2, OnError::Stop), "");
        let big = format!("{{\"a\":\"{}\"}}\n", "x".repeat(BATCH_BYTES_MAX / 2));
        assert_eq!(check(&big.repeat(3), 100, OnError::Stop), "1 2 3");
    }

    #[test]
    fn bad_records_end_their_batch() {
        let text = "{}\n{}\n{\n{}\n[]\n{}\n";
        assert_eq!(check(text, 10, OnError::Skip), "1+2 bad 3 4 bad 5 6");
        assert_eq!(check(text, 10, OnError::Stop), "1+2 bad 3");
    }
}
