//! Reading some members of a document, and passing over the others.

use super::parse::{Error, Parser, STORED};
use super::stored::{self, Name, Unclear, Walk};
use super::{Path, Value};

/// Up to so many names a scan is faster than a search.
const SCANNED_NAMES_MAX: usize = 8;
/// So many of a document's first members are expected in the next one.
const EXPECTED_MAX: usize = 64;
/// Bytes of a name that is expected: longer ones gain nothing.
const EXPECTED_BYTES_MAX: usize = 64;

/// Names of members of a document, at its top.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Ascending, each once.
    names: Vec<String>,
}

impl Members {
    /// Adds the member that `path` begins with.
    pub fn add(&mut self, path: &Path) {
        if let Some(first) = path.segments().first() {
            self.add_name(first.name());
        }
    }

    /// Adds all of `others`.
    pub fn extend(&mut self, others: &Self) {
        others.names.iter().for_each(|name| self.add_name(name));
    }

    /// Adds the member called `name`.
    pub fn add_name(&mut self, name: &str) {
        if let Err(place) = self.find(name) {
            self.names.insert(place, name.to_owned());
        }
    }

    /// Their names, ascending.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// The place of `name`, or that where it would be.
    fn find(&self, name: &str) -> Result<usize, usize> {
        self.names.binary_search_by(|other| other.as_str().cmp(name))
    }

    /// The place of `name`, if it is one of them: asked for every member of every document.
    fn place(&self, name: &[u8]) -> Option<usize> {
        match self.names.len() <= SCANNED_NAMES_MAX {
            true => self.names.iter().position(|other| other.as_bytes() == name),
            false => self.names.binary_search_by(|other| other.as_bytes().cmp(name)).ok(),
        }
    }
}

/// Reads of a document, as it is stored, only the `wanted` members: the others are passed over, and nothing is read behind
/// the last one. Whoever asks for these members alone finds what the whole document would show.
///
/// With `begin` nothing is read before it: there a member ends, and none of those wanted lies before it.
///
/// # Errors
/// As [`parse`](super::parse), as far as it is read; places are counted from `begin`.
pub fn parse_members(bytes: &[u8], begin: usize, wanted: &Members) -> Result<Value, Error> {
    let mut found = Vec::with_capacity(wanted.names.len());
    read(bytes, begin, wanted, None, &mut found)?;
    Ok(Value::Object(found))
}

/// Reads the same members of one document after the other, as [`parse_members`] does, into the same memory: documents of the same
/// shape whose members are numbers and strings take no new one.
#[derive(Debug)]
pub struct MembersReader {
    wanted: Members,
    found: Value,
    shape: Shape,
}

/// The members of a document read before, in their order: most documents of a collection have the same, and to see that a name is
/// the expected one takes less than to find its end and look for it. Where others are met more often, the next document is taken instead.
#[derive(Debug, Default)]
struct Shape {
    expected: Vec<Expected>,
}

#[derive(Debug)]
struct Expected {
    name: Name,
    /// Its place among those that are wanted.
    place: Option<usize>,
}

impl Shape {
    /// Passes over the next member's name if it is the one expected in the place `nth`, or the one behind that, where a document
    /// lacks a member. Gives its place among those that are wanted.
    fn pass(&self, walk: &mut Walk<'_>, nth: &mut usize) -> Option<Option<usize>> {
        for (ahead, expected) in self.expected.iter().skip(*nth).take(2).enumerate() {
            if walk.passes_name(&expected.name) {
                *nth += ahead + 1;
                return Some(expected.place);
            }
        }
        None
    }

    /// Expects a member behind all others; false where others were expected, or enough.
    fn learn(&mut self, nth: &mut usize, name: &[u8], place: Option<usize>) -> bool {
        let learns = *nth == self.expected.len() && *nth < EXPECTED_MAX && name.len() <= EXPECTED_BYTES_MAX;
        if learns {
            self.expected.push(Expected { name: Name::new(name), place });
            *nth += 1;
        }
        learns
    }
}

