//! The writes that clients make, and what their answers must look like.

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use super::record::{Left, fingerprint};
use crate::{Answer, Client, Request};

/// One write.
#[derive(Clone, Debug)]
pub(super) struct Op {
    /// Names it; it stands in what is written, and is its `Idempotency-Key`.
    pub(super) token: String,
    pub(super) collection: String,
    pub(super) change: Change,
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    Put { id: String, body: Value },
    Insert { body: Value },
    InsertMany { bodies: Vec<Value> },
    Patch { id: String, body: Value },
    Delete { id: String },
}

/// A document that `token` writes.
pub(super) fn document(token: &str, owner: &str, number: u64, pad_bytes: usize) -> Value {
    json!({"w": token, "copy": {"w": token}, "owner": owner, "n": number, "pad": "x".repeat(pad_bytes)})
}

/// A merge patch that `token` applies: it touches what [`document`] wrote, adds, and sometimes removes.
pub(super) fn merge_patch(token: &str, number: u64) -> Value {
    match number % 3 {
        0 => json!({"w": token, "copy": {"w": token}, "p": number, "q": null}),
        1 => json!({"w": token, "copy": {"w": token, "p": number}}),
        _ => json!({"w": token, "copy": {"w": token, "p": null}, "q": [number]}),
    }
}

/// What a merge patch makes of a document (RFC 7396).
pub(super) fn merged(target: &Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else { return patch.clone() };
    let mut fields = target.as_object().cloned().unwrap_or_default();
    for (name, change) in changes {
        if change.is_null() {
            fields.remove(name);
        } else {
            let before = fields.get(name).cloned().unwrap_or_default();
            fields.insert(name.clone(), merged(&before, change));
        }
    }
    Value::Object(fields)
}

/// A document without what the system adds.
pub(super) fn fields(document: &Value) -> Value {
    let mut fields = document.as_object().cloned().unwrap_or_default();
    fields.retain(|name, _| !name.starts_with('_') && name != "id");
    Value::Object(fields)
}

impl Op {
    /// A word for it.
    pub(super) fn kind(&self) -> &'static str {
        match self.change {
            Change::Put { .. } => "put",
            Change::Insert { .. } => "insert",
            Change::InsertMany { .. } => "insert_many",
            Change::Patch { .. } => "patch",
            Change::Delete { .. } => "delete",
        }
    }

    /// The request, ready to be sent to a node.
    pub(super) fn request(&self, client: &Client) -> Request {
        let all = format!("/api/{}", self.collection);
        let one = |id: &str| format!("{all}/{id}");
        let request = match &self.change {
            Change::Put { id, body } => client.request(Method::PUT, &one(id)).json(body),
            Change::Insert { body } => client.request(Method::POST, &all).json(body),
            Change::InsertMany { bodies } => client.request(Method::POST, &all).json(&Value::from(bodies.clone())),
            Change::Patch { id, body } => client.request(Method::PATCH, &one(id)).json(body),
            Change::Delete { id } => client.request(Method::DELETE, &one(id)),
        };
        request.header("idempotency-key", &self.token)
    }

    /// The documents that it changes, as far as the client names them.
    pub(super) fn ids(&self) -> Vec<String> {
        let id = |body: &Value| body["id"].as_str().map(str::to_owned);
        match &self.change {
            Change::Put { id, .. } | Change::Patch { id, .. } | Change::Delete { id } => vec![id.clone()],
            Change::Insert { body } => id(body).into_iter().collect(),
            Change::InsertMany { bodies } => bodies.iter().filter_map(id).collect(),
        }
    }

    /// How many documents it leaves.
    pub(super) fn documents(&self) -> usize {
        match &self.change {
            Change::InsertMany { bodies } => bodies.len(),
            Change::Delete { .. } => 0,
            _ => 1,
        }
    }

    /// The documents in a successful answer. It must be this write's own, in full.
    pub(super) fn answered(&self, answer: &Answer) -> Result<(u64, Vec<Value>)> {
        let revision = answer.revision().context("no Aerodb-Revision")?;
        let documents = match &self.change {
            Change::Delete { .. } => Vec::new(),
            Change::InsertMany { .. } => answer.body["items"].as_array().context("no items")?.clone(),
            _ => vec![answer.body.clone()],
        };
        ensure!(documents.len() == self.documents(), "{} documents", documents.len());
        for (document, asked) in documents.iter().zip(self.ids()) {
            ensure!(document["id"] == asked, "the document {} for {asked}", document["id"]);
        }
        for document in &documents {
            ensure!(document["w"] == self.token, "the content of the write {}", document["w"]);
            ensure!(document["_revision"] == revision, "_revision {}", document["_revision"]);
        }
        if let [document] = &documents[..]
            && !matches!(self.change, Change::InsertMany { .. })
        {
            let etag = format!("\"{}\"", document["_revision"]);
            ensure!(answer.header("etag") == Some(&etag), "ETag {:?}", answer.header("etag"));
        }
        Ok((revision, documents))
    }

    /// What the answered documents amount to.
    pub(super) fn left(&self, documents: &[Value]) -> Vec<Left> {
        match &self.change {
            Change::Delete { id } => vec![Left { id: id.clone(), content: None }],
            _ => {
                let left = |document: &Value| Left {
                    id: document["id"].as_str().unwrap_or_default().to_owned(),
                    content: Some(fingerprint(document)),
                };
                documents.iter().map(left).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_merges() {
        let before = json!({"w": "a", "copy": {"w": "a", "p": 1}, "q": [1]});
        assert_eq!(merged(&before, &merge_patch("b", 3)), json!({"w": "b", "copy": {"w": "b", "p": 1}, "p": 3}));
        assert_eq!(merged(&before, &merge_patch("b", 5)), json!({"w": "b", "copy": {"w": "b"}, "q": [5]}));
        assert_eq!(fields(&json!({"id": "x", "_revision": 7, "n": 1})), json!({"n": 1}));
    }
}
