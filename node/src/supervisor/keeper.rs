//! Keeps one node alive: starts it, waits for it, starts it again.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use super::events::Event;
use super::log_tail;
use super::plan::{self, Plan};
use crate::os;
use crate::secret::Secret;

/// How long to wait before a node is started again; it doubles from death to death.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_LONGEST: Duration = Duration::from_secs(30);
/// A node that ran this long was well; its next death is a first one.
const WELL_AFTER: Duration = Duration::from_secs(60);
/// How long a node may take to finish what it is at.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
/// A log that is longer than this when a node starts is put aside, as `server.log.1`.
const LOG_BYTES_MAX: u64 = 64 << 20;

/// What is in the environment of the supervisor for one node must not reach all of them.
const NOT_INHERITED: [&str; 15] = [
    "AERODB_CONFIG",
    "AERODB_NODE_ID",
    "AERODB_DATA_DIR",
    "AERODB_HTTP_ADDR",
    "AERODB_PEER_ADDR",
    "AERODB_ADVERTISE_HTTP",
    "AERODB_ADVERTISE_PEER",
    "AERODB_PEERS",
    "AERODB_INSECURE",
    "AERODB_JOIN",
    "AERODB_SERVICE_KEY",
    "AERODB_SERVICE_KEY_FILE",
    "AERODB_OUTPUT",
    "AERODB_TOKEN",
    "AERODB_TOKEN_FILE",
];

/// Which node to keep.
pub(super) struct Options {
    /// Its id.
    pub(super) id: u16,
    /// Its folder.
    pub(super) dir: PathBuf,
    /// The cluster that it is in.
    pub(super) plan: Plan,
    /// The service key to start with, if it is known.
    pub(super) service_key: Option<Secret>,
    /// Whether it is started again when it died.
    pub(super) restart: bool,
}

/// How a keeper is told to stop its node.
#[derive(Clone, Default)]
pub(super) struct Stop {
    /// Let it finish.
    pub(super) gently: CancellationToken,
    /// Do not wait any more.
    pub(super) at_once: CancellationToken,
}

/// Keeps the node until told to stop, or until it died and is not to be started again.
pub(super) async fn keep(options: Options, stop: Stop, events: UnboundedSender<Event>) {
    // Nobody listens any more only when the supervisor is on its way out.
    let tell = |event| drop(events.send(event));
    let mut backoff = BACKOFF_FIRST;
    let mut again = false;
    while !stop.gently.is_cancelled() {
        let begun = Instant::now();
        let log_from = log_length(&options);
        let (mut child, pid) = match start(&options) {
            Ok(started) => started,
            Err(error) => {
                let restart_in = options.restart.then_some(backoff);
                tell(Event::NotStarted { id: options.id, why: error.to_string(), restart_in });
                if !rest(&mut backoff, restart_in, &stop).await {
                    return;
                }
                continue;
            }
        };
        tell(Event::Started { id: options.id, pid, again });
        again = true;
        let status = tokio::select! {
            status = child.wait() => status,
            () = stop.gently.cancelled() => return end(options.id, child, pid, &stop, tell).await,
        };
        if begun.elapsed() >= WELL_AFTER {
            backoff = BACKOFF_FIRST;
        }
        let restart_in = options.restart.then_some(backoff);
        let (how, code) = describe(status);
        let tail = log_tail::tail(&plan::log_file(&options.dir), log_from);
        tell(Event::Died { id: options.id, pid, how, code, tail, restart_in });
        if !rest(&mut backoff, restart_in, &stop).await {
            return;
        }
    }
}

/// Waits before the next start. Says whether there is to be one.
async fn rest(backoff: &mut Duration, restart_in: Option<Duration>, stop: &Stop) -> bool {
    let Some(wait) = restart_in else { return false };
    *backoff = (*backoff * 2).min(BACKOFF_LONGEST);
    tokio::select! {
        () = tokio::time::sleep(wait) => true,
        () = stop.gently.cancelled() => false,
    }
}

/// Stops a node: asks, waits, and kills it when that takes too long.
async fn end(id: u16, mut child: Child, pid: u32, stop: &Stop, tell: impl Fn(Event)) {
    os::terminate(pid);
    let begun = Instant::now();
    let ended = tokio::select! {
        _ = child.wait() => true,
        () = tokio::time::sleep(STOP_TIMEOUT) => false,
        () = stop.at_once.cancelled() => false,
    };
    if !ended {
        // It may have ended in this very moment, which is as well.
        let _ = child.kill().await;
        tell(Event::Killed { id, after: begun.elapsed() });
    }
}

fn start(options: &Options) -> io::Result<(Child, u32)> {
    // Made anew each time: a node whose folder was deleted comes back, with what the others have.
    std::fs::create_dir_all(&options.dir)?;
    let log = open_log(&plan::log_file(&options.dir))?;
    let mut command = command(options)?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // A group of its own: Ctrl-C reaches the supervisor only, which then decides how its nodes stop.
    command.process_group(0).kill_on_drop(true);
    os::die_with_parent(&mut command);
    let child = command.spawn()?;
    let pid = child.id().ok_or_else(|| io::Error::other("it ended at once"))?;
    Ok((child, pid))
}

fn command(options: &Options) -> io::Result<Command> {
    let Options { id, plan, .. } = options;
    let mut command = Command::new(std::env::current_exe()?);
    for name in NOT_INHERITED {
        command.env_remove(name);
    }
    command
        .arg("server")
        .args(["--node-id", &id.to_string()])
        .arg("--data-dir")
        .arg(plan::data_dir(&options.dir))
        .args(["--http-addr", &plan.http_addr(*id), "--peer-addr", &plan.peer_addr(*id)])
        .args(["--peers", &plan.peers(), "--insecure"]);
    if let Some(key) = &options.service_key {
        command.env("AERODB_SERVICE_KEY", key.expose());
    }
    Ok(command)
}

fn open_log(path: &Path) -> io::Result<File> {
    if std::fs::metadata(path).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
        std::fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

fn log_length(options: &Options) -> u64 {
    let length = std::fs::metadata(plan::log_file(&options.dir)).map_or(0, |log| log.len());
    // A log that is about to be put aside starts from nothing.
    if length > LOG_BYTES_MAX { 0 } else { length }
}

/// How a process ended, in words, and its exit code if it has one.
fn describe(status: io::Result<ExitStatus>) -> (String, Option<i32>) {
    use std::os::unix::process::ExitStatusExt;
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(0), _) => ("ended by itself".to_owned(), Some(0)),
            (Some(code), _) => (format!("failed with exit code {code}"), Some(code)),
            (None, Some(signal)) => (format!("was ended by signal {signal}{}", signal_name(signal)), None),
            (None, None) => ("ended".to_owned(), None),
        },
        Err(error) => (format!("was lost: {error}"), None),
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        libc::SIGKILL => " (SIGKILL)",
        libc::SIGTERM => " (SIGTERM)",
        libc::SIGABRT => " (SIGABRT)",
        libc::SIGSEGV => " (SIGSEGV)",
        libc::SIGBUS => " (SIGBUS)",
        _ => "",
    }
}
