//! Documents by REST: `GET` and `PUT` of one at the collection's path and its id, `POST` of a new one to the collection.

use crate::documents::id;
use crate::http::{Api, Call};
use crate::target::Request;

/// A collection that is spoken to in this way.
pub struct Rest {
    /// The collection's path, with a slash at its begin and none at its end.
    pub path: String,
    /// What comes behind the path of a read, with its question mark; empty for nothing.
    pub query: &'static str,
    /// A word for the report for an answer that is no success: of its status and body.
    pub refusal: fn(u16, &[u8]) -> String,
}

impl Api for Rest {
    fn call(&self, request: &Request, call: &mut Call<'_>) {
        let Self { path, query, .. } = self;
        match request {
            Request::Read { number } => call.write("GET", &[path, "/", &id(*number), query], None),
            Request::Write { number, document } => call.write("PUT", &[path, "/", &id(*number)], Some(document)),
            Request::Insert { document } => call.write("POST", &[path], Some(document)),
        }
    }

    fn refusal(&self, status: u16, body: &[u8]) -> String {
        (self.refusal)(status, body)
    }
}
