//! openraft's own conformance suite over the log store, with any state machine.
//!
//! Here with a state machine in memory, so that the log is under test; the real one runs it with
//! [`conforms`] as well.

use std::io::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use futures::{Stream, TryStreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{OptionalSend, StorageError};
use parking_lot::Mutex;
use tempfile::TempDir;

use super::testing::{Writers, open_log, open_store};
use super::{LogOptions, LogStore};
use crate::types::{Applied, CommittedLeaderId, LogId, Payload, Peer, SnapshotMeta, StoredMembership, TypeConfig};

/// Runs the suite with the state machines that `machine` makes, each in a folder of its own.
///
/// # Panics
/// When the pair does not do what openraft expects.
pub(crate) async fn conforms<SM, F>(machine: F)
where
    SM: RaftStateMachine<TypeConfig>,
    F: Fn(&Path) -> SM + Send + Sync,
{
    let fresh = || Builder { options: LogOptions::default(), machine: &machine, writers: Writers::default() };
    Suite::test_all(fresh()).await.unwrap();
    // The same with everything read from disk.
    Suite::test_all(Builder { options: LogOptions { ring_bytes_max: 0, ..LogOptions::default() }, ..fresh() })
        .await
        .unwrap();
}

struct Builder<'a, F> {
    options: LogOptions,
    machine: &'a F,
    writers: Writers,
}

impl<SM, F> StoreBuilder<TypeConfig, LogStore, SM, TempDir> for Builder<'_, F>
where
    SM: RaftStateMachine<TypeConfig>,
    F: Fn(&Path) -> SM + Send + Sync,
{
    async fn build(&self) -> Result<(TempDir, LogStore, SM), StorageError<TypeConfig>> {
        let dir = TempDir::new().unwrap();
        // The suite purges what no state machine ever saw, so the guard against that stands open.
        let durable = Arc::new(AtomicU64::new(u64::MAX));
        let store = open_store(dir.path().join("log"));
        let log = open_log(store, Arc::new(self.writers.0.clone()), &self.options, &Arc::default(), &durable).unwrap();
        let machine = (self.machine)(dir.path());
        Ok((dir, log, machine))
    }
}

/// As little of a state machine as the suite takes.
#[derive(Clone, Debug, Default)]
struct InMemory {
    applied: Option<LogId>,
    membership: StoredMembership,
    /// Shared with the builders.
    snapshot: Arc<Mutex<Option<SnapshotMeta>>>,
}

impl RaftSnapshotBuilder<TypeConfig> for InMemory {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> Result<Snapshot<CommittedLeaderId, u64, Peer, ()>, Error> {
        let meta = SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() };
        *self.snapshot.lock() = Some(meta.clone());
        Ok(Snapshot { meta, snapshot: () })
    }
}

impl RaftStateMachine<TypeConfig> for InMemory {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            self.applied = Some(entry.log_id());
            if let Payload::Membership(membership) = &entry.payload {
                self.membership = StoredMembership::new(Some(entry.log_id()), membership.clone());
            }
            if let Some(responder) = responder {
                responder.send(Applied::Internal);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, (): ()) -> Result<(), Error> {
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        *self.snapshot.lock() = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<CommittedLeaderId, u64, Peer, ()>>, Error> {
        Ok(self.snapshot.lock().clone().map(|meta| Snapshot { meta, snapshot: () }))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_conforms() {
    conforms(|_| InMemory::default()).await;
}
