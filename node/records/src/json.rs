//! A JSON array of objects, cut into its elements without reading the whole of it.

use std::io::{BufRead, BufReader, Read};

use super::{Broken, Document, Position, RECORD_BYTES_MAX, Record, Source};

/// Where in the array the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the bracket that opens it.
    Before,
    /// Where its first element may stand, or its end.
    First,
    /// Behind an element: a comma or the end.
    BehindElement,
    /// Behind its end.
    End,
}

/// Records from the elements of an array.
pub struct JsonArray<R> {
    input: BufReader<R>,
    at: Position,
    place: Place,
    id_field: Option<String>,
}

impl<R: Read> JsonArray<R> {
    /// Records from an input that begins at a position of its file: the start, or behind an element.
    pub fn new(input: R, at: Position, id_field: Option<String>) -> Self {
        let place = if at.offset == 0 { Place::Before } else { Place::BehindElement };
        Self { input: BufReader::with_capacity(1 << 16, input), at, place, id_field }
    }

    fn broken(&self, why: impl ToString) -> Broken {
        Broken::new(self.at.line, why)
    }

    fn peek(&mut self) -> Result<Option<u8>, Broken> {
        let line = self.at.line;
        let buffer = self.input.fill_buf().map_err(|error| Broken::new(line, error))?;
        Ok(buffer.first().copied())
    }

    fn advance(&mut self, byte: u8) {
        self.input.consume(1);
        self.at.offset += 1;
        self.at.line += u64::from(byte == b'\n');
    }

    /// Passes over white space. Returns what comes then.
    fn skip_space(&mut self) -> Result<Option<u8>, Broken> {
        while let Some(byte) = self.peek()? {
            if !byte.is_ascii_whitespace() {
                return Ok(Some(byte));
            }
            self.advance(byte);
        }
        Ok(None)
    }

    /// Goes to the next element. False at the end of the array.
    fn find_element(&mut self) -> Result<bool, Broken> {
        if self.place == Place::Before {
            for mark in [0xef, 0xbb, 0xbf] {
                if self.peek()? == Some(mark) {
                    self.advance(mark);
                }
            }
            match self.skip_space()? {
                Some(b'[') => self.advance(b'['),
                Some(b'{') => {
                    return Err(self.broken("the file is not one JSON array; for one object a line use --format jsonl"));
                }
                Some(_) => return Err(self.broken("the file is not a JSON array")),
                None => return Err(self.broken("the file is empty")),
            }
            self.place = Place::First;
        }
        let next = self.skip_space()?;
        match (self.place, next) {
            (Place::End, None) => Ok(false),
            (Place::End, Some(_)) => Err(self.broken("something follows the end of the array")),
            (_, None) => Err(self.broken("the file ends within the array")),
            (_, Some(b']')) => {
                self.advance(b']');
                self.place = Place::End;
                self.find_element()
            }
            (Place::BehindElement, Some(b',')) => {
                self.advance(b',');
                match self.skip_space()? {
                    Some(b']' | b',') => Err(self.broken("an element is missing behind a comma")),
                    Some(_) => Ok(true),
                    None => Err(self.broken("the file ends within the array")),
                }
            }
            (Place::BehindElement, Some(_)) => Err(self.broken("a comma is missing between two elements")),
            (_, Some(b',')) => Err(self.broken("an element is missing before a comma")),
            (_, Some(_)) => Ok(true),
        }
    }

    /// Reads one element: up to the bracket that closes it, or for what has no brackets up to what ends it.
    fn read_element(&mut self) -> Result<Vec<u8>, Broken> {
        let begun = self.at.line;
        let mut text = Vec::new();
        let (mut depth, mut in_text, mut escaped) = (0u32, false, false);
        loop {
            let Some(byte) = self.peek()? else {
                return if depth == 0 && !in_text {
                    Ok(text)
                } else {
                    Err(Broken::new(begun, "the file ends within this record"))
                };
            };
            let ends = !in_text
                && depth == 0
                && !text.is_empty()
                && (matches!(byte, b',' | b']' | b'}') || byte.is_ascii_whitespace());
            if ends {
                return Ok(text);
            }
            self.advance(byte);
            text.push(byte);
            if text.len() as u64 > RECORD_BYTES_MAX {
                return Err(Broken::new(begun, format!("this record is longer than {RECORD_BYTES_MAX} bytes")));
            }
            if in_text {
                in_text = escaped || byte != b'"';
                escaped = !escaped && byte == b'\\';
                continue;
            }
            match byte {
                b'"' => in_text = true,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return Ok(text);
                    }
                }
                _ => {}
            }
        }
    }
}

impl<R: Read + Send> Source for JsonArray<R> {
    fn next(&mut self) -> Result<Option<Record>, Broken> {
        if !self.find_element()? {
            return Ok(None);
        }
        let start = self.at.clone();
        let text = self.read_element()?;
        self.place = Place::BehindElement;
        let content = Document::from_json(&text, self.id_field.as_deref());
        Ok(Some(Record { line: start.line, start: start.offset, next: self.at.clone(), content }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{check_resume, transcript};
    use super::*;

    fn open(bytes: &'static [u8], at: Position) -> Box<dyn Source> {
        Box::new(JsonArray::new(bytes, at, None))
    }

    fn check(text: &'static str) -> Vec<String> {
        transcript(&mut *open(text.as_bytes(), Position::START))
    }

    #[test]
    fn elements_and_their_lines() {
        let text = "[\n {\"a\": \"]}\\\"\", \"b\": [1, {}]},\n {\"a\":\n2},  7, \"x,y\",\n null\n]\n";
        let lines = check(text);
        assert_eq!(lines[0], r#"2: {"a": "]}\"", "b": [1, {}]}"#);
        assert_eq!(lines[1], "3: {\"a\":\n2}");
        assert!(lines[2].starts_with("4! ") && lines[3].starts_with("4! ") && lines[4].starts_with("5! "), "{lines:?}");
        assert_eq!(lines.len(), 5);
        assert!(check("[]").is_empty() && check(" [ ] \n").is_empty());
    }

    #[test]
    fn a_broken_file_is_named_where_it_breaks() {
        for (text, says) in [
            ("", "1!! the file is empty"),
            ("{\"a\":1}\n{\"a\":2}", "--format jsonl"),
            ("7", "not a JSON array"),
            ("[{\"a\":1}\n{\"a\":2}]", "2!! a comma is missing"),
            ("[{\"a\":1},\n]", "2!! an element is missing"),
            ("[,{}]", "1!! an element is missing"),
            ("[{\"a\":1},\n{\"a\":", "2!! the file ends within this record"),
            ("[{\"a\":1}", "the file ends within the array"),
            ("[{}] x", "something follows"),
        ] {
            let lines = check(text);
            assert!(lines.last().unwrap().contains(says), "{text}: {lines:?}");
        }
        assert_eq!(check("[{\"a\":},{\"a\":2}]")[1], r#"1: {"a":2}"#, "a bad element does not spoil the next");
    }

    #[test]
    fn reading_goes_on_from_anywhere() {
        check_resume(b"[ {\"a\":1},\n 7 ,\n\n{\"a\":[2,3]} ]", open);
    }
}
