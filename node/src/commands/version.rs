//! `aerodb version`.

use crate::output::Output;

/// Says which version of the program this is.
pub(crate) fn run(output: Output) -> anyhow::Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    let value = serde_json::json!({ "version": version, "target": target });
    Ok(output.result(&value, || format!("aerodb {version} ({target})"))?)
}
