//! A node: an engine in a folder of its own.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::Dice;
use crate::apply::{Applied, ApplyEntry};
use crate::kv::rocks::RocksEnv;
use crate::limits::Limits;
use crate::view::Digest;
use crate::{Engine, Error, View};

/// The storage as production has it, with a small cache.
pub(crate) fn env() -> Arc<RocksEnv> {
    Arc::new(RocksEnv::new(1 << 20))
}

/// An engine that can be stopped and crashed.
pub(crate) struct Node {
    // Before the folder, so that it is closed before its files go.
    engine: Option<Arc<Engine>>,
    pub(crate) dir: TempDir,
    env: Arc<RocksEnv>,
    limits: Limits,
}

impl Node {
    pub(crate) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        let mut node = Self { engine: None, dir: TempDir::new().unwrap(), env: env(), limits };
        node.open().unwrap();
        node
    }

    pub(crate) fn open(&mut self) -> Result<(), Error> {
        self.engine = None;
        self.engine = Some(Arc::new(Engine::open(self.env.clone(), self.dir.path(), self.limits.clone())?));
        Ok(())
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        self.engine.as_ref().expect("the node is open")
    }

    /// Loses everything that is not on disk, as if the process was killed, and starts again.
    pub(crate) fn crash(&mut self) {
        let after = TempDir::new().unwrap();
        copy_dir(self.dir.path(), after.path());
        self.engine = None;
        self.dir = after;
        self.open().unwrap();
    }

    pub(crate) fn view(&self) -> Arc<View> {
        self.engine().view().unwrap()
    }

    pub(crate) fn digest(&self) -> Digest {
        self.view().digest().unwrap()
    }

    pub(crate) fn applied_index(&self) -> u64 {
        self.engine().meta().applied.as_ref().map_or(0, |id| id.index)
    }

    /// Applies what `log` (which begins at index 1) has behind the last entry applied, up to `index`.
    pub(crate) fn apply(&self, log: &[ApplyEntry], index: u64) -> Vec<Applied> {
        self.engine().apply(&log[self.applied_index() as usize..index as usize]).unwrap()
    }
}

/// Applies `log` in random runs, with flushes, stops and crashes in between.
pub(crate) fn replay(log: &[ApplyEntry], dice: &mut Dice) -> Node {
    let mut node = Node::new();
    while node.applied_index() < log.len() as u64 {
        let index = (node.applied_index() + 1 + dice.below(12)).min(log.len() as u64);
        node.apply(log, index);
        let before = node.engine().durable().unwrap();
        match dice.below(12) {
            0 => {
                node.crash();
                assert_eq!(
                    node.engine().meta().applied,
                    before,
                    "what was called durable, and no more, is found again"
                );
            }
            1 => {
                node.engine().flush().unwrap();
                assert_eq!(node.engine().durable().unwrap(), node.engine().meta().applied);
            }
            2 => node.open().unwrap(),
            // Each node collects by itself.
            3 => drop(node.engine().collect_step().unwrap()),
            _ => {}
        }
    }
    node
}

/// Copies a folder that a store may be working in, as of one moment.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    for _ in 0..100 {
        let before = listing(from);
        let _ = fs::remove_dir_all(to);
        if copy(from, to).is_ok() && listing(from) == before {
            return;
        }
    }
    panic!("the folder never stood still");
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Names and sizes, but for the store's own diary.
fn listing(dir: &Path) -> Vec<(std::path::PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(data) if data.is_dir() => found.extend(listing(&entry.path())),
            Ok(data) if entry.file_name() != "LOG" => found.push((entry.path(), data.len())),
            _ => {}
        }
    }
    found.sort();
    found
}
