//! Waiting for an index to be built.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::path_of;
use crate::client::{Call, Client, segment};
use crate::exit::Advice;
use crate::output::{Output, cell};

/// How often the build is looked at.
const POLL_EVERY: Duration = Duration::from_millis(300);

/// Looks at the index until it is built or has failed, and returns what it is then.
pub(super) async fn wait(client: &Client, collection: &str, name: &str, output: Output) -> anyhow::Result<Value> {
    let bar = bar(client, collection, output).await;
    let call = Call::get(path_of(collection, name));
    let index = loop {
        let index: Value = client.send(&call).await?.json()?;
        if index["state"] != "building" {
            break index;
        }
        bar.set_position(index["built_documents"].as_u64().unwrap_or_default());
        tokio::time::sleep(POLL_EVERY).await;
    };
    bar.finish_and_clear();
    Ok(index)
}

/// The error of an index that documents stand against.
pub(super) fn failed(collection: &str, name: &str, why: &Value) -> Advice {
    Advice::failed(format!("index {name} of {collection} failed, and is not used"))
        .why(cell(Some(why)))
        .remedy(format!("mend the documents, `aerodb index drop {collection} {name}`, and create it again"))
}

/// A bar over the documents that there were at the beginning; without that number a count.
async fn bar(client: &Client, collection: &str, output: Output) -> ProgressBar {
    if !output.shows_progress() {
        return ProgressBar::hidden();
    }
    let stats = client.send(&Call::get(format!("/admin/collections/{}/stats", segment(collection)))).await;
    let documents = stats.ok().and_then(|answer| answer.json::<Value>().ok()?["documents"].as_u64());
    let template = match documents {
        Some(_) => "{bar:30} {percent:>3} %  {pos} documents  {per_sec}  {eta} left",
        None => "{spinner} {pos} documents  {per_sec}",
    };
    let bar = ProgressBar::with_draw_target(documents, ProgressDrawTarget::stderr_with_hz(10));
    // A template that does not parse leaves the plain bar.
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use super::super::super::super::client::tests::{FakeNode, Reply, client};
    use super::*;
    use crate::output::Format;

    #[tokio::test]
    async fn it_is_looked_at_until_it_is_no_longer_built() {
        let building = Reply::Say(200, "", r#"{"state":"building","built_documents":7}"#.into());
        let failed = Reply::Say(200, "", r#"{"state":"failed","failure":"two have 1"}"#.into());
        let node = FakeNode::start(vec![building, failed]).await;
        let index = wait(&client(&[&node.url]), "c", "a b", Output::new(Format::Json)).await.unwrap();
        assert_eq!((&index["failure"], node.count()), (&"two have 1".into(), 2));
        let requests = node.requests.lock().unwrap();
        assert!(requests[0].starts_with("GET /admin/collections/c/indexes/a%20b "), "{}", requests[0]);
    }

    #[test]
    fn a_failure_says_why_and_what_to_do() {
        let text = failed("c", "a", &"two documents have 1".into()).to_string();
        assert!(text.contains("why: two documents have 1") && text.contains("`aerodb index drop c a`"), "{text}");
    }
}
