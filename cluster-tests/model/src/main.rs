//! `decide-model`: visits every state of the model, or shows what goes wrong without a rule.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use decide_model::print::Run;
use decide_model::rules::Break;
use decide_model::{Model, config, run};

#[derive(Parser)]
#[command(about = "The rules of deciding ahead of the log, checked exhaustively")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Visits every state within some bounds; all properties must hold.
    Check {
        /// These bounds alone; without it all that take seconds.
        #[arg(long)]
        config: Option<String>,
        /// Also the bounds that take minutes.
        #[arg(long)]
        wide: bool,
    },
    /// Leaves a rule out and prints a shortest run in which something goes wrong.
    Break {
        /// The rule; without it all, in one line each.
        rule: Option<Break>,
    },
    /// Lists the bounds and the rules.
    List,
}

fn main() -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    let passed = match Cli::parse().command {
        Task::Check { config: Some(name), .. } => {
            let config = config::named(&name).with_context(|| format!("there are no bounds called {name:?}"))?;
            check(&mut out, config)?
        }
        Task::Check { config: None, wide } => {
            let mut passed = true;
            for config in config::all().into_iter().filter(|config| wide || !config.wide) {
                passed &= check(&mut out, config)?;
            }
            passed
        }
        Task::Break { rule: Some(rule) } => leave_out(&mut out, rule, true)?,
        Task::Break { rule: None } => {
            let mut passed = true;
            for &rule in Break::value_variants() {
                passed &= leave_out(&mut out, rule, false)?;
            }
            passed
        }
        Task::List => list(&mut out)?,
    };
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Visits every state; false when a property is broken, or something that must happen in some run does in none.
fn check(out: &mut impl Write, config: config::Config) -> anyhow::Result<bool> {
    let model = Model::new(config);
    let report = run::check(&model, false);
    writeln!(out, "{:16} {}", model.config.name, model.config.about)?;
    writeln!(out, "{:16} {report}", "")?;
    for (property, steps) in &report.broken {
        writeln!(out, "  BROKEN: {property}\n{}", Run { model: &model, steps })?;
    }
    for property in &report.missing {
        writeln!(out, "  NEVER: {property}")?;
    }
    Ok(report.broken.is_empty() && report.missing.is_empty())
}

/// Shows what goes wrong without `rule`; false when it is not what it should be.
fn leave_out(out: &mut impl Write, rule: Break, whole: bool) -> anyhow::Result<bool> {
    let model = Model::without(rule);
    let report = run::check(&model, true);
    let name = rule.to_possible_value().context("every rule has a name")?.get_name().to_owned();
    let found = report.broken.first();
    let what = found.map_or("nothing goes wrong", |(property, _)| property);
    writeln!(out, "{name:26} {:12} {report}; broken: {what}", model.config.name)?;
    if whole && let Some((_, steps)) = found {
        write!(out, "{}", Run { model: &model, steps })?;
    }
    Ok(found.map(|(property, _)| *property) == rule.wrong().map(|wrong| wrong.property()))
}

fn list(out: &mut impl Write) -> anyhow::Result<bool> {
    let configs = config::all();
    ensure!(!configs.is_empty(), "there are no bounds");
    for config in configs {
        writeln!(out, "{:16} {}{}", config.name, config.about, if config.wide { " (minutes)" } else { "" })?;
    }
    writeln!(out)?;
    for rule in Break::value_variants().iter().filter_map(ValueEnum::to_possible_value) {
        let help = rule.get_help().map(ToString::to_string).unwrap_or_default();
        writeln!(out, "{:26} {help}", rule.get_name())?;
    }
    Ok(true)
}
