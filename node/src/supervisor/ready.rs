//! Whether nodes take requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::{Call, Client, Options};
use crate::secret::Secret;

/// How often the nodes are asked.
const POLL_EVERY: Duration = Duration::from_millis(100);
/// How long a node may take to answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Waits until all nodes are ready. Returns those that are not when the time is over, with their last word.
pub(super) async fn wait(urls: Arc<Vec<String>>, timeout: Duration) -> anyhow::Result<Vec<(String, String)>> {
    let client = client(&urls, None)?;
    let begun = Instant::now();
    let mut missing: Vec<(String, String)> = urls.iter().map(|url| (url.clone(), String::new())).collect();
    loop {
        let mut still = Vec::new();
        for (url, _) in missing {
            if let Err(why) = client.probe(&url, &Call::get("/health/ready"), PROBE_TIMEOUT).await {
                still.push((url, why));
            }
        }
        missing = still;
        if missing.is_empty() || begun.elapsed() >= timeout {
            return Ok(missing);
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

/// Whether the cluster takes a key. Nothing if it cannot be told.
pub(super) async fn key_works(urls: &[String], key: &Secret) -> Option<bool> {
    let client = client(urls, Some(key.clone())).ok()?;
    match client.send(&Call::get("/cluster").timeout(PROBE_TIMEOUT)).await {
        Ok(_) => Some(true),
        Err(error) => error.problem().filter(|problem| matches!(problem.status, 401 | 403)).map(|_| false),
    }
}

fn client(urls: &[String], token: Option<Secret>) -> anyhow::Result<Client> {
    let (timeout, refused_timeout) = (PROBE_TIMEOUT, PROBE_TIMEOUT);
    Ok(Client::new(Options { urls: urls.to_vec(), token, timeout, refused_timeout })?)
}
