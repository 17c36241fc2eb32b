//! Sorting: what `order=age.desc,name.asc` means.

use std::cmp::Ordering;
use std::fmt;

use crate::json::{Path, PathError, Reached, Value};

/// The most keys of an order.
pub const ORDER_KEYS_MAX: usize = 8;

/// The order of a result. Ties go by id, ascending, so every order is total; without keys it is by id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Order {
    keys: Vec<Key>,
}

/// One key of an order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// What is compared; what is missing counts as null.
    pub path: Path,
    /// Which way.
    pub direction: Direction,
}

/// Which way a key sorts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The least first.
    Ascending,
    /// The greatest first.
    Descending,
}

/// Why there is no such order. The code is always `invalid_order`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A key without a field.
    #[error("`{0}` names no field to order by; a field of that name is `{0}.asc` or `{0}.desc`")]
    NoField(String),
    /// A field that no document can have.
    #[error("cannot order by `{path}`: {error}")]
    InvalidPath {
        /// As it was given.
        path: String,
        /// What is wrong with it.
        error: PathError,
    },
    /// A field that comes twice.
    #[error("`{0}` comes twice in the order")]
    Duplicate(String),
    /// More than [`ORDER_KEYS_MAX`].
    #[error("an order has at most {ORDER_KEYS_MAX} keys")]
    TooManyKeys,
    /// A document for which the path has no single value.
    #[error("cannot order by `{0}`: it leads through an array of objects")]
    ArrayOfObjects(String),
}

impl Error {
    /// The stable word for this error.
    pub const fn code(&self) -> &'static str {
        "invalid_order"
    }
}

impl Order {
    /// Reads `age.desc,name.asc`; an empty text is the order by id. The last segment is the direction if it is `asc`
    /// or `desc`; ascending without.
    ///
    /// Ids are unique: what follows `id` decides nothing and is left out, and so is an ascending `id` itself.
    ///
    /// # Errors
    /// See [`Error`]; all but [`Error::ArrayOfObjects`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        if text.split(',').count() > ORDER_KEYS_MAX {
            return Err(Error::TooManyKeys);
        }
        let mut keys: Vec<Key> = Vec::new();
        for part in text.split(',') {
            let key = Key::parse(part)?;
            if keys.iter().any(|other| other.path == key.path) {
                return Err(Error::Duplicate(key.path.to_string()));
            }
            keys.push(key);
        }
        if let Some(at) = keys.iter().position(Key::is_id) {
            let kept = if keys[at].direction == Direction::Descending { at + 1 } else { at };
            keys.truncate(kept);
        }
        Ok(Self { keys })
    }

    /// Its keys, the most significant first.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Whether this is the order by id, ascending.
    pub fn is_by_id(&self) -> bool {
        self.keys.is_empty()
    }

    /// The direction, if ids alone decide.
    pub fn by_id(&self) -> Option<Direction> {
        match self.keys.first() {
            None => Some(Direction::Ascending),
            Some(key) => key.is_id().then_some(key.direction),
        }
    }

    /// The values by which `document` is sorted, one for each key. An array at the end of a path sorts as an array.
    ///
    /// # Errors
    /// [`Error::ArrayOfObjects`]
    pub fn key(&self, document: &Value) -> Result<Vec<Value>, Error> {
        self.keys.iter().map(|key| key.value(document).cloned()).collect()
    }

    /// Where a document lies beside another that is given by its [`Order::key`] and its id.
    ///
    /// # Errors
    /// [`Error::ArrayOfObjects`]
    pub fn compare_document(
        &self,
        document: &Value,
        id: &str,
        (other_key, other_id): (&[Value], &str),
    ) -> Result<Ordering, Error> {
        for (key, other) in self.keys.iter().zip(other_key) {
            let ordering = key.direction.apply(key.value(document)?.compare(other));
            if ordering.is_ne() {
                return Ok(ordering);
            }
        }
        Ok(id.cmp(other_id))
    }

    /// Which of two documents comes first, each given by its [`Order::key`] and its id.
    pub fn compare<K, I>(&self, a: &(K, I), b: &(K, I)) -> Ordering
    where
        K: AsRef<[Value]>,
        I: AsRef<str>,
    {
        let (left, right) = (a.0.as_ref(), b.0.as_ref());
        debug_assert!(left.len() == self.keys.len() && right.len() == self.keys.len(), "keys of this order");
        let by_key = self.keys.iter().zip(left.iter().zip(right));
        let unequal = by_key.map(|(key, (a, b))| key.direction.apply(a.compare(b))).find(|ordering| ordering.is_ne());
        unequal.unwrap_or_else(|| a.1.as_ref().cmp(b.1.as_ref()))
    }
}

impl Key {
    /// Reads one key, as [`Order::parse`] does.
    ///
    /// # Errors
    /// [`Error::NoField`], [`Error::InvalidPath`]
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let (path, direction) = match text.rsplit_once('.') {
            Some((path, "asc")) => (path, Direction::Ascending),
            Some((path, "desc")) => (path, Direction::Descending),
            _ if matches!(text, "asc" | "desc") => return Err(Error::NoField(text.to_owned())),
            _ => (text, Direction::Ascending),
        };
        match Path::parse(path) {
            Ok(path) => Ok(Self { path, direction }),
            Err(error) => Err(Error::InvalidPath { path: path.chars().take(64).collect(), error }),
        }
    }

    fn value<'v>(&self, document: &'v Value) -> Result<&'v Value, Error> {
        match self.path.single(document) {
            Reached::One(value) => Ok(value),
            Reached::Missing => Ok(&Value::Null),
            Reached::Many => Err(Error::ArrayOfObjects(self.path.to_string())),
        }
    }

    fn is_id(&self) -> bool {
        matches!(self.path.segments(), [only] if only.name() == "id")
    }
}

