//! Running the system's tools: `ip`, `nft`, `mount` and the like, with what they said in the error.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// Runs `line`, split at spaces; none of what we pass has spaces inside. Returns its output.
pub(crate) fn run(line: &str) -> Result<String> {
    run_args(line.split_ascii_whitespace())
}

/// The same for arguments that may hold spaces.
pub(crate) fn run_args<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Result<String> {
    let mut args = args.into_iter();
    let Some(program) = args.next() else { bail!("nothing to run") };
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The same, with `input` on its standard input.
pub(crate) fn run_with_input(line: &str, input: &str) -> Result<String> {
    let mut args = line.split_ascii_whitespace();
    let mut command = Command::new(args.next().context("nothing to run")?);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
    child.stdin.take().context("no standard input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {}\n{input}", output.status, said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program of this name can be run.
pub(crate) fn is_there(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin"].map(Into::into);
    std::env::split_paths(&folders).chain(usual).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_was_said() {
        let error = run("ls /nonexistent/folder").unwrap_err();
        assert!(format!("{error:#}").contains("No such file"), "{error:#}");
        assert!(run("/nonexistent/program").is_err());
        assert_eq!(run_with_input("cat", "a b").unwrap(), "a b");
        assert!(is_there("ls") && !is_there("no-such-program-as-this"));
    }
}
