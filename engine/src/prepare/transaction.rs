//! The body of `POST /transactions`.

use aerodb_proto as proto;
#[cfg(test)]
use bytes::Bytes;
use proto::operation::Action;
use proto::precondition::Kind as Condition;
use proto::{Operation, Precondition, Transaction};

use super::{Error, ErrorKind, body, change, check_collection_name, check_id, document};
use crate::filter::Filter;
use crate::json::Value;
use crate::limits::Limits;

/// The transaction that a body asks for. `new_id` names documents that are inserted without an id.
///
/// # Errors
/// When the body is not acceptable; [`Error::index`] says which operation.
pub fn transaction(bytes: &[u8], new_id: &mut dyn FnMut() -> String, limits: &Limits) -> Result<Transaction, Error> {
    let Value::Object(members) = body(bytes, limits)? else {
        return Err(malformed("", "a transaction is a JSON object with `operations`"));
    };
    let mut transaction = Transaction::default();
    for (name, value) in members {
        let path = format!("/{}", super::escape(&name));
        match name.as_str() {
            "operations" => transaction.operations = operations(value, new_id, limits)?,
            "read_revision" => {
                transaction.read_revision = whole(&value)
                    .filter(|revision| *revision > 0)
                    .ok_or_else(|| malformed(path, "`read_revision` is a revision: what a read answered with"))?;
            }
            _ => return Err(unknown(path, "a transaction has `operations` and may have `read_revision`")),
        }
    }
    if transaction.operations.is_empty() {
        return Err(malformed("/operations", "a transaction has at least one operation"));
    }
    Ok(transaction)
}

fn operations(value: Value, new_id: &mut dyn FnMut() -> String, limits: &Limits) -> Result<Vec<Operation>, Error> {
    let Value::Array(items) = value else {
        return Err(malformed("/operations", "`operations` is an array"));
    };
    let max = limits.transaction_operations_max;
    if items.len() > max {
        let message = format!("{} operations; one transaction takes at most {max}", items.len());
        return Err(Error::new(ErrorKind::TooLarge, "too_many_documents", "/operations", message));
    }
    let read = |(index, item)| {
        operation(item, new_id, limits).map_err(|error: Error| Error {
            path: format!("/operations/{index}{}", error.path),
            index: Some(index),
            ..error
        })
    };
    items.into_iter().enumerate().map(read).collect()
}

/// The members of an operation, as they come.
#[derive(Default)]
struct Members {
    op: Option<String>,
    collection: Option<String>,
    id: Option<String>,
    document: Option<Value>,
    patch: Option<Value>,
    conditions: Vec<Condition>,
}

impl Members {
    fn read(value: Value) -> Result<Self, Error> {
        let Value::Object(entries) = value else {
            return Err(malformed("", "an operation is a JSON object"));
        };
        let mut members = Self::default();
        for (name, value) in entries {
            let path = format!("/{}", super::escape(&name));
            let text = |value: &Value| {
                value
                    .as_str()
                    .map(str::to_owned)
                    .ok_or_else(|| malformed(path.as_str(), format!("`{name}` is a string")))
            };
            match name.as_str() {
                "op" => members.op = Some(text(&value)?),
                "collection" => members.collection = Some(text(&value)?),
                "id" => members.id = Some(text(&value)?),
                "document" => members.document = Some(value),
                "patch" => members.patch = Some(value),
                _ => members.conditions.push(condition(&name, &path, &value)?),
            }
        }
        Ok(members)
    }
}

fn condition(name: &str, path: &str, value: &Value) -> Result<Condition, Error> {
    Ok(match name {
        "if_revision" => Condition::IfRevision(
            whole(value).ok_or_else(|| malformed(path, "`if_revision` is a revision: a whole number"))?,
        ),
        "if_exists" | "if_absent" if *value != Value::Bool(true) => {
            return Err(malformed(path, format!("`{name}` is true, or left out")));
        }
        "if_exists" => Condition::IfExists(true),
        "if_absent" => Condition::IfAbsent(true),
        "if" => {
            let filter = Filter::parse(value).map_err(|error| {
                let path = format!("{path}{}", error.path);
                Error::new(ErrorKind::Malformed, error.code(), path, error.message)
            })?;
            if filter.has_pattern() {
                let message = "a condition takes no $regex: it is decided while all other writes wait. Read the document, and name its \
                               revision in `if_revision`";
                return Err(Error::new(ErrorKind::Malformed, "invalid_filter", path, message));
            }
            Condition::IfMatches(value.to_bytes().into())
        }
        _ => {
            let known = "op collection id document patch if_revision if_exists if_absent if";
            return Err(unknown(path, format!("an operation has none of that name; there are {known}")));
        }
    })
}

