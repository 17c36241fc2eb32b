//! Logs: for people on a terminal, JSON otherwise, always on standard error.

use std::io::{self, IsTerminal};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

use crate::exit::Advice;

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Checks a filter such as `info` or `info,aerodb_raft=debug`.
pub(crate) fn check_filter(filter: &str) -> Result<(), Advice> {
    parse(filter).map(drop)
}

/// Starts logging. Called once, before anything logs.
pub(crate) fn start(filter: &str, format: LogFormat) -> Result<(), Advice> {
    let filter = parse(filter)?;
    let terminal = io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(terminal);
    let human = match format {
        LogFormat::Auto => terminal,
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let started = if human { builder.try_init() } else { builder.json().flatten_event(true).try_init() };
    started.map_err(|error| Advice::failed("cannot start logging").why(error.to_string()))
}

fn parse(filter: &str) -> Result<EnvFilter, Advice> {
    EnvFilter::builder().parse(filter).map_err(|error| {
        Advice::usage(format!("the log filter '{filter}' cannot be read"))
            .why(error.to_string())
            .remedy("write error, warn, info or debug, or levels by module: info,aerodb_raft=debug")
    })
}
