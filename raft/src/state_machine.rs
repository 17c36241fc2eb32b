//! The engine as openraft's state machine: apply, and snapshots.

use std::io;
use std::sync::Arc;

use aerodb_engine::Engine;
use aerodb_engine::apply::{Applied as Engineered, ApplyEntry, ApplyPayload};
use futures::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::convert;
use crate::fence::Fence;
use crate::metrics::Metrics;
use crate::progress::Applied as Progress;
use crate::snapshot::{Snapshot, SnapshotDir, SnapshotStore, manifest};
use crate::spawn::{Spawner, run_blocking};
use crate::types::{Applied, Entry, LogId, Payload, SnapshotMeta, StoredMembership, TypeConfig};

/// Entries applied in one batch at most.
const BATCH_ENTRIES_MAX: usize = 128;
/// Bytes of effects that are applied where Raft runs. They say little of the work: to delete a document takes a hundred of them and
/// copies all of the document to history. So many are a score of documents at most, which heartbeats can wait for however large
/// those are.
const BYTES_HERE_MAX: usize = 2 << 10;

/// The state machine that openraft drives. Clones share the state.
#[derive(Clone)]
pub(crate) struct StateMachine {
    pub(crate) engine: Arc<Engine>,
    pub(crate) snapshots: Arc<SnapshotStore>,
    pub(crate) applied: Arc<watch::Sender<Progress>>,
    /// The revision of the catalog: wakes whoever has to do with collections and indexes, and nobody at other writes.
    pub(crate) catalog: Arc<watch::Sender<u64>>,
    pub(crate) spawner: Arc<dyn Spawner>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) fence: Fence,
}

impl StateMachine {
    /// A storage error ends the node; openraft hears of it too.
    fn fatal(&self, error: impl std::fmt::Display) -> io::Error {
        self.fence.fence(&error.to_string());
        io::Error::other(error.to_string())
    }

    /// Tells everybody who waits for it what is applied now.
    fn note(&self, meta: &aerodb_proto::StateMeta) {
        self.applied.send_replace(Progress::of(meta));
        self.catalog.send_if_modified(|known| std::mem::replace(known, meta.catalog_revision) != meta.catalog_revision);
    }

    fn apply_batch(&self, entries: &[Entry]) -> io::Result<Vec<Applied>> {
        let start = self.clock.monotonic();
        let entries: Vec<ApplyEntry> = entries.iter().map(to_apply).collect();
        let applied = self.engine.apply(&entries).map_err(|error| self.fatal(error))?;
        self.metrics.apply_seconds.observe((self.clock.monotonic() - start).as_secs_f64());
        self.metrics.apply_entries.observe(entries.len() as f64);
        self.note(&self.engine.meta());
        Ok(applied.into_iter().map(from_engine).collect())
    }

    fn snapshot_of(&self, dir: SnapshotDir) -> io::Result<Snapshot> {
        let meta = manifest::meta(&dir.manifest).map_err(|error| self.fatal(error))?;
        Ok(Snapshot { meta, snapshot: dir })
    }
}

/// Whether applying these takes so little that heartbeats can wait for it.
fn is_little(entries: &[Entry]) -> bool {
    let bytes = |entry: &Entry| if let Payload::Normal(proposal) = &entry.payload { proposal.0.len() } else { 0 };
    entries.iter().map(bytes).sum::<usize>() <= BYTES_HERE_MAX
}

fn to_apply(entry: &Entry) -> ApplyEntry {
    let payload = match &entry.payload {
        Payload::Blank => ApplyPayload::Blank,
        Payload::Normal(proposal) => ApplyPayload::Batch(proposal.0.clone()),
        Payload::Membership(membership) => ApplyPayload::Membership(convert::membership_proto(membership)),
    };
    ApplyEntry { log_id: convert::log_id_proto(&entry.log_id), payload }
}

