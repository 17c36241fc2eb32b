//! The command line of the fault harness: `cargo run --release -p jepsen -- --help`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use jepsen::report::{table_head, table_row};
use jepsen::runner::{Config, Results, judge_again, run};
use jepsen::{nemesis, workload};

/// Tries to prove a cluster of real AeroDB processes wrong.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How results are printed.
    #[arg(long, global = true, value_enum, default_value_t = Output::Human)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Human,
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Does one run and judges it; exit code 0 only if it is valid.
    Run(RunArgs),
    /// Judges a run that lies in a folder once more.
    Check {
        /// The run's folder.
        folder: PathBuf,
    },
    /// Lists workloads and nemeses.
    List,
    /// Does many runs one after the other and appends a row each to a table.
    Matrix(MatrixArgs),
}

#[derive(Args)]
struct RunArgs {
    /// What clients do: see `list`.
    #[arg(long)]
    workload: String,
    /// What goes wrong: see `list`.
    #[arg(long, default_value = "none")]
    nemesis: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct MatrixArgs {
    /// Cells such as `register:kill-leader` or `feed:power-all:600`, the last part being seconds.
    #[arg(long, value_delimiter = ',')]
    cells: Vec<String>,
    /// With `--nemeses`: every workload with every nemesis.
    #[arg(long, value_delimiter = ',')]
    workloads: Vec<String>,
    /// See `--workloads`.
    #[arg(long, value_delimiter = ',')]
    nemeses: Vec<String>,
    /// The table; `results.md` beside the runs if not named.
    #[arg(long)]
    results: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Clone)]
struct Common {
    /// How long clients work, seconds.
    #[arg(long = "time", default_value_t = 60)]
    time_s: u64,
    /// Nodes.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// What every choice is drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Operations a second of all workers together; 0 for as many as they can.
    #[arg(long, default_value_t = 300)]
    rate: u64,
    /// Clients.
    #[arg(long, default_value_t = 10)]
    workers: u64,
    /// Another flag of `aerodb server`; repeatable.
    #[arg(long = "server-arg", allow_hyphen_values = true)]
    args: Vec<String>,
    /// The program under test; beside this program if not named.
    #[arg(long, env = "AERODB_BIN")]
    binary: Option<PathBuf>,
    /// Where runs are kept.
    #[arg(long, default_value = "runs")]
    runs: PathBuf,
}

impl Common {
    fn config(&self, workload: &str, nemesis: &str) -> Result<Config> {
        let beside = std::env::current_exe()?.with_file_name("aerodb");
        let binary = self.binary.clone().unwrap_or(beside);
        let binary = binary.canonicalize().with_context(|| {
            format!("no program at {}: build it, or name it with --binary or AERODB_BIN", binary.display())
        })?;
        Ok(Config {
            workload: workload.to_owned(),
            nemesis: nemesis.to_owned(),
            time_s: self.time_s,
            nodes: self.nodes,
            seed: self.seed,
            rate: self.rate,
            workers: self.workers,
            args: self.args.clone(),
            binary,
            runs: self.runs.clone(),
            version: String::new(),
        })
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match execute(&cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

/// Whether everything was valid.
fn execute(cli: &Cli) -> Result<bool> {
    match &cli.command {
        Command::Run(args) => {
            let config = args.common.config(&args.workload, &args.nemesis)?;
            let results = one(config)?;
            show(&results, cli.output)?;
            Ok(results.is_valid())
        }
        Command::Check { folder } => {
            let results = judge_again(folder)?;
            show(&results, cli.output)?;
            Ok(results.is_valid())
        }
        Command::List => {
            list(cli.output)?;
            Ok(true)
        }
        Command::Matrix(args) => matrix(args, cli.output),
    }
}

/// A runtime of its own for each run: nothing of one is left for the next.
fn one(config: Config) -> Result<Results> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(config))
}

fn show(results: &Results, output: Output) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if output == Output::Json {
        serde_json::to_writer(&mut out, results)?;
        return Ok(writeln!(out)?);
    }
    for finding in &results.findings {
        let counts: Vec<String> = finding.counts.iter().map(|(what, number)| format!("{what} {number}")).collect();
        writeln!(out, "{:<14} {:<8} {}", finding.checker, finding.verdict.word(), counts.join(", "))?;
        for reason in &finding.reasons {
            writeln!(out, "    ? {reason}")?;
        }
        for anomaly in finding.anomalies.iter().take(5) {
            writeln!(out, "    ! {}: {}", anomaly.rule, anomaly.text)?;
        }
        if finding.anomalies_total > 5 {
            writeln!(out, "    .. {} anomalies in all", finding.anomalies_total)?;
        }
    }
    for ending in &results.endings {
        writeln!(out, "a node ended by itself: {ending}")?;
    }
    let operations: Vec<String> = results.operations.iter().map(|(kind, number)| format!("{kind} {number}")).collect();
    writeln!(out, "{} ({:.0} ok/s) in {}", operations.join(", "), results.per_second, results.folder.display())?;
    writeln!(out, "verdict: {}; again: {}", results.verdict.word(), results.config.command())?;
    Ok(())
}

