//! Exports from a fake cluster.

use std::path::Path;

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

/// Runs an export to `out` and returns its error, if there is one.
async fn export(node: &FakeNode, out: &Path, flags: &[&str]) -> Result<(), anyhow::Error> {
    let connect = ["--url", &node.url, "--request-timeout", "300ms"];
    let flags = [&["c", "--out", out.to_str().unwrap()], flags, &connect].concat();
    run(Line::try_parse_from(flags).unwrap().command, Output::new(crate::output::Format::Json)).await
}

fn files(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// Exports to a file and returns what is in it, or the error.
async fn check(node: &FakeNode, format: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    match export(node, &out, &["--format", format]).await {
        Ok(()) => {
            assert_eq!(files(folder.path()), ["out"], "only the file itself is left");
            Ok(std::fs::read_to_string(out).unwrap())
        }
        Err(error) => {
            assert!(!out.exists(), "a broken export is not under its name");
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
    let refused = || Reply::Say(410, "", r#"{"code":"compacted"}"#.into());
    let node = FakeNode::start(vec![Reply::Say(200, "", FIRST.into()), refused()]).await;
    let error = check(&node, "csv").await.unwrap_err();
    assert!(error.contains("compacted") && error.contains("revision 7") && error.contains("--restart"), "{error}");
    let other = LAST.replace("\"revision\":7", "\"revision\":8");
    let node = FakeNode::start(vec![Reply::Say(200, "", FIRST.into()), Reply::Say(200, "", other)]).await;
    assert!(check(&node, "jsonl").await.unwrap_err().contains("different revisions"));
    let folder = tempfile::tempdir().unwrap();
    let node = FakeNode::start(vec![refused()]).await;
    export(&node, &folder.path().join("out"), &[]).await.unwrap_err();
    assert!(files(folder.path()).is_empty(), "an error of the first request leaves nothing");
}

const MIDDLE: &str = r#"{"items":[{"id":"bb","extra":"å"}],"next_cursor":"k/2","revision":7}"#;
const AWAY: &str = r#"{"code":"no_leader"}"#;

/// Interrupted behind each page, and continued: the bytes are those of one run.
#[tokio::test]
async fn an_interrupted_export_goes_on_and_ends_with_the_same_bytes() {
    let pages = [FIRST, MIDDLE, LAST];
    for format in ["jsonl", "json", "csv"] {
        let whole = check(&node(&pages).await, format).await.unwrap();
        for cut in 1..pages.len() {
            let folder = tempfile::tempdir().unwrap();
            let out = folder.path().join("out");
            let mut script: Vec<Reply> = pages[..cut].iter().map(|page| Reply::Say(200, "", (*page).into())).collect();
            script.push(Reply::Say(503, "", AWAY.into()));
            let error = export(&FakeNode::start(script).await, &out, &["--format", format]).await.unwrap_err();
            assert_eq!(crate::exit::code_of(&error), crate::exit::Exit::Unavailable);
            assert!(error.to_string().contains("run the same command again"), "{error}");
            assert_eq!(files(folder.path()), ["out.part", "out.part.json"]);
            // Behind what was noted there may be half a page, by a process that was killed.
            let mut part = std::fs::OpenOptions::new().append(true).open(folder.path().join("out.part")).unwrap();
            part.write_all(b"{\"id\":\"half").unwrap();
            drop(part);

            let rest = node(&pages[cut..]).await;
            export(&rest, &out, &["--format", format]).await.unwrap();
            assert_eq!(std::fs::read_to_string(&out).unwrap(), whole, "{format} cut behind page {cut}");
            assert_eq!(files(folder.path()), ["out"]);
            let asked = rest.requests.lock().unwrap()[0].clone();
            assert!(asked.contains(&format!("cursor=k%2F{cut}")) && !asked.contains("count="), "{asked}");
        }
    }
}

#[tokio::test]
async fn only_the_same_export_is_continued() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let broken = || vec![Reply::Say(200, "", FIRST.into()), Reply::Say(503, "", AWAY.into())];
    export(&FakeNode::start(broken()).await, &out, &[]).await.unwrap_err();

    let rest = node(&[LAST]).await;
    let error = export(&rest, &out, &["--filter", "{}"]).await.unwrap_err();
    assert!(error.to_string().contains("other settings"), "{error}");
    assert_eq!((rest.count(), crate::exit::code_of(&error)), (0, crate::exit::Exit::Usage));

    // A revision that is gone, or a cursor that is no longer good, is final, and said.
    for code in ["compacted", "invalid_cursor"] {
        let gone = format!(r#"{{"code":"{code}"}}"#);
        let error = export(&FakeNode::start(vec![Reply::Say(410, "", gone)]).await, &out, &[]).await.unwrap_err();
        assert!(error.to_string().contains("must begin anew"), "{error}");
    }

    std::fs::write(folder.path().join("out.part"), "short").unwrap();
    let error = export(&rest, &out, &[]).await.unwrap_err();
    assert!(error.to_string().contains("it has 5 bytes"), "{error}");
    std::fs::remove_file(folder.path().join("out.part.json")).unwrap();
    let error = export(&rest, &out, &[]).await.unwrap_err();
    assert!(error.to_string().contains("there is no"), "what is not ours is not overwritten: {error}");

    export(&node(&[FIRST, LAST]).await, &out, &["--restart"]).await.unwrap();
    assert_eq!(std::fs::read_to_string(&out).unwrap(), check(&node(&[FIRST, LAST]).await, "jsonl").await.unwrap());
}

#[tokio::test]
async fn two_exports_do_not_write_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths::of(Some(&folder.path().join("out"))).unwrap();
    let first = Target::part(&paths, 0).unwrap();
    let error = export(&node(&[FIRST, LAST]).await, &paths.out, &[]).await.unwrap_err();
    assert!(error.to_string().contains("another export"), "{error}");
    drop(first);
    export(&node(&[FIRST, LAST]).await, &paths.out, &[]).await.unwrap();
}
