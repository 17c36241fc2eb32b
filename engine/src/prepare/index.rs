//! The body of `POST /admin/collections/{c}/indexes`.

use aerodb_proto as proto;

use super::{Error, ErrorKind, body, check_collection_name};
use crate::filter::Filter;
use crate::index::INDEX_FIELDS_MAX;
use crate::json::{Path, Value};
use crate::limits::Limits;
use crate::order::{Direction, Key};

/// A hundred years.
const TTL_SECONDS_MAX: u64 = 100 * 366 * 86_400;

/// The index that a body asks for: `{"name":"by_age","fields":[{"path":"age","order":"desc"},"name"],"unique":false,"filter":{..}}`,
/// or `"ttl_seconds":60` with one field.
///
/// # Errors
/// When the body is not acceptable.
pub fn index(bytes: &[u8], limits: &Limits) -> Result<proto::Index, Error> {
    let Value::Object(members) = body(bytes, limits)? else {
        return Err(invalid("", "an index is a JSON object"));
    };
    let mut index = proto::Index::default();
    for (name, value) in members {
        let path = format!("/{}", super::escape(&name));
        match name.as_str() {
            "name" => {
                let text = value.as_str().ok_or_else(|| invalid(&path, "`name` is a string"))?;
                check_collection_name(text).map_err(|error| {
                    invalid("/name", error.message.replace("a collection's name", "an index's name"))
                })?;
                index.name = text.to_owned();
            }
            "fields" => index.fields = fields(&value)?,
            "unique" => {
                index.unique = match value {
                    Value::Bool(unique) => unique,
                    _ => return Err(invalid(&path, "`unique` is true or false")),
                };
            }
            "ttl_seconds" if value.is_null() => {}
            "ttl_seconds" => {
                let seconds = value.as_u64().filter(|seconds| *seconds <= TTL_SECONDS_MAX);
                let problem =
                    || invalid(&path, format!("`ttl_seconds` is a number of seconds up to {TTL_SECONDS_MAX}"));
                index.ttl_seconds = Some(seconds.ok_or_else(problem)?);
            }
            "filter" if value.is_null() => {}
            "filter" => {
                Filter::parse(&value).map_err(|error| {
                    Error::new(ErrorKind::Malformed, error.code(), format!("{path}{}", error.path), error.message)
                })?;
                index.filter = value.to_bytes().into();
            }
            _ => {
                let message = "an index has `name`, `fields`, and may have `unique`, `filter` and `ttl_seconds`";
                return Err(Error::new(ErrorKind::Malformed, "unknown_parameter", path, message));
            }
        }
    }
    if index.fields.is_empty() {
        return Err(invalid("/fields", "an index has at least one field"));
    }
    if index.fields[0].path == "id" {
        let problem = "documents are found and sorted by `id`, either way, without an index: begin with another field";
        return Err(invalid("/fields/0", problem));
    }
    if index.name.is_empty() {
        return Err(invalid("/name", "`name` is missing"));
    }
    if index.ttl_seconds.is_some() && index.fields.len() > 1 {
        return Err(invalid(
            "/fields",
            "an index with `ttl_seconds` has one field, which holds the time to count from",
        ));
    }
    Ok(index)
}

fn fields(value: &Value) -> Result<Vec<proto::IndexField>, Error> {
    let items = value.as_array().ok_or_else(|| invalid("/fields", "`fields` is an array"))?;
    if items.len() > INDEX_FIELDS_MAX {
        return Err(invalid("/fields", format!("an index has at most {INDEX_FIELDS_MAX} fields")));
    }
    let mut fields: Vec<proto::IndexField> = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let field = field(item).map_err(|error| Error { path: format!("/fields/{at}{}", error.path), ..error })?;
        if fields.iter().any(|other| other.path == field.path) {
            return Err(invalid(format!("/fields/{at}"), format!("`{}` comes twice", field.path)));
        }
        fields.push(field);
    }
    Ok(fields)
}

