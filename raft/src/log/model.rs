//! The log against a model: random operations, restarts and power cuts, with the writer held now and then, and after
//! each step everything that can be read is compared.
//!
//! A power cut leaves the batches that were synced and, by chance, some that were written behind them. What is found
//! then must be what the log was after some operation, none before the last one that was acknowledged.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use aerodb_engine::kv::WriteBatch;
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use openraft::RaftLogReader;
use openraft::storage::{LogState, RaftLogStorage};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::LogOptions;
use super::testing::{Probe, Rig, Writers, entry, id, open_log, open_store};
use crate::types::{Entry, LogId, Vote};

const SEEDS: Range<u64> = 0..16;
const STEPS: usize = 120;

#[derive(Clone, Debug, Default)]
struct Model {
    entries: Vec<Entry>,
    purged: Option<LogId>,
    committed: Option<LogId>,
    vote: Option<Vote>,
}

impl Model {
    fn last(&self) -> Option<LogId> {
        self.entries.last().map(|entry| entry.log_id).or(self.purged)
    }

    fn next(&self) -> u64 {
        self.last().map_or(0, |id| id.index() + 1)
    }

    /// The index that a truncation may go back to.
    fn floor(&self) -> u64 {
        [self.purged, self.committed].into_iter().flatten().map(|id| id.index() + 1).max().unwrap_or(0)
    }

    fn in_range(&self, range: Range<u64>) -> Vec<Entry> {
        self.entries.iter().filter(|entry| range.contains(&entry.log_id.index())).cloned().collect()
    }

    fn id_at(&self, index: u64) -> Option<LogId> {
        self.entries.iter().map(|entry| entry.log_id).find(|id| id.index() == index)
    }
}

