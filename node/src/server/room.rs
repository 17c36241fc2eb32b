//! A full disk. A node that found no room for a write cannot go on in place: it does not know what of it is there. It ends
//! as after any error of its storage; but its process begins anew, waits until there is room, with no port open and no file,
//! and then starts.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Error;
use tokio::time::sleep;

use super::run::{Fenced, told_to_stop};

/// Room that makes starting again worth while, bytes: for a log file and a table or two.
const ROOM_BYTES: u64 = 256 << 20;
/// On a small disk this part of it will do.
const ROOM_PART: u64 = 10;
/// Tells the process that begins anew why.
const VARIABLE: &str = "AERODB_DISK_WAS_FULL";
/// How often it is looked for.
const LOOK: Duration = Duration::from_secs(1);

/// True when `error` ended a node because there was no room on the disk that holds `dir`.
pub(super) fn is_wanting(error: &Error, dir: &Path) -> bool {
    // What a flush or a compaction met in the background comes without its words: then it is looked for. Not after other
    // errors: a port that is taken is no matter of room.
    says_so(error) || (error.is::<Fenced>() && free(dir).is_some_and(|free| free < wanted(dir)))
}

/// RocksDB gives the system's own words, and no code.
fn says_so(error: &Error) -> bool {
    error.chain().any(|cause| cause.to_string().contains("No space left on device"))
}

/// True in a process that began anew for the sake of a full disk.
pub(super) fn was_wanting() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Begins this process anew, under its number and with its arguments; gives the error back when that fails.
pub(super) async fn start_again(error: Error) -> Error {
    tracing::error!(error = format!("{error:#}"), "the disk is full");
    // Whoever waits for a node that finds it full at each start must not see it spin.
    tokio::select! {
        () = sleep(LOOK) => {}
        () = told_to_stop() => return error,
    }
    // The file may have been replaced or removed meanwhile; otherwise its own name, by which processes are found.
    let program = std::env::current_exe().ok().filter(|program| program.exists());
    let program = program.unwrap_or_else(|| "/proc/self/exe".into());
    let failed = Command::new(program).args(std::env::args_os().skip(1)).env(VARIABLE, "1").exec();
    error.context(format!("this process cannot begin anew: {failed}"))
}

/// Waits until the disk that holds `dir` has room.
pub(super) async fn wait_for(dir: &Path) {
    tracing::warn!(
        dir = %dir.display(),
        free_bytes = free(dir).unwrap_or(0),
        wanted_bytes = wanted(dir),
        "the disk is full: this node waits for room and then starts again"
    );
    // A disk that does not say how much room it has is tried.
    while free(dir).is_some_and(|free| free < wanted(dir)) {
        sleep(LOOK).await;
    }
    tracing::info!("there is room: starting");
}

fn free(dir: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(dir).ok()?;
    Some(found.f_bavail * found.f_frsize)
}

fn wanted(dir: &Path) -> u64 {
    let all = rustix::fs::statvfs(dir).map_or(u64::MAX, |found| found.f_blocks * found.f_frsize);
    ROOM_BYTES.min(all / ROOM_PART)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        let full = anyhow::anyhow!("IO error: No space left on device: While appending to file: 000012.log");
        assert!(says_so(&full.context("the node did not start")));
        assert!(!says_so(&anyhow::anyhow!("IO error: Input/output error")));
    }
}
