//! One node: a real process, what can be done to it, and how it ended.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use super::sync::Guarded;
use super::{clock, process};

/// How much of the end of a log is looked at.
const TAIL_BYTES_MAX: u64 = 64 * 1024;

/// Words of a node that ends because of what it found in its data.
const OF_DAMAGE: [&str; 4] = ["orruption", "vouch", "cannot be opened", "did not start"];

/// What stays the same over all starts of a node.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) id: u64,
    pub(crate) binary: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    /// What clients of this process connect to.
    pub(crate) url: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) log: PathBuf,
}

/// How a node ended that nobody here had killed.
#[derive(Clone, Debug)]
pub struct Ending {
    /// Which node.
    pub node: u64,
    /// What the system says.
    pub status: ExitStatus,
    /// What the node itself last said, if it said anything.
    pub reason: String,
    /// Whether it ended in order: it said why and returned its own exit code. Else it was ended by a signal (an abort, a
    /// kill by the system), which no fault of ours excuses.
    pub orderly: bool,
    /// What we had done to its disk or its data, which may have been the reason.
    pub excuse: Option<String>,
}

/// A node.
#[derive(Debug)]
pub struct Node {
    setup: Setup,
    state: Guarded<State>,
}

#[derive(Debug, Default)]
struct State {
    child: Option<Child>,
    paused: bool,
    /// Whether we have sent it SIGKILL.
    killed: bool,
    starts: u32,
    /// Where in the log the present start begins.
    log_from: u64,
    /// How it ended, if by itself and nobody started it again.
    ended: Option<Ending>,
    /// All such endings, until someone takes them.
    endings: Vec<Ending>,
    /// Why its data may be damaged: then it may refuse to start, and an operator may wipe it.
    damaged: Option<String>,
    /// What is done to its disk: then it may end, and must start again once that is over.
    excuse: Option<String>,
    /// Whether that is over: it excuses the life that met it, and none that begins later.
    excuse_is_over: bool,
}

impl Node {
    pub(crate) fn new(setup: Setup) -> Self {
        Self { setup, state: Guarded::default() }
    }

    /// Its number, from 1.
    pub fn id(&self) -> u64 {
        self.setup.id
    }

    /// Where clients reach it.
    pub fn url(&self) -> &str {
        &self.setup.url
    }

    /// Its data folder.
    pub fn data_dir(&self) -> &Path {
        &self.setup.data_dir
    }

    /// The file that holds all its output since the first start.
    pub fn log(&self) -> &Path {
        &self.setup.log
    }

    /// The process, if there is one (it may be paused).
    pub fn pid(&self) -> Option<u32> {
        self.look().child.as_ref().map(Child::id)
    }

    /// Whether there is a process that is not paused.
    pub fn is_running(&self) -> bool {
        let state = self.look();
        state.child.is_some() && !state.paused
    }

    /// Whether it is paused.
    pub fn is_paused(&self) -> bool {
        self.look().paused
    }

    /// How it ended, if by itself, and was not started since.
    pub fn ended(&self) -> Option<Ending> {
        self.look().ended.clone()
    }

    /// How often it was started.
    pub fn starts(&self) -> u32 {
        self.look().starts
    }

    /// All endings by itself since the last call.
    pub(crate) fn take_endings(&self) -> Vec<Ending> {
        std::mem::take(&mut self.look().endings)
    }

    /// Notes that its data was damaged, so that it may refuse to start.
    pub fn set_damaged(&self, why: impl Into<String>) {
        self.look().damaged = Some(why.into());
    }

    /// Notes that its data is whole again.
    pub fn set_sound(&self) {
        self.look().damaged = None;
    }

    /// Why its data may be damaged.
    pub fn damaged(&self) -> Option<String> {
        self.look().damaged.clone()
    }

    /// Notes what is done to its disk, so that it may end by itself. Stands, over any number of starts, until
    /// [`Self::end_excuse`].
    pub fn set_excuse(&self, why: impl Into<String>) {
        let mut state = self.look();
        state.excuse = Some(why.into());
        state.excuse_is_over = false;
    }

