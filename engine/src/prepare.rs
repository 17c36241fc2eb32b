//! Prepare: what the node that took a request does before anything is decided: parse, validate, make canonical. Runs in
//! parallel on any node and reads no state.

mod index;
mod plain;
mod reference;
mod schema;
mod transaction;

use std::fmt::Display;

use aerodb_proto::NewDocument;
use bytes::Bytes;

use crate::json::{self, Value};
use crate::limits::Limits;
use crate::update::Update;

pub use index::index;
pub use reference::references;
pub use schema::schema;
pub use transaction::transaction;

/// Fields that every answer carries and that bodies may carry back: they are ignored there.
pub(crate) const SYSTEM_FIELDS: [&str; 3] = ["_revision", "_created_at", "_updated_at"];
/// Bytes of an id at most.
const ID_BYTES_MAX: usize = 128;
/// Bytes of a collection's name at most.
const NAME_BYTES_MAX: usize = 64;

/// What sort of mistake a request holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// It cannot be read (400).
    Malformed,
    /// It is larger than its bound (413).
    TooLarge,
    /// It reads well and is not acceptable (422).
    Invalid,
}

/// A mistake in a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What sort of mistake it is.
    pub kind: ErrorKind,
    /// A stable word of the published list.
    pub code: &'static str,
    /// What is wrong and what would be right.
    pub message: String,
    /// Where in the body: a JSON pointer.
    pub path: String,
    /// Which element of an array of documents.
    pub index: Option<usize>,
}

impl Error {
    fn new(kind: ErrorKind, code: &'static str, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, code, message: message.into(), path: path.into(), index: None }
    }

    fn invalid(code: &'static str, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, code, path, message)
    }
}

/// The documents of an insert.
#[derive(Clone, Debug, PartialEq)]
pub struct Inserts {
    /// In the order of the body.
    pub documents: Vec<NewDocument>,
    /// The body was an array: the answer is one too.
    pub many: bool,
}

/// The bounds of JSON that documents are read with.
pub fn json_limits(limits: &Limits) -> json::Limits {
    json::Limits { depth_max: limits.json_depth_max }
}

/// Reads a JSON body.
///
/// # Errors
/// When it is no JSON, or not JSON that can be kept exactly.
pub fn body(bytes: &[u8], limits: &Limits) -> Result<Value, Error> {
    json::parse(bytes, &json_limits(limits))
        .map_err(|error| Error::new(ErrorKind::Malformed, error.code(), "", error.to_string()))
}

/// The document of `PUT /api/{c}/{id}`.
///
/// # Errors
/// When the id or the body is not acceptable.
pub fn put(id: &str, bytes: &[u8], limits: &Limits) -> Result<NewDocument, Error> {
    check_id(id)?;
    if let Some((mut documents, false)) = plain::documents(bytes, limits)
        && let Some(plain::Plain { id: named, fields }) = documents.pop()
        && named.is_none_or(|named| named == id)
    {
        return Ok(NewDocument { id: id.to_owned(), fields });
    }
    document(body(bytes, limits)?, Some(id), &mut String::new, limits)
}

/// The documents of `POST /api/{c}`: one object, or an array of objects. `new_id` names those that bring no id.
///
/// # Errors
/// When the body is not acceptable; [`Error::index`] says which element.
pub fn insert(bytes: &[u8], new_id: &mut dyn FnMut() -> String, limits: &Limits) -> Result<Inserts, Error> {
    match plain_insert(bytes, new_id, limits) {
        Some(inserts) => Ok(inserts),
        None => insert_by_values(bytes, new_id, limits),
    }
}

/// The same of a body that is as bodies should be, and that is nearly every one.
pub(crate) fn plain_insert(bytes: &[u8], new_id: &mut dyn FnMut() -> String, limits: &Limits) -> Option<Inserts> {
    let (documents, many) = plain::documents(bytes, limits)?;
    let named = |plain: plain::Plain| NewDocument { id: plain.id.unwrap_or_else(&mut *new_id), fields: plain.fields };
    Some(Inserts { documents: documents.into_iter().map(named).collect(), many })
}

/// The same of any body.
pub(crate) fn insert_by_values(
    bytes: &[u8],
    new_id: &mut dyn FnMut() -> String,
    limits: &Limits,
) -> Result<Inserts, Error> {
    match body(bytes, limits)? {
        Value::Array(items) if items.len() > limits.insert_documents_max => Err(Error::new(
            ErrorKind::TooLarge,
            "too_many_documents",
            "",
            format!("{} documents; one insert takes at most {}", items.len(), limits.insert_documents_max),
        )),
        Value::Array(items) => {
            let prepared = items.into_iter().enumerate().map(|(index, item)| {
                document(item, None, new_id, limits).map_err(|error| Error {
                    path: format!("/{index}{}", error.path),
                    index: Some(index),
                    ..error
                })
            });
            Ok(Inserts { documents: prepared.collect::<Result<_, _>>()?, many: true })
        }
        single => Ok(Inserts { documents: vec![document(single, None, new_id, limits)?], many: false }),
    }
}

