//! Secondary indexes: which entries a document has in one. How entries are kept is apply's business, how they are used
//! the planner's.
//!
//! A document has an entry for each value that a field's path reaches, and where that is an array, for each of its
//! elements too: then a condition on a field means the same with an index and without. In an index over several fields it has
//! one for each combination. An array or object that is too long for an entry stands as null, and nothing is looked up by
//! arrays and objects.

pub(crate) mod bounds;
pub(crate) mod encode;
mod expiry;
pub(crate) mod reference;
mod through;

pub(crate) use through::{Stretch, Through};

use std::collections::BTreeMap;

use aerodb_proto as proto;
use bytes::Bytes;

use crate::error::Error;
use crate::filter::Filter;
use crate::json::{self, Kind, Members, Path, Reached, Value};
use crate::order::Direction;

/// Fields of an index at most.
pub const INDEX_FIELDS_MAX: usize = 8;
// These two are part of the format: which entries a document has follows from them, and a leader removes what it works out.
/// Entries that one document may have in an index.
pub const INDEX_ENTRIES_MAX: usize = 1_000;
/// Bytes of an entry's values at most.
pub const INDEX_ENTRY_BYTES_MAX: usize = 1_024;

/// What an entry stands for, a byte in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// One value of several that the document has there.
    Member,
    /// What the document is sorted by.
    Whole,
    /// As `Whole`, of a document that cannot be sorted by these fields: a path leads through an array of objects.
    Unsortable,
}

impl Role {
    pub(crate) fn byte(self) -> u8 {
        match self {
            Role::Member => 0,
            Role::Whole => 1,
            Role::Unsortable => 2,
        }
    }

    /// An entry as the log carries it.
    pub(crate) fn entry(self, values: &[u8]) -> Bytes {
        [&[self.byte()], values].concat().into()
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Role::Member, Role::Whole, Role::Unsortable].into_iter().find(|role| role.byte() == byte)
    }
}

/// The entries of a document in one index: its values, encoded, each once.
pub(crate) type Entries = BTreeMap<Vec<u8>, Role>;

/// Room for the values of an entry: enough for two short strings.
const TYPICAL_VALUES_BYTES: usize = 64;

/// An index, ready to be worked with.
#[derive(Clone, Debug)]
pub struct Index {
    /// What the catalog says of it.
    pub definition: proto::Index,
    pub(crate) fields: Vec<Field>,
    /// Only documents that match have entries; all without one.
    pub(crate) filter: Option<Filter>,
    /// What has to be read of a document to know its entries.
    pub(crate) members: Members,
}

/// One field of an index.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) path: Path,
    pub(crate) direction: Direction,
}

/// A field's values, encoded, and the one of them that the document is sorted by.
type FieldValues = (Vec<Vec<u8>>, Option<Vec<u8>>);

/// Why a document cannot be indexed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("the document would have more than {INDEX_ENTRIES_MAX} entries in the index {0:?}")]
    TooMany(String),
    #[error("the document's values in the index {0:?} take more than {INDEX_ENTRY_BYTES_MAX} bytes")]
    TooLarge(String),
}

impl Index {
    /// Reads what the catalog says.
    ///
    /// # Errors
    /// When it is damaged: it was checked when it came.
    pub(crate) fn compile(definition: proto::Index) -> Result<Self, Error> {
        let damaged = |error: &dyn std::fmt::Display| Error::malformed("an index", error);
        let field = |field: &proto::IndexField| {
            let direction = if field.descending { Direction::Descending } else { Direction::Ascending };
            let path = Path::parse(&field.path).map_err(|error| damaged(&error))?;
            Ok::<_, Error>(Field { path, direction })
        };
        let fields = definition.fields.iter().map(field).collect::<Result<Vec<Field>, _>>()?;
        let filter = match definition.filter.is_empty() {
            true => None,
            false => {
                let value = json::parse(&definition.filter, &json::STORED).map_err(|error| damaged(&error))?;
                Some(Filter::parse(&value).map_err(|error| damaged(&error))?)
            }
        };
        let mut members = Members::default();
        fields.iter().for_each(|field| members.add(&field.path));
        filter.iter().for_each(|filter: &Filter| filter.each_path(&mut |path| members.add(path)));
        Ok(Self { definition, fields, filter, members })
    }

    /// True while documents from before it are being added.
    pub fn is_building(&self) -> bool {
        self.definition.state() == proto::IndexState::Building
    }

    /// True while writes keep it.
    pub(crate) fn is_kept(&self) -> bool {
        self.definition.state() != proto::IndexState::Failed
    }

    /// True once reads at `revision` may use it.
    pub(crate) fn serves(&self, revision: u64) -> bool {
        self.definition.state() == proto::IndexState::Ready && self.definition.ready_revision <= revision
    }

    /// The entries that `document` has.
    pub(crate) fn entries(&self, document: &Value) -> Result<Entries, Unfit> {
        if self.filter.as_ref().is_some_and(|filter| !filter.matches(document)) {
            return Ok(Entries::new());
        }
        let mut only = Vec::with_capacity(TYPICAL_VALUES_BYTES);
        match self.only_entry(document, &mut only) {
            true => Ok(Entries::from([(only, Role::Whole)])),
            false => self.all_entries(document),
        }
    }

