//! A quick way through documents as they are stored: without blanks, and known to be valid, for this program wrote them
//! ([`Value::write`](super::Value)). Whoever looks for two members of ten passes over the others by their quotes and brackets, a
//! few bytes at a time, and judges nothing.
//!
//! What is not of this form is no error here: [`Unclear`] sends the caller to the parser, which says what it is.

use memchr::{memchr, memchr2};

use super::Value;
use super::parse::{STORED, number, parse};

/// Not of this form, or of it and not simple: an escape where there is none usually.
#[derive(Debug)]
pub(super) struct Unclear;

/// A member of an object, as it is written there.
pub(super) struct Member<'b> {
    pub(super) name: &'b [u8],
    pub(super) value: &'b [u8],
}

/// The members of an object, one after the other.
pub(super) struct Walk<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Walk<'b> {
    /// The members behind `begin`: 0, or where one of them ends.
    pub(super) fn new(bytes: &'b [u8], begin: usize) -> Result<Self, Unclear> {
        match (begin, bytes) {
            (0, [b'{', b'}']) => Ok(Self { bytes, at: 1 }),
            // A first member follows what opens the object as others follow a comma.
            (0, [b'{', ..]) => Ok(Self { bytes, at: 0 }),
            (0, _) => Err(Unclear),
            (begin, _) => Ok(Self { bytes, at: begin }),
        }
    }

    /// The next member; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Member<'b>>, Unclear> {
        match self.bytes.get(self.at) {
            Some(b'}') => return Ok(None),
            Some(b',' | b'{') if self.bytes.get(self.at + 1) == Some(&b'"') => {}
            _ => return Err(Unclear),
        }
        let name = self.at + 2;
        let quote = name + memchr2(b'"', b'\\', self.bytes.get(name..).ok_or(Unclear)?).ok_or(Unclear)?;
        let value = quote + 2;
        if !matches!(self.bytes.get(quote..value), Some(b"\":")) {
            return Err(Unclear);
        }
        self.at = value_end(self.bytes, value)?;
        Ok(Some(Member { name: &self.bytes[name..quote], value: &self.bytes[value..self.at] }))
    }
}

/// Where the value ends that begins at `at`.
fn value_end(bytes: &[u8], at: usize) -> Result<usize, Unclear> {
    match bytes.get(at) {
        Some(b'"') => string_end(bytes, at + 1),
        Some(b'{' | b'[') => nested_end(bytes, at),
        Some(_) => {
            let rest = &bytes[at..];
            let length = rest.iter().position(|byte| matches!(byte, b',' | b'}' | b']')).ok_or(Unclear)?;
            Ok(at + length)
        }
        None => Err(Unclear),
    }
}

/// Behind the quote that ends the string whose first byte is at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> Result<usize, Unclear> {
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..).ok_or(Unclear)?).ok_or(Unclear)?;
        match bytes[at] {
            b'"' => return Ok(at + 1),
            // Whatever is escaped is no end.
            _ => at += 2,
        }
    }
}

/// Behind the bracket that ends the array or object that begins at `at`.
fn nested_end(bytes: &[u8], mut at: usize) -> Result<usize, Unclear> {
    let mut depth = 0_usize;
    loop {
        match bytes.get(at) {
            Some(b'"') => {
                at = string_end(bytes, at + 1)?;
                continue;
            }
            Some(b'{' | b'[') => depth += 1,
            Some(b'}' | b']') => {
                depth -= 1;
                if depth == 0 {
                    return Ok(at + 1);
                }
            }
            Some(_) => {}
            None => return Err(Unclear),
        }
        at += 1;
    }
}

/// What a value, passed over before, stands for.
pub(super) fn value(bytes: &[u8]) -> Result<Value, Unclear> {
    if let Some(text) = plain_text(bytes) {
        return Ok(text.into());
    }
    match (bytes, std::str::from_utf8(bytes)) {
        (b"null", _) => Ok(Value::Null),
        (b"true", _) => Ok(Value::Bool(true)),
        (b"false", _) => Ok(Value::Bool(false)),
        ([b'-' | b'0'..=b'9', ..], Ok(text)) => number(text).ok_or(Unclear),
        _ => parse(bytes, &STORED).map_err(|_| Unclear),
    }
}

/// What lies between the quotes of a string; `None` for other values, and where something is escaped.
pub(super) fn plain_text(value: &[u8]) -> Option<&str> {
    let text = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if memchr(b'\\', text).is_some() { None } else { std::str::from_utf8(text).ok() }
}