impl MembersReader {
    /// A reader of the `wanted` members.
    pub fn new(wanted: Members) -> Self {
        Self { wanted, found: Value::empty_object(), shape: Shape::default() }
    }

    /// The members of a document. They are there until the next one is read.
    ///
    /// # Errors
    /// As [`parse_members`].
    pub fn read(&mut self, bytes: &[u8], begin: usize) -> Result<&Value, Error> {
        let mut members = match std::mem::replace(&mut self.found, Value::Null) {
            Value::Object(members) => members,
            _ => Vec::new(),
        };
        read(bytes, begin, &self.wanted, Some(&mut self.shape), &mut members)?;
        self.found = Value::Object(members);
        Ok(&self.found)
    }
}

/// Replaces what `members` holds by the wanted ones of a document, in its order.
fn read(
    bytes: &[u8],
    begin: usize,
    wanted: &Members,
    shape: Option<&mut Shape>,
    members: &mut Vec<(String, Value)>,
) -> Result<(), Error> {
    match pick(bytes, begin, wanted, shape, members) {
        Ok(()) => Ok(()),
        Err(Unclear) => parse(bytes, begin, wanted, members),
    }
}

/// The same for what is stored as usual.
fn pick(
    bytes: &[u8],
    begin: usize,
    wanted: &Members,
    mut shape: Option<&mut Shape>,
    members: &mut Vec<(String, Value)>,
) -> Result<(), Unclear> {
    let mut walk = Walk::new(bytes, begin)?;
    let (mut found, mut nth, mut others) = (0, 0, 0);
    while found < wanted.names.len() {
        let place = match shape.as_deref().and_then(|shape| shape.pass(&mut walk, &mut nth)) {
            Some(place) => place,
            None => {
                // Behind the bracket that opens an object stands no comma, and thus no expected name.
                let is_first = walk.is_at_begin();
                let Some(name) = walk.name()? else { break };
                let place = wanted.place(name);
                if let Some(shape) = shape.as_deref_mut().filter(|_| !is_first) {
                    others += usize::from(!shape.learn(&mut nth, name, place));
                }
                place
            }
        };
        let value = walk.value()?;
        if let Some(place) = place {
            put(&wanted.names[place], value, found, members)?;
            found += 1;
        }
    }
    if let Some(shape) = shape.filter(|_| others > nth) {
        shape.expected.clear();
    }
    members.truncate(found);
    Ok(())
}

/// Puts a value at `place`, as the member `name`.
fn put(name: &str, value: &[u8], place: usize, members: &mut Vec<(String, Value)>) -> Result<(), Unclear> {
    let Some((former_name, former)) = members.get_mut(place) else {
        members.push((name.to_owned(), stored::value(value)?));
        return Ok(());
    };
    if former_name != name {
        name.clone_into(former_name);
    }
    match (stored::plain_text(value), former) {
        (Some(text), Value::String(former)) => text.clone_into(former),
        (_, former) => *former = stored::value(value)?,
    }
    Ok(())
}

/// The same for whatever JSON there is.
fn parse(bytes: &[u8], begin: usize, wanted: &Members, members: &mut Vec<(String, Value)>) -> Result<(), Error> {
    let mut parser = Parser::new(&bytes[begin..], &STORED);
    let mut found = 0;
    let mut name = if begin == 0 { parser.jiter.next_object() } else { parser.jiter.next_key() };
    while found < wanted.names.len() {
        let place = match name {
            Ok(Some(name)) => wanted.place(name.as_bytes()),
            Ok(None) => break,
            Err(error) => return Err(parser.error(error)),
        };
        let peek = parser.jiter.peek().map_err(|error| parser.error(error))?;
        match place {
            Some(place) => {
                let value = parser.value(peek)?;
                members.truncate(found);
                members.push((wanted.names[place].clone(), value));
                found += 1;
            }
            None => parser.jiter.known_skip(peek).map_err(|error| parser.error(error))?,
        }
        name = parser.jiter.next_key();
    }
    members.truncate(found);
    Ok(())
}
