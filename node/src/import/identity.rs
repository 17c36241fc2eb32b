//! What makes a batch the same batch: the file, the place in it, and the very collection that it goes to.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::options::{Input, Settings};
use crate::client::{Call, Client, segment};
use crate::commands::random_key;
use crate::exit::Advice;

/// The members of a description that tell a collection from one of the same name that was dropped before.
const INCARNATION_MEMBERS: [&str; 5] = ["id", "collection_id", "created_at", "_created_at", "created_revision"];

/// Where the records go.
#[derive(Clone, Debug, Default)]
pub(super) struct Target {
    /// The cluster, the collection, and which one of that name it is.
    pub(super) name: String,
    /// The revision of the cluster before anything was sent. An answer at or below it was given before.
    pub(super) revision: Option<u64>,
}

/// Asks the cluster where the records will go. Says so if there is no such collection.
pub(super) async fn target(client: &Client, collection: &str) -> anyhow::Result<Target> {
    let page = client.send(&Call::get(format!("/api/{}", segment(collection))).query("limit", "1")).await;
    let page = page.map_err(|error| match error.problem() {
        Some(problem) if problem.status == 404 => {
            let what = format!("there is no collection {collection} to import into");
            anyhow::Error::new(Advice::failed(what).why(problem.to_string()).remedy("create it with --create"))
        }
        _ => error.into(),
    })?;
    let revision = page.revision.or_else(|| page.json::<Value>().ok()?["revision"].as_u64());
    // A token for documents only may not see the rest; then the nodes' addresses have to do.
    let cluster = match client.send(&Call::get("/cluster")).await {
        Ok(answer) => answer.json::<Value>()?["cluster_id"].to_string(),
        Err(error) if error.problem().is_some() => client.urls().join(","),
        Err(error) => return Err(error.into()),
    };
    let incarnation = match client.send(&Call::get(format!("/admin/collections/{}", segment(collection)))).await {
        Ok(answer) => incarnation(&answer.json()?),
        Err(error) if error.problem().is_some() => String::new(),
        Err(error) => return Err(error.into()),
    };
    Ok(Target { name: format!("{cluster}/{collection}/{incarnation}"), revision })
}

fn incarnation(description: &Value) -> String {
    let known =
        INCARNATION_MEMBERS.iter().filter_map(|name| description.get(*name).map(|value| format!("{name}={value}")));
    known.collect::<Vec<_>>().join(",")
}

/// What an import is: the same for each run of the same file, with the same settings, into the same collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    digest: [u8; 32],
}

impl Identity {
    /// The identity of an import. Standard input is a new one each time; a salt tells a run from earlier ones.
    pub(super) fn new(input: &Input, target: &Target, settings: &Settings, salt: &str) -> Self {
        let file = match &input.file {
            Some(file) => format!("{} {} {}", file.path.display(), file.bytes, file.modified_ns),
            None => random_key(),
        };
        let settings = serde_json::to_string(settings).unwrap_or_default();
        Self { digest: digest(&[&file, &target.name, &settings, salt]) }
    }

    /// The idempotency key of the records between two places in the file.
    pub(super) fn key(&self, kind: &str, start: u64, end: u64) -> String {
        let place = format!("{kind} {start} {end}");
        format!("import-{}", &hex(&digest(&[&hex(&self.digest), &place]))[..40])
    }

    /// The whole of it, to be compared with that of an earlier run.
    pub(super) fn text(&self) -> String {
        hex(&self.digest)
    }
}

/// The name of the file that remembers how far an import is: by file and collection, whatever the settings.
pub(super) fn progress_name(input: &Input, collection: &str) -> Option<String> {
    let file = input.file.as_ref()?;
    Some(hex(&digest(&[&file.path.to_string_lossy(), collection]))[..32].to_owned())
}

/// Each part with its length in front, so that no two lists of parts read alike.
fn digest(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::options::{FileFacts, Format, OnConflict};
    use super::*;

    fn settings() -> Settings {
        Settings {
            format: Format::Jsonl,
            id_field: None,
            batch: 500,
            on_conflict: OnConflict::Error,
            csv_strings: false,
        }
    }

    fn input(path: &str, bytes: u64, modified_ns: u128) -> Input {
        Input { file: Some(FileFacts { path: path.into(), bytes, modified_ns }), format: Format::Jsonl }
    }

    fn of(input: &Input, target: &str) -> Identity {
        Identity::new(input, &Target { name: target.into(), revision: None }, &settings(), "")
    }

    #[test]
    fn the_same_import_has_the_same_keys() {
        let one = of(&input("/a", 1, 2), "c");
        assert_eq!(one.key("batch", 0, 100), of(&input("/a", 1, 2), "c").key("batch", 0, 100));
        assert!(one.key("batch", 0, 100).len() <= 64);
    }

    #[test]
    fn whatever_differs_changes_the_keys() {
        let one = of(&input("/a", 1, 2), "c");
        let key = one.key("batch", 0, 100);
        for other in [
            of(&input("/b", 1, 2), "c"),
            of(&input("/a", 2, 2), "c"),
            of(&input("/a", 1, 3), "c"),
            of(&input("/a", 1, 2), "d"),
        ] {
            assert_ne!(other.key("batch", 0, 100), key);
        }
        assert_ne!(one.key("batch", 0, 101), key);
        assert_ne!(one.key("batch", 1, 100), key);
        assert_ne!(one.key("record", 0, 100), key);
        let other = Settings { batch: 100, ..settings() };
        let target = Target { name: "c".into(), revision: None };
        assert_ne!(Identity::new(&input("/a", 1, 2), &target, &other, ""), one);
        assert_ne!(Identity::new(&input("/a", 1, 2), &target, &settings(), "salt"), one);
        let stdin = Input { file: None, format: Format::Jsonl };
        assert_ne!(of(&stdin, "c"), of(&stdin, "c"), "standard input is never the same");
    }

    #[test]
    fn a_collection_that_was_made_again_is_another() {
        let old = incarnation(&serde_json::json!({"name":"a","id":4,"documents":3}));
        assert_eq!(old, incarnation(&serde_json::json!({"name":"a","id":4,"documents":9})));
        assert_ne!(old, incarnation(&serde_json::json!({"name":"a","id":5,"documents":3})));
    }
}
