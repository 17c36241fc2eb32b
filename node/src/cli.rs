//! The command line: what there is, what it is called, and which function does it.

use std::future::Future;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::client::Error;
use crate::commands::{cluster, collection, explain, index, query, transaction, version};
use crate::exit::{self, Exit};
use crate::logs::{self, LogFormat};
use crate::output::{self, Format, Output};
use crate::{bench, export, import, os, panics, server, supervisor};

/// AeroDB: a document database that keeps its data on several machines and loses none of it
#[derive(Debug, Parser)]
#[command(
    name = "aerodb",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(
    after_help = "Exit codes: 0 done, 1 the operation failed, 2 wrong usage or configuration, 3 cluster unavailable"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command understands.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global")]
struct Global {
    /// The form of results
    #[arg(long, short, global = true, env = "AERODB_OUTPUT", value_enum, default_value = "table", value_name = "FORM")]
    output: Format,
    /// Which log lines are written, such as info or info,aerodb_raft=debug [default: info for servers, warn for others]
    #[arg(long, global = true, env = "AERODB_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// The form of log lines [default: human on a terminal, JSON otherwise]
    #[arg(long, global = true, env = "AERODB_LOG_FORMAT", value_enum, value_name = "FORM")]
    log_format: Option<LogFormat>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one node on its own, for development
    Dev(server::DevCommand),
    /// Run one node of a cluster
    Server(server::ServerCommand),
    /// Run a local cluster, look at a cluster, and steer it
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// List, create, describe and drop collections
    #[command(subcommand)]
    Collection(collection::CollectionCommand),
    /// List, create and drop the indexes of a collection
    #[command(subcommand)]
    Index(index::IndexCommand),
    /// Find documents of a collection, or figures of them
    Query(query::QueryCommand),
    /// Show how a query is answered, and why so
    Explain(explain::ExplainCommand),
    /// Do several operations, all of them or none
    Transaction(transaction::TransactionCommand),
    /// Bring the records of a file into a collection
    Import(import::ImportCommand),
    /// Write a collection to a file
    Export(export::ExportCommand),
    /// Put load on a cluster and measure it
    Bench(bench::BenchCommand),
    /// Print a script that lets a shell complete commands
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Say which version this is
    Version,
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    /// Run a cluster of several processes on this machine; Ctrl-C stops it
    Up(supervisor::UpCommand),
    #[command(flatten)]
    Client(cluster::ClusterClientCommand),
}

/// Reads the command line, does what it says, and tells how that went.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.global.output);
    let is_node = matches!(cli.command, Command::Server(_) | Command::Dev(_));
    let code = match run(cli, output) {
        Ok(()) => 0,
        Err(error) if output::is_closed_pipe(&error) => 0,
        Err(error) => {
            report(&error, output);
            exit::code_of(&error) as u8
        }
    };
    if is_node {
        os::end_process(code);
    }
    code.into()
}

fn run(cli: Cli, output: Output) -> anyhow::Result<()> {
    let Global { log, log_format, .. } = cli.global;
    match cli.command {
        // A node uses all the cores there are, and starts its own logging once its configuration is read.
        Command::Server(command) => on_all_cores(server::server(command, log, log_format, output)),
        Command::Dev(command) => on_all_cores(server::dev(command, log, log_format)),
        command => {
            panics::end_with();
            logs::start(log.as_deref().unwrap_or("warn"), log_format.unwrap_or_default())?;
            client(command, output)
        }
    }
}

/// Everything that is not a server runs on one thread, and leaves the others to the cluster that it talks to.
fn client(command: Command, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Cluster(ClusterCommand::Up(command)) => on_one_core(supervisor::up(command, output)),
        Command::Cluster(ClusterCommand::Client(command)) => on_one_core(cluster::run(command, output)),
        Command::Collection(command) => on_one_core(collection::run(command, output)),
        Command::Index(command) => on_one_core(index::run(command, output)),
        Command::Query(command) => on_one_core(query::run(command, output)),
        Command::Explain(command) => on_one_core(explain::run(command, output)),
        Command::Transaction(command) => on_one_core(transaction::run(command, output)),
        Command::Import(command) => on_one_core(import::run(command, output)),
        Command::Export(command) => on_one_core(export::run(command, output)),
        Command::Bench(command) => bench::run(command, output),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "aerodb", &mut script);
            Ok(output.line(String::from_utf8_lossy(&script).trim_end())?)
        }
        Command::Version => version::run(output),
        Command::Server(_) | Command::Dev(_) => anyhow::bail!("servers are not client commands"),
    }
}

fn on_all_cores(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

fn on_one_core(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

fn report(error: &anyhow::Error, output: Output) {
    if !output.is_json() {
        output.note(format!("error: {error:#}"));
        return;
    }
    let mut value = serde_json::json!({
        "error": format!("{error:#}"),
        "exit_code": exit::code_of(error) as u8,
        "unavailable": exit::code_of(error) == Exit::Unavailable,
    });
    if let Some(problem) = error.downcast_ref::<Error>().and_then(Error::problem) {
        value["status"] = problem.status.into();
        value["code"] = problem.code().into();
        value["problem"] = problem.body.clone();
    }
    output.note(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_long_flag_has_a_help_text() {
        fn check(command: &clap::Command, path: &str) {
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{path} {} has no help", argument.get_id());
            }
            for sub in command.get_subcommands() {
                check(sub, &format!("{path} {}", sub.get_name()));
            }
        }
        check(&Cli::command(), "aerodb");
    }
}
