//! `aerodb cluster wait-ready`: returns once the cluster takes requests, for scripts.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use crate::client::{Call, Client, ConnectArgs};
use crate::exit::Advice;
use crate::output::Output;
use crate::units;

/// How often the nodes are asked.
const POLL_EVERY: Duration = Duration::from_millis(200);
/// How long one node may take to answer that it is ready.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// What to wait for.
#[derive(Debug, Args)]
pub(crate) struct WaitReadyCommand {
    /// How long to wait
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = units::parse_duration)]
    timeout: Duration,
    /// How many nodes must be ready [default: all that the cluster has, or without a token all that --url names]
    #[arg(long, value_name = "N")]
    nodes: Option<usize>,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Waits until enough nodes are ready, or the time is over.
pub(crate) async fn run(command: WaitReadyCommand, output: Output) -> anyhow::Result<()> {
    let client = command.connect.client()?;
    let begun = Instant::now();
    // Without --url the list is a guess, and one of its nodes that answers will do.
    let guessed = command.connect.url.is_empty();
    loop {
        let seen = look(&client, command.nodes, guessed).await;
        if seen.is_ready() {
            let took_ms = begun.elapsed().as_millis() as u64;
            let value = serde_json::json!({"ready": seen.ready, "wanted": seen.wanted, "took_ms": took_ms});
            return Ok(output.result(&value, || format!("{} ready", units::plural(seen.ready as u64, "node")))?);
        }
        if begun.elapsed() + POLL_EVERY >= command.timeout {
            let waited = units::millis(command.timeout.as_secs_f64() * 1e3);
            return Err(Advice::unavailable(format!("the cluster is not ready after {waited}"))
                .why(format!("{} of {} ready; {}", seen.ready, units::plural(seen.wanted as u64, "node"), seen.missing))
                .remedy("look at the logs of the nodes that are missing")
                .into());
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

/// What one look at the cluster showed.
struct Seen {
    ready: usize,
    wanted: usize,
    leader: bool,
    missing: String,
}

impl Seen {
    fn is_ready(&self) -> bool {
        self.leader && self.ready >= self.wanted
    }
}

async fn look(client: &Client, wanted: Option<usize>, guessed: bool) -> Seen {
    let mut last = String::new();
    if client.has_token() {
        for url in client.urls() {
            match client.probe(url, &Call::get("/cluster"), PROBE_TIMEOUT).await {
                Ok(answer) => match answer.json::<Value>() {
                    Ok(cluster) => return judge(&cluster, wanted),
                    Err(error) => last = format!("{url}: {error}"),
                },
                Err(why) => last = format!("{url}: {why}"),
            }
        }
        return Seen { ready: 0, wanted: wanted.unwrap_or(1), leader: false, missing: last };
    }
    let probes = client.urls().iter().map(|url| async move {
        client.probe(url, &Call::get("/health/ready"), PROBE_TIMEOUT).await.map_err(|why| format!("{url}: {why}"))
    });
    let results = futures::future::join_all(probes).await;
    let ready = results.iter().filter(|result| result.is_ok()).count();
    let missing: Vec<String> = results.into_iter().filter_map(Result::err).collect();
    let wanted = wanted.unwrap_or(if guessed { 1 } else { client.urls().len() });
    Seen { ready, wanted, leader: true, missing: missing.join("; ") }
}

/// Whether a cluster, by what it says of itself, is ready.
fn judge(cluster: &Value, wanted: Option<usize>) -> Seen {
    let nodes = cluster["nodes"].as_array().map_or(&[][..], Vec::as_slice);
    let healthy = |node: &&Value| node["state"] == "healthy";
    let missing: Vec<String> = nodes
        .iter()
        .filter(|node| !healthy(node))
        .map(|node| format!("node {} is {}", node["id"], node["state"]))
        .collect();
    let leader = !cluster["leader"].is_null() && cluster["quorum"]["ok"] != false;
    let missing = if leader { missing.join("; ") } else { "there is no leader".to_owned() };
    Seen { ready: nodes.iter().filter(healthy).count(), wanted: wanted.unwrap_or(nodes.len()).max(1), leader, missing }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_a_leader_and_enough_healthy_nodes() {
        let cluster = |leader: Option<u64>, states: &[&str]| {
            let nodes: Vec<Value> = states.iter().map(|state| serde_json::json!({"id":1,"state":state})).collect();
            serde_json::json!({"leader":leader,"quorum":{"ok":true},"nodes":nodes})
        };
        assert!(judge(&cluster(Some(1), &["healthy", "healthy"]), None).is_ready());
        assert!(!judge(&cluster(Some(1), &["healthy", "lagging"]), None).is_ready());
        assert!(judge(&cluster(Some(1), &["healthy", "lagging"]), Some(1)).is_ready());
        assert!(!judge(&cluster(None, &["healthy", "healthy"]), None).is_ready());
        assert!(!judge(&cluster(Some(1), &[]), None).is_ready());
        assert!(!judge(&cluster(Some(1), &["healthy"]), Some(3)).is_ready());
    }
}
