//! Each nemesis against a small load: it must bite, the cluster must be well again, and what was acknowledged must be
//! there. The runner does far more; this shows that the faults themselves work.
//!
//! `JEPSEN_NEMESES` (names with commas, or `all`) and `JEPSEN_SECONDS` choose; without them a short selection runs.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jepsen::history::Recorder;
use jepsen::nemesis;
use jepsen::world::{Spec, World};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const CLIENTS: u64 = 6;
const HEALTHY_WITHIN: Duration = Duration::from_secs(90);

/// Writes documents of its own, one after the other, and keeps the last number that was acknowledged for each, and the
/// highest that was ever sent.
async fn write(
    client: u64,
    endpoints: Vec<(u64, String)>,
    key: String,
    stop: CancellationToken,
    done: Arc<AtomicU64>,
) -> BTreeMap<String, (u64, u64)> {
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(3)).build().unwrap();
    let mut known = BTreeMap::new();
    let mut number = 0;
    while !stop.is_cancelled() {
        number += 1;
        let id = format!("c{client}-{}", number % 20);
        let (_, url) = &endpoints[usize::try_from(number / 8 + client).unwrap() % endpoints.len()];
        let body = json!({ "n": number, "pad": "x".repeat(200) });
        let entry = known.entry(id.clone()).or_insert((0, 0));
        entry.1 = number;
        let sent = http.put(format!("{url}/api/notes/{id}")).bearer_auth(&key).json(&body).send().await;
        match sent {
            Ok(answer) if answer.status().is_success() => {
                entry.0 = number;
                done.fetch_add(1, Ordering::Relaxed);
            }
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    known
}

async fn check(name: &str, nodes: usize, seconds: u64, seed: u64) -> Result<(), String> {
    if let Some(advice) = nemesis::lacks(name).unwrap() {
        eprintln!("SKIPPED {name}, this machine lacks something:\n{advice}");
        return Ok(());
    }
    let Some(binary) = std::env::var_os("AERODB_BIN") else {
        eprintln!("SKIPPED: set AERODB_BIN to the program under test");
        return Ok(());
    };
    let folder = tempfile::Builder::new().prefix("jepsen-").tempdir().unwrap();
    let needs = nemesis::needs(name).unwrap();
    let spec = Spec {
        nodes,
        seed,
        folder: folder.path().to_owned(),
        binary: binary.into(),
        needs,
        args: Vec::new(),
        planted: None,
    };
    let world = World::start(spec).await.map_err(|error| format!("{error:#}"))?;
    let key = world.service_key().to_owned();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/admin/collections", world.endpoints()[0].1);
    http.post(url).bearer_auth(&key).json(&json!({ "name": "notes" })).send().await.unwrap();
    let (recorder, stop, done) = (Recorder::new(), CancellationToken::new(), Arc::new(AtomicU64::new(0)));
    let writers: Vec<_> = (0..CLIENTS)
        .map(|client| tokio::spawn(write(client, world.endpoints(), key.clone(), stop.clone(), done.clone())))
        .collect();
    let duration = Duration::from_secs(seconds);
    let coverage = nemesis::run(name, &world, &recorder, seed, duration, CancellationToken::new()).await;
    stop.cancel();
    let mut known = BTreeMap::new();
    for writer in writers {
        known.extend(writer.await.unwrap());
    }
    let mut wrong = Vec::new();
    let begun = Instant::now();
    let healthy = world.wait_healthy(HEALTHY_WITHIN).await;
    let healed_in = begun.elapsed();
    let coverage = match coverage {
        Ok(coverage) => coverage,
        Err(error) => return Err(keep(folder, &recorder, vec![format!("the nemesis failed: {error:#}")])),
    };
    let counts: Vec<_> = coverage.counts.iter().filter(|(_, count)| **count > 0).collect();
    let acknowledged = done.load(Ordering::Relaxed);
    eprintln!("{name}: {acknowledged} writes, healthy after {healed_in:.1?}, {counts:?}");
    for ending in &coverage.endings {
        eprintln!("    ended: {ending}");
    }
    wrong.extend(coverage.missing.iter().map(|what| format!("did not bite: {what}")));
    wrong.extend(coverage.violations.iter().cloned());
    match healthy {
        Err(error) => wrong.push(format!("not healthy: {error:#}")),
        Ok(()) => {
            // Connections from before a power cut are of no use.
            let http = reqwest::Client::builder().no_proxy().build().unwrap();
            for (id, (acknowledged, sent)) in &known {
                let url = format!("{}/api/notes/{id}", world.endpoints()[0].1);
                let answer = http.get(url).bearer_auth(&key).send().await.unwrap();
                let document: Value = answer.json().await.unwrap();
                let n = document["n"].as_u64().unwrap_or(0);
                if n < *acknowledged || n > *sent {
                    wrong.push(format!("{id}: acknowledged {acknowledged}, sent {sent}, found {document}"));
                }
            }
        }
    }
    if acknowledged < 50 {
        wrong.push(format!("only {acknowledged} writes were acknowledged"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(keep(folder, &recorder, wrong)) }
}

fn keep(folder: tempfile::TempDir, recorder: &Recorder, wrong: Vec<String>) -> String {
    let folder = folder.keep();
    let events: Vec<String> = recorder.events().iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    std::fs::write(folder.join("faults.jsonl"), events.join("\n")).unwrap();
    format!("{}\nlogs and faults are kept in {}", wrong.join("\n"), folder.display())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_nemesis_bites_and_heals() {
    let chosen = std::env::var("JEPSEN_NEMESES").unwrap_or_else(|_| "kill-leader,partition,power-all".into());
    let figure = |name: &str, usual: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let names: Vec<&str> = match chosen.as_str() {
        "all" => nemesis::names().iter().map(|(name, _)| *name).collect(),
        chosen => chosen.split(',').collect(),
    };
    let mut failed = Vec::new();
    for name in names {
        let nodes = usize::try_from(figure("JEPSEN_NODES", 3)).unwrap();
        if let Err(wrong) = check(name, nodes, figure("JEPSEN_SECONDS", 12), figure("JEPSEN_SEED", 1)).await {
            eprintln!("{name} FAILED: {wrong}");
            failed.push(format!("{name}: {wrong}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