/// The change of `PATCH /api/{c}/{id}`, a merge patch or update operators, canonical.
///
/// # Errors
/// When the id or the body is not acceptable.
pub fn patch(id: &str, bytes: &[u8], limits: &Limits) -> Result<Bytes, Error> {
    check_id(id)?;
    change(body(bytes, limits)?, Some(id))
}

/// The change of `PATCH /api/{c}?filter=`, canonical.
///
/// # Errors
/// When the body is not acceptable.
pub fn patch_many(bytes: &[u8], limits: &Limits) -> Result<Bytes, Error> {
    change(body(bytes, limits)?, None)
}

/// The same of a change that was read already; without an id it may name none.
fn change(value: Value, id: Option<&str>) -> Result<Bytes, Error> {
    let mut fields = object(value)?;
    if Update::is_meant(&fields) {
        let update = Update::parse(&fields).map_err(|error| {
            let kind = if error.code == "invalid_field_name" { ErrorKind::Invalid } else { ErrorKind::Malformed };
            Error::new(kind, error.code, error.path, error.message)
        })?;
        check_update(&update)?;
        return Ok(Value::Object(fields).to_bytes().into());
    }
    let named = take(&mut fields, "id");
    match id {
        Some(_) => check_body_id(named, id)?,
        None if named.is_some() => {
            return Err(Error::invalid("id_mismatch", "/id", "a change of many documents names no id"));
        }
        None => None,
    };
    fields.retain(|(name, _)| !SYSTEM_FIELDS.contains(&name.as_str()));
    check_fields(&fields)?;
    Ok(Value::Object(fields).to_bytes().into())
}

/// Updates write to the caller's own fields only, and bring no field that has no name for one.
fn check_update(update: &Update) -> Result<(), Error> {
    for (path, values) in update.writes() {
        let place = format!("/{}", escape(&path.to_string()));
        let top = path.segments().first().map_or("", |segment| segment.name());
        if top.starts_with('_') {
            let message = format!("{top:?}: names that begin with `_` belong to the system");
            return Err(Error::invalid("reserved_field", place, message));
        }
        if top == "id" {
            return Err(Error::invalid("id_mismatch", place, "a document's id never changes"));
        }
        for value in values {
            check_nested(value).map_err(|misnamed| {
                Error::invalid("invalid_field_name", format!("{place}{}", misnamed.path), misnamed.message)
            })?;
        }
    }
    Ok(())
}

fn document(
    value: Value,
    id: Option<&str>,
    new_id: &mut dyn FnMut() -> String,
    limits: &Limits,
) -> Result<NewDocument, Error> {
    let mut fields = object(value)?;
    let id = match (check_body_id(take(&mut fields, "id"), id)?, id) {
        (_, Some(id)) => id.to_owned(),
        (Some(id), None) => id,
        (None, None) => new_id(),
    };
    fields.retain(|(name, _)| !SYSTEM_FIELDS.contains(&name.as_str()));
    check_fields(&fields)?;
    let fields = Value::Object(fields).to_bytes();
    if fields.len() > limits.document_bytes_max {
        let message = format!("{} bytes; a document has at most {}", fields.len(), limits.document_bytes_max);
        return Err(Error::new(ErrorKind::TooLarge, "document_too_large", "", message));
    }
    Ok(NewDocument { id, fields: fields.into() })
}

fn object(value: Value) -> Result<Vec<(String, Value)>, Error> {
    match value {
        Value::Object(fields) => Ok(fields),
        _ => Err(Error::new(ErrorKind::Malformed, "not_an_object", "", "a document is a JSON object")),
    }
}

fn take(fields: &mut Vec<(String, Value)>, name: &str) -> Option<Value> {
    let at = fields.iter().position(|(found, _)| found == name)?;
    Some(fields.remove(at).1)
}

/// The id that the body names, which must be the one in the path, if there is one.
fn check_body_id(found: Option<Value>, path: Option<&str>) -> Result<Option<String>, Error> {
    match (found, path) {
        (None, _) => Ok(None),
        (Some(Value::String(id)), None) => check_id(&id).map(|()| Some(id)),
        (Some(Value::String(id)), Some(wanted)) if id == wanted => Ok(Some(id)),
        (Some(Value::String(_)), Some(wanted)) => {
            let message = format!("the body's id is not the {wanted:?} of the path: leave it out, or send the same");
            Err(Error::invalid("id_mismatch", "/id", message))
        }
        (Some(_), _) => Err(Error::invalid("invalid_id", "/id", "an id is a string")),
    }
}

/// Checks an id: 1 to 128 bytes, no control characters, not `.` or `..`, not beginning with `_`.
///
/// # Errors
/// Says which rule it breaks.
pub fn check_id(id: &str) -> Result<(), Error> {
    let problem = if id.is_empty() {
        "an id has at least one byte"
    } else if id.len() > ID_BYTES_MAX {
        "an id has at most 128 bytes"
    } else if id.chars().any(char::is_control) {
        "an id has no control characters"
    } else if id == "." || id == ".." {
        "an id is not `.` or `..`"
    } else if id.starts_with('_') {
        "an id does not begin with `_`: such names belong to the system"
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Malformed, "invalid_id", "/id", problem))
}

