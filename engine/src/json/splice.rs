//! A merge patch of plain values, on an object as it is stored: members that it does not name are copied as they stand.

use super::Value;
use super::stored::{self, Member, Unclear, Walk};
use super::write::write_string;

/// Changes that are looked for by going through all of them.
const CHANGES_MAX: usize = 16;

/// What a patch makes of an object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Spliced {
    /// Nothing else than it was.
    Same,
    /// Its members from where it began, as an object.
    Changed(Vec<u8>),
}

/// What [`merge`](crate::patch::merge) with the object of these `changes` makes of the members of `bytes` behind `begin`: 0, or where
/// a member ends that none of them is about, nor any before it.
///
/// `None` where values have to be looked at: the changes are many or have objects among them, or what is stored is not of the usual
/// form.
pub(crate) fn splice(bytes: &[u8], begin: usize, changes: &[(String, Value)]) -> Option<Spliced> {
    if changes.len() > CHANGES_MAX || changes.iter().any(|(_, value)| matches!(value, Value::Object(_))) {
        return None;
    }
    merged(bytes, begin, changes).ok()
}

fn merged(bytes: &[u8], begin: usize, changes: &[(String, Value)]) -> Result<Spliced, Unclear> {
    let mut walk = Walk::new(bytes, begin)?;
    let mut out = Vec::with_capacity(bytes.len() + 64);
    let (mut met, mut changed) = ([false; CHANGES_MAX], false);
    out.push(b'{');
    while let Some(Member { name, value, text }) = walk.member()? {
        let place = changes.iter().position(|(member, _)| member.as_bytes() == name);
        let Some((place, change)) = place.and_then(|place| Some((place, &changes.get(place)?.1))) else {
            add(&mut out, |out| out.extend_from_slice(text));
            continue;
        };
        met[place] = true;
        // Null takes away what is null, too. Of two zeros the new one is written, which alone is no change.
        changed |= change.is_null() || *change != stored::value(value)?;
        if !change.is_null() {
            add(&mut out, |out| {
                out.extend_from_slice(&text[..text.len() - value.len()]);
                change.write(out);
            });
        }
    }
    for ((name, change), _) in changes.iter().zip(met).filter(|((_, change), met)| !met && !change.is_null()) {
        changed = true;
        add(&mut out, |out| {
            write_string(name, out);
            out.push(b':');
            change.write(out);
        });
    }
    out.push(b'}');
    Ok(if changed { Spliced::Changed(out) } else { Spliced::Same })
}

/// Adds a member behind the others.
fn add(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    if out.len() > 1 {
        out.push(b',');
    }
    write(out);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::tests::{value, value_of};
    use crate::patch::merge;

    fn by_values(object: &Value, changes: &[(String, Value)]) -> Spliced {
        let mut after = object.clone();
        merge(&mut after, &Value::Object(changes.to_vec()));
        if after == *object { Spliced::Same } else { Spliced::Changed(after.to_bytes()) }
    }

    #[track_caller]
    fn check(object: &Value, changes: &Value) -> bool {
        let changes = changes.as_object().expect("a patch of an object");
        let spliced = splice(&object.to_bytes(), 0, changes);
        if let Some(spliced) = &spliced {
            assert_eq!(*spliced, by_values(object, changes), "{object}");
        }
        spliced.is_some()
    }

    #[test]
    fn members_are_replaced_removed_and_added() {
        for object in ["{}", r#"{"a":1}"#, r#"{"a":[1,{"b":2}],"b":"x,\"}","c":null,"d":0.0}"#] {
            for changes in
                ["{}", r#"{"a":1}"#, r#"{"a":1.0,"e":[{"f":null}]}"#, r#"{"a":null,"c":null,"d":-0.0,"z":null}"#]
            {
                assert!(check(&value(object), &value(changes)), "{object} {changes}");
            }
        }
        assert!(!check(&value("{}"), &value(r#"{"a":{}}"#)), "objects are merged, not replaced");
        assert!(!check(&value(r#"{"a\n":1}"#), &value(r#"{"a\n":2}"#)), "an escaped name");
        let many = Value::Object((0..=CHANGES_MAX).map(|n| (n.to_string(), Value::Null)).collect());
        assert!(!check(&value("{}"), &many));
    }

    #[test]
    fn what_lies_before_is_left_out() {
        let changes = [("a".to_owned(), Value::Int(2))];
        let found = splice(br#"{"id":"x","a":1,"b":2}"#, r#"{"id":"x""#.len(), &changes);
        assert_eq!(found, Some(Spliced::Changed(br#"{"a":2,"b":2}"#.to_vec())));
        assert_eq!(splice(br#"{"id":"x"}"#, r#"{"id":"x""#.len(), &[]), Some(Spliced::Same));
    }

    proptest! {
        #[test]
        fn it_is_what_merging_values_makes(object in members(), changes in members()) {
            check(&object, &changes);
        }
    }

    /// An object of a few members whose names meet.
    fn members() -> impl Strategy<Value = Value> {
        let names = proptest::sample::subsequence(vec!["a", "b", "c", "d", "ä", "a\""], 0..6).prop_shuffle();
        (names, proptest::collection::vec(value_of(2), 6))
            .prop_map(|(names, values)| Value::Object(names.into_iter().map(str::to_owned).zip(values).collect()))
    }
}
