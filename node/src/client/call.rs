//! A request before it is sent.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use serde::Serialize;

/// One request, to whichever node takes it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<Bytes>,
    pub(super) repeatable: bool,
    pub(super) timeout: Option<Duration>,
}

impl Call {
    /// A read. It may be repeated.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path, true)
    }

    /// A removal. Removing twice is removing once.
    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path, true)
    }

    /// An action that is not repeated once it may have happened, unless it gets an idempotency key.
    pub(crate) fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path, false)
    }

    /// A read that says what it wants in a body. It may be repeated.
    pub(crate) fn ask(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path, true)
    }

    /// A replacement. Not repeated by itself: in between, somebody else may have written.
    pub(crate) fn put(path: impl Into<String>) -> Self {
        Self::new(Method::PUT, path, false)
    }

    fn new(method: Method, path: impl Into<String>, repeatable: bool) -> Self {
        let path = path.into();
        debug_assert!(path.starts_with('/'), "paths are absolute");
        Self { method, path, query: Vec::new(), headers: Vec::new(), body: None, repeatable, timeout: None }
    }

    /// Adds a query parameter.
    pub(crate) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// Adds a query parameter if there is a value.
    pub(crate) fn maybe_query(self, name: &'static str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Sends JSON text that was made before.
    pub(crate) fn raw_json(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self.header("content-type", "application/json")
    }

    /// Sends a value as JSON.
    pub(crate) fn json(self, value: &impl Serialize) -> serde_json::Result<Self> {
        Ok(self.raw_json(serde_json::to_vec(value)?))
    }

    /// Makes a repetition return the first answer, and so makes it safe.
    pub(crate) fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.repeatable = true;
        self.header("idempotency-key", key)
    }

    /// Gives up after this time instead of the client's.
    pub(crate) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

/// A text as one segment of a path.
pub(crate) fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(byte as char);
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_encoded() {
        assert_eq!(segment("notes-1_a.b~"), "notes-1_a.b~");
        assert_eq!(segment("a/b c?ø"), "a%2Fb%20c%3F%C3%B8");
    }
}