fn list(output: Output) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let workloads: Vec<(&str, &str)> = workload::ALL.iter().map(|entry| (entry.name, entry.about)).collect();
    if output == Output::Json {
        let named = |pairs: &[(&str, &str)]| -> serde_json::Map<String, serde_json::Value> {
            pairs.iter().map(|(name, about)| ((*name).to_owned(), (*about).into())).collect()
        };
        let lists = serde_json::json!({ "workloads": named(&workloads), "nemeses": named(nemesis::names()) });
        return Ok(writeln!(out, "{lists}")?);
    }
    for (title, pairs) in [("workloads", &workloads[..]), ("nemeses", nemesis::names())] {
        writeln!(out, "{title}")?;
        for (name, about) in pairs {
            writeln!(out, "  {name:<20} {about}")?;
        }
    }
    Ok(())
}

fn matrix(args: &MatrixArgs, output: Output) -> Result<bool> {
    let mut cells = args.cells.clone();
    for workload in &args.workloads {
        cells.extend(args.nemeses.iter().map(|nemesis| format!("{workload}:{nemesis}")));
    }
    if cells.is_empty() {
        bail!("no cells: name them with --cells, or with --workloads and --nemeses");
    }
    let table = args.results.clone().unwrap_or_else(|| args.common.runs.join("results.md"));
    let mut all_valid = true;
    for cell in &cells {
        let parts: Vec<&str> = cell.split(':').collect();
        let (workload, nemesis, time_s) = match parts[..] {
            [workload, nemesis] => (workload, nemesis, args.common.time_s),
            [workload, nemesis, time] => (workload, nemesis, time.parse().with_context(|| cell.clone())?),
            _ => bail!("{cell:?} is no cell: it is WORKLOAD:NEMESIS[:SECONDS]"),
        };
        let config = Config { time_s, ..args.common.config(workload, nemesis)? };
        let row = match one(config) {
            Ok(results) => {
                all_valid &= results.is_valid();
                if output == Output::Json {
                    show(&results, output)?;
                }
                table_row(&results)
            }
            Err(error) => {
                all_valid = false;
                let (nodes, seed) = (args.common.nodes, args.common.seed);
                let why = format!("{error:#}").replace(['\n', '|'], " ");
                format!("| {workload} | {nemesis} | {nodes} | {seed} | {time_s} | | | | | | | no run | {why} |\n")
            }
        };
        append(&table, &row)?;
        if output == Output::Human {
            write!(std::io::stdout().lock(), "{row}")?;
        }
    }
    Ok(all_valid)
}

fn append(table: &Path, row: &str) -> Result<()> {
    if let Some(folder) = table.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let new = !table.exists();
    let mut file = OpenOptions::new().create(true).append(true).open(table)?;
    if new {
        file.write_all(table_head().as_bytes())?;
    }
    Ok(file.write_all(row.as_bytes())?)
}
