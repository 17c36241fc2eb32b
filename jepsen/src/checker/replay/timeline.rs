//! The feed as versions of documents, and what a feed by itself must be.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use crate::checker::{Change, Finding};

/// A version: since which revision, and what; nothing where it was deleted.
pub(super) type Version<'r> = (u64, Option<&'r Value>);

/// The field by which workloads with many documents look at a few: a collection that only grows cannot be gone through for
/// each of many thousand queries.
pub(super) const BUCKET: &str = "bucket";

/// All versions of all documents of a collection.
pub(super) struct Timeline<'r> {
    /// The feed.
    pub(super) feed: &'r [Change],
    versions: BTreeMap<&'r str, Vec<Version<'r>>>,
    /// The documents that were ever in a bucket; see [`BUCKET`].
    buckets: HashMap<&'r Value, BTreeSet<&'r str>>,
    /// Where in the feed the changes of a revision begin.
    revisions: HashMap<u64, usize>,
}

impl<'r> Timeline<'r> {
    /// Replays `feed` from nothing.
    pub(super) fn new(feed: &'r [Change], finding: &mut Finding) -> Self {
        let mut timeline = Self { feed, versions: BTreeMap::new(), buckets: HashMap::new(), revisions: HashMap::new() };
        let (mut revision, mut position) = (0, 0);
        for (place, change) in feed.iter().enumerate() {
            let expected = if change.revision == revision { position + 1 } else { 0 };
            if change.revision < revision || change.position != expected {
                let text = format!("{}/{} follows {revision}/{position}", change.revision, change.position);
                finding.wrong("feed out of order", text, Vec::new());
            }
            (revision, position) = (change.revision, change.position);
            timeline.revisions.entry(revision).or_insert(place);
            timeline.add(change, finding);
            finding.count("changes replayed");
        }
        timeline
    }

    fn add(&mut self, change: &'r Change, finding: &mut Finding) {
        let versions = self.versions.entry(&change.id).or_default();
        let before = versions.last().and_then(|(_, document)| *document);
        let mut wrong = |rule: &str, text: String| {
            finding.wrong(rule, format!("revision {}, {}: {text}", change.revision, change.id), Vec::new());
        };
        if change.previous.as_ref() != before {
            let shown = (show(change.previous.as_ref()), show(before));
            wrong("feed with a wrong previous value", format!("it names {} where there was {}", shown.0, shown.1));
        }
        let kind = match (before, &change.document) {
            (None, Some(_)) => "insert",
            (Some(_), Some(_)) => "update",
            (_, None) => "delete",
        };
        if change.kind != kind || (before.is_none() && change.document.is_none()) {
            wrong("feed with a wrong kind of change", format!("{:?} where it is {kind:?}", change.kind));
        }
        if let Some(document) = &change.document {
            if let Some(bucket) = document.get(BUCKET) {
                self.buckets.entry(bucket).or_default().insert(&change.id);
            }
            if document["_revision"].as_u64() != Some(change.revision) || document["id"].as_str() != Some(&change.id) {
                wrong("feed with a wrong image", show(Some(document)));
            }
            let kept = before.is_none_or(|before| before["_created_at"] == document["_created_at"]);
            let later = before.is_none_or(|before| before["_updated_at"].as_str() <= document["_updated_at"].as_str());
            if !kept || !later {
                wrong("time goes backwards", format!("{} after {}", show(Some(document)), show(before)));
            }
        }
        versions.push((change.revision, change.document.as_ref()));
    }

    /// The document as it was at `revision`.
    pub(super) fn at(&self, id: &str, revision: u64) -> Option<&'r Value> {
        let versions = self.versions.get(id)?;
        let end = versions.partition_point(|(since, _)| *since <= revision);
        versions[..end].last().and_then(|(_, document)| *document)
    }

    /// All documents as they were at `revision`, by id.
    pub(super) fn all(&self, revision: u64) -> impl Iterator<Item = &'r Value> {
        self.versions.keys().filter_map(move |id| self.at(id, revision))
    }

    /// All documents as they were at `revision` that a query with this filter may find, by id.
    pub(super) fn candidates(&self, filter: Option<&Value>, revision: u64) -> Vec<&'r Value> {
        match filter.and_then(|filter| filter.get(BUCKET)) {
            Some(Value::Object(_) | Value::Array(_) | Value::Null) | None => self.all(revision).collect(),
            Some(bucket) => {
                let ids = self.buckets.get(bucket).into_iter().flatten();
                ids.filter_map(|id| self.at(id, revision)).collect()
            }
        }
    }

    /// The versions of a document.
    pub(super) fn versions(&self, id: &str) -> &[Version<'r>] {
        self.versions.get(id).map_or(&[], Vec::as_slice)
    }

    /// The changes of one revision.
    pub(super) fn revision(&self, revision: u64) -> &'r [Change] {
        let Some(begin) = self.revisions.get(&revision).copied() else { return &[] };
        let length = self.feed[begin..].iter().take_while(|change| change.revision == revision).count();
        &self.feed[begin..begin + length]
    }
}

/// A document in a sentence.
pub(super) fn show(document: Option<&Value>) -> String {
    document.map_or_else(|| "nothing".to_owned(), Value::to_string)
}

/// The revision of a document.
pub(super) fn revision_of(document: Option<&Value>) -> Option<u64> {
    document?.get("_revision")?.as_u64()
}