impl Direction {
    fn apply(self, ordering: Ordering) -> Ordering {
        match self {
            Direction::Ascending => ordering,
            Direction::Descending => ordering.reverse(),
        }
    }
}

/// The order as [`Order::parse`] reads it, every direction spelled out.
impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, key) in self.keys.iter().enumerate() {
            let comma = if position > 0 { "," } else { "" };
            let direction = match key.direction {
                Direction::Ascending => "asc",
                Direction::Descending => "desc",
            };
            write!(f, "{comma}{}.{direction}", key.path)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::tests::{value, value_of};

    /// Sorts `documents` and answers their ids.
    #[track_caller]
    fn sorted(order: &str, documents: &[&str]) -> Vec<String> {
        let order = Order::parse(order).unwrap();
        let mut rows: Vec<(Vec<Value>, String)> = Vec::new();
        for document in documents {
            let document = value(document);
            let id = document.get("id").and_then(Value::as_str).unwrap().to_owned();
            rows.push((order.key(&document).unwrap(), id));
        }
        rows.sort_by(|a, b| order.compare(a, b));
        rows.into_iter().map(|(_, id)| id).collect()
    }

    #[test]
    fn reads_and_writes() {
        for (text, printed) in [
            ("age.desc,name.asc", "age.desc,name.asc"),
            ("age", "age.asc"),
            ("a.b.desc", "a.b.desc"),
            ("desc.desc", "desc.desc"),
            ("a.asc.desc", "a.asc.desc"),
            ("", ""),
            ("id", ""),
            ("id.asc,age", ""),
            ("age,id.desc,name", "age.asc,id.desc"),
            ("age,id,name", "age.asc"),
            ("a.id", "a.id.asc"),
        ] {
            let order = Order::parse(text).unwrap();
            assert_eq!(order.to_string(), printed);
            assert_eq!(order.is_by_id(), printed.is_empty());
            assert_eq!(Order::parse(printed).unwrap(), order);
        }
    }

    #[test]
    fn refuses() {
        for text in ["desc", "asc", ".desc", "a,,b", "a,", ",", "a..b", "$a", "a,a.desc", "1,2,3,4,5,6,7,8,9"] {
            assert_eq!(Order::parse(text).unwrap_err().code(), "invalid_order", "{text}");
        }
    }

    #[test]
    fn sorts_by_the_total_order_and_ties_by_id() {
        let documents = [
            r#"{"id":"obj","v":{"a":1}}"#,
            r#"{"id":"arr","v":[0]}"#,
            r#"{"id":"str","v":"a"}"#,
            r#"{"id":"one","v":1}"#,
            r#"{"id":"one.0","v":1.0}"#,
            r#"{"id":"true","v":true}"#,
            r#"{"id":"false","v":false}"#,
            r#"{"id":"null","v":null}"#,
            r#"{"id":"missing"}"#,
        ];
        let ascending = ["missing", "null", "false", "true", "one", "one.0", "str", "arr", "obj"];
        assert_eq!(sorted("v", &documents), ascending);
        let descending = ["obj", "arr", "str", "one", "one.0", "true", "false", "missing", "null"];
        assert_eq!(sorted("v.desc", &documents), descending);
        assert_eq!(sorted("v,id.desc", &documents)[4..6], ["one.0", "one"]);
    }

    #[test]
    fn an_array_of_objects_on_the_way_is_an_error() {
        let key = |order: &str, document: &str| Order::parse(order).unwrap().key(&value(document));
        assert_eq!(key("a.b", r#"{"a":[{"b":1}]}"#), Err(Error::ArrayOfObjects("a.b".to_owned())));
        assert_eq!(key("a.b", r#"{"a":[1,{"c":1}]}"#), Err(Error::ArrayOfObjects("a.b".to_owned())));
        assert_eq!(key("a.b", r#"{"a":[1,2]}"#), Ok(vec![Value::Null]));
        assert_eq!(key("a.b", r#"{"a":[]}"#), Ok(vec![Value::Null]));
        assert_eq!(key("a", r#"{"a":[{"b":1}]}"#), Ok(vec![value(r#"[{"b":1}]"#)]));
        assert_eq!(key("a.0.b", r#"{"a":[{"b":1}]}"#), Ok(vec![Value::Int(1)]));
        assert_eq!(key("a.b,c.desc", r#"{"a":{"b":[1]},"c":2}"#), Ok(vec![value("[1]"), Value::Int(2)]));
    }

    proptest! {
        #[test]
        fn is_total(a in value_of(3), b in value_of(3), ids in ("[a-c]", "[a-c]"), text in "(a|b)(\\.desc)?(,c)?") {
            let order = Order::parse(&text).unwrap();
            let keys = order.keys().len();
            let (a, b) = ((vec![a; keys], ids.0), (vec![b; keys], ids.1));
            prop_assert_eq!(order.compare(&a, &b), order.compare(&b, &a).reverse());
            if a.1 != b.1 {
                prop_assert!(order.compare(&a, &b).is_ne());
            }
        }
    }
}
