//! More work than the cluster can take: many connections that write and list as fast as they can, in a collection of
//! their own. What is refused must be refused clearly.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::stage::Stage;

/// The collection of the burst. It exists only in runs with this fault.
pub const COLLECTION: &str = "overload";
/// How long a burst lasts.
const LASTS_MS: std::ops::Range<u64> = 2_000..8_000;
/// How many connections it has.
const CONNECTIONS: std::ops::Range<u64> = 100..500;
/// Bytes of each document.
const PAD_BYTES: usize = 4_000;

#[derive(Debug, Default)]
struct Tolls {
    taken: AtomicU64,
    refused: AtomicU64,
    unanswered: AtomicU64,
    odd: AtomicU64,
}

pub(super) async fn strike(stage: &mut Stage<'_>) -> Result<()> {
    let (lasts, connections) = (stage.draw_ms(LASTS_MS), stage.draw(CONNECTIONS));
    let endpoints = stage.world.endpoints();
    let key = stage.world.service_key().to_owned();
    let http = reqwest::Client::builder().no_proxy().build()?;
    let (_, url) = &endpoints[0];
    // There already in all bursts but the first.
    let make = http.post(format!("{url}/admin/collections")).bearer_auth(&key).json(&json!({ "name": COLLECTION }));
    let _ = make.send().await;
    stage.begins("overload", json!({ "connections": connections, "ms": lasts.as_millis() as u64 }));
    let (tolls, stop) = (Arc::new(Tolls::default()), CancellationToken::new());
    let mut tasks = tokio::task::JoinSet::new();
    for connection in 0..connections {
        let (_, url) = endpoints[usize::try_from(connection)? % endpoints.len()].clone();
        let (key, tolls, stop, http) = (key.clone(), tolls.clone(), stop.clone(), http.clone());
        tasks.spawn(async move {
            let mut number = 0_u64;
            let work = async {
                loop {
                    number += 1;
                    let request = if number.is_multiple_of(8) {
                        http.get(format!("{url}/api/{COLLECTION}?limit=200"))
                    } else {
                        let id = format!("{connection}-{}", number % 16);
                        let body = json!({ "n": number, "pad": "x".repeat(PAD_BYTES) });
                        http.put(format!("{url}/api/{COLLECTION}/{id}")).json(&body)
                    };
                    let answer = request.bearer_auth(&key).send().await;
                    let counter = match answer.map(|answer| answer.status().as_u16()) {
                        Ok(200..=299) => &tolls.taken,
                        Ok(404 | 429 | 503 | 504) => &tolls.refused,
                        Ok(_) => &tolls.odd,
                        Err(_) => &tolls.unanswered,
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            };
            tokio::select! {
                () = work => {}
                () = stop.cancelled() => {}
            }
        });
    }
    stage.hold(lasts).await;
    stop.cancel();
    while tasks.join_next().await.is_some() {}
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (taken, refused) = (read(&tolls.taken), read(&tolls.refused));
    stage.count("overload_taken", taken);
    stage.count("overload_refused", refused);
    stage.count("overload_unanswered", read(&tolls.unanswered));
    if read(&tolls.odd) > 0 {
        stage.violation(format!("overload: {} answers that are neither taken nor refused", read(&tolls.odd)));
    }
    stage.ends("overload", json!({ "taken": taken, "refused": refused }));
    Ok(())
}
