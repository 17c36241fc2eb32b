//! The quick way into the one form in which documents are stored: from the text of a body straight into theirs, without
//! values in between.
//!
//! It judges nothing by itself. What it does not take as it comes, be it wrong or merely odd, it leaves to the parser and to
//! the rules of [`document`](super::document), which say what is wrong; what it takes, they would have taken, and written the
//! same (the tests below, and the fuzz target `path`).

use std::ops::Range;

use bytes::Bytes;
use jiter::{Jiter, Peek};

use super::{SYSTEM_FIELDS, check_id};
use crate::json::{self, write_string};
use crate::limits::Limits;

/// Objects with more members are left to the parser: names that come twice are found by looking at all before them.
const MEMBERS_MAX: usize = 64;
/// Digits of a decimal number that no two floats share: one with as few is the shortest text of its float.
const EXACT_DIGITS: usize = f64::DIGITS as usize;

/// A document of a body.
pub(super) struct Plain {
    /// The id that it brings.
    pub(super) id: Option<String>,
    /// Its fields, canonical.
    pub(super) fields: Bytes,
}

/// The documents of a body, an object or an array of them, and whether it was an array. `None` when the parser has to look.
pub(super) fn documents(body: &[u8], limits: &Limits) -> Option<(Vec<Plain>, bool)> {
    let depth_max = limits.json_depth_max.min(json::DEPTH_CEILING);
    let mut text = Text { jiter: Jiter::new(body), levels_left: depth_max, names: Vec::new(), end_max: 0 };
    // All fields in one piece of memory: a request's documents come and go together.
    let mut out = Vec::with_capacity(body.len());
    let mut found = Vec::new();
    let mut add = |text: &mut Text<'_>, peek| {
        let begin = out.len();
        text.end_max = begin + limits.document_bytes_max;
        let id = text.document(peek, &mut out)?;
        found.push((id, begin..out.len()));
        (out.len() <= text.end_max && found.len() <= limits.insert_documents_max).then_some(())
    };
    let first = text.jiter.peek().ok()?;
    let many = first == Peek::Array;
    if many {
        text.levels_left = text.levels_left.checked_sub(1)?;
        let mut next = text.jiter.known_array().ok()?;
        while let Some(peek) = next {
            add(&mut text, peek)?;
            next = text.jiter.array_step().ok()?;
        }
    } else {
        add(&mut text, first)?;
    }
    text.jiter.finish().ok()?;
    if out.len() < out.capacity() / 2 {
        // Mostly blanks: they are not kept as long as the documents.
        out.shrink_to_fit();
    }
    let out = Bytes::from(out);
    let plain = |(id, range): (_, Range<usize>)| Plain { id, fields: out.slice(range) };
    Some((found.into_iter().map(plain).collect(), many))
}

/// A text that is read, value by value.
struct Text<'j> {
    jiter: Jiter<'j>,
    /// How many more arrays and objects may be opened within each other.
    levels_left: usize,
    /// Where in what was written the names of the objects lie that are open.
    names: Vec<Range<usize>>,
    /// What is written ends here at the latest, but for the value that is being written.
    end_max: usize,
}