fn operation(value: Value, new_id: &mut dyn FnMut() -> String, limits: &Limits) -> Result<Operation, Error> {
    let members = Members::read(value)?;
    let collection = members.collection.ok_or_else(|| malformed("/collection", "`collection` is missing"))?;
    check_collection_name(&collection).map_err(|error| Error { path: "/collection".into(), ..error })?;
    let op = members.op.ok_or_else(|| malformed("/op", "`op` is missing"))?;
    for (name, given, wanted) in [
        ("document", members.document.is_some(), matches!(&*op, "insert" | "put")),
        ("patch", members.patch.is_some(), op == "patch"),
    ] {
        if given != wanted {
            let message = if given { format!("`{op}` takes no `{name}`") } else { format!("`{op}` needs `{name}`") };
            return Err(malformed(format!("/{name}"), message));
        }
    }
    let below = |name: &'static str| move |error: Error| Error { path: format!("/{name}{}", error.path), ..error };
    let (mut id, needed) = (members.id, op != "insert");
    match &id {
        Some(id) => check_id(id)?,
        None if needed => return Err(malformed("/id", format!("`{op}` needs `id`"))),
        None => {}
    }
    let action = match (op.as_str(), members.document, members.patch) {
        ("insert" | "put", Some(value), _) => {
            let document = document(value, id.as_deref(), new_id, limits).map_err(below("document"))?;
            id = Some(document.id);
            if op == "insert" { Action::Insert(document.fields) } else { Action::Put(document.fields) }
        }
        ("patch", _, Some(value)) => Action::Patch(change(value, id.as_deref()).map_err(below("patch"))?),
        ("delete", ..) => Action::Delete(true),
        ("get", ..) => Action::Get(true),
        _ => return Err(malformed("/op", "`op` is insert, put, patch, delete or get")),
    };
    let preconditions = members.conditions.into_iter().map(|kind| Precondition { kind: Some(kind) }).collect();
    Ok(Operation { collection, id: id.unwrap_or_default(), preconditions, action: Some(action) })
}

fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::UInt(number) => Some(*number),
        _ => None,
    }
}

fn malformed(path: impl Into<String>, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Malformed, "bad_request", path, message)
}

fn unknown(path: impl Into<String>, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Malformed, "unknown_parameter", path, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Transaction, Error> {
        transaction(body.as_bytes(), &mut || "new".into(), &Limits::default())
    }

    #[test]
    fn every_operation_is_read() {
        let body = r#"{"read_revision":7,"operations":[
            {"op":"insert","collection":"c","document":{"a":1}},
            {"op":"insert","collection":"c","document":{"id":"x","a":1}},
            {"op":"put","collection":"c","id":"y","document":{"a":1},"if_revision":3},
            {"op":"patch","collection":"c","id":"y","patch":{"$inc":{"a":1}},"if":{"a":{"$lt":9}}},
            {"op":"delete","collection":"c","id":"y","if_exists":true},
            {"op":"get","collection":"c","id":"y","if_absent":true}]}"#;
        let read = read(body).expect("a sound transaction");
        let ids: Vec<_> = read.operations.iter().map(|operation| operation.id.as_str()).collect();
        assert_eq!((read.read_revision, &ids[..]), (7, &["new", "x", "y", "y", "y", "y"][..]));
        let conditions: Vec<_> =
            read.operations.iter().flat_map(|o| &o.preconditions).filter_map(|p| p.kind.clone()).collect();
        let filter = Bytes::from_static(br#"{"a":{"$lt":9}}"#);
        let expected = [
            Condition::IfRevision(3),
            Condition::IfMatches(filter),
            Condition::IfExists(true),
            Condition::IfAbsent(true),
        ];
        assert_eq!(conditions, expected);
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let one = |operation: &str| {
            read(&format!(r#"{{"operations":[{{"op":"get","collection":"c","id":"a"}},{operation}]}}"#))
        };
        for (operation, code, path) in [
            ("3", "bad_request", ""),
            (r#"{"collection":"c","id":"a"}"#, "bad_request", "/op"),
            (r#"{"op":"get","id":"a"}"#, "bad_request", "/collection"),
            (r#"{"op":"get","collection":"_x","id":"a"}"#, "invalid_collection_name", "/collection"),
            (r#"{"op":"get","collection":"c"}"#, "bad_request", "/id"),
            (r#"{"op":"fetch","collection":"c","id":"a"}"#, "bad_request", "/op"),
            (r#"{"op":"get","collection":"c","id":"_a"}"#, "invalid_id", "/id"),
            (r#"{"op":"get","collection":"c","id":"a","document":{}}"#, "bad_request", "/document"),
            (r#"{"op":"put","collection":"c","id":"a"}"#, "bad_request", "/document"),
            (r#"{"op":"put","collection":"c","id":"a","document":{"_x":1}}"#, "reserved_field", "/document/_x"),
            (r#"{"op":"put","collection":"c","id":"a","document":{"id":"b"}}"#, "id_mismatch", "/document/id"),
            (r#"{"op":"patch","collection":"c","id":"a","patch":{"$set":{"id":1}}}"#, "id_mismatch", "/patch/id"),
            (
                r#"{"op":"patch","collection":"c","id":"a","patch":{"$add":{"n":1}}}"#,
                "invalid_field_name",
                "/patch/$add",
            ),
            (r#"{"op":"get","collection":"c","id":"a","if_exists":false}"#, "bad_request", "/if_exists"),
            (r#"{"op":"get","collection":"c","id":"a","if":{"a":{"$x":1}}}"#, "unknown_operator", "/if/a/$x"),
            (r#"{"op":"get","collection":"c","id":"a","when":1}"#, "unknown_parameter", "/when"),
        ] {
            let error = one(operation).expect_err(operation);
            let expected = (code, format!("/operations/1{path}"), Some(1));
            assert_eq!((error.code, error.path.clone(), error.index), expected, "{operation}: {error}");
        }
        for body in
            ["[]", "{}", r#"{"operations":[]}"#, r#"{"operations":{}}"#, r#"{"operations":[],"read_revision":-1}"#]
        {
            assert_eq!(read(body).expect_err(body).code, "bad_request", "{body}");
        }
    }
}
