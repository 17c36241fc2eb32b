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
    /// Both, and what lies between.
    pub(super) text: &'b [u8],
}

/// The members of an object, one after the other: of each its name, then its value, or both at once.
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

    /// Whether nothing was passed over yet, not even the bracket that opens the object.
    pub(super) fn is_at_begin(&self) -> bool {
        self.at == 0
    }

    /// The name of the next member; `None` at the end.
    pub(super) fn name(&mut self) -> Result<Option<&'b [u8]>, Unclear> {
        match self.bytes.get(self.at) {
            Some(b'}') => return Ok(None),
            Some(b',' | b'{') if self.bytes.get(self.at + 1) == Some(&b'"') => {}
            _ => return Err(Unclear),
        }
        let name = self.at + 2;
        let quote = name + memchr2(b'"', b'\\', self.bytes.get(name..).ok_or(Unclear)?).ok_or(Unclear)?;
        self.at = quote + 2;
        match self.bytes.get(quote..self.at) {
            Some(b"\":") => Ok(Some(&self.bytes[name..quote])),
            _ => Err(Unclear),
        }
    }

    /// The next member; `None` at the end.
    pub(super) fn member(&mut self) -> Result<Option<Member<'b>>, Unclear> {
        let begin = self.at + 1;
        let Some(name) = self.name()? else { return Ok(None) };
        let value = self.value()?;
        Ok(Some(Member { name, value, text: &self.bytes[begin..self.at] }))
    }

    /// Passes over the next member's name if it is this one.
    pub(super) fn passes_name(&mut self, name: &Name) -> bool {
        let is_it = name.begins(&self.bytes[self.at..]);
        if is_it {
            self.at += name.text.len();
        }
        is_it
    }

    /// The value behind a name.
    pub(super) fn value(&mut self) -> Result<&'b [u8], Unclear> {
        let begin = self.at;
        self.at = value_end(self.bytes, begin)?;
        Ok(&self.bytes[begin..self.at])
    }
}

/// The name of a member as it stands in an object behind another one, with its comma and its colon; quick to compare, where it is short.
#[derive(Debug)]
pub(super) struct Name {
    text: Vec<u8>,
    /// Its first bytes, and those bits of as many that they are.
    first: u128,
    bits: u128,
}

impl Name {
    /// The name that [`Walk::name`] gave.
    pub(super) fn new(plain: &[u8]) -> Self {
        let text = [b",\"", plain, b"\":"].concat();
        let mut first = [0; 16];
        let known = text.len().min(first.len());
        first[..known].copy_from_slice(&text[..known]);
        let bits = u128::MAX >> (8 * (first.len() - known));
        Self { text, first: u128::from_le_bytes(first), bits }
    }

    /// Whether this is what `bytes` begin with.
    fn begins(&self, bytes: &[u8]) -> bool {
        match bytes.first_chunk() {
            Some(first) if u128::from_le_bytes(*first) & self.bits != self.first => false,
            Some(_) if self.text.len() <= size_of::<u128>() => true,
            _ => bytes.starts_with(&self.text),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_passed_where_it_stands_and_nowhere_else() {
        let names: Vec<String> = (1..24).map(|length| "abcdefghijklmnopqrstuvwxyz"[..length].to_owned()).collect();
        for written in &names {
            for value in ["1", r#""a longer value, which ends behind what is compared at once""#] {
                let text = format!(r#","{written}":{value}}}"#);
                // As another document's text, behind what was read before.
                let text = format!("1{text}");
                for asked in &names {
                    let mut walk = Walk::new(text.as_bytes(), 1).unwrap();
                    assert_eq!(walk.passes_name(&Name::new(asked.as_bytes())), asked == written, "{asked} in {text}");
                    let name = if asked == written { None } else { walk.name().unwrap() };
                    assert!(name.is_none_or(|name| name == written.as_bytes()));
                    assert_eq!(walk.value().unwrap(), value.as_bytes());
                }
            }
        }
        let mut ended = Walk::new(b"1}", 1).unwrap();
        assert!(!ended.passes_name(&Name::new(b"a")) && ended.name().unwrap().is_none());
    }
}
