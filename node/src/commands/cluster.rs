//! `aerodb cluster status | lag | promote | wait-ready`.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{items, status, wait_ready};
use crate::client::{Call, ConnectArgs, Problem};
use crate::exit::Advice;
use crate::output::Output;
use crate::units;

/// The longest that a promotion may take: the node gives a replica 5 s to catch up, and drains what is in flight.
const PROMOTE_TIMEOUT: Duration = Duration::from_secs(30);

/// What can be asked of a running cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterClientCommand {
    /// Show the nodes of the cluster, who leads, and whether all is well
    Status {
        #[command(flatten)]
        connect: ConnectArgs,
    },
    /// Show how far each replica is behind
    Lag {
        #[command(flatten)]
        connect: ConnectArgs,
    },
    /// Make a replica the leader; nothing acknowledged is lost and requests in flight succeed
    Promote(PromoteCommand),
    /// Wait until the cluster takes requests
    WaitReady(wait_ready::WaitReadyCommand),
}

/// Which replica is to lead.
#[derive(Debug, Args)]
pub(crate) struct PromoteCommand {
    /// The id of the node
    #[arg(value_name = "NODE")]
    id: u64,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Does what was asked.
pub(crate) async fn run(command: ClusterClientCommand, output: Output) -> anyhow::Result<()> {
    match command {
        ClusterClientCommand::Status { connect } => {
            let cluster: Value = connect.client()?.send(&Call::get("/cluster")).await?.json()?;
            Ok(output.result(&cluster, || status::render(&cluster))?)
        }
        ClusterClientCommand::Lag { connect } => {
            let lag: Value = connect.client()?.send(&Call::get("/cluster/lag")).await?.json()?;
            Ok(output.result(&lag, || status::render_lag(items(&lag, "nodes")))?)
        }
        ClusterClientCommand::Promote(command) => promote(command, output).await,
        ClusterClientCommand::WaitReady(command) => wait_ready::run(command, output).await,
    }
}

async fn promote(command: PromoteCommand, output: Output) -> anyhow::Result<()> {
    let call = Call::post(format!("/cluster/nodes/{}/promote", command.id)).timeout(PROMOTE_TIMEOUT);
    let begun = Instant::now();
    let answer: Value = match command.connect.client()?.send(&call).await {
        Ok(answer) => answer.json()?,
        Err(error) => {
            // The reason in full; the answer itself stays the cause, so that JSON output has it too.
            let reason = error.problem().filter(|problem| problem.status == 409).map(|p| refusal(command.id, p));
            return Err(match reason {
                Some(reason) => anyhow::Error::from(error).context(reason),
                None => error.into(),
            });
        }
    };
    let took = answer["took_ms"].as_f64().unwrap_or_else(|| begun.elapsed().as_secs_f64() * 1e3);
    Ok(output.result(&answer, || format!("node {} leads now; it took {}", answer["leader"], units::millis(took)))?)
}

/// Which checks failed, with their figures.
fn refusal(id: u64, problem: &Problem) -> Advice {
    let mut text = format!("node {id} cannot be promoted; nothing has changed");
    for check in items(&problem.body["checks"], "checks") {
        let ok = check["ok"].as_bool().or(check["passed"].as_bool()).unwrap_or(false);
        let name = crate::output::cell(check.get("name").or(check.get("check")));
        let detail = crate::output::cell(check.get("detail").or(check.get("message")));
        text.push_str(&format!("\n  {} {name}: {detail}", if ok { "ok    " } else { "FAILED" }));
    }
    Advice::failed(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_checks() {
        let body = br#"{"title":"Not eligible","code":"not_eligible","checks":[
            {"name":"reachable","ok":true,"detail":"12 ms ago"},{"name":"caught_up","ok":false,"detail":"812 entries behind"}]}"#;
        let text = refusal(3, &Problem::from_answer(409, None, body)).to_string();
        assert!(text.contains("FAILED caught_up: 812 entries behind") && text.contains("ok     reachable"), "{text}");
    }
}