    /// Nothing is done to its disk any more. What it met may still end the life that it leads now.
    pub fn end_excuse(&self) {
        let mut state = self.look();
        state.excuse_is_over = true;
        if state.child.is_none() {
            state.excuse = None;
        }
    }

    /// Starts it in this namespace. It is an error if it runs.
    pub(crate) fn start(&self, namespace: Option<&Path>) -> Result<u32> {
        let mut state = self.look();
        ensure!(state.child.is_none(), "node {} runs already", self.id());
        let setup = &self.setup;
        fs::create_dir_all(&setup.data_dir).with_context(|| format!("create {:?}", setup.data_dir))?;
        let mut log = File::options().create(true).append(true).open(&setup.log).context("open the log")?;
        state.starts += 1;
        writeln!(log, "--- world: start {} of node {} ---", state.starts, self.id())?;
        state.log_from = log.metadata()?.len();
        let mut command = Command::new(&setup.binary);
        command.args(&setup.args).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // What the caller's shell happens to hold must not configure the nodes.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AERODB_")) {
            command.env_remove(name);
        }
        command.env("RUST_BACKTRACE", "1").envs(setup.env.iter().map(|(name, value)| (name, value)));
        let child = process::spawn(command, namespace).with_context(|| format!("start {:?}", setup.binary))?;
        let pid = child.id();
        state.child = Some(child);
        state.ended = None;
        if state.excuse_is_over {
            state.excuse = None;
        }
        state.killed = false;
        state.paused = false;
        Ok(pid)
    }

    /// Ends it with SIGKILL and waits until it is gone. Fine if it does not run. Says whether it ran.
    pub fn kill(&self) -> Result<bool> {
        let mut state = self.look();
        let begun = std::mem::take(&mut state.killed);
        let Some(mut child) = state.child.take() else { return Ok(begun) };
        state.paused = false;
        // Ends a paused process too.
        child.kill().with_context(|| format!("kill node {}", self.id()))?;
        child.wait().with_context(|| format!("wait for node {}", self.id()))?;
        clock::forget(child.id());
        Ok(true)
    }

    /// Sends SIGKILL without waiting, so that several end at once; [`Node::kill`] then waits.
    pub(crate) fn kill_begin(&self) -> Result<()> {
        let mut state = self.look();
        if let Some(child) = &state.child {
            process::signal(child, Signal::KILL)?;
            state.killed = true;
        }
        Ok(())
    }

    /// Stops it with SIGSTOP and waits until all its threads stand still. Its connections stay open.
    pub fn pause(&self) -> Result<()> {
        let mut state = self.look();
        let Some(child) = &state.child else { bail!("node {} does not run", self.id()) };
        process::signal(child, Signal::STOP)?;
        process::wait_stopped(child)?;
        state.paused = true;
        Ok(())
    }

    /// Lets it go on after [`Node::pause`]. Fine if it is not paused.
    pub fn resume(&self) -> Result<()> {
        let mut state = self.look();
        if let Some(child) = &state.child {
            process::signal(child, Signal::CONT)?;
        }
        state.paused = false;
        Ok(())
    }

    /// Empties its data folder, as an operator does with a node whose data is damaged. It is an error if it runs.
    pub fn wipe(&self) -> Result<()> {
        let mut state = self.look();
        ensure!(state.child.is_none(), "node {} runs: stop it before wiping its data", self.id());
        // The folder itself may be where something is mounted.
        for entry in fs::read_dir(&self.setup.data_dir).into_iter().flatten() {
            let path = entry?.path();
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }
                .with_context(|| format!("remove {path:?}"))?;
        }
        state.damaged = None;
        Ok(())
    }

    /// The last lines of its log, at most `lines`.
    pub fn log_tail(&self, lines: usize) -> String {
        match tail(&self.setup.log, 0) {
            Ok(text) => {
                let all: Vec<&str> = text.lines().collect();
                all[all.len().saturating_sub(lines)..].join("\n")
            }
            Err(error) => format!("(no log: {error})"),
        }
    }

    /// How often `text` stands in its log, over all starts.
    pub fn log_count(&self, text: &str) -> u64 {
        fs::read(&self.setup.log).map_or(0, |log| String::from_utf8_lossy(&log).matches(text).count() as u64)
    }

    /// What is the case now: a process that ended by itself is reaped and noted.
    fn look(&self) -> std::sync::MutexGuard<'_, State> {
        let mut state = self.state.lock();
        if let Some(child) = &mut state.child
            && let Ok(Some(status)) = child.try_wait()
        {
            clock::forget(child.id());
            state.child = None;
            state.paused = false;
            if state.killed {
                return state;
            }
            let said = tail(&self.setup.log, state.log_from).unwrap_or_default();
            let reason = last_words(&said);
            let orderly = status.code().is_some() && !reason.is_empty();
            // Damage may show at any later time, and only as such: it excuses nothing else.
            let shows = OF_DAMAGE.iter().any(|word| reason.contains(word));
            let excuse = state.damaged.clone().filter(|_| shows).or_else(|| state.excuse.clone());
            let ending = Ending { node: self.setup.id, status, reason, orderly, excuse };
            state.ended = Some(ending.clone());
            state.endings.push(ending);
        }
        state
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // What cannot be killed here dies with this process.
        let _ = self.kill();
    }
}

