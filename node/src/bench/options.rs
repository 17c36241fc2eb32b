//! What load to put on which cluster.

use std::time::Duration;

use aerodb_load::{Keys, Load};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::client::ConnectArgs;
use crate::exit::Advice;
use crate::secret::Secret;
use crate::units;

/// What the requests do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// Replace documents, each write acknowledged by a majority
    Write,
    /// Insert new documents
    Insert,
    /// Read documents, linearizable
    Read,
    /// Read documents from whichever node is asked, as old as it has them
    StaleRead,
    /// Linearizable reads and replacing writes
    Mixed,
}

/// How documents are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KeysArg {
    /// A few documents most of the time, as real users do
    Zipfian,
    /// All alike
    Uniform,
}

/// What `aerodb bench` takes.
#[derive(Debug, Args)]
pub(crate) struct BenchCommand {
    /// What the requests do
    #[arg(long, short, value_enum, default_value = "mixed")]
    mode: Mode,
    /// Connections; spread over all nodes that --url names
    #[arg(long, short, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    connections: u32,
    /// Requests a second that are meant to start, ready or not [default: as fast as they are answered]
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// How long to measure
    #[arg(long, short, value_name = "TIME", default_value = "30s", value_parser = units::parse_duration)]
    duration: Duration,
    /// How long to run before measuring
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = units::parse_duration)]
    warmup: Duration,
    /// How long one request may take
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::parse_duration)]
    timeout: Duration,
    /// How many documents there are
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    documents: u64,
    /// How big a document is, as JSON
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(64..=1_000_000))]
    value_bytes: u32,
    /// How documents are chosen
    #[arg(long, value_enum, default_value = "zipfian")]
    keys: KeysArg,
    /// With --mode mixed: how many of 100 requests are reads
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    reads: u8,
    /// The collection that is used; created if there is none
    #[arg(long, value_name = "NAME", default_value = "bench")]
    collection: String,
    /// Threads of the load generator itself
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: u32,
    #[command(flatten)]
    pub(super) connect: ConnectArgs,
}

/// What to run, checked.
#[derive(Debug, Serialize)]
pub(super) struct Settings {
    pub(super) mode: Mode,
    pub(super) connections: u32,
    pub(super) rate: Option<f64>,
    #[serde(rename = "duration_seconds", serialize_with = "seconds")]
    pub(super) duration: Duration,
    #[serde(rename = "warmup_seconds", serialize_with = "seconds")]
    pub(super) warmup: Duration,
    #[serde(rename = "timeout_seconds", serialize_with = "seconds")]
    pub(super) timeout: Duration,
    pub(super) documents: u64,
    pub(super) value_bytes: u32,
    pub(super) keys: Keys,
    pub(super) reads_percent: u8,
    pub(super) collection: String,
    pub(super) threads: u32,
    /// Base URLs of the nodes that connections are spread over.
    pub(super) urls: Vec<String>,
    #[serde(skip)]
    pub(super) token: Option<Secret>,
}

impl Settings {
    /// The load that a command asks for.
    pub(super) fn from_command(command: &BenchCommand) -> Result<Self, Advice> {
        if command.rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0 || rate > 10_000_000.0) {
            return Err(
                Advice::usage("--rate is not a number of requests a second").remedy("leave it out for as many as go")
            );
        }
        if command.duration.is_zero() {
            return Err(Advice::usage("--duration is nothing"));
        }
        let options = command.connect.options(&|name| std::env::var(name).ok())?;
        Ok(Self {
            mode: command.mode,
            connections: command.connections,
            rate: command.rate,
            duration: command.duration,
            warmup: command.warmup,
            timeout: command.timeout,
            documents: command.documents,
            value_bytes: command.value_bytes,
            keys: match command.keys {
                KeysArg::Zipfian => Keys::Zipfian,
                KeysArg::Uniform => Keys::Uniform,
            },
            reads_percent: match command.mode {
                Mode::Read | Mode::StaleRead => 100,
                Mode::Write | Mode::Insert => 0,
                Mode::Mixed => command.reads,
            },
            collection: command.collection.clone(),
            threads: command.threads.min(command.connections),
            urls: if command.connect.url.is_empty() { reachable(options.urls) } else { options.urls },
            token: options.token,
        })
    }

    /// What the load generator is to do.
    pub(super) fn load(&self) -> Load {
        Load {
            connections: self.connections,
            threads: self.threads,
            rate: self.rate,
            warmup: self.warmup,
            duration: self.duration,
            timeout: self.timeout,
            reads_percent: self.reads_percent,
            inserts: self.mode == Mode::Insert,
            documents: self.documents,
            value_bytes: self.value_bytes,
            keys: self.keys,
        }
    }

    /// Whether reads may be as old as the node has them.
    pub(super) fn is_stale(&self) -> bool {
        self.mode == Mode::StaleRead
    }

    /// What reads promise, for the label of the figures.
    pub(super) fn read_consistency(&self) -> &'static str {
        if self.is_stale() { "stale" } else { "linearizable" }
    }
}

/// Of the URLs that are only a guess, those at which something listens; all of them if nothing does.
fn reachable(urls: Vec<String>) -> Vec<String> {
    let answers = |url: &&String| {
        let addr = url.trim_start_matches("http://").parse();
        addr.is_ok_and(|addr| std::net::TcpStream::connect_timeout(&addr, Duration::from_millis(200)).is_ok())
    };
    let found: Vec<String> = urls.iter().filter(answers).cloned().collect();
    if found.is_empty() { urls } else { found }
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}