    /// The same of a new document, as the log carries them. `entry`: memory to work with.
    pub(crate) fn new_entries(&self, document: &Value, entry: &mut Vec<u8>) -> Result<Vec<Bytes>, Unfit> {
        if self.filter.as_ref().is_some_and(|filter| !filter.matches(document)) {
            return Ok(Vec::new());
        }
        entry.clear();
        entry.push(Role::Whole.byte());
        match self.only_entry(document, entry) {
            true => Ok(vec![Bytes::copy_from_slice(entry)]),
            false => Ok(self.all_entries(document)?.iter().map(|(values, role)| role.entry(values)).collect()),
        }
    }

    /// The entries of a document that the index is about.
    fn all_entries(&self, document: &Value) -> Result<Entries, Unfit> {
        let mut entries = Entries::new();
        let (mut whole, mut sortable) = (Vec::new(), true);
        let mut combinations: Vec<Vec<u8>> = vec![Vec::new()];
        for field in &self.fields {
            let Some((values, own)) = field.values(document) else {
                return Err(Unfit::TooLarge(self.definition.name.clone()));
            };
            sortable &= own.is_some();
            whole.extend(own.as_ref().or(values.first()).into_iter().flatten());
            if combinations.len() * values.len() > INDEX_ENTRIES_MAX {
                return Err(Unfit::TooMany(self.definition.name.clone()));
            }
            let with = |before: &Vec<u8>| values.iter().map(|value| [&before[..], value].concat()).collect::<Vec<_>>();
            combinations = combinations.iter().flat_map(with).collect();
            if combinations.iter().any(|values| values.len() > INDEX_ENTRY_BYTES_MAX) {
                return Err(Unfit::TooLarge(self.definition.name.clone()));
            }
        }
        entries.extend(combinations.into_iter().map(|values| (values, Role::Member)));
        entries.insert(whole, if sortable { Role::Whole } else { Role::Unsortable });
        Ok(entries)
    }

    /// Appends the values of the only entry that `document` has, where each path leads to one value, not an array, and that is short:
    /// that is nearly every document. False where more is to be looked at; what was appended is then of no use.
    fn only_entry(&self, document: &Value, values: &mut Vec<u8>) -> bool {
        let begin = values.len();
        for field in &self.fields {
            let value = match field.path.single(document) {
                Reached::One(Value::Array(_)) | Reached::Many => return false,
                Reached::One(value) => value,
                Reached::Missing => &Value::Null,
            };
            field.encode(value, values);
        }
        values.len() - begin <= INDEX_ENTRY_BYTES_MAX
    }

    /// Whether an entry claims its values in a unique index: null and missing values are not compared.
    pub(crate) fn claims(&self, values: &[u8]) -> bool {
        let mut rest = values;
        let null = |field: &Field| {
            let mut null = Vec::new();
            field.encode(&Value::Null, &mut null);
            null
        };
        self.fields.iter().all(|field| {
            let starts_with_null = rest.starts_with(&null(field));
            let length = encode::length(rest, field.is_descending()).unwrap_or(rest.len());
            rest = &rest[length..];
            !starts_with_null
        })
    }

    /// How many bytes of `key` the values of an entry take; what follows is the id.
    pub(crate) fn values_length(&self, key: &[u8]) -> Option<usize> {
        self.fields.iter().try_fold(0, |at, field| Some(at + encode::length(&key[at..], field.is_descending())?))
    }
}

impl Field {
    pub(crate) fn is_descending(&self) -> bool {
        self.direction == Direction::Descending
    }

    /// Appends `value` as this field sorts it.
    pub(crate) fn encode(&self, value: &Value, out: &mut Vec<u8>) {
        let from = out.len();
        encode::encode(value, out);
        self.turn(&mut out[from..]);
    }

    /// Inverts an encoding if this field is descending.
    pub(crate) fn turn(&self, bytes: &mut [u8]) {
        if self.is_descending() {
            bytes.iter_mut().for_each(|byte| *byte = !*byte);
        }
    }