/// The end of a file, from `from` on at the earliest.
fn tail(path: &Path, from: u64) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(TAIL_BYTES_MAX).max(from)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Why a node says that it ended: what `aerodb` prints as its error, else the last line that complains.
fn last_words(log: &str) -> String {
    let complains = |line: &&str| {
        let marks = ["error:", "panicked at", "\"level\":\"ERROR\"", " ERROR ", "can no longer vouch", "cannot vouch"];
        marks.iter().any(|mark| line.contains(mark))
    };
    let lines: Vec<&str> = log.lines().collect();
    let Some(at) = lines.iter().rposition(complains) else { return String::new() };
    // The reason and the remedy stand on the lines below.
    let below = lines[at + 1..].iter().take_while(|line| line.starts_with(' ')).take(3);
    let mut words = lines[at].trim().to_owned();
    for line in below {
        words.push_str("; ");
        words.push_str(line.trim());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(folder: &Path, script: &str) -> Node {
        let args = vec!["-c".to_owned(), script.to_owned()];
        let (data_dir, log) = (folder.join("data"), folder.join("log"));
        Node::new(Setup { id: 1, binary: "/bin/sh".into(), args, env: Vec::new(), url: String::new(), data_dir, log })
    }

    fn wait_ended(node: &Node) -> Ending {
        for _ in 0..1_000 {
            if let Some(ending) = node.ended() {
                return ending;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!("it still runs");
    }

    #[test]
    fn an_end_by_itself_is_told_from_a_kill() {
        let folder = tempfile::tempdir().unwrap();
        let quits = node(folder.path(), "echo 'error: the disk is gone'; echo '  why: EIO'; exit 1");
        quits.start(None).unwrap();
        let ending = wait_ended(&quits);
        assert!(ending.orderly && ending.reason == "error: the disk is gone; why: EIO", "{ending:?}");
        assert_eq!(quits.take_endings().len(), 1);
        assert!(!quits.kill().unwrap());

        let stays = node(folder.path(), "sleep 600");
        stays.start(None).unwrap();
        assert!(stays.kill().unwrap() && stays.ended().is_none());

        let crashes = node(folder.path(), "echo 'error: old words'; kill -ABRT $$");
        crashes.start(None).unwrap();
        assert!(!wait_ended(&crashes).orderly, "a signal is never in order");
    }

    #[test]
    fn damage_excuses_an_end_that_is_about_the_data() {
        let folder = tempfile::tempdir().unwrap();
        let check = |words: &str, excused: bool| {
            let node = node(folder.path(), &format!("echo '{words}'; exit 1"));
            node.set_damaged("a flipped bit");
            node.start(None).unwrap();
            assert_eq!(wait_ended(&node).excuse.is_some(), excused, "{words}");
        };
        check("error: opening the store: Corruption: checksum mismatch", true);
        check("error: the node did not start", true);
        check("thread main panicked at engine/src/lib.rs", false);
        check("error: the port is taken", false);
    }

    #[test]
    fn silence_is_no_reason() {
        assert_eq!(last_words("all is well\nready"), "");
        assert_eq!(last_words("error: a\n  why: b\nbye"), "error: a; why: b");
    }
}
