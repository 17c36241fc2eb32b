//! What must be there before a benchmark can run: the collection, and for reads its documents.

use aerodb_load::{DocumentMaker, id};
use futures::StreamExt;
use serde_json::{Value, json};

use super::options::Settings;
use crate::client::{Call, Client, Error, segment};
use crate::commands::random_key;
use crate::output::Output;
use crate::units;

/// The bytes of one batch.
const BATCH_BYTES: u64 = 1 << 20;
const BATCH_DOCUMENTS_MAX: u64 = 500;
/// Batches that are under way at one time.
const BATCHES_AT_ONCE: usize = 4;

/// Creates the collection if there is none, and fills it if documents will be read.
pub(super) async fn prepare(client: &Client, load: &Settings, output: Output) -> anyhow::Result<()> {
    let collection = Call::post("/admin/collections").json(&json!({ "name": load.collection }))?;
    match client.send(&collection.idempotency_key(random_key())).await {
        Err(error) if error.problem().is_none_or(|problem| problem.status != 409) => return Err(error.into()),
        _ => {}
    }
    if load.reads_percent == 0 || is_full(client, load).await? {
        return Ok(());
    }
    output.aside(format!("filling {} with {} …", load.collection, units::plural(load.documents, "document")));
    let size = (BATCH_BYTES / u64::from(load.value_bytes)).clamp(1, BATCH_DOCUMENTS_MAX);
    let maker = DocumentMaker::new(load.value_bytes);
    let starts = (0..load.documents).step_by(size as usize);
    let batches = starts.map(|from| fill_batch(client, load, &maker, from..(from + size).min(load.documents)));
    let mut batches = std::pin::pin!(futures::stream::iter(batches).buffer_unordered(BATCHES_AT_ONCE));
    while let Some(done) = batches.next().await {
        done?;
    }
    Ok(())
}

/// Whether the first and the last document are there: batches are filled in order, a few at a time, so a collection
/// that was left half full lacks its end.
async fn is_full(client: &Client, load: &Settings) -> Result<bool, Error> {
    let path = format!("/api/{}", segment(&load.collection));
    let count = client.send(&Call::get(&path).query("limit", "1").query("count", "exact")).await?;
    if count.json::<Value>()?["count"].as_u64().is_some_and(|count| count < load.documents) {
        return Ok(false);
    }
    for number in [0, load.documents - 1] {
        match client.send(&Call::get(format!("{path}/{}", id(number)))).await {
            Ok(_) => {}
            Err(error) if error.problem().is_some_and(|problem| problem.status == 404) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

async fn fill_batch(
    client: &Client,
    load: &Settings,
    maker: &DocumentMaker,
    numbers: std::ops::Range<u64>,
) -> Result<(), Error> {
    let path = format!("/api/{}", segment(&load.collection));
    let mut body = vec![b'['];
    for number in numbers.clone() {
        if body.len() > 1 {
            body.push(b',');
        }
        body.extend_from_slice(&maker.make(Some(&id(number)), &mut rand::rng()));
    }
    body.push(b']');
    match client.send(&Call::post(&path).raw_json(body).idempotency_key(random_key())).await {
        Ok(_) => return Ok(()),
        // Some of them are there already: then each one by itself.
        Err(error) if error.problem().is_some_and(|problem| problem.status == 409) => {}
        Err(error) => return Err(error),
    }
    for number in numbers {
        let body = maker.make(None, &mut rand::rng());
        let call = Call::put(format!("{path}/{}", id(number))).raw_json(body);
        client.send(&call.idempotency_key(random_key())).await?;
    }
    Ok(())
}
