//! `simulation run`, `simulation replay SEED`: see README.md.

#![allow(clippy::print_stdout, reason = "what a command prints is what it is for")]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use simulation::plan::{Asked, Workload};
use simulation::run::{self, Report};
use simulation::soak::{self, Soak};
use tracing_subscriber::filter::Targets;

/// Simulates clusters and tries to break them.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one, for a moment")]
enum Command {
    /// Runs many seeds, each in a process of its own.
    Run {
        /// How many.
        #[arg(long, default_value_t = 100, value_parser = value_parser!(u64).range(1..))]
        seeds: u64,
        /// The first one.
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// Processes at once.
        #[arg(long, default_value_t = 2, value_parser = value_parser!(u64).range(1..))]
        jobs: u64,
        /// Keeps results in this file and does not run again what is in it. It is of one program and its arguments.
        #[arg(long)]
        resume: Option<PathBuf>,
        /// Ends with the first failure.
        #[arg(long)]
        fail_fast: bool,
        #[command(flatten)]
        asked: Flags,
    },
    /// Runs one seed again, and says what went wrong and what happened last.
    Replay {
        /// The seed.
        seed: u64,
        /// Prints each event as it comes.
        #[arg(long)]
        trace: bool,
        /// Log lines to print beside our own, as `openraft=debug`.
        #[arg(long)]
        log: Option<Targets>,
        #[command(flatten)]
        asked: Flags,
    },
    /// Runs one seed and prints its report as JSON.
    #[command(hide = true)]
    One {
        /// The seed.
        seed: u64,
        /// Where its real files lie.
        #[arg(long)]
        folder: Option<PathBuf>,
        #[command(flatten)]
        asked: Flags,
    },
}

#[derive(Args, Clone)]
struct Flags {
    /// So many nodes instead of 3, 5 or 7 by the seed.
    #[arg(long, value_parser = value_parser!(u64).range(3..=7))]
    nodes: Option<u64>,
    /// No faults.
    #[arg(long)]
    calm: bool,
    /// Disks acknowledge before anything is durable: shows that the checkers bite.
    #[arg(long)]
    lying_disks: bool,
    /// What half of the clients do, instead of what is dealt by the seed.
    #[arg(long)]
    workload: Option<Workload>,
}

impl Flags {
    fn asked(&self) -> Asked {
        Asked {
            nodes: self.nodes,
            calm: self.calm,
            lying_disks: self.lying_disks,
            workload: self.workload,
            folder: None,
        }
    }

    fn arguments(&self) -> Vec<String> {
        let nodes = self.nodes.map(|nodes| format!("--nodes={nodes}"));
        let calm = self.calm.then(|| "--calm".to_owned());
        let lying = self.lying_disks.then(|| "--lying-disks".to_owned());
        let workload = self.workload.and_then(|workload| workload.to_possible_value());
        let workload = workload.map(|workload| format!("--workload={}", workload.get_name()));
        [nodes, calm, lying, workload].into_iter().flatten().collect()
    }
}

/// The code of a run that could not say whether anything is wrong.
const UNKNOWN: u8 = 2;

fn main() -> ExitCode {
    match carry_out(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(UNKNOWN)
        }
    }
}

/// 0: nothing is wrong. 1: a seed failed.
fn carry_out(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run { seeds, from, jobs, resume, fail_fast, asked } => {
            let program = std::env::current_exe()?;
            let soak = Soak { program, from, seeds, jobs, arguments: asked.arguments(), resume, fail_fast };
            let summary = soak::run(&soak, &|line| println!("{line}"))?;
            println!("{}", summary.text());
            for (seed, problem) in &summary.failed {
                println!("seed {seed}: {problem}\n  again: simulation replay {seed} {}", soak.arguments.join(" "));
            }
            for (seed, why) in &summary.unknown {
                println!("seed {seed} is not judged: {why}");
            }
            if summary.interrupted {
                println!("interrupted: not every seed was run");
            }
            Ok(match summary.failed.is_empty() {
                true if summary.is_clean() => ExitCode::SUCCESS,
                true => ExitCode::from(UNKNOWN),
                false => ExitCode::FAILURE,
            })
        }
        Command::Replay { seed, trace, log, asked } => {
            let report = run::seed(seed, &asked.asked(), trace, log.as_ref())?;
            print(&report);
            Ok(if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::One { seed, folder, asked } => {
            let asked = Asked { folder, ..asked.asked() };
            println!("{}", serde_json::to_string(&run::seed(seed, &asked, false, None)?)?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn print(report: &Report) {
    for line in &report.last {
        println!("{line}");
    }
    println!(
        "seed {}: {} nodes, {} ms, {} revisions, trace {} over {} events",
        report.seed, report.nodes, report.simulated_ms, report.revisions, report.hash, report.events
    );
    println!("{:?}", report.coverage);
    match report.violations.as_slice() {
        [] => println!("nothing went wrong"),
        wrong => wrong.iter().for_each(|wrong| println!("WRONG: {wrong}")),
    }
}