impl Text<'_> {
    /// A document: its fields go to `out`, its id is returned, and what belongs to the system is passed over.
    fn document(&mut self, peek: Peek, out: &mut Vec<u8>) -> Option<Option<String>> {
        if peek != Peek::Object {
            return None;
        }
        self.levels_left = self.levels_left.checked_sub(1)?;
        let (mut id, mut passed) = (None, [false; SYSTEM_FIELDS.len()]);
        out.push(b'{');
        let mut name = self.jiter.known_object().ok()?;
        while let Some(known) = name {
            if known == "id" {
                let peek = self.jiter.peek().ok()?;
                if id.is_some() || peek != Peek::String {
                    return None;
                }
                let text = self.jiter.known_str().ok()?;
                check_id(text).ok()?;
                id = Some(text.to_owned());
            } else if let Some(place) = SYSTEM_FIELDS.iter().position(|system| *system == known) {
                if std::mem::replace(&mut passed[place], true) {
                    return None;
                }
                let (begin, peek) = (out.len(), self.jiter.peek().ok()?);
                self.value(peek, out)?;
                out.truncate(begin);
            } else if known.starts_with('_') {
                return None;
            } else {
                write_name(&mut self.names, 0, known, out)?;
                let peek = self.jiter.peek().ok()?;
                self.value(peek, out)?;
            }
            name = self.jiter.next_key().ok()?;
        }
        out.push(b'}');
        self.names.clear();
        self.levels_left += 1;
        Some(id)
    }

    /// The value that `peek` announces.
    fn value(&mut self, peek: Peek, out: &mut Vec<u8>) -> Option<()> {
        if out.len() > self.end_max {
            return None;
        }
        match peek {
            Peek::String => write_string(self.jiter.known_str().ok()?, out),
            Peek::Object => return self.object(out),
            Peek::Array => return self.array(out),
            Peek::Null => {
                self.jiter.known_null().ok()?;
                out.extend_from_slice(b"null");
            }
            Peek::True | Peek::False => {
                let text: &[u8] = if self.jiter.known_bool(peek).ok()? { b"true" } else { b"false" };
                out.extend_from_slice(text);
            }
            _ => {
                let begin = self.jiter.current_index();
                self.jiter.known_number_bytes(peek).ok()?;
                let text = self.jiter.slice_to_current(begin);
                match is_canonical(text) {
                    true => out.extend_from_slice(text),
                    false => json::number(std::str::from_utf8(text).ok()?)?.write(out),
                }
            }
        }
        Some(())
    }

    fn object(&mut self, out: &mut Vec<u8>) -> Option<()> {
        self.levels_left = self.levels_left.checked_sub(1)?;
        let outer = self.names.len();
        out.push(b'{');
        let mut name = self.jiter.known_object().ok()?;
        while let Some(known) = name {
            write_name(&mut self.names, outer, known, out)?;
            let peek = self.jiter.peek().ok()?;
            self.value(peek, out)?;
            name = self.jiter.next_key().ok()?;
        }
        out.push(b'}');
        self.names.truncate(outer);
        self.levels_left += 1;
        Some(())
    }

    fn array(&mut self, out: &mut Vec<u8>) -> Option<()> {
        self.levels_left = self.levels_left.checked_sub(1)?;
        out.push(b'[');
        let mut next = self.jiter.known_array().ok()?;
        while let Some(peek) = next {
            self.value(peek, out)?;
            next = self.jiter.array_step().ok()?;
            if next.is_some() {
                out.push(b',');
            }
        }
        out.push(b']');
        self.levels_left += 1;
        Some(())
    }
}

/// Writes the name of a member, unless it is none or one of those behind `outer`, which are of the same object.
fn write_name(names: &mut Vec<Range<usize>>, outer: usize, name: &str, out: &mut Vec<u8>) -> Option<()> {
    if name.starts_with('$') || name.contains('.') {
        return None;
    }
    if names.len() > outer {
        out.push(b',');
    }
    let begin = out.len();
    write_string(name, out);
    let written = begin..out.len();
    let of_object = &names[outer..];
    let is_there = of_object.iter().any(|other| out[other.clone()] == out[written.clone()]);
    if is_there || of_object.len() >= MEMBERS_MAX {
        return None;
    }
    names.push(written);
    out.push(b':');
    Some(())
}

