//! Reading JSON, strictly and without recursion.
//!
//! Tokens come from `jiter`; which of them make a value is decided here: duplicate keys, depth, and the range of
//! numbers, which are taken as raw text so that none is rounded before it is judged.

use std::collections::BTreeSet;

use jiter::{Jiter, JiterError, JiterErrorType, JsonErrorType, Peek};

use super::Value;

/// No limit on depth goes beyond this: much of the engine recurses over values and must never run out of stack.
pub const DEPTH_CEILING: usize = 256;

/// Objects with more keys than this look for duplicates in a set; in smaller ones a scan is faster.
const SCANNED_KEYS_MAX: usize = 16;

/// What a text may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How deep arrays and objects may lie within each other; `[]` is 1. At most [`DEPTH_CEILING`] counts.
    pub depth_max: usize,
}

/// What is stored was bounded when it came, perhaps by another limit: it is read whatever it costs.
pub const STORED: Limits = Limits { depth_max: DEPTH_CEILING };

impl Default for Limits {
    fn default() -> Self {
        Self { depth_max: 64 }
    }
}

/// What is wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Not JSON.
    InvalidJson,
    /// An object names a key twice.
    DuplicateKey,
    /// Deeper than [`Limits::depth_max`].
    NestingTooDeep,
    /// An integer beyond 64 bits, or a float beyond what a 64-bit float can tell from infinity or from zero.
    NumberOutOfRange,
    /// Not UTF-8.
    InvalidUtf8,
}

impl ErrorKind {
    /// The stable word for this error.
    pub const fn code(self) -> &'static str {
        match self {
            ErrorKind::InvalidJson => "invalid_json",
            ErrorKind::DuplicateKey => "duplicate_key",
            ErrorKind::NestingTooDeep => "nesting_too_deep",
            ErrorKind::NumberOutOfRange => "number_out_of_range",
            ErrorKind::InvalidUtf8 => "invalid_utf8",
        }
    }
}

/// Why a text is not a value, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} at line {line}, column {column}")]
pub struct Error {
    /// What kind of error it is.
    pub kind: ErrorKind,
    /// How many bytes in it lies.
    pub offset: usize,
    /// The line, from 1.
    pub line: usize,
    /// The column in bytes, from 1.
    pub column: usize,
    /// What is wrong, for a person.
    pub message: String,
}

impl Error {
    fn new(kind: ErrorKind, bytes: &[u8], offset: usize, message: impl Into<String>) -> Self {
        let before = &bytes[..offset.min(bytes.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
        Self { kind, offset, line, column, message: message.into() }
    }

    /// The stable word for this error.
    pub const fn code(&self) -> &'static str {
        self.kind.code()
    }
}

/// Reads exactly one JSON value (RFC 8259) from `bytes`.
///
/// Beyond the grammar, these are errors: a key that comes twice in one object, at any level; an integer outside of
/// `i64::MIN..=u64::MAX`; a float that would become infinite, or zero although it is not; half of a surrogate pair.
/// `-0` becomes the float `-0.0`: it is equal to zero everywhere and yet keeps its sign.
///
/// # Errors
/// See [`ErrorKind`].
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Value, Error> {
    Parser::new(bytes, limits).run()
}

/// An array or object whose end has not been seen.
enum Open {
    Array(Vec<Value>),
    Object { entries: Vec<(String, Value)>, key: String, seen: BTreeSet<String> },
}

/// What follows once a value is complete.
enum Next {
    /// Another value begins.
    Value(Peek),
    /// The innermost open array or object ended with it.
    Closed(Value),
}

pub(super) struct Parser<'j> {
    bytes: &'j [u8],
    pub(super) jiter: Jiter<'j>,
    depth_max: usize,
    open: Vec<Open>,
}

impl<'j> Parser<'j> {
    pub(super) fn new(bytes: &'j [u8], limits: &Limits) -> Self {
        Self { bytes, jiter: Jiter::new(bytes), depth_max: limits.depth_max.min(DEPTH_CEILING), open: Vec::new() }
    }

    fn run(&mut self) -> Result<Value, Error> {
        let peek = self.jiter.peek().map_err(|error| self.error(error))?;
        let value = self.value(peek)?;
        self.jiter.finish().map_err(|error| self.error(error))?;
        Ok(value)
    }

    /// The whole value that `peek` announces.
    pub(super) fn value(&mut self, mut peek: Peek) -> Result<Value, Error> {
        loop {
            let mut value = match self.begin(peek)? {
                Next::Value(first) => {
                    peek = first;
                    continue;
                }
                Next::Closed(value) => value,
            };
            loop {
                let Some(open) = self.open.pop() else { return Ok(value) };
                match self.add(open, value)? {
                    Next::Value(following) => {
                        peek = following;
                        break;
                    }
                    Next::Closed(closed) => value = closed,
                }
            }
        }
    }

    /// Takes the value that `peek` announces, or opens it.
    fn begin(&mut self, peek: Peek) -> Result<Next, Error> {
        let scalar = match peek {
            Peek::Array => return self.begin_array(),
            Peek::Object => return self.begin_object(),
            Peek::Null => self.jiter.known_null().map(|()| Value::Null),
            Peek::True | Peek::False => self.jiter.known_bool(peek).map(Value::Bool),
            Peek::String => self.jiter.known_str().map(Value::from),
            _ => return self.number(peek).map(Next::Closed),
        };
        scalar.map(Next::Closed).map_err(|error| self.error(error))
    }

