//! Once everything is healed: the whole feed and the whole list of each collection, from each node.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::checker::{Change, Last, NodeLast};
use crate::client::{Client, Op, Query, Read};

/// How long a node may take to give it all, retries included.
const WITHIN: Duration = Duration::from_secs(60);
/// Changes and documents of a page: as many as there may be.
const PAGE: u64 = 1_000;

/// Reads everything back.
pub(super) async fn read(client: &Client, collections: &[String]) -> Last {
    let mut last = Last::default();
    for collection in collections {
        let mut nodes = Vec::new();
        for node in client.nodes() {
            nodes.push(node_last(client, node, collection).await);
        }
        last.collections.insert(collection.clone(), nodes);
    }
    last
}

async fn node_last(client: &Client, node: u64, collection: &str) -> NodeLast {
    let deadline = Instant::now() + WITHIN;
    loop {
        let found = async {
            let changes = changes(client, node, collection).await?;
            let (documents, revision) = documents(client, node, collection).await?;
            anyhow::Ok(NodeLast { node, changes, documents, revision, error: None })
        };
        match found.await {
            Ok(last) => return last,
            Err(error) if Instant::now() >= deadline => {
                return NodeLast { node, error: Some(format!("{error:#}")), ..NodeLast::default() };
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

async fn changes(client: &Client, node: u64, collection: &str) -> Result<Vec<Change>> {
    let (mut all, mut since) = (Vec::new(), 0);
    loop {
        let op = Op::Changes { collection: collection.to_owned(), since, limit: Some(PAGE) };
        let mut answer = client.call(node, &op).await;
        if !answer.is_ok() {
            bail!("the feed since {since}: {:?}", answer.error);
        }
        let Value::Array(changes) = answer.body["changes"].take() else { bail!("a feed without changes") };
        for change in changes {
            all.push(serde_json::from_value(change)?);
        }
        since = answer.body["bookmark"].as_u64().context("a feed without a bookmark")?;
        if answer.body["more"].as_bool() != Some(true) {
            return Ok(all);
        }
    }
}

async fn documents(client: &Client, node: u64, collection: &str) -> Result<(Vec<Value>, u64)> {
    let (mut all, mut cursor, mut revision) = (Vec::new(), None, 0);
    loop {
        let query = Query { limit: Some(PAGE), cursor, ..Query::default() };
        let op = Op::List { collection: collection.to_owned(), query, read: Read::default() };
        let mut answer = client.call(node, &op).await;
        if !answer.is_ok() {
            bail!("the list after {}: {:?}", all.len(), answer.error);
        }
        let Value::Array(items) = answer.body["items"].take() else { bail!("a list without items") };
        all.extend(items);
        revision = answer.revision.unwrap_or(revision);
        cursor = answer.cursor;
        if cursor.is_none() {
            return Ok((all, revision));
        }
    }
}
