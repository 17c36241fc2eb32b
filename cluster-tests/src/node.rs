//! One node of a cluster under test: a real process, and what can be done to it.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::network::Network;
use crate::ports::PortLease;
use crate::wait::wait_until;
use crate::{NodeId, process};

/// How much of the end of a log [`Node::log_tail`] looks at.
const TAIL_BYTES_MAX: u64 = 256 * 1024;

/// A node: started, killed, paused and started again under the same id, ports and folder.
#[derive(Debug)]
pub struct Node {
    id: NodeId,
    setup: Setup,
    state: Mutex<State>,
}

/// What stays the same over all starts of a node.
#[derive(Debug)]
pub(crate) struct Setup {
    /// The program.
    pub(crate) binary: PathBuf,
    /// Its arguments.
    pub(crate) args: Vec<String>,
    /// Its environment, beside ours.
    pub(crate) env: Vec<(String, String)>,
    /// Where it keeps its data.
    pub(crate) data_dir: PathBuf,
    /// Where its output goes.
    pub(crate) log: PathBuf,
    /// The port for clients.
    pub(crate) http: PortLease,
    /// The port for members, behind the proxy if there is one.
    pub(crate) peer: PortLease,
    /// The network, if the peer traffic goes through proxies.
    pub(crate) network: Option<Arc<Network>>,
}

#[derive(Debug, Default)]
struct State {
    child: Option<Child>,
    paused: bool,
    /// How often it was started.
    starts: u32,
    /// How it ended, if nobody here asked for it.
    died: Option<ExitStatus>,
}

impl Node {
    pub(crate) fn new(id: NodeId, setup: Setup) -> Self {
        Self { id, setup, state: Mutex::default() }
    }

    /// Its number, from 1.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Where clients reach it: `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.setup.http.addr())
    }

    /// Where members reach it: the proxy's address if there is one.
    pub fn peer_addr(&self) -> String {
        match &self.setup.network {
            Some(network) => network.addr(self.id).to_string(),
            None => self.setup.peer.addr(),
        }
    }

    /// Its data folder.
    pub fn data_dir(&self) -> &Path {
        &self.setup.data_dir
    }

    /// The file that holds all its output since the first start.
    pub fn log_path(&self) -> &Path {
        &self.setup.log
    }

    /// The process, if there is one (it may be paused).
    pub fn pid(&self) -> Option<u32> {
        self.look().child.as_ref().map(Child::id)
    }

    /// Whether its process is there and not paused.
    pub fn is_running(&self) -> bool {
        let state = self.look();
        state.child.is_some() && !state.paused
    }

    /// Whether it is paused.
    pub fn is_paused(&self) -> bool {
        self.look().paused
    }

    /// How it ended, if it did so by itself: a crash, or a refusal to start.
    pub fn died(&self) -> Option<ExitStatus> {
        self.look().died
    }

    /// Starts it. It is an error if it runs.
    pub fn start(&self) -> Result<()> {
        let mut state = self.look();
        ensure!(state.child.is_none(), "node {} runs already", self.id);
        let setup = &self.setup;
        fs::create_dir_all(&setup.data_dir).with_context(|| format!("create {:?}", setup.data_dir))?;
        let mut log = File::options().create(true).append(true).open(&setup.log).context("open the log")?;
        state.starts += 1;
        writeln!(log, "--- harness: start {} of node {} ---", state.starts, self.id)?;
        let mut command = Command::new(&setup.binary);
        command.args(&setup.args).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // What the caller's shell happens to hold must not configure the nodes.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AERODB_")) {
            command.env_remove(name);
        }
        command.env("RUST_BACKTRACE", "1").envs(setup.env.iter().map(|(name, value)| (name, value)));
        let child = match &setup.network {
            Some(network) => network.enter(self.id, || process::spawn(command)),
            None => process::spawn(command),
        };
        state.child = Some(child.with_context(|| format!("start {:?}", setup.binary))?);
        state.died = None;
        state.paused = false;
        Ok(())
    }

    /// Ends it with SIGKILL and waits until it is gone. Fine if it does not run.
    pub fn kill(&self) -> Result<()> {
        let mut state = self.look();
        if let Some(mut child) = state.child.take() {
            // Ends a paused process too.
            child.kill().with_context(|| format!("kill node {}", self.id))?;
            child.wait().with_context(|| format!("wait for node {}", self.id))?;
        }
        self.gone(&mut state);
        Ok(())
    }

    /// Asks it to end with SIGTERM and waits until it did.
    pub async fn terminate(&self, deadline: Duration) -> Result<ExitStatus> {
        match &self.look().child {
            Some(child) => process::signal(child, libc::SIGTERM)?,
            None => bail!("node {} does not run", self.id),
        }
        let what = format!("node {} to end after SIGTERM", self.id);
        let status = wait_until(deadline, &what, || async { self.look().died.context("it still runs") }).await?;
        // It ended because it was asked to.
        self.look().died = None;
        Ok(status)
    }

    /// Stops it with SIGSTOP and waits until all its threads stand still. Its connections stay open.
    pub fn pause(&self) -> Result<()> {
        let mut state = self.look();
        let Some(child) = &state.child else { bail!("node {} does not run", self.id) };
        process::signal(child, libc::SIGSTOP)?;
        process::wait_stopped(child)?;
        state.paused = true;
        Ok(())
    }

    /// Lets it go on after [`Node::pause`].
    pub fn resume(&self) -> Result<()> {
        let mut state = self.look();
        let Some(child) = &state.child else { bail!("node {} does not run", self.id) };
        process::signal(child, libc::SIGCONT)?;
        state.paused = false;
        Ok(())
    }

    /// Kills it if it runs, and starts it again.
    pub fn restart(&self) -> Result<()> {
        self.kill()?;
        self.start()
    }

    /// Deletes its data folder, as a lost disk would. It is an error if it runs.
    pub fn wipe(&self) -> Result<()> {
        let state = self.look();
        ensure!(state.child.is_none(), "node {} runs: stop it before wiping its data", self.id);
        match fs::remove_dir_all(&self.setup.data_dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The last lines of its log, at most `lines`.
    pub fn log_tail(&self, lines: usize) -> String {
        match tail(&self.setup.log, lines) {
            Ok(text) => text,
            Err(error) => format!("(no log: {error})"),
        }
    }

    /// What is the case now: a process that ended by itself is reaped and noted.
    fn look(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(child) = &mut state.child
            && let Ok(Some(status)) = child.try_wait()
        {
            self.gone(&mut state);
            state.died = Some(status);
        }
        state
    }

    fn gone(&self, state: &mut State) {
        if let Some(network) = &self.setup.network {
            network.leave(self.id);
        }
        state.child = None;
        state.paused = false;
        state.died = None;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // What cannot be killed here dies with this process.
        let _ = self.kill();
    }
}

fn tail(path: &Path, lines: usize) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(TAIL_BYTES_MAX)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    Ok(all[all.len().saturating_sub(lines)..].join("\n"))
}