    /// The values that the document has here, encoded, and the one that it is sorted by, if there is such a one. `None` when a
    /// value is too long.
    fn values(&self, document: &Value) -> Option<FieldValues> {
        let encoded = |value: &Value| {
            let mut out = Vec::new();
            self.encode(value, &mut out);
            Some(out).filter(|out| out.len() <= INDEX_ENTRY_BYTES_MAX)
        };
        let (mut values, mut too_long) = (Vec::new(), false);
        self.path.any(document, &mut |value| {
            for value in std::iter::once(value).chain(value.as_array().into_iter().flatten()) {
                match encoded(value) {
                    Some(found) => values.push(found),
                    None if matches!(value.kind(), Kind::Array | Kind::Object) => {
                        values.extend(encoded(&Value::Null));
                    }
                    None => too_long = true,
                }
            }
            too_long
        });
        if too_long {
            return None;
        }
        if values.is_empty() {
            values.extend(encoded(&Value::Null));
        }
        values.sort_unstable();
        values.dedup();
        let own = match self.path.single(document) {
            Reached::One(value) => encoded(value),
            Reached::Missing => encoded(&Value::Null),
            Reached::Many => None,
        };
        Some((values, own))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::tests::{value, value_of};

    fn index(fields: &[(&str, bool)], filter: &str) -> Index {
        let field =
            |(path, descending): &(&str, bool)| proto::IndexField { path: (*path).into(), descending: *descending };
        let definition = proto::Index {
            name: "i".into(),
            fields: fields.iter().map(field).collect(),
            filter: filter.as_bytes().to_vec().into(),
            ..proto::Index::default()
        };
        Index::compile(definition).unwrap()
    }

    fn key(index: &Index, values: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        index.fields.iter().zip(values).for_each(|(field, text)| field.encode(&value(text), &mut out));
        out
    }

    #[track_caller]
    fn check(index: &Index, document: &str, expected: &[(&[&str], Role)]) {
        let expected: Entries = expected.iter().map(|(values, role)| (key(index, values), *role)).collect();
        assert_eq!(index.entries(&value(document)), Ok(expected), "{document}");
    }

    #[test]
    fn every_value_has_an_entry_and_one_is_the_whole() {
        let a = index(&[("a", false)], "");
        check(&a, r#"{"a":1}"#, &[(&["1"], Role::Whole)]);
        check(&a, r#"{}"#, &[(&["null"], Role::Whole)]);
        check(&a, r#"{"a":[2,1,2]}"#, &[(&["1"], Role::Member), (&["2"], Role::Member), (&["[2,1,2]"], Role::Whole)]);
        check(&a, r#"{"a":[]}"#, &[(&["[]"], Role::Whole)]);
        let b = index(&[("a.b", false)], "");
        check(&b, r#"{"a":[{"b":1},{"b":2},{"c":3}]}"#, &[(&["1"], Role::Unsortable), (&["2"], Role::Member)]);
        check(&b, r#"{"a":[1]}"#, &[(&["null"], Role::Whole)]);
        check(&b, r#"{"a":[{"c":1}]}"#, &[(&["null"], Role::Unsortable)]);
        let ab = index(&[("a", false), ("b", true)], "");
        check(&ab, r#"{"a":[1],"b":"x"}"#, &[(&["1", r#""x""#], Role::Member), (&["[1]", r#""x""#], Role::Whole)]);
    }

    proptest! {
        #[test]
        fn the_only_entry_is_all_there_is(a in value_of(3), b in value_of(2), descending in any::<bool>()) {
            let document = Value::Object(vec![("a".into(), a), ("b".into(), b)]);
            for fields in [&[("a", descending)][..], &[("a.b", false)], &[("a.0", false), ("c", descending)], &[("b", true), ("a.b.0", false)]] {
                let index = index(fields, "");
                let mut only = Vec::new();
                if index.only_entry(&document, &mut only) {
                    prop_assert_eq!(index.all_entries(&document), Ok(Entries::from([(only, Role::Whole)])));
                }
                let in_log = index.entries(&document).map(|all| all.iter().map(|(values, role)| role.entry(values)).collect());
                prop_assert_eq!(index.new_entries(&document, &mut b"left".to_vec()), in_log);
            }
        }
    }

    #[test]
    fn a_partial_index_holds_what_matches() {
        let partial = index(&[("a", false)], r#"{"on":true}"#);
        check(&partial, r#"{"a":1,"on":true}"#, &[(&["1"], Role::Whole)]);
        check(&partial, r#"{"a":1}"#, &[]);
    }

    #[test]
    fn entries_are_bounded() {
        let a = index(&[("a", false), ("b", false)], "");
        let many: Vec<String> = (0..40).map(|n| n.to_string()).collect();
        let document = format!(r#"{{"a":[{0}],"b":[{0}]}}"#, many.join(","));
        assert_eq!(a.entries(&value(&document)), Err(Unfit::TooMany("i".into())));
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(INDEX_ENTRY_BYTES_MAX));
        assert_eq!(a.entries(&value(&long)), Err(Unfit::TooLarge("i".into())));
        // A long array has entries for its elements; what it would be sorted by is too long.
        let one = index(&[("a", false)], "");
        let long = format!(r#"{{"a":[{}{}]}}"#, many.join(","), r#","x""#.repeat(400));
        let entries = one.entries(&value(&long)).unwrap();
        assert!(entries.len() == 42 && entries.values().any(|role| *role == Role::Unsortable));
    }

    #[test]
    fn null_claims_nothing() {
        for descending in [false, true] {
            let ab = index(&[("a", descending), ("b", !descending)], "");
            assert!(ab.claims(&key(&ab, &["1", r#""x""#])));
            assert!(!ab.claims(&key(&ab, &["1", "null"])));
            assert!(!ab.claims(&key(&ab, &["null", "1"])));
            let mut whole = key(&ab, &[r#"[1,{"a":"b"}]"#, "1"]);
            let length = whole.len();
            whole.extend(b"the id");
            assert_eq!(ab.values_length(&whole), Some(length));
        }
    }
}
