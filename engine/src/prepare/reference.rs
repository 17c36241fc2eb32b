//! The references in the body of `POST` and `PATCH /admin/collections`.

use aerodb_proto as proto;

use super::{Error, ErrorKind, body, check_collection_name};
use crate::json::{Path, Value};
use crate::limits::Limits;

/// The references that a body asks for:
/// `[{"field":"author_id","collection":"users","on_delete":"restrict"}]`.
///
/// # Errors
/// When it is not acceptable.
pub fn references(bytes: &[u8], limits: &Limits) -> Result<Vec<proto::NewReference>, Error> {
    let list = body(bytes, limits)?;
    let items = list.as_array().ok_or_else(|| invalid("/references", "`references` is an array"))?;
    if items.len() > limits.references_max {
        let message = format!("{} references; a collection has at most {}", items.len(), limits.references_max);
        return Err(Error::new(ErrorKind::Malformed, "too_many_references", "/references", message));
    }
    let mut references: Vec<proto::NewReference> = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let place = |error: Error| Error { path: format!("/references/{at}{}", error.path), ..error };
        let reference = reference(item).map_err(place)?;
        if references.iter().any(|other| other.field == reference.field) {
            return Err(place(invalid("/field", format!("`{}` comes twice", reference.field))));
        }
        // What one of them empties would be another one's to refuse.
        if let Some(other) = references.iter().find(|other| overlap(&other.field, &reference.field)) {
            let message = format!("`{}` and `{}` lie within each other", other.field, reference.field);
            return Err(place(invalid("/field", message)));
        }
        references.push(reference);
    }
    Ok(references)
}

/// Whether one path leads into the other.
fn overlap(a: &str, b: &str) -> bool {
    let within = |outer: &str, inner: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'));
    within(a, b) || within(b, a)
}

fn reference(value: &Value) -> Result<proto::NewReference, Error> {
    let shape = r#"a reference is `{"field":"author_id","collection":"users","on_delete":"restrict"}`"#;
    let mut reference = proto::NewReference::default();
    for (name, value) in value.as_object().ok_or_else(|| invalid("", shape))? {
        match (name.as_str(), value.as_str()) {
            ("field", Some(path)) => {
                let parsed = Path::parse(path)
                    .map_err(|error| Error::new(ErrorKind::Malformed, error.code(), "/field", error.to_string()))?;
                let top = parsed.segments().first().map_or("", |segment| segment.name());
                if top == "id" || top.starts_with('_') {
                    return Err(invalid("/field", format!("{top:?} is not a field of the caller's own")));
                }
                path.clone_into(&mut reference.field);
            }
            ("collection", Some(name)) => {
                check_collection_name(name).map_err(|error| invalid("/collection", error.message))?;
                name.clone_into(&mut reference.collection);
            }
            ("on_delete", Some(text)) => {
                let on_delete = match text {
                    "restrict" => proto::OnDelete::Restrict,
                    "cascade" => proto::OnDelete::Cascade,
                    "set_null" => proto::OnDelete::SetNull,
                    _ => return Err(invalid("/on_delete", "`on_delete` is `restrict`, `cascade` or `set_null`")),
                };
                reference.set_on_delete(on_delete);
            }
            ("field" | "collection" | "on_delete", None) => {
                return Err(invalid(format!("/{name}"), format!("`{name}` is a string")));
            }
            _ => {
                let message = "a reference has `field`, `collection`, and may have `on_delete`";
                let path = format!("/{}", super::escape(name));
                return Err(Error::new(ErrorKind::Malformed, "unknown_parameter", path, message));
            }
        }
    }
    match (reference.field.is_empty(), reference.collection.is_empty()) {
        (true, _) => Err(invalid("/field", format!("`field` is missing: {shape}"))),
        (_, true) => Err(invalid("/collection", format!("`collection` is missing: {shape}"))),
        _ => Ok(reference),
    }
}

fn invalid(path: impl Into<String>, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Malformed, "invalid_reference", path, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_do_not_lie_within_each_other() {
        let both = |a: &str, b: &str| {
            read(&format!(r#"[{{"field":"{a}","collection":"c"}},{{"field":"{b}","collection":"c"}}]"#)).is_ok()
        };
        assert!(both("a", "ab") && both("a.b", "a.c") && both("a.b", "ab"));
        assert!(!both("a", "a.0") && !both("a.b.c", "a.b") && !both("a", "a"));
    }

    fn read(body: &str) -> Result<Vec<proto::NewReference>, Error> {
        references(body.as_bytes(), &Limits::default())
    }

    #[test]
    fn references_are_read() {
        let body = r#"[{"field":"a.b","collection":"u"},{"field":"c","collection":"u","on_delete":"set_null"}]"#;
        let read = read(body).unwrap();
        let read: Vec<_> = read.iter().map(|one| (one.field.as_str(), &*one.collection, one.on_delete())).collect();
        assert_eq!(read, [("a.b", "u", proto::OnDelete::Restrict), ("c", "u", proto::OnDelete::SetNull)]);
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let many = format!("[{}]", vec![r#"{"field":"a","collection":"u"}"#; 33].join(","));
        for (body, code, path) in [
            ("{}", "invalid_reference", "/references"),
            ("[7]", "invalid_reference", "/references/0"),
            (r#"[{"collection":"u"}]"#, "invalid_reference", "/references/0/field"),
            (r#"[{"field":"a"}]"#, "invalid_reference", "/references/0/collection"),
            (r#"[{"field":7,"collection":"u"}]"#, "invalid_reference", "/references/0/field"),
            (r#"[{"field":"a..b","collection":"u"}]"#, "invalid_path", "/references/0/field"),
            (r#"[{"field":"id","collection":"u"}]"#, "invalid_reference", "/references/0/field"),
            (r#"[{"field":"_revision","collection":"u"}]"#, "invalid_reference", "/references/0/field"),
            (r#"[{"field":"a","collection":"_u"}]"#, "invalid_reference", "/references/0/collection"),
            (r#"[{"field":"a","collection":"u","on_delete":"x"}]"#, "invalid_reference", "/references/0/on_delete"),
            (r#"[{"field":"a","collection":"u","on":"x"}]"#, "unknown_parameter", "/references/0/on"),
            (
                r#"[{"field":"a","collection":"u"},{"field":"a","collection":"v"}]"#,
                "invalid_reference",
                "/references/1/field",
            ),
            (&many, "too_many_references", "/references"),
        ] {
            let error = read(body).expect_err(body);
            assert_eq!((error.code, error.path.as_str()), (code, path), "{body}: {error}");
        }
    }
}
