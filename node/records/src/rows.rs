//! The rows of a CSV file (RFC 4180), each with the line that it begins on and its place in the file. A value in quotes
//! may have commas, line breaks and doubled quotes in it; empty lines are passed over.

use std::io::{BufRead, BufReader, Read};

use super::{BYTE_ORDER_MARK, Broken, Position, RECORD_BYTES_MAX};

/// One row.
#[derive(Debug)]
pub(super) struct Row {
    /// The line that it begins on.
    pub(super) line: u64,
    /// Where it begins.
    pub(super) start: u64,
    /// Its values, without quotes.
    pub(super) fields: Vec<Vec<u8>>,
}

/// Where in a value the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before its first byte.
    Start,
    /// In one without quotes.
    Bare,
    /// Between quotes.
    Quoted,
    /// Behind a quote that ends it, or is the first of two.
    BehindQuote,
}

/// Rows of an input.
pub(super) struct Rows<R> {
    input: BufReader<R>,
    at: Position,
}

impl<R: Read> Rows<R> {
    /// Rows of an input that begins at a position of its file.
    pub(super) fn new(input: R, at: Position) -> Self {
        Self { input: BufReader::with_capacity(1 << 16, input), at }
    }

    /// Behind the last row.
    pub(super) fn position(&self) -> Position {
        self.at.clone()
    }

    /// The next row, or nothing at the end.
    pub(super) fn next(&mut self) -> Result<Option<Row>, Broken> {
        let mut line = Vec::new();
        loop {
            let begun = self.at.clone();
            if !self.read_line(&mut line)? {
                return Ok(None);
            }
            let mut text = line.as_slice();
            if begun.offset == 0 {
                text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
            }
            if text.trim_ascii().is_empty() {
                continue;
            }
            let mut row = Splitter::new();
            let mut whole = row.take(text);
            while !whole {
                if self.at.offset - begun.offset > RECORD_BYTES_MAX || !self.read_line(&mut line)? {
                    return Err(Broken::new(begun.line, "a value that begins here with a quote does not end with one"));
                }
                whole = row.take(&line);
            }
            return Ok(Some(Row { line: begun.line, start: begun.offset, fields: row.fields }));
        }
    }

    /// Reads a line with its end. False at the end of the input.
    fn read_line(&mut self, line: &mut Vec<u8>) -> Result<bool, Broken> {
        line.clear();
        let bytes = (&mut self.input).take(RECORD_BYTES_MAX).read_until(b'\n', line);
        let bytes = bytes.map_err(|error| Broken::new(self.at.line, error))? as u64;
        if bytes == RECORD_BYTES_MAX {
            return Err(Broken::new(self.at.line, format!("this line is longer than {RECORD_BYTES_MAX} bytes")));
        }
        self.at = Position { offset: self.at.offset + bytes, line: self.at.line + u64::from(bytes > 0) };
        Ok(bytes > 0)
    }
}

/// Takes a row apart, line by line.
struct Splitter {
    fields: Vec<Vec<u8>>,
    value: Vec<u8>,
    place: Place,
}

impl Splitter {
    fn new() -> Self {
        Self { fields: Vec::new(), value: Vec::new(), place: Place::Start }
    }

    /// Takes a line. True if the row ends with it.
    fn take(&mut self, line: &[u8]) -> bool {
        // The end of the line belongs to the row only between quotes.
        let bare = line.strip_suffix(b"\n").unwrap_or(line);
        let bare = bare.strip_suffix(b"\r").unwrap_or(bare);
        for byte in bare {
            self.place = match (self.place, byte) {
                (Place::Start, b'"') => Place::Quoted,
                (Place::Quoted, b'"') => Place::BehindQuote,
                (Place::BehindQuote, b'"') | (Place::Quoted, _) => self.push(*byte, Place::Quoted),
                (_, b',') => self.end_value(),
                // What follows a closing quote belongs to the value, as most programs read it.
                (Place::Start | Place::Bare | Place::BehindQuote, _) => self.push(*byte, Place::Bare),
            };
        }
        if self.place == Place::Quoted {
            self.value.extend_from_slice(&line[bare.len()..]);
            return false;
        }
        self.end_value();
        true
    }

    fn push(&mut self, byte: u8, place: Place) -> Place {
        self.value.push(byte);
        place
    }

    fn end_value(&mut self) -> Place {
        self.fields.push(std::mem::take(&mut self.value));
        Place::Start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> String {
        let mut rows = Rows::new(text.as_bytes(), Position::START);
        let mut shown = Vec::new();
        loop {
            match rows.next() {
                Ok(Some(row)) => {
                    let fields: Vec<_> = row.fields.iter().map(|field| String::from_utf8_lossy(field)).collect();
                    shown.push(format!("{}:{}", row.line, fields.join("|")));
                }
                Ok(None) => break,
                Err(broken) => {
                    shown.push(format!("{}!", broken.line));
                    break;
                }
            }
        }
        assert!(rows.position().offset <= text.len() as u64);
        shown.join(" ")
    }

    #[test]
    fn values_with_and_without_quotes() {
        assert_eq!(check("a,b\r\n1,2\r\n"), "1:a|b 2:1|2");
        assert_eq!(check("a,,\n,"), "1:a|| 2:|");
        assert_eq!(check("\"a,\"\"b\"\"\",\"\"\n"), "1:a,\"b\"|");
        assert_eq!(check("5\" pipe,x\ny,z"), "1:5\" pipe|x 2:y|z");
        assert_eq!(check("\"a\"b,c"), "1:ab|c");
    }

    #[test]
    fn rows_of_several_lines() {
        assert_eq!(check("\"a\nb\",c\n\n\r\nd,e"), "1:a\nb|c 5:d|e");
        assert_eq!(check("\"a\r\nb\"\r\nc"), "1:a\r\nb 3:c");
        assert_eq!(check("a\n\"b\nc"), "1:a 2!");
        assert_eq!(check(""), "");
    }
}