/// `{"path":"age","order":"desc"}`, or `"age.desc"` as in an order.
fn field(value: &Value) -> Result<proto::IndexField, Error> {
    let shape = || invalid("", "a field is `{\"path\":\"age\",\"order\":\"asc\"}` or a text such as `age.desc`");
    if let Some(text) = value.as_str() {
        if text.is_empty() || text.contains(',') {
            return Err(shape());
        }
        let key = Key::parse(text).map_err(|error| invalid("", error.to_string()))?;
        return Ok(proto::IndexField {
            path: key.path.to_string(),
            descending: key.direction == Direction::Descending,
        });
    }
    let mut field = proto::IndexField::default();
    for (name, value) in value.as_object().ok_or_else(shape)? {
        match (name.as_str(), value.as_str()) {
            ("path", Some(path)) => {
                Path::parse(path)
                    .map_err(|error| Error::new(ErrorKind::Malformed, error.code(), "/path", error.to_string()))?;
                field.path = path.to_owned();
            }
            ("order", Some(order @ ("asc" | "desc"))) => field.descending = order == "desc",
            ("order", _) => return Err(invalid("/order", "`order` is `asc` or `desc`")),
            _ => return Err(shape()),
        }
    }
    if field.path.is_empty() { Err(shape()) } else { Ok(field) }
}

fn invalid(path: impl Into<String>, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Malformed, "invalid_index", path, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<proto::Index, Error> {
        index(body.as_bytes(), &Limits::default())
    }

    #[test]
    fn an_index_is_read() {
        let body = r#"{"name":"by_age","fields":[{"path":"a.b","order":"desc"},"c","d.desc","id"],"unique":true,"filter":{"on":true}}"#;
        let index = read(body).unwrap();
        let fields: Vec<_> = index.fields.iter().map(|field| (field.path.as_str(), field.descending)).collect();
        assert_eq!(fields, [("a.b", true), ("c", false), ("d", true), ("id", false)]);
        assert_eq!((index.name.as_str(), index.unique, &index.filter[..]), ("by_age", true, &br#"{"on":true}"#[..]));
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (body, code, path) in [
            ("[]", "invalid_index", ""),
            (r#"{"fields":["a"]}"#, "invalid_index", "/name"),
            (r#"{"name":"i"}"#, "invalid_index", "/fields"),
            (r#"{"name":"_i","fields":["a"]}"#, "invalid_index", "/name"),
            (r#"{"name":"i","fields":[]}"#, "invalid_index", "/fields"),
            (r#"{"name":"i","fields":["a","a.desc"]}"#, "invalid_index", "/fields/1"),
            (r#"{"name":"i","fields":["a,b"]}"#, "invalid_index", "/fields/0"),
            (r#"{"name":"i","fields":["id"]}"#, "invalid_index", "/fields/0"),
            (r#"{"name":"i","fields":["id.desc","a"]}"#, "invalid_index", "/fields/0"),
            (r#"{"name":"i","fields":[{"path":"a..b"}]}"#, "invalid_path", "/fields/0/path"),
            (r#"{"name":"i","fields":[{"path":"a","order":"up"}]}"#, "invalid_index", "/fields/0/order"),
            (r#"{"name":"i","fields":[{"order":"asc"}]}"#, "invalid_index", "/fields/0"),
            (r#"{"name":"i","fields":["a"],"unique":1}"#, "invalid_index", "/unique"),
            (r#"{"name":"i","fields":["a"],"filter":{"$x":1}}"#, "unknown_operator", "/filter/$x"),
            (r#"{"name":"i","fields":["a"],"sparse":true}"#, "unknown_parameter", "/sparse"),
            (r#"{"name":"i","fields":["a"],"ttl_seconds":-1}"#, "invalid_index", "/ttl_seconds"),
            (r#"{"name":"i","fields":["a"],"ttl_seconds":"1h"}"#, "invalid_index", "/ttl_seconds"),
            (r#"{"name":"i","fields":["a","b"],"ttl_seconds":1}"#, "invalid_index", "/fields"),
        ] {
            let error = read(body).expect_err(body);
            assert_eq!((error.code, error.path.as_str()), (code, path), "{body}: {error}");
        }
    }
}