/// Checks a collection's name: 1 to 64 of letters, digits, `_` and `-`, beginning with a letter.
///
/// # Errors
/// Says what a name looks like.
pub fn check_collection_name(name: &str) -> Result<(), Error> {
    let fits = name.len() <= NAME_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if fits {
        return Ok(());
    }
    let message = "a collection's name has 1 to 64 of a-z, A-Z, 0-9, `_` and `-`, and begins with a letter";
    Err(Error::new(ErrorKind::Malformed, "invalid_collection_name", "/name", message))
}

/// Names at the top must not begin with `_`; names anywhere must not begin with `$` or hold a `.`.
fn check_fields(fields: &[(String, Value)]) -> Result<(), Error> {
    for (name, value) in fields {
        if name.starts_with('_') {
            let message = format!("{name:?}: names that begin with `_` belong to the system");
            return Err(Error::invalid("reserved_field", format!("/{}", escape(name)), message));
        }
        let checked = check_names(name, value);
        checked.map_err(|Misnamed { path, message }| Error::invalid("invalid_field_name", path, message))?;
    }
    Ok(())
}

/// A field whose name is none. Its path is put together only now: nearly all names are fine.
struct Misnamed {
    path: String,
    message: String,
}

impl Misnamed {
    fn below(self, segment: impl Display) -> Self {
        Self { path: format!("/{segment}{}", self.path), ..self }
    }
}

fn check_names(name: &str, value: &Value) -> Result<(), Misnamed> {
    let fine = !name.starts_with('$') && !name.contains('.');
    let checked = match fine {
        true => check_nested(value),
        false => {
            let message = format!("{name:?}: a field's name has no `.` and does not begin with `$`");
            Err(Misnamed { path: String::new(), message })
        }
    };
    checked.map_err(|misnamed| misnamed.below(escape(name)))
}

fn check_nested(value: &Value) -> Result<(), Misnamed> {
    match value {
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| check_names(name, value)),
        Value::Array(items) => {
            let mut items = items.iter().enumerate();
            items.try_for_each(|(index, item)| check_nested(item).map_err(|misnamed| misnamed.below(index)))
        }
        _ => Ok(()),
    }
}

fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The caller's fields of a stored document: all but the id and the system fields.
pub(crate) fn fields_of(stored: Value) -> Value {
    match stored {
        Value::Object(mut fields) => {
            fields.retain(|(name, _)| name != "id" && !SYSTEM_FIELDS.contains(&name.as_str()));
            Value::Object(fields)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_put(body: &str) -> Result<String, &'static str> {
        let document = put("a", body.as_bytes(), &Limits::default()).map_err(|error| error.code)?;
        Ok(String::from_utf8(document.fields.to_vec()).expect("canonical JSON is UTF-8"))
    }

    #[test]
    fn what_was_read_can_be_sent_back() {
        let stored = r#"{"id":"a","_revision":7,"_created_at":"x","_updated_at":"y","n":1}"#;
        assert_eq!(check_put(stored), Ok(r#"{"n":1}"#.into()));
    }

    #[test]
    fn bad_documents_are_refused_by_code() {
        let cases = [
            ("[]", "not_an_object"),
            ("3", "not_an_object"),
            ("{", "invalid_json"),
            (r#"{"a":1,"a":2}"#, "duplicate_key"),
            (r#"{"_x":1}"#, "reserved_field"),
            (r#"{"a.b":1}"#, "invalid_field_name"),
            (r#"{"a":[{"$b":1}]}"#, "invalid_field_name"),
            (r#"{"id":"b"}"#, "id_mismatch"),
            (r#"{"id":7}"#, "invalid_id"),
            (r#"{"n":18446744073709551616}"#, "number_out_of_range"),
            (r#"{"n":1e400}"#, "number_out_of_range"),
        ];
        for (body, code) in cases {
            assert_eq!(check_put(body), Err(code), "{body}");
        }
        assert_eq!(check_put(r#"{"a":{"_x":1}}"#), Ok(r#"{"a":{"_x":1}}"#.into()), "only at the top");
    }

    #[test]
    fn ids_keep_to_their_rules() {
        for id in ["", ".", "..", "_a", "a\0b", "a\nb", &"x".repeat(129)] {
            assert_eq!(check_id(id).map_err(|error| error.code), Err("invalid_id"), "{id:?}");
        }
        for id in ["a", "ä/ö", "...", "a_", &"x".repeat(128)] {
            assert_eq!(check_id(id), Ok(()), "{id:?}");
        }
    }

    #[test]
    fn an_insert_names_the_element_at_fault() {
        let mut ids = || "new".to_owned();
        let error = insert(br#"[{"a":1},{"a":{"$x":1}}]"#, &mut ids, &Limits::default());
        let error = error.expect_err("`$x` is no field name");
        assert_eq!((error.index, error.path.as_str()), (Some(1), "/1/a/$x"));
        let inserts = insert(br#"{"a":1}"#, &mut ids, &Limits::default()).expect("a sound document");
        assert!(!inserts.many && inserts.documents[0].id == "new");
    }
}
