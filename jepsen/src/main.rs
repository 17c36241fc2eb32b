//! The command line of the fault harness: `cargo run --release -p jepsen -- --help`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use jepsen::cells::{self, Cell};
use jepsen::matrix::{self, Matrix};
use jepsen::planted::{self, BUGS, Bug, Build};
use jepsen::runner::{self, Config, Results, judge_again, run};
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
    /// Builds, lists and hunts the bugs that stand in our own code on purpose; exit code 0 only if each is caught in time.
    Planted(PlantedArgs),
}

#[derive(Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["build", "list", "run"]))]
struct PlantedArgs {
    /// Builds the product and the simulation with the bugs, in a target directory of their own.
    #[arg(long)]
    build: bool,
    /// Lists them.
    #[arg(long)]
    list: bool,
    /// Hunts these, or `all`.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    run: Vec<String>,
    /// Sets the traps of these bugs, each one once and for its whole time, in the same builds with the bugs off: nothing may
    /// be caught.
    #[arg(long, requires = "run")]
    off: bool,
    /// Where runs are kept.
    #[arg(long, default_value = "runs/planted")]
    runs: PathBuf,
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
    /// A set of cells with a purpose: see `list`.
    #[arg(long)]
    set: Option<String>,
    /// Cells such as `register:kill-leader` or `feed:power-all:600:5`: seconds and nodes, if they differ.
    #[arg(long, value_delimiter = ',')]
    cells: Vec<String>,
    /// With `--nemeses`: every workload with every nemesis.
    #[arg(long, value_delimiter = ',', requires = "nemeses")]
    workloads: Vec<String>,
    /// See `--workloads`.
    #[arg(long, value_delimiter = ',', requires = "workloads")]
    nemeses: Vec<String>,
    /// Runs at once.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Takes over results that lie in the folder of runs already, if they are of the same programs.
    #[arg(long)]
    resume: bool,
    /// Leaves out, with a line each, cells whose faults this machine cannot do.
    #[arg(long)]
    skip_lacking: bool,
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
    /// A planted bug to switch on; `--binary` names a build that has it.
    #[arg(long, requires = "binary")]
    planted: Option<String>,
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
            runs: self.runs.clone(),
            planted: self.planted.clone(),
            version: String::new(),
            program: runner::hash_of(&binary)?,
            harness: runner::hash_of(&std::env::current_exe()?)?,
            binary,
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
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let results = runtime.block_on(run(config))?;
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
        Command::Matrix(args) => run_matrix(args, cli.output),
        Command::Planted(args) => hunt_planted(args, cli.output),
    }
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
        let sets: serde_json::Map<_, _> =
            cells::SETS.iter().map(|set| (set.name.to_owned(), set.cells.into())).collect();
        let lists =
            serde_json::json!({ "workloads": named(&workloads), "nemeses": named(nemesis::names()), "sets": sets });
        return Ok(writeln!(out, "{lists}")?);
    }
    let sets: Vec<(&str, &str)> = cells::SETS.iter().map(|set| (set.name, set.about)).collect();
    for (title, pairs) in [("workloads", &workloads[..]), ("nemeses", nemesis::names()), ("sets of cells", &sets[..])] {
        writeln!(out, "{title}")?;
        for (name, about) in pairs {
            writeln!(out, "  {name:<20} {about}")?;
        }
    }
    Ok(())
}

fn hunt_planted(args: &PlantedArgs, output: Output) -> Result<bool> {
    let build = Build::beside_this_program()?;
    let mut out = std::io::stdout().lock();
    if args.build {
        build.make()?;
    }
    if args.list && output == Output::Json {
        writeln!(out, "{}", serde_json::to_string(BUGS)?)?;
    } else if args.list {
        for Bug { name, models, caught_by, within_s } in BUGS {
            writeln!(out, "{name:<26} {models}\n{:<26} caught by {caught_by} within {within_s} s", "")?;
        }
    }
    let all = args.run.iter().any(|name| name == "all");
    let mut bugs: Vec<&Bug> = match all {
        true => BUGS.iter().collect(),
        false => args.run.iter().map(|name| planted::named(name)).collect::<Result<_>>()?,
    };
    if args.off {
        // With no bug on, what differs is only the trap.
        let mut traps = Vec::new();
        bugs.retain(|bug| {
            !traps.contains(&bug.caught_by) && {
                traps.push(bug.caught_by);
                true
            }
        });
    }
    let mut all_right = true;
    for bug in bugs {
        let hunt = planted::hunt(bug, !args.off, &build, &args.runs)?;
        all_right &= hunt.is_right();
        if output == Output::Json {
            writeln!(out, "{}", serde_json::to_string(&hunt)?)?;
            continue;
        }
        let word = match (hunt.is_right(), hunt.caught) {
            (true, true) => "caught",
            (true, false) => "silent",
            (false, true) if hunt.planted => "caught too late",
            (false, true) => "FALSE ALARM",
            (false, false) => "NOT CAUGHT",
        };
        let name = if hunt.planted { bug.name } else { "nothing planted" };
        writeln!(out, "{name:<26} {word} after {:.1} s by {}: {}", hunt.seconds, bug.caught_by, hunt.by)?;
    }
    Ok(all_right)
}

fn run_matrix(args: &MatrixArgs, output: Output) -> Result<bool> {
    let mut found = match &args.set {
        Some(set) => cells::of(set)?,
        None => Vec::new(),
    };
    for cell in &args.cells {
        found.push(Cell::parse(cell)?);
    }
    for workload in &args.workloads {
        for nemesis in &args.nemeses {
            found.push(Cell::parse(&format!("{workload}:{nemesis}"))?);
        }
    }
    if found.is_empty() {
        bail!("no cells: name them with --cells, with --set, or with --workloads and --nemeses");
    }
    let mut left_out = Vec::new();
    if args.skip_lacking {
        found.retain(|Cell { workload, nemesis, .. }| match nemesis::lacks(nemesis) {
            Ok(Some(advice)) => {
                let cell = format!("{workload}:{nemesis}");
                drop(writeln!(std::io::stderr(), "left out: {cell}; {}", advice.replace('\n', "; ")));
                left_out.push(cell);
                false
            }
            _ => true,
        });
        if found.is_empty() {
            bail!("nothing was run, this machine can do none of it: {}", left_out.join(", "));
        }
    }
    let config = args.common.config("", "")?;
    let configs = found.into_iter().map(|Cell { workload, nemesis, time_s, nodes }| Config {
        workload,
        nemesis,
        time_s: time_s.unwrap_or(config.time_s),
        nodes: nodes.unwrap_or(config.nodes),
        ..config.clone()
    });
    let matrix = Matrix {
        configs: configs.collect(),
        jobs: args.jobs,
        resume: args.resume,
        table: args.results.clone().unwrap_or_else(|| args.common.runs.join("results.md")),
    };
    let all_valid = matrix::run(matrix, &|outcome| {
        let line = match output {
            Output::Human if outcome.earlier => format!("{} (of an earlier call)\n", outcome.row().trim_end()),
            Output::Human => outcome.row(),
            Output::Json => format!("{}\n", outcome.line()),
        };
        drop(write!(std::io::stdout().lock(), "{line}"));
    })?;
    if !left_out.is_empty() {
        // Last, so that nobody takes what was run for all there is.
        drop(writeln!(std::io::stderr(), "not run: {}", left_out.join(", ")));
    }
    Ok(all_valid)
}