/// Whether a number, which follows the grammar of JSON, would be written as it stands; `false` when that is not certain.
fn is_canonical(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    match digits.iter().position(|byte| !byte.is_ascii_digit()) {
        // A zero with a sign is a float.
        None => digits.len() <= EXACT_DIGITS && text != b"-0",
        Some(point) => {
            let (whole, fraction) = (&digits[..point], &digits[point + 1..]);
            digits[point] == b'.'
                && fraction.iter().all(u8::is_ascii_digit)
                && digits.len() <= EXACT_DIGITS + 1
                && (fraction.len() == 1 || !fraction.ends_with(b"0"))
                // Below a ten-thousandth they have an exponent.
                && (whole != b"0" || !fraction.starts_with(b"0000"))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::tests::value_of;
    use crate::prepare::{insert_by_values, plain_insert};

    fn limits() -> Limits {
        Limits { json_depth_max: 5, insert_documents_max: 3, document_bytes_max: 200, ..Limits::default() }
    }

    /// Whether a body is taken: then as the parser takes it, and it takes all that this does.
    #[track_caller]
    fn check(body: &[u8]) -> bool {
        let limits = limits();
        let found = plain_insert(body, &mut String::new, &limits);
        let expected = insert_by_values(body, &mut String::new, &limits);
        assert_eq!(found, expected.ok(), "{}", String::from_utf8_lossy(body));
        // The same document, under an id that it may name.
        let single = (body.first() != Some(&b'[')).then(|| super::super::body(body, &limits).ok()).flatten();
        let single = single.and_then(|value| super::super::document(value, Some("x"), &mut String::new, &limits).ok());
        if body.first() != Some(&b'[') {
            assert_eq!(super::super::put("x", body, &limits).ok(), single, "{}", String::from_utf8_lossy(body));
        }
        found.is_some()
    }

    #[test]
    fn what_is_taken_is_written_as_the_parser_would() {
        for taken in [
            "{}",
            "[]",
            " [ { \"a\" : [ 1 , -2.50 , true , null ] , \"b\" : { } } , {} ] ",
            r#"{"id":"x","a":"ä\u00e4\n\"\\\u0001\/","\u0061b":1}"#,
            r#"{"_revision":{"a":[1]},"a":1,"_created_at":"2026","_updated_at":null}"#,
            r#"{"\u0069d":"x","\u005frevision":3,"a":{"id":1,"_x":2}}"#,
            "[0,-0,-0.0,0.0,0e3,1E2,1.10,0.00012,0.0001,0.00001,999999999999999,1234567890123456]",
        ] {
            match taken.starts_with("[0") {
                true => assert!(check(format!("{{\"n\":{taken}}}").as_bytes()), "{taken}"),
                false => assert!(check(taken.as_bytes()), "{taken}"),
            }
        }
        for left in [
            "",
            "3",
            "[3]",
            "[{},[]]",
            "{} {}",
            "[{},{},{},{}]",
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            r#"{"id":"x","id":"x"}"#,
            r#"{"_revision":1,"_revision":1}"#,
            r#"{"_revision":{"$x":1,"$x":1}}"#,
            r#"{"id":7}"#,
            r#"{"id":""}"#,
            r#"{"_x":1}"#,
            r#"{"a":{"$x":1}}"#,
            r#"{"a.b":1}"#,
            r#"{"a":[[[[[]]]]]}"#,
            r#"{"a":1e999}"#,
            r#"{"a":18446744073709551616}"#,
            r#"{"a":01}"#,
            "{\"a\":\"\n\"}",
        ] {
            assert!(!check(left.as_bytes()), "{left}");
        }
        assert!(!check(format!("{{\"a\":\"{}\"}}", "x".repeat(200)).as_bytes()));
        assert!(!check(b"{\"a\":\"\xff\"}"));
        assert!(check(r#"[{"a":[[[]]]}]"#.as_bytes()) && !check(r#"[{"a":[[[[]]]]}]"#.as_bytes()));
    }

    #[test]
    fn an_object_of_very_many_members_is_left_to_the_parser() {
        for (members, taken) in [(MEMBERS_MAX, true), (MEMBERS_MAX + 1, false)] {
            let members: Vec<_> = (0..members).map(|n| format!("\"{n}\":1")).collect();
            let body = format!("{{{}}}", members.join(","));
            assert_eq!(documents(body.as_bytes(), &Limits::default()).is_some(), taken);
        }
    }

    proptest! {
        #[test]
        fn all_that_is_acceptable_is_taken(values in proptest::collection::vec(value_of(3), 1..4), blanks in any::<bool>()) {
            let texts: Vec<_> = values.iter().map(|value| format!("{{\"a\":{value}}}")).collect();
            let blank = if blanks { " \n" } else { "" };
            check(texts[0].as_bytes());
            check(format!("[{}{blank}]", texts.join(&format!("{blank},{blank}"))).as_bytes());
        }

        #[test]
        fn what_is_damaged_is_taken_as_the_parser_takes_it(value in value_of(2), at in any::<prop::sample::Index>(), byte in any::<u8>(), how in 0..3) {
            let mut body = format!("[{value},{{\"id\":\"a\",\"b\":{value}}}]").into_bytes();
            let at = at.index(body.len());
            match how {
                0 => body[at] = byte,
                1 => drop(body.remove(at)),
                _ => body.insert(at, byte),
            }
            check(&body);
        }

        #[test]
        fn numbers_are_written_as_the_parser_writes_them(text in "-?(0|[1-9][0-9]{0,17})(\\.[0-9]{1,17})?([eE][+-]?[0-9]{1,2})?") {
            check(format!("{{\"n\":{text}}}").as_bytes());
            if is_canonical(text.as_bytes()) {
                let value = json::number(&text).expect("a number of few digits");
                prop_assert_eq!(value.to_bytes(), text.as_bytes());
            }
        }
    }
}