    fn begin_array(&mut self) -> Result<Next, Error> {
        self.check_depth()?;
        match self.jiter.known_array().map_err(|error| self.error(error))? {
            None => Ok(Next::Closed(Value::Array(Vec::new()))),
            Some(first) => {
                self.open.push(Open::Array(Vec::new()));
                Ok(Next::Value(first))
            }
        }
    }

    fn begin_object(&mut self) -> Result<Next, Error> {
        self.check_depth()?;
        match self.jiter.known_object().map(|key| key.map(str::to_owned)) {
            Err(error) => Err(self.error(error)),
            Ok(None) => Ok(Next::Closed(Value::empty_object())),
            Ok(Some(key)) => {
                self.open.push(Open::Object { entries: Vec::new(), key, seen: BTreeSet::new() });
                self.peek_value()
            }
        }
    }

    /// Adds a complete value to what it lies in.
    fn add(&mut self, open: Open, value: Value) -> Result<Next, Error> {
        match open {
            Open::Array(mut items) => {
                items.push(value);
                match self.jiter.array_step().map_err(|error| self.error(error))? {
                    None => Ok(Next::Closed(Value::Array(items))),
                    Some(following) => {
                        self.open.push(Open::Array(items));
                        Ok(Next::Value(following))
                    }
                }
            }
            Open::Object { mut entries, key, mut seen } => {
                entries.push((key, value));
                let before = self.jiter.current_index();
                match self.jiter.next_key().map(|key| key.map(str::to_owned)) {
                    Err(error) => Err(self.error(error)),
                    Ok(None) => Ok(Next::Closed(Value::Object(entries))),
                    Ok(Some(key)) => {
                        if is_duplicate(&entries, &mut seen, &key) {
                            return Err(self.duplicate(before, &key));
                        }
                        self.open.push(Open::Object { entries, key, seen });
                        self.peek_value()
                    }
                }
            }
        }
    }

    fn peek_value(&mut self) -> Result<Next, Error> {
        self.jiter.peek().map(Next::Value).map_err(|error| self.error(error))
    }

    fn check_depth(&self) -> Result<(), Error> {
        if self.open.len() < self.depth_max {
            return Ok(());
        }
        let message = format!("arrays and objects lie more than {} deep", self.depth_max);
        Err(Error::new(ErrorKind::NestingTooDeep, self.bytes, self.jiter.current_index(), message))
    }

    fn number(&mut self, peek: Peek) -> Result<Value, Error> {
        let start = self.jiter.current_index();
        if let Err(error) = self.jiter.known_number_bytes(peek) {
            return Err(self.error(error));
        }
        let text = self.jiter.slice_to_current(start);
        let text = std::str::from_utf8(text).expect("a number is made of ASCII");
        number(text).ok_or_else(|| {
            let message = "a number that a 64-bit integer or float cannot hold";
            Error::new(ErrorKind::NumberOutOfRange, self.bytes, start, message)
        })
    }

    /// The key that begins after `from`: nothing but blanks and a comma lie before it.
    fn duplicate(&self, from: usize, key: &str) -> Error {
        let blanks = self.bytes[from..].iter().take_while(|byte| **byte != b'"').count();
        let shown: String = key.chars().take(64).collect();
        Error::new(ErrorKind::DuplicateKey, self.bytes, from + blanks, format!("the key {shown:?} comes twice"))
    }

    pub(super) fn error(&self, error: JiterError) -> Error {
        // Outside of strings the tokenizer sees an unexpected byte where the truth is that the text is not UTF-8; inside
        // of them it does not count escapes when it says where.
        let is_text = error.error_type == JiterErrorType::JsonError(JsonErrorType::InvalidUnicodeCodePoint);
        if let Err(utf8) = std::str::from_utf8(self.bytes)
            && (is_text || utf8.valid_up_to() <= error.index)
        {
            return Error::new(ErrorKind::InvalidUtf8, self.bytes, utf8.valid_up_to(), "bytes that are not UTF-8");
        }
        let kind = match &error.error_type {
            JiterErrorType::JsonError(JsonErrorType::NumberOutOfRange) => ErrorKind::NumberOutOfRange,
            _ => ErrorKind::InvalidJson,
        };
        Error::new(kind, self.bytes, error.index.min(self.bytes.len()), error.error_type.to_string())
    }
}

fn is_duplicate(entries: &[(String, Value)], seen: &mut BTreeSet<String>, key: &str) -> bool {
    if entries.len() <= SCANNED_KEYS_MAX {
        return entries.iter().any(|(name, _)| name == key);
    }
    if seen.is_empty() {
        seen.extend(entries.iter().map(|(name, _)| name.clone()));
    }
    !seen.insert(key.to_owned())
}

/// The number that `text`, which follows the grammar of JSON, stands for; none if it does not fit.
pub(crate) fn number(text: &str) -> Option<Value> {
    if text == "-0" {
        return Some(Value::Float(-0.0));
    }
    if !text.contains(['.', 'e', 'E']) {
        let int = text.parse().map(Value::Int);
        return int.or_else(|_| text.parse().map(Value::UInt)).ok();
    }
    let float: f64 = text.parse().ok()?;
    let mantissa = text.split(['e', 'E']).next().unwrap_or(text);
    let is_zero = !mantissa.contains(|c: char| ('1'..='9').contains(&c));
    (float.is_finite() && (is_zero || float != 0.0)).then_some(Value::Float(float))
}
