//! JSON Merge Patch (RFC 7396).

use crate::json::Value;

/// Objects of a patch with more keys than this are searched by a sorted index; in smaller ones a scan is faster.
const SCANNED_KEYS_MAX: usize = 8;

/// Merges `patch` into `target`: objects key by key, `null` removes a key, anything else replaces what was there. Keys
/// that `target` has keep their places; new ones follow in the patch's order.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !matches!(target, Value::Object(_)) {
        *target = Value::empty_object();
    }
    if let Value::Object(entries) = target {
        merge_object(entries, changes);
    }
}

fn merge_object(entries: &mut Vec<(String, Value)>, changes: &[(String, Value)]) {
    let index = Index::new(changes);
    let mut merged = vec![false; changes.len()];
    entries.retain_mut(|(key, value)| {
        let Some(position) = index.position(key) else {
            return true;
        };
        merged[position] = true;
        let change = &changes[position].1;
        if !change.is_null() {
            merge(value, change);
        }
        !change.is_null()
    });
    for ((key, change), merged) in changes.iter().zip(merged) {
        if !merged && !change.is_null() {
            // Merged into nothing rather than copied: nulls within must not get through.
            let mut value = Value::Null;
            merge(&mut value, change);
            entries.push((key.clone(), value));
        }
    }
}

/// Finds the change for a key; without it, merging two large objects would take the product of their sizes.
struct Index<'p> {
    changes: &'p [(String, Value)],
    /// Positions in the order of their keys; empty while a scan is faster.
    sorted: Vec<usize>,
}

impl<'p> Index<'p> {
    fn new(changes: &'p [(String, Value)]) -> Self {
        let mut sorted = Vec::new();
        if changes.len() > SCANNED_KEYS_MAX {
            sorted.extend(0..changes.len());
            sorted.sort_unstable_by_key(|position: &usize| changes[*position].0.as_str());
        }
        Self { changes, sorted }
    }

    fn position(&self, key: &str) -> Option<usize> {
        if self.sorted.is_empty() {
            return self.changes.iter().position(|(name, _)| name == key);
        }
        let found = self.sorted.binary_search_by(|position| self.changes[*position].0.as_str().cmp(key));
        found.ok().map(|at| self.sorted[at])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::tests::{value, value_of};

    #[track_caller]
    fn check(target: &str, patch: &str, expected: &str) {
        let mut merged = value(target);
        merge(&mut merged, &value(patch));
        assert_eq!(merged, value(expected), "{target} + {patch}");
    }

    #[test]
    fn the_table_of_the_rfc() {
        check(r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#);
        check(r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#);
        check(r#"{"a":"b"}"#, r#"{"a":null}"#, r#"{}"#);
        check(r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#);
        check(r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#);
        check(r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#);
        check(r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#);
        check(r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#);
        check(r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#);
        check(r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#);
        check(r#"{"a":"foo"}"#, "null", "null");
        check(r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#);
        check(r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#);
        check("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#);
        check("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#);
    }

    #[test]
    fn the_example_of_the_rfc() {
        check(
            r#"{"title":"Goodbye!","author":{"givenName":"John","familyName":"Doe"},"tags":["example","sample"],
                "content":"This will be unchanged"}"#,
            r#"{"title":"Hello!","phoneNumber":"+01-123-456-7890","author":{"familyName":null},"tags":["example"]}"#,
            r#"{"title":"Hello!","author":{"givenName":"John"},"tags":["example"],
                "content":"This will be unchanged","phoneNumber":"+01-123-456-7890"}"#,
        );
    }

    #[test]
    fn keys_keep_their_places() {
        check(r#"{"a":1,"b":2,"c":3}"#, r#"{"z":9,"c":4,"a":null,"y":8}"#, r#"{"b":2,"c":4,"z":9,"y":8}"#);
    }

    #[test]
    fn large_objects_merge_like_small_ones() {
        let object = |keys: std::ops::Range<i64>, of: fn(i64) -> Value| {
            Value::Object(keys.map(|key| (format!("k{key}"), of(key))).collect())
        };
        let mut target = object(0..20_000, Value::Int);
        merge(&mut target, &object(10_000..30_000, |key| if key % 2 == 0 { Value::Null } else { Value::Int(-key) }));
        let entries = target.as_object().unwrap();
        assert_eq!(entries.len(), 10_000 + 5_000 + 5_000);
        assert_eq!(target.get("k9999"), Some(&Value::Int(9_999)));
        assert_eq!(target.get("k10000"), None);
        assert_eq!(target.get("k10001"), Some(&Value::Int(-10_001)));
        assert_eq!(target.get("k29999"), Some(&Value::Int(-29_999)));
    }

    /// The pseudo code of RFC 7396, section 2, word for word.
    fn model(target: Option<Value>, patch: &Value) -> Value {
        let Value::Object(changes) = patch else {
            return patch.clone();
        };
        let mut entries = match target {
            Some(Value::Object(entries)) => entries,
            _ => Vec::new(),
        };
        for (key, change) in changes {
            let at = entries.iter().position(|(name, _)| name == key);
            match (change.is_null(), at) {
                (true, Some(at)) => drop(entries.remove(at)),
                (true, None) => {}
                (false, Some(at)) => entries[at].1 = model(Some(entries[at].1.clone()), change),
                (false, None) => entries.push((key.clone(), model(None, change))),
            }
        }
        Value::Object(entries)
    }

    proptest! {
        #[test]
        fn merges_as_the_rfc_says(target in value_of(4), patch in value_of(4)) {
            let mut merged = target.clone();
            merge(&mut merged, &patch);
            prop_assert_eq!(&merged, &model(Some(target), &patch));
            let once = merged.clone();
            merge(&mut merged, &patch);
            prop_assert_eq!(merged, once, "a merge patch is idempotent");
        }
    }
}
