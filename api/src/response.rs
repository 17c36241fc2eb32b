//! Answers: the headers that they share, and bodies put together from documents that are JSON already.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::precondition::etag;

/// The revision written, or the one read at.
pub(crate) const REVISION: HeaderName = HeaderName::from_static("aerodb-revision");
/// The node that answered.
pub(crate) const NODE: HeaderName = HeaderName::from_static("aerodb-node");
/// How old a stale read may be, milliseconds; `unknown` when the node cannot tell.
pub(crate) const AGE_MS: HeaderName = HeaderName::from_static("aerodb-age-ms");
/// Where a streamed page goes on.
pub(crate) const NEXT_CURSOR: HeaderName = HeaderName::from_static("aerodb-next-cursor");
/// How many documents match, where a stream was asked to count.
pub(crate) const COUNT: HeaderName = HeaderName::from_static("aerodb-count");

/// Marks an answer whose parts must leave at once: it is not compressed, which would hold them back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unbuffered;

/// At which revision an answer was read, and how old it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadAt {
    pub(crate) revision: u64,
    /// Set for stale reads: how old at most, `None` inside when nobody knows.
    pub(crate) age: Option<Option<Duration>>,
}

impl ReadAt {
    pub(crate) fn revision(revision: u64) -> Self {
        Self { revision, age: None }
    }

    /// Writes the headers that say so.
    pub(crate) fn mark(self, mut response: Response) -> Response {
        self.write(response.headers_mut());
        response
    }

    /// Writes them into `headers`.
    pub(crate) fn write(self, headers: &mut HeaderMap) {
        headers.insert(REVISION, HeaderValue::from(self.revision));
        match self.age {
            None => {}
            Some(None) => drop(headers.insert(AGE_MS, HeaderValue::from_static("unknown"))),
            Some(Some(age)) => {
                // Rounded up: it is a bound.
                let ms = u64::try_from(age.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX);
                headers.insert(AGE_MS, HeaderValue::from(ms));
            }
        }
    }
}

/// An answer of this type with `body`.
pub(crate) fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    typed(status, "application/json", body)
}

/// `value` as a JSON answer.
pub(crate) fn serialized(status: StatusCode, value: &impl serde::Serialize) -> Result<Response, crate::Problem> {
    Ok(json(status, serde_json::to_vec(value).map_err(crate::Problem::internal)?))
}

/// One document with its entity tag.
pub(crate) fn document(status: StatusCode, revision: u64, body: impl Into<Body>) -> Response {
    let mut response = json(status, body);
    response.headers_mut().insert(header::ETAG, etag(revision));
    response
}

/// The client has this document already.
pub(crate) fn not_modified(revision: u64) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response.headers_mut().insert(header::ETAG, etag(revision));
    response
}

/// `[{..},{..}]` from documents that are JSON already.
fn append_array(out: &mut Vec<u8>, items: &[impl AsRef<[u8]>]) {
    out.push(b'[');
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        out.extend_from_slice(item.as_ref());
    }
    out.push(b']');
}

fn length(items: &[impl AsRef<[u8]>]) -> usize {
    items.iter().map(|item| item.as_ref().len() + 1).sum()
}

/// `{"items":[..]}`.
pub(crate) fn items(items: &[impl AsRef<[u8]>]) -> Bytes {
    let mut out = Vec::with_capacity(length(items) + 16);
    out.extend_from_slice(br#"{"items":"#);
    append_array(&mut out, items);
    out.push(b'}');
    out.into()
}

/// `{"items":[..],"next_cursor":..,"count":..,"revision":..}`: a page of a list.
pub(crate) fn page(items: &[impl AsRef<[u8]>], next_cursor: Option<&str>, count: Option<u64>, revision: u64) -> Bytes {
    let mut out = Vec::with_capacity(length(items) + 128 + next_cursor.map_or(0, str::len));
    out.extend_from_slice(br#"{"items":"#);
    append_array(&mut out, items);
    out.extend_from_slice(br#","next_cursor":"#);
    out.extend_from_slice(serde_json::Value::from(next_cursor).to_string().as_bytes());
    if let Some(count) = count {
        out.extend_from_slice(format!(r#","count":{count}"#).as_bytes());
    }
    out.extend_from_slice(format!(r#","revision":{revision}}}"#).as_bytes());
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_put_together_from_documents_as_they_are() {
        let two = [&br#"{"id":"a"}"#[..], br#"{"id":"b","n":1.0}"#];
        assert_eq!(
            page(&two, Some("x\"y"), Some(12), 7),
            r#"{"items":[{"id":"a"},{"id":"b","n":1.0}],"next_cursor":"x\"y","count":12,"revision":7}"#
        );
        let none: [&[u8]; 0] = [];
        assert_eq!(page(&none, None, None, 0), r#"{"items":[],"next_cursor":null,"revision":0}"#);
        assert_eq!(items(&two), r#"{"items":[{"id":"a"},{"id":"b","n":1.0}]}"#);
        assert_eq!(items(&none), r#"{"items":[]}"#);
    }

    #[test]
    fn a_stale_answer_says_its_age() {
        let mark = |age| ReadAt { revision: 9, age }.mark(Response::new(Body::empty()));
        assert_eq!(mark(None).headers().get(AGE_MS), None);
        assert_eq!(mark(Some(None)).headers()[AGE_MS], "unknown");
        let known = mark(Some(Some(Duration::from_micros(1_900))));
        assert_eq!(
            (&known.headers()[AGE_MS], &known.headers()[REVISION]),
            (&"2".parse().unwrap(), &"9".parse().unwrap())
        );
    }
}
