//! What the nodes say once everything is healed: the whole change feed and the whole list of each collection, from each
//! node. The feed is the witness that the replay goes by: it names what took effect, and in which order.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One change of a collection, as the feed has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The revision that made it.
    pub revision: u64,
    /// Its place within the revision.
    pub position: u64,
    /// `insert`, `update` or `delete`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The document.
    pub id: String,
    /// How it is since.
    pub document: Option<Value>,
    /// How it was before.
    pub previous: Option<Value>,
}

impl Change {
    /// The tag of the write that made it.
    pub fn tag(&self) -> Option<&str> {
        self.document.as_ref()?.get("w")?.as_str()
    }
}

/// What one node has of a collection.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeLast {
    /// The node.
    pub node: u64,
    /// All changes, from the first.
    pub changes: Vec<Change>,
    /// All documents, by id.
    pub documents: Vec<Value>,
    /// The revision at which they were listed.
    pub revision: u64,
    /// Why it could not be read.
    pub error: Option<String>,
}

/// What all nodes have, by collection.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Last {
    /// By collection, then in the order of the nodes.
    pub collections: BTreeMap<String, Vec<NodeLast>>,
}

impl Last {
    /// The feed that a replay goes by: the first that could be read.
    pub fn feed(&self, collection: &str) -> Option<&[Change]> {
        let node = self.collections.get(collection)?.iter().find(|node| node.error.is_none())?;
        Some(&node.changes)
    }

    /// The documents at the end.
    pub fn documents(&self, collection: &str) -> Option<&[Value]> {
        let node = self.collections.get(collection)?.iter().find(|node| node.error.is_none())?;
        Some(&node.documents)
    }

    /// Writes it as JSON lines. What a node has just as the one before it is not written again.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut out = BufWriter::new(File::create(path).with_context(|| format!("creating {}", path.display()))?);
        for (collection, nodes) in &self.collections {
            let mut before: Option<&NodeLast> = None;
            for last in nodes {
                let same_changes = before.is_some_and(|before| before.changes == last.changes);
                let same_documents = before.is_some_and(|before| before.documents == last.documents);
                let head = json!({
                    "collection": collection, "node": last.node, "revision": last.revision, "error": last.error,
                    "same_changes": same_changes, "same_documents": same_documents,
                });
                writeln!(out, "{head}")?;
                for change in last.changes.iter().filter(|_| !same_changes) {
                    writeln!(out, "{}", json!({ "change": change }))?;
                }
                for document in last.documents.iter().filter(|_| !same_documents) {
                    writeln!(out, "{}", json!({ "document": document }))?;
                }
                before = Some(last);
            }
        }
        Ok(out.flush()?)
    }

    /// Reads what [`Last::write`] wrote.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let mut last = Self::default();
        let mut collection = String::new();
        for line in BufReader::new(file).lines() {
            let mut line: Value = serde_json::from_str(&line?)?;
            if let Some(name) = line["collection"].as_str() {
                collection = name.to_owned();
                let nodes = last.collections.entry(collection.clone()).or_default();
                let copied = |same: &str| line[same].as_bool().unwrap_or(false).then(|| nodes.last()).flatten();
                let (changes, documents) = (copied("same_changes"), copied("same_documents"));
                let node = NodeLast {
                    node: line["node"].as_u64().unwrap_or(0),
                    changes: changes.map(|node| node.changes.clone()).unwrap_or_default(),
                    documents: documents.map(|node| node.documents.clone()).unwrap_or_default(),
                    revision: line["revision"].as_u64().unwrap_or(0),
                    error: line["error"].as_str().map(str::to_owned),
                };
                nodes.push(node);
                continue;
            }
            let nodes = last.collections.get_mut(&collection);
            let node = nodes.and_then(|nodes| nodes.last_mut()).context("a line before the first node")?;
            if line.get("change").is_some() {
                node.changes.push(serde_json::from_value(line["change"].take())?);
            } else {
                node.documents.push(line["document"].take());
            }
        }
        Ok(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let change = |revision| Change {
            revision,
            position: 0,
            kind: "insert".into(),
            id: format!("d{revision}"),
            document: Some(json!({ "w": "1.1" })),
            previous: None,
        };
        let node = |node, revisions: &[u64]| NodeLast {
            node,
            changes: revisions.iter().map(|revision| change(*revision)).collect(),
            documents: vec![json!({ "id": "a" })],
            revision: 9,
            error: None,
        };
        let nodes = vec![node(1, &[1, 2]), node(2, &[1, 2]), node(3, &[1])];
        let last = Last { collections: BTreeMap::from([("c".to_owned(), nodes)]) };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.jsonl");
        last.write(&path).unwrap();
        assert_eq!(Last::read(&path).unwrap(), last);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 3 + 2 + 1 + 1);
    }
}