struct World {
    rig: Rig,
    rng: SmallRng,
    term: u64,
    model: Model,
    /// The model after each operation since the last power cut.
    past: Vec<Model>,
    /// Operations that are not known to be durable, with their place in `past`.
    pending: Vec<(usize, BoxFuture<'static, std::io::Result<()>>)>,
    /// How much of `past` is durable.
    durable: usize,
    /// What was written before the last power cut and survived it.
    survived: Vec<WriteBatch>,
    cuts: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_what_the_model_says_also_after_power_cuts() {
    let mut cuts = 0;
    for seed in SEEDS {
        let mut world = World::new(seed);
        for step in 0..STEPS {
            world.step().await;
            world.check(&format!("seed {seed}, step {step}")).await;
        }
        world.restart().await;
        world.check(&format!("seed {seed}, at the end")).await;
        assert_eq!(*world.rig.fatal.lock(), Vec::<String>::new());
        cuts += world.cuts;
    }
    assert!(cuts > 12, "the test means nothing without power cuts: {cuts}");
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let ring_bytes_max = [0, 500, 1 << 20][rng.random_range(0..3)];
        let options = LogOptions {
            ring_bytes_max,
            replication_read_bytes_max: 400,
            stream_step_entries_max: 5,
            write_batch_bytes_max: 2000,
            write_batch_jobs_max: 6,
        };
        Self {
            rig: Rig::with(options),
            rng,
            term: 1,
            model: Model::default(),
            past: vec![Model::default()],
            pending: Vec::new(),
            durable: 0,
            survived: Vec::new(),
            cuts: 0,
        }
    }

    async fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..45 => self.append().await,
            45..54 => self.truncate().await,
            54..63 => self.purge().await,
            63..70 => self.vote(),
            70..82 => self.commit().await,
            82..86 => self.rig.probe.hold(),
            86..90 => self.rig.probe.release(),
            90..94 => self.settle().await,
            94..97 => self.restart().await,
            _ => self.cut_power().await,
        }
    }

    async fn append(&mut self) {
        self.term += u64::from(self.rng.random_bool(0.1));
        let next = self.model.next();
        let added: Vec<Entry> = (next..next + self.rng.random_range(1..6))
            .map(|index| entry(self.term, index, self.rng.random_range(1..200)))
            .collect();
        self.model.entries.extend(added.iter().cloned());
        let ack = self.rig.begin_append(added).await.unwrap();
        self.note(ack.done().boxed());
    }

    async fn truncate(&mut self) {
        let (floor, next) = (self.model.floor(), self.model.next());
        if floor >= next {
            return;
        }
        let keep = self.rng.random_range(floor..next);
        let after = keep.checked_sub(1).and_then(|index| self.model.id_at(index).or(self.model.purged));
        self.model.entries.retain(|entry| entry.log_id.index() < keep);
        self.term += 1;
        let mut log = self.rig.log.clone();
        let task = tokio::spawn(async move { log.truncate_after(after).await });
        // The writer may be held, so it may not end; but the memory of the log moves.
        while self.rig.log.get_log_state().await.unwrap().last_log_id != self.model.last() {
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        self.note(joined(task));
    }

    async fn purge(&mut self) {
        let upto = if self.rng.random_bool(0.1) {
            // A snapshot was installed that reaches beyond the log.
            Some(id(self.term, self.model.next() + self.rng.random_range(0..4)))
        } else {
            let held = self.model.in_range(0..self.model.floor());
            held.get(self.rng.random_range(0..held.len().max(1))).map(|entry| entry.log_id)
        };
        let Some(upto) = upto else { return };
        self.model.entries.retain(|entry| entry.log_id.index() > upto.index());
        self.model.purged = Some(upto);
        self.rig.log.purge(upto).await.unwrap();
        self.note_unanswered();
    }

    fn vote(&mut self) {
        self.term += 1;
        let vote = Vote::new(self.term, self.rng.random_range(1..4));
        self.model.vote = Some(vote);
        let mut log = self.rig.log.clone();
        let mut saving = async move { log.save_vote(&vote).await }.boxed();
        match (&mut saving).now_or_never() {
            Some(result) => result.unwrap(),
            None => self.note(saving),
        }
    }

    async fn commit(&mut self) {
        let open = self.model.in_range(self.model.floor()..u64::MAX);
        let Some(entry) = open.get(self.rng.random_range(0..open.len().max(1))) else {
            return;
        };
        self.model.committed = Some(entry.log_id);
        self.rig.log.save_committed(Some(entry.log_id)).await.unwrap();
        self.note_unanswered();
    }

    fn note_unanswered(&mut self) {
        self.past.push(self.model.clone());
    }

    fn note(&mut self, done: BoxFuture<'static, std::io::Result<()>>) {
        self.note_unanswered();
        self.pending.push((self.past.len() - 1, done));
    }

    /// Looks which operations have been acknowledged.
    fn poll(&mut self) {
        let mut durable = self.durable;
        self.pending.retain_mut(|(place, done)| match done.now_or_never() {
            Some(result) => {
                result.unwrap();
                durable = durable.max(*place);
                false
            }
            None => true,
        });
        self.durable = durable;
    }

    /// Waits until everything is durable.
    async fn settle(&mut self) {
        self.rig.probe.release();
        for (_, done) in std::mem::take(&mut self.pending) {
            done.await.unwrap();
        }
        self.rig.log.sync().await.unwrap();
        self.durable = self.past.len() - 1;
        assert_eq!(self.rig.log.reader().read_vote().await.unwrap(), self.model.vote);
    }

    /// The process ends in good order and starts again.
    async fn restart(&mut self) {
        self.settle().await;
        let written: Vec<WriteBatch> = self.rig.probe.written.lock().drain(..).map(|(batch, _)| batch).collect();
        self.survived.extend(written);
        let fresh = Rig::new();
        let old = std::mem::replace(&mut self.rig, fresh);
        self.rig = old.reopen().await;
        assert_eq!(self.rig.log.read_committed().await.unwrap(), self.model.committed);
    }

    async fn cut_power(&mut self) {
        self.cuts += 1;
        self.poll();
        let written = self.rig.probe.written.lock().clone();
        let synced = written.iter().rposition(|(_, synced)| *synced).map_or(0, |last| last + 1);
        let kept = self.rng.random_range(synced..=written.len());
        self.survived.extend(written.into_iter().take(kept).map(|(batch, _)| batch));
        self.rig.probe.release();
        self.pending.clear();

        let dir = TempDir::new().unwrap();
        let store = open_store(dir.path().join("log"));
        for batch in &self.survived {
            store.write(batch.clone(), false).unwrap();
        }
        let (old, probe) = (&self.rig, Probe::new(store));
        let (fatal, durable) = (old.fatal.clone(), old.durable.clone());
        let writers = Writers::default();
        let log = open_log(probe.clone(), Arc::new(writers.0.clone()), &old.options, &fatal, &durable).unwrap();
        let options = old.options.clone();
        self.rig = Rig { log, probe, fatal, durable, options, dir, writers };
        self.find_oneself().await;
    }

    /// Which moment of the past is it?
    async fn find_oneself(&mut self) {
        let mut reader = self.rig.log.reader();
        let entries = reader.try_get_log_entries(..).await.unwrap();
        let vote = reader.read_vote().await.unwrap();
        let purged = self.rig.log.get_log_state().await.unwrap().last_purged_log_id;
        let committed = self.rig.log.read_committed().await.unwrap();
        let fits = |model: &&Model| model.entries == entries && model.vote == vote && model.purged == purged;
        let found = self.past[self.durable..].iter().find(fits);
        let mut model = found.expect("what was acknowledged is there, and nothing that never was").clone();
        assert!(committed <= self.past.last().and_then(|model| model.committed), "{committed:?} was not committed");
        model.committed = committed;
        self.model = model;
        self.past = vec![self.model.clone()];
        self.durable = 0;
    }

    /// Compares everything that can be read.
    async fn check(&mut self, when: &str) {
        self.poll();
        let model = &self.model;
        let mut log = self.rig.log.clone();
        let state = LogState { last_purged_log_id: model.purged, last_log_id: model.last() };
        assert_eq!(log.get_log_state().await.unwrap(), state, "{when}");
        assert_eq!(log.read_committed().await.unwrap(), model.committed, "{when}");
        let mut reader = log.reader();
        assert_eq!(reader.try_get_log_entries(..).await.unwrap(), model.entries, "{when}");

        let from = self.rng.random_range(0..model.next() + 2);
        let to = self.rng.random_range(from..model.next() + 3);
        let expected = model.in_range(from..to);
        assert_eq!(reader.try_get_log_entries(from..to).await.unwrap(), expected, "{when}");
        let streamed: Vec<Entry> = reader.entries_stream(from..to).await.try_collect().await.unwrap();
        assert_eq!(streamed, expected, "{when}");
        let limited = reader.limited_get_log_entries(from, to).await.unwrap();
        if expected.first().is_some_and(|entry| entry.log_id.index() == from) {
            assert!(!limited.is_empty() && expected.starts_with(&limited), "{when}");
        } else {
            assert_eq!(limited, [], "{when}");
        }
    }
}

fn joined(task: JoinHandle<std::io::Result<()>>) -> BoxFuture<'static, std::io::Result<()>> {
    async move { task.await.unwrap() }.boxed()
}