fn from_engine(applied: Engineered) -> Applied {
    match applied {
        Engineered::Internal => Applied::Internal,
        Engineered::Effective => Applied::Effective,
        Engineered::Void => Applied::Void,
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotDir;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let applied = self.engine.meta().applied.as_ref().map(convert::log_id);
        let membership = self.engine.membership().map_err(|error| self.fatal(error))?;
        Ok((applied, convert::stored_membership(&membership)?))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batches = entries.ready_chunks(BATCH_ENTRIES_MAX);
        while let Some(batch) = batches.next().await {
            let (entries, responders): (Vec<_>, Vec<_>) =
                batch.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
            // Usually a few microseconds of memory, less than another thread would take to wake. Much at once, and what the
            // storage makes wait, must not be where heartbeats run.
            let applied = if !is_little(&entries) || self.engine.is_stalled() {
                let here = self.clone();
                run_blocking(self.spawner.as_ref(), move || here.apply_batch(&entries)).await?
            } else {
                self.apply_batch(&entries)?
            };
            for (responder, applied) in responders.into_iter().zip(applied) {
                if let Some(responder) = responder {
                    responder.send(applied);
                }
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<Self::SnapshotBuilder> {
        Some(self.clone())
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotDir) -> Result<(), io::Error> {
        let (store, engine) = (self.snapshots.clone(), self.engine.clone());
        // First the snapshot becomes durable as the current one, then the state: a crash in between finds a snapshot
        // that is newer than the state, and installs it at the start.
        let installed = run_blocking(self.spawner.as_ref(), move || -> io::Result<()> {
            let snapshot = store.adopt(snapshot)?;
            Ok(engine.install(snapshot.path())?)
        });
        installed.await.map_err(|error| self.fatal(error))?;
        let applied = self.engine.meta();
        if applied.applied.as_ref().map(convert::log_id) != meta.last_log_id {
            return Err(self.fatal("an installed snapshot is not the one that was announced"));
        }
        self.note(&applied);
        tracing::info!(revision = applied.revision, "a snapshot was installed");
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        self.snapshots.current().map(|dir| self.snapshot_of(dir)).transpose()
    }
}

impl RaftSnapshotBuilder<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotDir;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let store = self.snapshots.clone();
        let built = run_blocking(self.spawner.as_ref(), move || store.build()).await;
        let dir = built.map_err(|error| self.fatal(error))?;
        tracing::info!(index = dir.manifest.last_log_id.map(|id| id.index), "a snapshot was built");
        self.snapshot_of(dir)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;
    use std::sync::Arc;

    use aerodb_engine::kv::rocks::RocksEnv;
    use aerodb_engine::{Engine, Limits};
    use futures::{Stream, StreamExt};
    use openraft::OptionalSend;
    use openraft::storage::{EntryResponder, RaftStateMachine};
    use tokio::sync::watch;

    use super::{SnapshotDir, StateMachine};
    use crate::clock::SystemClock;
    use crate::fence::Fence;
    use crate::log::suite;
    use crate::metrics::Metrics;
    use crate::progress::Applied;
    use crate::snapshot::{Snapshot, SnapshotStore};
    use crate::spawn::Tasks;
    use crate::types::{Entry, LogId, Payload, SnapshotMeta, StoredMembership, TypeConfig};

    /// The real state machine, for a suite that leaves out indexes: they are filled with blank entries first. Raft never
    /// leaves one out, and the engine takes it for damage.
    struct Gapless(StateMachine);

    impl Gapless {
        fn fill(&self, up_to: LogId) -> io::Result<()> {
            let next = self.0.engine.meta().applied.map_or(0, |last| last.index + 1);
            let blank =
                |index| Entry { log_id: LogId::new(*up_to.committed_leader_id(), index), payload: Payload::Blank };
            let blanks: Vec<_> = (next..up_to.index()).map(blank).collect();
            self.0.apply_batch(&blanks).map(drop)
        }
    }

    impl RaftStateMachine<TypeConfig> for Gapless {
        type SnapshotData = SnapshotDir;
        type SnapshotBuilder = StateMachine;

        async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
            self.0.applied_state().await
        }

        async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
        where
            Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
        {
            while let Some(entry) = entries.next().await {
                if let Ok((entry, _)) = &entry {
                    self.fill(entry.log_id)?;
                }
                self.0.apply(futures::stream::iter([entry])).await?;
            }
            Ok(())
        }

        async fn get_snapshot_builder(&mut self) -> StateMachine {
            self.0.clone()
        }

        async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotDir) -> Result<(), io::Error> {
            self.0.install_snapshot(meta, snapshot).await
        }

        async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
            self.0.get_current_snapshot().await
        }
    }

    fn machine(dir: &Path) -> StateMachine {
        let env = Arc::new(RocksEnv::new(8 << 20));
        let engine = Arc::new(Engine::open(env, &dir.join("state"), Limits::default()).unwrap());
        let snapshots = SnapshotStore::open(dir.join("snapshots"), engine.clone()).unwrap();
        StateMachine {
            applied: Arc::new(watch::Sender::new(Applied::of(&engine.meta()))),
            catalog: Arc::default(),
            engine,
            snapshots: Arc::new(snapshots),
            spawner: Arc::new(Tasks),
            clock: Arc::new(SystemClock::new()),
            metrics: Arc::new(Metrics::new(&prometheus::Registry::new()).unwrap()),
            fence: Fence::default(),
        }
    }

    /// Heartbeats wait for what is little: thirty deletes of large documents take a thread of their own.
    #[test]
    fn a_score_of_deletes_is_little_and_more_is_not() {
        use crate::types::Proposal;
        let delete = |index| Entry {
            log_id: LogId::new(crate::types::CommittedLeaderId::new(1), index),
            payload: Payload::Normal(Proposal(vec![0; 100].into())),
        };
        let entries = |count: u64| (1..=count).map(delete).collect::<Vec<_>>();
        assert!(super::is_little(&entries(20)) && !super::is_little(&entries(30)));
    }

    /// openraft's own suite, against the real log store and the real state machine.
    #[tokio::test(flavor = "multi_thread")]
    async fn conforms_to_openraft() {
        suite::conforms(|dir| Gapless(machine(dir))).await;
    }
}
