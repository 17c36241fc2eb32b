//! The comparison of documents as a user starts it, without the peer, which needs a package.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

#[test]
fn every_kind_of_request_is_measured() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let json = folder.path().join("figures.json");
    let output = Command::new(env!("CARGO_BIN_EXE_compare"))
        .args(["documents", "--alone", "--documents", "3000", "--rounds", "1", "--time", "0.2", "--warmup", "0.1"])
        .args(["--connections", "2", "--json"])
        .arg(&json)
        // With a processor for the load generator, where there are two.
        .args(std::thread::available_parallelism().is_ok_and(|processors| processors.get() > 1).then_some("--apart"))
        .output()
        .context("starting it")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let markdown = String::from_utf8(output.stdout)?;
    for part in ["**Loading**", "**3,000 documents; AeroDB**", "| point get | 2 |", "| group by country | 1 |"] {
        ensure!(markdown.contains(part), "{part} is missing in {markdown}");
    }
    let report: Value = serde_json::from_slice(&std::fs::read(&json)?)?;
    let measured = report["tables"][1]["measured"].as_array().context("nothing measured")?;
    ensure!(measured.len() == 10, "each kind once: {report}");
    for one in measured {
        ensure!(one["per_second"].as_f64().is_some_and(|rate| rate > 0.0) && one["failed"] == 0, "{one}");
    }
    Ok(())
}
