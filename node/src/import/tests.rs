//! Imports of small files into a fake cluster.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use clap::Parser;

use super::*;
use crate::client::tests::{FakeNode, Reply};
use crate::output::Format;

#[derive(Parser)]
#[command(no_binary_name = true, args_override_self = true)]
struct Line {
    #[command(flatten)]
    command: ImportCommand,
}

/// The command for a file, as it is by default.
pub(super) fn command(file: &Path) -> ImportCommand {
    Line::try_parse_from([file.to_str().unwrap(), "--collection", "c"]).unwrap().command
}

/// A node that keeps documents, knows idempotency keys, and refuses documents with a field `bad`.
#[derive(Default)]
struct Store {
    documents: BTreeMap<String, String>,
    answers: BTreeMap<String, String>,
    revision: u64,
    /// After this many more writes the node is gone.
    writes_left: Option<u32>,
}

impl Store {
    fn answer(&mut self, request: &str) -> Option<Reply> {
        let (head, body) = request.split_once("\r\n\r\n")?;
        let mut line = head.lines().next()?.split(' ');
        let (method, path) = (line.next()?, line.next()?);
        let header =
            |name: &str| head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_owned));
        if method == "GET" {
            let body = if path == "/cluster" {
                r#"{"cluster_id":"one"}"#.to_owned()
            } else {
                format!(r#"{{"id":1,"revision":{}}}"#, self.revision)
            };
            return Some(Reply::Say(200, "", body));
        }
        if let Some(left) = &mut self.writes_left {
            *left = left.checked_sub(1)?;
        }
        let key = format!("{method} {path} {}", header("idempotency-key")?);
        if let Some(first) = self.answers.get(&key) {
            return Some(Reply::Say(201, first.clone().leak(), "{}".into()));
        }
        if body.contains("\"bad\"") {
            return Some(Reply::Say(
                422,
                "",
                r#"{"title":"Schema","code":"schema_violation","detail":"bad is not allowed"}"#.into(),
            ));
        }
        let documents: serde_json::Value = serde_json::from_str(body).unwrap();
        let list = documents.as_array().cloned().unwrap_or_else(|| vec![documents]);
        let ids: Vec<String> = list
            .iter()
            .enumerate()
            .map(|(number, document)| {
                document["id"].as_str().map_or_else(|| format!("made-{}-{number}", self.revision), str::to_owned)
            })
            .collect();
        let taken = ids.iter().any(|id| self.documents.contains_key(id));
        if taken && method == "POST" {
            return Some(Reply::Say(
                409,
                "",
                r#"{"title":"Conflict","code":"exists","detail":"the id is taken"}"#.into(),
            ));
        }
        if taken && header("if-none-match").is_some() {
            return Some(Reply::Say(412, "", r#"{"title":"Precondition","code":"precondition_failed"}"#.into()));
        }
        self.revision += 1;
        self.documents.extend(ids.into_iter().zip(list.iter().map(ToString::to_string)));
        let answer = format!("aerodb-revision: {}\r\n", self.revision);
        self.answers.insert(key, answer.clone());
        Some(Reply::Say(201, answer.leak(), "{}".into()))
    }
}

/// A cluster of one fake node, and a folder for files.
struct World {
    store: Arc<Mutex<Store>>,
    node: FakeNode,
    folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let store = Arc::new(Mutex::new(Store::default()));
        let answering = store.clone();
        let node = FakeNode::answering(move |request| answering.lock().unwrap().answer(request)).await;
        Self { store, node, folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Runs an import as the command line would. Returns its error, or nothing.
    async fn import(&self, file: &str, flags: &[&str]) -> String {
        let fixed = [file, "--collection", "c", "--url", &self.node.url, "--request-timeout", "500ms"];
        let state = ["--state-dir", self.folder.path().to_str().unwrap()];
        let command = Line::try_parse_from(fixed.iter().chain(&state).chain(flags)).unwrap().command;
        run(command, Output::new(Format::Json)).await.err().map(|error| error.to_string()).unwrap_or_default()
    }

    fn documents(&self) -> usize {
        self.store.lock().unwrap().documents.len()
    }
}

fn lines(from: u32, to: u32) -> String {
    (from..=to).map(|number| format!("{{\"n\":{number}}}\n")).collect()
}

#[tokio::test]
async fn a_file_comes_in_once_however_often_it_is_imported() {
    let world = World::new().await;
    let file = world.file("a.jsonl", &lines(1, 25));
    assert_eq!(world.import(&file, &["--batch", "10"]).await, "");
    assert_eq!(world.documents(), 25);
    assert_eq!(world.import(&file, &["--batch", "10"]).await, "");
    assert_eq!(world.documents(), 25, "the same batches with the same keys");
    assert_eq!(world.import(&file, &["--batch", "10", "--restart"]).await, "");
    assert_eq!(world.documents(), 50, "asked for again in so many words");
}

#[tokio::test]
async fn a_bad_record_stops_the_import_at_its_line() {
    let world = World::new().await;
    let file = world.file("a.jsonl", &format!("{}{{\"bad\":1}}\n{}", lines(1, 4), lines(5, 9)));
    let error = world.import(&file, &[]).await;
    assert!(error.contains("line 5") && error.contains("bad is not allowed"), "{error}");
    assert_eq!(world.documents(), 4, "those before it are in");
    let error = world.import(&file, &["--on-error", "skip"]).await;
    assert_eq!(error, "");
    assert_eq!(world.documents(), 9, "it went on behind them");
}

#[tokio::test]
async fn bad_records_are_passed_over_if_asked() {
    let world = World::new().await;
    let file = world.file("a.jsonl", &format!("{}{{\"bad\":1}}\nnot json\n{}", lines(1, 4), lines(5, 9)));
    assert_eq!(world.import(&file, &["--on-error", "skip"]).await, "");
    assert_eq!(world.documents(), 9);
}

#[tokio::test]
async fn what_is_there_is_left_or_replaced_as_asked() {
    let world = World::new().await;
    let old = world.file("old.csv", "id,v\na,1\nb,1\n");
    let new = world.file("new.csv", "id,v\nb,2\nc,2\n");
    assert_eq!(world.import(&old, &[]).await, "");
    let error = world.import(&new, &[]).await;
    assert!(error.contains("line 2") && error.contains("the id is taken"), "{error}");
    assert_eq!(world.import(&new, &["--on-conflict", "skip", "--restart"]).await, "");
    assert_eq!(world.store.lock().unwrap().documents["b"], r#"{"id":"b","v":1}"#);
    assert_eq!(world.documents(), 3);
    assert_eq!(world.import(&new, &["--on-conflict", "replace"]).await, "");
    assert_eq!(world.store.lock().unwrap().documents["b"], r#"{"id":"b","v":2}"#);
}

#[tokio::test]
async fn an_import_goes_on_where_the_cluster_went_away() {
    let world = World::new().await;
    let file = world.file("a.json", &format!("[{}]", lines(1, 25).trim_end().replace('\n', ",\n")));
    world.store.lock().unwrap().writes_left = Some(1);
    let error = world.import(&file, &["--batch", "10"]).await;
    assert!(error.contains("stopped at line 10"), "{error}");
    assert_eq!(world.documents(), 10);
    world.store.lock().unwrap().writes_left = None;
    let error = world.import(&file, &["--batch", "7"]).await;
    assert!(error.contains("other settings") && error.contains("--restart"), "{error}");
    assert_eq!(world.import(&file, &["--batch", "10"]).await, "");
    assert_eq!(world.documents(), 25);
    let writes = world.node.requests.lock().unwrap().iter().filter(|request| request.starts_with("POST")).count();
    assert!(writes >= 4, "the first batch was not sent again: {writes}");
}

#[tokio::test]
async fn a_broken_file_is_an_error_with_its_line() {
    let world = World::new().await;
    let file = world.file("a.json", "[{\"n\":1},\n{\"n\":2}");
    let error = world.import(&file, &[]).await;
    assert!(error.contains("line 2") && error.contains("the file ends"), "{error}");
    assert_eq!(world.documents(), 2);
}
