//! The program as a user starts it, with the one peer that needs no package.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

#[test]
fn a_short_comparison_measures_all_and_says_on_what() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let json = folder.path().join("figures.json");
    let output = Command::new(env!("CARGO_BIN_EXE_compare"))
        .args(["throughput", "--rounds", "1", "--time", "0.3", "--warmup", "0.1", "--connections", "2"])
        .args(["--bytes", "256", "--documents", "50", "--modes", "write,stale", "--peers", "bare", "--keys", "uniform"])
        .arg("--json")
        .arg(&json)
        .output()
        .context("starting it")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let markdown = String::from_utf8(output.stdout)?;
    for part in ["**write, 256 bytes**", "**stale read, one node, 256 bytes**", "| AeroDB |", "| bare axum |", "cores"]
    {
        ensure!(markdown.contains(part), "{part} is missing in {markdown}");
    }
    let report: Value = serde_json::from_slice(&std::fs::read(&json)?)?;
    ensure!(report["settings"]["keys"] == "uniform", "{report}");
    let measured: Vec<&Value> = report["tables"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|table| table["measured"].as_array())
        .flatten()
        .collect();
    ensure!(measured.len() == 3, "AeroDB twice, the bare handler once: {report}");
    for one in measured {
        ensure!(one["per_second"].as_f64().is_some_and(|rate| rate > 0.0) && one["failed"] == 0, "{one}");
        ensure!(one["server_cpu_us"].as_f64().is_some_and(|cpu| cpu > 0.0), "{one}");
    }
    Ok(())
}
