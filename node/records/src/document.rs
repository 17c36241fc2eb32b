//! A record as the document that it becomes. Values pass through as they are written: no number is rounded here.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A record that can be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// JSON text of an object.
    pub json: Vec<u8>,
    /// Its id, if it has one; without, the node makes one.
    pub id: Option<String>,
}

/// The members of an object in their order, repeated names too: what is wrong with those is the node's to say.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    members.push((name, map.next_value()?));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// A name that is borrowed from the text where it can be.
#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl Document {
    /// Reads one record of JSON.
    pub(super) fn from_json(text: &[u8], id_field: Option<&str>) -> Result<Self, String> {
        let Members(members) = serde_json::from_slice(text).map_err(|error| place(&error))?;
        match id_field {
            None => {
                let id = members.iter().find(|(name, _)| name == "id").and_then(|(_, value)| text_of(value));
                Ok(Self { json: text.trim_ascii().to_vec(), id })
            }
            Some(field) => {
                let found = members.iter().find(|(name, _)| name == field);
                let (_, value) = found.ok_or_else(|| format!("it has no field '{field}' to take the id from"))?;
                let id = id_of(field, value)?;
                let others =
                    members.iter().filter(|(name, _)| name != "id").map(|(name, value)| (&**name, value.get()));
                Ok(Self::from_members(Some(id), others))
            }
        }
    }

    /// Makes a document of an id and members whose values are JSON text already.
    pub(super) fn from_members<'a>(id: Option<String>, members: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut json = String::from("{");
        let mut add = |name: &str, value: &str| {
            if json.len() > 1 {
                json.push(',');
            }
            json.push_str(&quoted(name));
            json.push(':');
            json.push_str(value);
        };
        if let Some(id) = &id {
            add("id", &quoted(id));
        }
        for (name, value) in members {
            add(name, value);
        }
        json.push('}');
        Self { json: json.into_bytes(), id }
    }
}

/// A text as JSON.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn text_of(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// Ids are texts; a whole number becomes one as it is written.
fn id_of(field: &str, value: &RawValue) -> Result<String, String> {
    if let Some(text) = text_of(value) {
        return Ok(text);
    }
    let text = value.get();
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(text.to_owned());
    }
    Err(format!("the field '{field}' is neither a text nor a whole number, so it cannot be the id"))
}

/// What is wrong and in which column; the line is the file's, which the reader knows.
fn place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let suffix = format!(" at line {} column {}", error.line(), error.column());
    let what = text.strip_suffix(&suffix).unwrap_or(&text);
    if error.line() > 1 {
        format!("{what} (in its line {}, column {})", error.line(), error.column())
    } else {
        format!("{what} (column {})", error.column())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, id_field: Option<&str>) -> String {
        match Document::from_json(text.as_bytes(), id_field) {
            Ok(document) => {
                format!("{} {}", document.id.unwrap_or("-".into()), String::from_utf8(document.json).unwrap())
            }
            Err(why) => format!("! {why}"),
        }
    }

    #[test]
    fn a_record_stays_as_it_is_written() {
        assert_eq!(
            check(r#" {"b": 1.50, "a": 12345678901234567890123} "#, None),
            r#"- {"b": 1.50, "a": 12345678901234567890123}"#
        );
        assert_eq!(check(r#"{"id": "x", "a": 1}"#, None), r#"x {"id": "x", "a": 1}"#);
        assert_eq!(check(r#"{"id": 7}"#, None), r#"- {"id": 7}"#, "the node says what is wrong with it");
    }

    #[test]
    fn the_id_comes_from_a_field() {
        assert_eq!(check(r#"{"code":"NO","n":1.0}"#, Some("code")), r#"NO {"id":"NO","code":"NO","n":1.0}"#);
        assert_eq!(check(r#"{"id":42,"a":1}"#, Some("id")), r#"42 {"id":"42","a":1}"#);
        assert_eq!(check(r#"{"id":"old","k\"":-5}"#, Some("k\"")), r#"-5 {"id":"-5","k\"":-5}"#);
        for wrong in [r#"{"a":1}"#, r#"{"code":1.5}"#, r#"{"code":null}"#, r#"{"code":[1]}"#, r#"{"code":true}"#] {
            assert!(check(wrong, Some("code")).starts_with('!'), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_object_is_refused_with_its_column() {
        assert_eq!(check(r#"{"a":1,}"#, None), "! trailing comma (column 8)");
        assert!(check("[1]", None).contains("expected a JSON object"));
        assert!(check("7", None).contains("expected a JSON object"));
        assert!(check(r#"{"a":1} {"#, None).contains("trailing characters"));
        assert!(check("", None).starts_with('!'));
    }
}
