//! The JSON of a document as it is stored and answered: the id and the system fields, then the caller's fields.

use aerodb_proto::NewDocument;
use bytes::Bytes;

use crate::json::{self, Members, MembersReader, Spliced, Value, write_string};
use crate::prepare::SYSTEM_FIELDS;
use crate::time::{RFC3339_BYTES, rfc3339_bytes};

/// Bytes of the system fields and the brackets around, at most.
const HEAD_BYTES: usize = 128;

/// The final JSON of a document that is written at a time and a revision.
pub(crate) fn render(document: &NewDocument, created_ms: u64, updated_ms: u64, revision: u64) -> Bytes {
    let mut body = Vec::with_capacity(bytes_max(document));
    append(document, created_ms, updated_ms, revision, &mut body);
    body.into()
}

/// The same of new documents, in their order; all of them lie in one piece of memory, as long as one of them is held.
pub(crate) fn render_new(documents: &[NewDocument], created_ms: u64, revision: u64) -> impl Iterator<Item = Bytes> {
    let mut bodies = Vec::with_capacity(documents.iter().map(bytes_max).sum());
    let mut ends = Vec::with_capacity(documents.len());
    for document in documents {
        append(document, created_ms, created_ms, revision, &mut bodies);
        ends.push(bodies.len());
    }
    let (mut bodies, mut begin) = (Bytes::from(bodies), 0);
    ends.into_iter().map(move |end| bodies.split_to(end - std::mem::replace(&mut begin, end)))
}

fn bytes_max(document: &NewDocument) -> usize {
    document.fields.len() + document.id.len() + HEAD_BYTES
}

fn append(document: &NewDocument, created_ms: u64, updated_ms: u64, revision: u64, body: &mut Vec<u8>) {
    body.extend(b"{\"id\":");
    write_string(&document.id, body);
    body.extend(b",\"_revision\":");
    Value::from(revision).write(body);
    let created = rfc3339_bytes(created_ms);
    let updated = if updated_ms == created_ms { created } else { rfc3339_bytes(updated_ms) };
    body.extend(b",\"_created_at\":\"");
    body.extend(created);
    body.extend(b"\",\"_updated_at\":\"");
    body.extend(updated);
    body.push(b'"');
    if document.fields.len() > 2 {
        body.push(b',');
        body.extend(&document.fields[1..]);
    } else {
        body.push(b'}');
    }
}

/// Where the id and the system fields end that [`render`] begins with. `None` where an id needs a closer look, and for what is
/// not of this form.
fn head_end(body: &[u8]) -> Option<usize> {
    let id = body.strip_prefix(b"{\"id\":\"")?;
    let end = id.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    let rest = id[end..].strip_prefix(b"\",\"_revision\":")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = rest[digits..].strip_prefix(b",\"_created_at\":\"")?.get(RFC3339_BYTES..)?;
    let rest = rest.strip_prefix(b"\",\"_updated_at\":\"")?.get(RFC3339_BYTES..)?.strip_prefix(b"\"")?;
    Some(body.len() - rest.len())
}

/// What a merge patch of these members, which are the caller's own, makes of the fields of a document; `None` where that is not said
/// without values (see [`json::splice`]).
pub(crate) fn splice(body: &[u8], changes: &[(String, Value)]) -> Option<Spliced> {
    json::splice(body, head_end(body)?, changes)
}

/// Reads the same members of one document after the other.
pub(crate) struct Reader {
    members: MembersReader,
    passes_head: bool,
}

impl Reader {
    pub(crate) fn new(wanted: Members) -> Self {
        Self { passes_head: passes_head(&wanted), members: MembersReader::new(wanted) }
    }

    /// The wanted members of a document. They are there until the next one is read.
    ///
    /// # Errors
    /// When it is damaged.
    pub(crate) fn read(&mut self, body: &[u8]) -> Result<&Value, json::Error> {
        self.members.read(body, begin(body, self.passes_head))
    }
}

/// The wanted members of one document.
///
/// # Errors
/// When it is damaged.
pub(crate) fn read(body: &[u8], wanted: &Members) -> Result<Value, json::Error> {
    json::parse_members(body, begin(body, passes_head(wanted)), wanted)
}

fn passes_head(wanted: &Members) -> bool {
    !wanted.names().any(|name| name == "id" || SYSTEM_FIELDS.contains(&name))
}

fn begin(body: &[u8], passes_head: bool) -> usize {
    if passes_head { head_end(body).unwrap_or(0) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_over_ends_where_the_fields_begin() {
        for (id, passed) in [("a", true), ("Zürich-1", true), ("a\"b", false), ("a\\b", false)] {
            for fields in ["{}", r#"{"x":1}"#, r#"{"x":"\"_updated_at\":","y":[2]}"#] {
                let document = NewDocument { id: id.into(), fields: Bytes::from_static(fields.as_bytes()) };
                let body = render(&document, 1, 1_700_000_000_120, 77);
                let both: Vec<Bytes> = render_new(&[document.clone(), document.clone()], 5, 77).collect();
                assert_eq!(both, [render(&document, 5, 5, 77), render(&document, 5, 5, 77)]);
                let rest = if fields == "{}" { "}".to_owned() } else { format!(",{}", &fields[1..]) };
                assert_eq!(head_end(&body).map(|end| &body[end..]), passed.then_some(rest.as_bytes()), "{id}");
                for names in [&["x"][..], &["y", "x"], &["id", "x"], &["_revision", "y"], &[]] {
                    let mut wanted = Members::default();
                    names.iter().for_each(|name| wanted.add_name(name));
                    let whole = json::parse(&body, &json::STORED).unwrap();
                    let mut expected = whole.as_object().unwrap().to_vec();
                    expected.retain(|(name, _)| names.contains(&name.as_str()));
                    assert_eq!(read(&body, &wanted), Ok(Value::Object(expected.clone())));
                    assert_eq!(Reader::new(wanted).read(&body), Ok(&Value::Object(expected)));
                }
            }
        }
        // A patch of the caller's fields leaves the head alone, and needs one that it knows.
        let change = [("x".to_owned(), Value::Int(2))];
        for (id, fields, patched) in [
            ("a", "{}", Some(r#"{"x":2}"#)),
            ("Zürich-1", r#"{"w":[1],"x":1,"y":3}"#, Some(r#"{"w":[1],"x":2,"y":3}"#)),
            ("a\"b", r#"{"x":1}"#, None),
        ] {
            let document = NewDocument { id: id.into(), fields: Bytes::from_static(fields.as_bytes()) };
            let expected = patched.map(|patched| Spliced::Changed(patched.as_bytes().to_vec()));
            assert_eq!(splice(&render(&document, 1, 2, 3), &change), expected, "{id}");
        }
        for damaged in ["", "{}", r#"{"id":"a"}"#, r#"{"id":"a","_revision":1,"_created_at":"2026""#] {
            assert_eq!(head_end(damaged.as_bytes()), None, "{damaged}");
        }
    }
}
