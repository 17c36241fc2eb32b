//! Exports from a fake cluster.

use clap::Parser;

use super::*;
use crate::client::tests::{FakeNode, Reply};

#[derive(Parser)]
#[command(no_binary_name = true, args_override_self = true)]
struct Line {
    #[command(flatten)]
    command: ExportCommand,
}

async fn node(pages: &[&str]) -> FakeNode {
    FakeNode::start(pages.iter().map(|page| Reply::Say(200, "", (*page).to_owned())).collect()).await
}

/// Exports to a file and returns what is in it, or the error.
async fn check(node: &FakeNode, format: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let flags =
        ["c", "--format", format, "--out", out.to_str().unwrap(), "--url", &node.url, "--request-timeout", "300ms"];
    let result = run(Line::try_parse_from(flags).unwrap().command, Output::new(crate::output::Format::Json)).await;
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    match result {
        Ok(()) => {
            assert_eq!(left.len(), 1, "only the file itself is left");
            Ok(std::fs::read_to_string(out).unwrap())
        }
        Err(error) => {
            assert!(left.is_empty(), "a broken export leaves nothing");
            Err(error.to_string())
        }
    }
}

const FIRST: &str = r#"{"items":[{"id":"a","n":1.50,"_revision":3},{"id":"b","t":"x,\"y\""}],"next_cursor":"k/1","revision":7,"count":3}"#;
const LAST: &str = r#"{"items":[{"id":"c","o":{"p":[1,null]},"n":null}],"next_cursor":null,"revision":7}"#;

#[tokio::test]
async fn all_pages_as_they_are_written() {
    let node = node(&[FIRST, LAST]).await;
    let expected = "{\"id\":\"a\",\"n\":1.50,\"_revision\":3}\n{\"id\":\"b\",\"t\":\"x,\\\"y\\\"\"}\n{\"id\":\"c\",\"o\":{\"p\":[1,null]},\"n\":null}\n";
    assert_eq!(check(&node, "jsonl").await.unwrap(), expected);
    let requests = node.requests.lock().unwrap();
    assert!(requests[0].contains("limit=1000") && !requests[0].contains("cursor="), "{}", requests[0]);
    assert!(requests[1].contains("cursor=k%2F1"), "{}", requests[1]);
}

#[tokio::test]
async fn an_array() {
    let text = check(&node(&[FIRST, LAST]).await, "json").await.unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap().as_array().unwrap().len(), 3);
    assert_eq!(check(&node(&[r#"{"items":[],"next_cursor":null,"revision":1}"#]).await, "json").await.unwrap(), "[]\n");
}

#[tokio::test]
async fn csv_has_the_columns_of_all_documents() {
    let text = check(&node(&[FIRST, LAST]).await, "csv").await.unwrap();
    assert_eq!(text, "id,n,o,t,_revision\na,1.50,,,3\nb,,,\"x,\"\"y\"\"\",\nc,,\"{\"\"p\"\":[1,null]}\",,\n");
}

#[tokio::test]
async fn an_export_is_whole_or_not_there() {
    let node =
        FakeNode::start(vec![Reply::Say(200, "", FIRST.into()), Reply::Say(410, "", r#"{"code":"compacted"}"#.into())])
            .await;
    assert!(check(&node, "csv").await.unwrap_err().contains("compacted"));
    let other = LAST.replace("\"revision\":7", "\"revision\":8");
    let node = FakeNode::start(vec![Reply::Say(200, "", FIRST.into()), Reply::Say(200, "", other)]).await;
    assert!(check(&node, "jsonl").await.unwrap_err().contains("different revisions"));
}
