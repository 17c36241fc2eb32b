//! Dotted paths into documents: `address.city`, `tags.0`.
//!
//! How a path walks is the same for filters, sorting and index keys: through objects by key; through an array by
//! position if the segment is a number, else into each of its elements that is an object. Arrays directly within
//! arrays are entered by position only.

use std::fmt;

use super::Value;

/// The most segments of a path.
pub const PATH_SEGMENTS_MAX: usize = 32;

/// The longest path, bytes.
pub const PATH_BYTES_MAX: usize = 1024;

/// A path that passed all checks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    segments: Vec<Segment>,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment {
    name: String,
    index: Option<usize>,
}

/// Why a text is not a path. The code is always `invalid_path`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Nothing between two dots, or nothing at all.
    #[error("a path has no empty segments")]
    EmptySegment,
    /// No field can be called so.
    #[error("a segment of a path does not begin with `$`")]
    Dollar,
    /// More than [`PATH_SEGMENTS_MAX`].
    #[error("a path has at most {PATH_SEGMENTS_MAX} segments")]
    TooManySegments,
    /// More than [`PATH_BYTES_MAX`].
    #[error("a path has at most {PATH_BYTES_MAX} bytes")]
    TooLong,
}

impl PathError {
    /// The stable word for this error.
    pub const fn code(self) -> &'static str {
        "invalid_path"
    }
}

/// What a path leads to where it must not lead to several values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reached<'v> {
    /// Nothing.
    Missing,
    /// This value.
    One(&'v Value),
    /// It enters the objects of an array, so there is not one value.
    Many,
}

impl Segment {
    fn parse(name: &str) -> Result<Self, PathError> {
        if name.is_empty() {
            return Err(PathError::EmptySegment);
        }
        if name.starts_with('$') {
            return Err(PathError::Dollar);
        }
        let is_canonical = name == "0" || !name.starts_with('0');
        let is_position = is_canonical && name.bytes().all(|byte| byte.is_ascii_digit());
        let index = if is_position { name.parse().ok() } else { None };
        Ok(Self { name: name.to_owned(), index })
    }

    /// The key it names in an object.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The position it names in an array, if it is a number without leading zeros.
    pub fn index(&self) -> Option<usize> {
        self.index
    }
}

impl Path {
    /// Reads a dotted path.
    ///
    /// # Errors
    /// See [`PathError`].
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        if text.split('.').count() > PATH_SEGMENTS_MAX {
            return Err(PathError::TooManySegments);
        }
        let segments = text.split('.').map(Segment::parse).collect::<Result<_, _>>()?;
        Ok(Self { segments })
    }

    /// The path to the id of a document.
    pub(crate) fn id() -> Self {
        Self { segments: vec![Segment { name: "id".to_owned(), index: None }] }
    }

    /// Its steps, at least one.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether `test` holds for any value that the path reaches in `document`. Arrays at the end of the path are
    /// handed over whole.
    pub fn any<'v>(&self, document: &'v Value, test: &mut dyn FnMut(&'v Value) -> bool) -> bool {
        walk(&self.segments, document, test)
    }

    /// Whether the path reaches anything in `document`.
    pub fn reaches(&self, document: &Value) -> bool {
        self.any(document, &mut |_| true)
    }

    /// The one value that the path leads to, unless it enters the objects of an array.
    pub fn single<'v>(&self, document: &'v Value) -> Reached<'v> {
        let mut value = document;
        for segment in &self.segments {
            let next = match value {
                Value::Object(_) => value.get(&segment.name),
                Value::Array(items) => match segment.index {
                    Some(index) => items.get(index),
                    None if items.iter().any(|item| matches!(item, Value::Object(_))) => return Reached::Many,
                    None => None,
                },
                _ => None,
            };
            let Some(next) = next else { return Reached::Missing };
            value = next;
        }
        Reached::One(value)
    }
}

fn walk<'v>(segments: &[Segment], value: &'v Value, test: &mut dyn FnMut(&'v Value) -> bool) -> bool {
    let Some((first, rest)) = segments.split_first() else {
        return test(value);
    };
    match value {
        Value::Object(_) => value.get(&first.name).is_some_and(|value| walk(rest, value, test)),
        Value::Array(items) => match first.index {
            Some(index) => items.get(index).is_some_and(|item| walk(rest, item, test)),
            None => items.iter().any(|item| matches!(item, Value::Object(_)) && walk(segments, item, test)),
        },
        _ => false,
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.segments.iter().enumerate() {
            if position > 0 {
                f.write_str(".")?;
            }
            f.write_str(&segment.name)?;
        }
        Ok(())
    }
}
