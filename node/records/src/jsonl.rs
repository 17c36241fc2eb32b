//! JSON Lines: one object a line; empty lines are passed over.

use std::io::{BufRead, BufReader, Read};

use super::{BYTE_ORDER_MARK, Broken, Document, Position, RECORD_BYTES_MAX, Record, Source};

/// Records from lines.
pub struct Jsonl<R> {
    input: BufReader<R>,
    at: Position,
    id_field: Option<String>,
}

impl<R: Read> Jsonl<R> {
    /// Records from an input that begins at a position of its file.
    pub fn new(input: R, at: Position, id_field: Option<String>) -> Self {
        Self { input: BufReader::with_capacity(1 << 16, input), at, id_field }
    }

    /// Reads a line up to its bound; the rest of a longer one is passed over. Returns how many bytes it had.
    fn read_line(&mut self, line: &mut Vec<u8>) -> std::io::Result<u64> {
        let mut bytes = (&mut self.input).take(RECORD_BYTES_MAX).read_until(b'\n', line)? as u64;
        if bytes == RECORD_BYTES_MAX && line.last() != Some(&b'\n') {
            bytes += self.input.skip_until(b'\n')? as u64;
        }
        Ok(bytes)
    }
}

impl<R: Read + Send> Source for Jsonl<R> {
    fn next(&mut self) -> Result<Option<Record>, Broken> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let start = self.at.clone();
            let bytes = self.read_line(&mut line).map_err(|error| Broken::new(start.line, error))?;
            if bytes == 0 {
                return Ok(None);
            }
            self.at = Position { offset: start.offset + bytes, line: start.line + 1 };
            let mut text = line.as_slice();
            if start.offset == 0 {
                text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
            }
            if text.trim_ascii().is_empty() {
                continue;
            }
            let content = if bytes > RECORD_BYTES_MAX {
                Err(format!("it is longer than {RECORD_BYTES_MAX} bytes"))
            } else {
                Document::from_json(text.trim_ascii_end(), self.id_field.as_deref())
            };
            return Ok(Some(Record { line: start.line, start: start.offset, next: self.at.clone(), content }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{check_resume, transcript};
    use super::*;

    fn open(bytes: &'static [u8], at: Position) -> Box<dyn Source> {
        Box::new(Jsonl::new(bytes, at, None))
    }

    #[test]
    fn bad_lines_are_named() {
        let text = b"\xef\xbb\xbf{\"a\":1}\n\n  \n{\"a\":}\r\n{\"a\":2}\r\n[3]\n{\"a\":\"\xff\"}\n{\"a\":4}";
        let lines = transcript(&mut *open(text, Position::START));
        assert_eq!(lines.len(), 6);
        assert_eq!(lines[0], r#"1: {"a":1}"#);
        assert!(lines[1].starts_with("4! expected value (column 6)"), "{}", lines[1]);
        assert_eq!(lines[2], r#"5: {"a":2}"#);
        assert!(lines[3].starts_with("6! ") && lines[4].starts_with("7! "), "{lines:?}");
        assert_eq!(lines[5], r#"8: {"a":4}"#);
    }

    #[test]
    fn reading_goes_on_from_anywhere() {
        check_resume(b"{\"a\":1}\n\n{\"a\":}\n{\"a\":2}\n\n{\"a\":3}", open);
    }

    #[test]
    fn a_line_without_end_is_bad_and_the_next_is_read() {
        let long = std::io::repeat(b'x').take(RECORD_BYTES_MAX + 5);
        let mut source = Jsonl::new(long.chain(&b"\n{\"a\":1}\n"[..]), Position::START, None);
        let lines = transcript(&mut source);
        assert!(lines[0].starts_with("1! it is longer than"), "{}", lines[0]);
        assert_eq!(lines[1..], [r#"2: {"a":1}"#]);
    }
}
