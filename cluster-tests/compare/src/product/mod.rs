//! What is compared: each product on three nodes, and how load is put on it.

pub(crate) mod aerodb;
pub(crate) mod bare;
pub(crate) mod etcd;
pub(crate) mod postgres;

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aerodb_load::{Load, Running, Stats, Target};
use anyhow::{Context, Result};

pub(crate) use aerodb::Aerodb;
pub(crate) use bare::Bare;
pub(crate) use etcd::Etcd;
pub(crate) use postgres::Postgres;

/// How long nodes may take to be ready.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long one may take to end.
const END_WITHIN: Duration = Duration::from_secs(10);

/// What a load does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// Documents are replaced
    Write,
    /// Reads that see every write acknowledged before, at all nodes
    Read,
    /// Half and half
    Mixed,
    /// Reads of what one node has
    Stale,
}

impl Mode {
    pub(crate) fn reads_percent(self) -> u8 {
        match self {
            Self::Write => 0,
            Self::Mixed => 50,
            Self::Read | Self::Stale => 100,
        }
    }

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "linearizable read",
            Self::Mixed => "50/50",
            Self::Stale => "stale read, one node",
        }
    }
}

/// A product that runs.
pub(crate) enum Product {
    Aerodb(Aerodb),
    Etcd(Etcd),
    Postgres(Postgres),
    Bare(Bare),
}

impl Product {
    /// Its name and version, and how it is spoken to.
    pub(crate) fn label(&self) -> &str {
        match self {
            Self::Aerodb(_) => "AeroDB",
            Self::Etcd(_) => "etcd",
            Self::Postgres(_) => "PostgreSQL",
            Self::Bare(_) => "bare axum",
        }
    }

    /// What it does of that.
    pub(crate) fn does(&self, mode: Mode) -> bool {
        match self {
            Self::Aerodb(_) | Self::Etcd(_) => true,
            Self::Postgres(_) => mode == Mode::Write,
            Self::Bare(_) => mode == Mode::Stale,
        }
    }

    /// The processes of its nodes; children count with them.
    pub(crate) fn pids(&self) -> Vec<u32> {
        match self {
            Self::Aerodb(product) => product.pids(),
            Self::Etcd(product) => product.nodes.iter().filter_map(Server::pid).collect(),
            Self::Postgres(product) => product.pids(),
            Self::Bare(product) => product.pids(),
        }
    }

    /// Puts load on it. Documents of each size are a set of their own.
    pub(crate) fn load(&self, mode: Mode, load: Load) -> Result<Stats> {
        let bytes = load.value_bytes;
        // A lone connection is with the leader of each: what it costs to pass a command on is left to chance otherwise.
        match self {
            Self::Aerodb(product) => put(load, product.target(mode, bytes)?.beginning_with(product.first_leader)),
            Self::Etcd(product) => put(load, product.target(mode, bytes)?.beginning_with(product.first_leader)),
            Self::Postgres(product) => put(load, product.target(bytes)),
            Self::Bare(product) => put(load, product.target(bytes)?),
        }
    }

    /// Writes all documents of this size once.
    pub(crate) async fn fill(&self, documents: u64, bytes: u32) -> Result<()> {
        match self {
            Self::Aerodb(product) => {
                product.create(bytes).await?;
                aerodb_load::fill(product.target(Mode::Write, bytes)?, documents, bytes).await
            }
            Self::Etcd(product) => aerodb_load::fill(product.target(Mode::Write, bytes)?, documents, bytes).await,
            Self::Postgres(product) => {
                product.create(bytes).await?;
                aerodb_load::fill(product.target(bytes), documents, bytes).await
            }
            Self::Bare(_) => Ok(()),
        }
    }
}

fn put(load: Load, target: impl Target) -> Result<Stats> {
    Running::start(load, target)?.finish()
}

/// A process of a peer, which ends with its drop.
#[derive(Debug)]
pub(crate) struct Server {
    child: Option<Child>,
    make: Start,
}

/// How to start it.
#[derive(Debug)]
struct Start {
    program: std::path::PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    user: Option<u32>,
    log: std::path::PathBuf,
}

impl Server {
    fn start(program: &Path, args: Vec<String>, log: &Path) -> Result<Self> {
        Self::start_as(program, args, Vec::new(), None, log)
    }

    fn start_as(
        program: &Path,
        args: Vec<String>,
        env: Vec<(String, String)>,
        user: Option<u32>,
        log: &Path,
    ) -> Result<Self> {
        let make = Start { program: program.to_owned(), args, env, user, log: log.to_owned() };
        let mut server = Self { child: None, make };
        server.again()?;
        Ok(server)
    }

    /// Starts it again.
    pub(crate) fn again(&mut self) -> Result<()> {
        use std::os::unix::process::CommandExt;
        let Start { program, args, env, user, log } = &self.make;
        let log = File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(program);
        command.args(args).envs(env.iter().cloned());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        if let Some(user) = user {
            command.uid(*user);
        }
        self.child = Some(cluster_tests::spawn(command).with_context(|| format!("starting {}", program.display()))?);
        Ok(())
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Asks it to end, as Ctrl-C does, and waits for that; not for ever.
    fn interrupt(&mut self) {
        if let Some(pid) = self.pid().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed())) {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        }
        let deadline = Instant::now() + END_WITHIN;
        while let Some(child) = &mut self.child
            && child.try_wait().is_ok_and(|ended| ended.is_none())
            && Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing can be done about a process that cannot be killed.
        let _ = self.kill();
    }
}
