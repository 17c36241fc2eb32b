//! References: an index whose only field holds ids of documents. Which ids a document has there, and how it loses some.
//!
//! The field holds an id, an array of ids, or null; where its path leads through an array of objects, each of them does.

use std::collections::BTreeSet;

use aerodb_proto::Reference;

use super::{Index, encode};
use crate::json::{Kind, Segment, Value};
use crate::state::keys;

/// What a document has in the field of a reference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) ids: BTreeSet<String>,
    /// Something else is there, of this kind: no reference has it.
    pub(crate) stranger: Option<Kind>,
}

impl Index {
    /// Where the ids of this index lead, while they bind.
    pub(crate) fn reference(&self) -> Option<&Reference> {
        self.definition.reference.as_ref().filter(|_| self.is_kept())
    }

    /// The path of its first field, as its owner wrote it.
    pub(crate) fn path(&self) -> &str {
        self.definition.fields.first().map_or("", |field| &field.path)
    }

    /// What `document` has in the field.
    pub(crate) fn ids(&self, document: &Value) -> Ids {
        let mut found = Ids::default();
        let Some(field) = self.fields.first() else { return found };
        field.path.any(document, &mut |value| {
            match value {
                Value::Null => {}
                Value::Array(items) => items.iter().for_each(|item| found.take(item)),
                value => found.take(value),
            }
            false
        });
        found
    }

    /// Takes `ids` out of the field: an element of an array goes, any other value becomes null.
    pub(crate) fn take_out(&self, document: &mut Value, ids: &BTreeSet<String>) {
        if let Some(field) = self.fields.first() {
            take_out(field.path.segments(), document, ids);
        }
    }

    /// What the keys of entries begin with whose documents, in `collection`, refer to `id`; what follows is their own id.
    pub(crate) fn referrers_key(&self, collection: u32, id: &str) -> Vec<u8> {
        let mut value = Vec::new();
        encode::encode(&Value::String(id.to_owned()), &mut value);
        keys::index_entry(collection, self.definition.id, &value, &[])
    }
}

impl Ids {
    fn take(&mut self, value: &Value) {
        match value {
            Value::String(id) => drop(self.ids.insert(id.clone())),
            other => self.stranger = Some(other.kind()),
        }
    }
}

/// Walks as [`Path`](crate::json::Path) does.
fn take_out(segments: &[Segment], value: &mut Value, ids: &BTreeSet<String>) {
    let goes = |value: &Value| value.as_str().is_some_and(|id| ids.contains(id));
    let Some((first, rest)) = segments.split_first() else {
        match value {
            Value::Array(items) => items.retain(|item| !goes(item)),
            value if goes(value) => *value = Value::Null,
            _ => {}
        }
        return;
    };
    match value {
        Value::Object(entries) => {
            if let Some((_, value)) = entries.iter_mut().find(|(name, _)| name == first.name()) {
                take_out(rest, value, ids);
            }
        }
        Value::Array(items) => match first.index() {
            Some(index) => items.get_mut(index).into_iter().for_each(|item| take_out(rest, item, ids)),
            None => {
                let objects = items.iter_mut().filter(|item| matches!(item, Value::Object(_)));
                objects.for_each(|item| take_out(segments, item, ids));
            }
        },
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::tests::value;

    fn index(path: &str) -> Index {
        let field = aerodb_proto::IndexField { path: path.into(), descending: false };
        let definition = aerodb_proto::Index { id: 7, fields: vec![field], ..aerodb_proto::Index::default() };
        Index::compile(definition).unwrap()
    }

    #[track_caller]
    fn check(path: &str, document: &str, ids: &[&str], stranger: Option<Kind>, without_x: &str) {
        let (index, mut document) = (index(path), value(document));
        let expected = Ids { ids: ids.iter().map(|id| (*id).to_owned()).collect(), stranger };
        assert_eq!(index.ids(&document), expected);
        // Whatever it refers to is found by its entries.
        let entries = index.entries(&document).unwrap();
        for id in ids {
            let key = index.referrers_key(3, id);
            assert!(entries.keys().any(|values| keys::index_entry(3, 7, values, &[]) == key), "{id}");
        }
        index.take_out(&mut document, &BTreeSet::from(["x".to_owned()]));
        assert_eq!(document, value(without_x));
        assert!(!index.ids(&document).ids.contains("x"));
    }

    #[test]
    fn ids_are_found_and_taken_out() {
        check("a", r#"{"a":"x"}"#, &["x"], None, r#"{"a":null}"#);
        check("a", r#"{"a":"y"}"#, &["y"], None, r#"{"a":"y"}"#);
        check("a", r#"{"b":"x"}"#, &[], None, r#"{"b":"x"}"#);
        check("a", r#"{"a":["x","y","x"]}"#, &["x", "y"], None, r#"{"a":["y"]}"#);
        check("a", r#"{"a":[]}"#, &[], None, r#"{"a":[]}"#);
        check("a.b", r#"{"a":{"b":"x"}}"#, &["x"], None, r#"{"a":{"b":null}}"#);
        check(
            "a.b",
            r#"{"a":[{"b":"x"},{"b":["y","x"]},{"c":1},7]}"#,
            &["x", "y"],
            None,
            r#"{"a":[{"b":null},{"b":["y"]},{"c":1},7]}"#,
        );
        check("a.1", r#"{"a":["x","x"]}"#, &["x"], None, r#"{"a":["x",null]}"#);
    }

    #[test]
    fn what_is_no_id_is_told() {
        check("a", r#"{"a":7}"#, &[], Some(Kind::Number), r#"{"a":7}"#);
        check("a", r#"{"a":["x",null]}"#, &["x"], Some(Kind::Null), r#"{"a":[null]}"#);
        check("a", r#"{"a":{"b":"x"}}"#, &[], Some(Kind::Object), r#"{"a":{"b":"x"}}"#);
        check("a", r#"{"a":[["x"]]}"#, &[], Some(Kind::Array), r#"{"a":[["x"]]}"#);
    }
}
