//! The engine: one state on disk, changed only by [`Engine::apply`], read through [`View`]s.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aerodb_proto::{LogId, StateMeta, StoredMembership};
use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message;

use crate::apply::{self, Applied, ApplyEntry};
use crate::catalog::Catalog;
use crate::document_cache::DocumentCache;
use crate::error::Error;
use crate::folder::Folder;
use crate::helpers::Helpers;
use crate::home::{self, Home};
use crate::kv::{Env, Store};
use crate::limits::Limits;
use crate::packed::Packed;
use crate::planted;
use crate::state::record::Document;
use crate::state::{DOC, META, SPEC, keys};
use crate::uses::Uses;
use crate::view::View;

/// One node's state. Cheap to share behind an `Arc`; every method may block on the disk.
pub struct Engine {
    env: Arc<dyn Env>,
    home: Home,
    limits: Limits,
    /// The store in force; replaced when a snapshot is installed. Readers keep the one that they began with.
    current: ArcSwap<Current>,
    /// Held by whoever changes the state: apply, install, and nobody else.
    writing: Mutex<()>,
}

pub(crate) struct Current {
    pub(crate) store: Arc<dyn Store>,
    /// The counters as of the last batch written.
    pub(crate) meta: Arc<StateMeta>,
    pub(crate) catalog: Arc<Catalog>,
    view: SharedView,
    pub(crate) cached: Arc<DocumentCache>,
    pub(crate) uses: Arc<Uses>,
    pub(crate) helpers: Arc<Helpers>,
    /// Behind the store: the files outlive it.
    pub(crate) generation: Arc<Folder>,
}

impl Current {
    /// The same store, after a batch.
    fn followed_by(&self, meta: StateMeta, catalog: Arc<Catalog>) -> Self {
        Self {
            store: self.store.clone(),
            meta: Arc::new(meta),
            catalog,
            view: SharedView::default(),
            cached: self.cached.clone(),
            uses: self.uses.clone(),
            helpers: self.helpers.clone(),
            generation: self.generation.clone(),
        }
    }

    /// The latest version of the document at `key`, in [`DOC`].
    ///
    /// # Errors
    /// When the storage fails.
    pub(crate) fn document(&self, key: &[u8]) -> Result<Option<Document>, Error> {
        let bytes = match self.cached.get(key) {
            Some(cached) => Some(cached),
            None => self.store.get(DOC, key)?.map(Bytes::from),
        };
        Ok(bytes.map(Document::decode).transpose()?)
    }

    /// The same of those at `keys`, in their order: cheaper than one after the other.
    ///
    /// # Errors
    /// When the storage fails.
    pub(crate) fn documents(&self, keys: &Packed) -> Result<Vec<Option<Document>>, Error> {
        let keys: Vec<&[u8]> = keys.iter().collect();
        let cached = self.cached.get_many(&keys);
        let others: Vec<&[u8]> =
            keys.iter().zip(&cached).filter(|(_, cached)| cached.is_none()).map(|(key, _)| *key).collect();
        let mut stored = self.store.snapshot().get_many(DOC, &others)?.into_iter();
        let bytes = cached.into_iter().map(|cached| cached.or_else(|| stored.next().flatten().map(Bytes::from)));
        bytes.map(|bytes| Ok(bytes.map(Document::decode).transpose()?)).collect()
    }

    /// What everybody reads: the first one who asks takes it.
    fn view(&self, limits: &Limits) -> Result<Arc<View>, Error> {
        let SharedView { view: shared, changing } = &self.view;
        if let Some(view) = &*shared.load() {
            return Ok(view.clone());
        }
        let _changing = changing.lock();
        if let Some(view) = &*shared.load() {
            return Ok(view.clone());
        }
        // A batch that is written and not in force yet may be in it: newer than asked is as good.
        let view = Arc::new(View::new(self, limits.clone())?);
        shared.store(Some(view.clone()));
        Ok(view)
    }

    /// The next reader takes a new snapshot.
    pub(crate) fn forget_view(&self) {
        let _changing = self.view.changing.lock();
        self.view.view.store(None);
    }
}

/// What everybody reads who comes before the next batch: a snapshot, and what stands in it, are taken once for all.
#[derive(Default)]
struct SharedView {
    view: ArcSwapOption<View>,
    /// Held by whoever changes it.
    changing: Mutex<()>,
}

/// What a checkpoint holds, read from inside it.
#[derive(Clone, Debug, PartialEq)]
pub struct Contents {
    /// The counters.
    pub meta: StateMeta,
    /// The membership.
    pub membership: StoredMembership,
    /// The cluster that the state belongs to; empty before the first leader named it.
    pub cluster_id: String,
}

impl Engine {
    /// Opens the state in `dir`, creating it when missing.
    ///
    /// # Errors
    /// When the folder cannot be used or its content is damaged.
    pub fn open(env: Arc<dyn Env>, dir: &Path, limits: Limits) -> Result<Self, Error> {
        let home = Home::open(dir)?;
        let current = open_store(&*env, home.current()?, &limits)?;
        home.clean()?;
        Ok(Self { env, home, limits, current: ArcSwap::from_pointee(current), writing: Mutex::new(()) })
    }

    /// The bounds that the engine keeps.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn current(&self) -> Arc<Current> {
        self.current.load_full()
    }

    /// The counters as of the last entry applied.
    pub fn meta(&self) -> Arc<StateMeta> {
        self.current.load().meta.clone()
    }

    /// The collections, as of the last entry applied.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.current.load().catalog.clone()
    }

    /// A consistent view of the state as it is now.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn view(&self) -> Result<Arc<View>, Error> {
        self.current.load().view(&self.limits)
    }

    /// The membership last applied.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn membership(&self) -> Result<StoredMembership, Error> {
        read_membership(&*self.current().store)
    }

    /// The cluster's id; empty before the first leader named it.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn cluster_id(&self) -> Result<String, Error> {
        read_cluster_id(&*self.current().store)
    }

    /// Applies committed entries in order, as one atomic batch; returns what became of each.
    ///
    /// # Errors
    /// Any error ends the node: nothing is skipped, nothing retried.
    pub fn apply(&self, entries: &[ApplyEntry]) -> Result<Vec<Applied>, Error> {
        let _writing = self.writing.lock();
        let current = self.current();
        let plan = apply::plan(&*current.store, &current.cached, &current.meta, entries)?;
        // Before the batch: see there.
        current.cached.update(plan.batch.single_writes(DOC), plan.meta.revision);
        if planted!("change-outside-the-batch") {
            let (changes, rest) = plan.batch.split(crate::state::CHANGE);
            current.store.write(rest, false)?;
            current.store.write(changes, false)?;
        } else {
            current.store.write(plan.batch, false)?;
        }
        let catalog = match plan.meta.catalog_revision == current.meta.catalog_revision {
            true => current.catalog.clone(),
            false => Arc::new(Catalog::load(&*current.store.snapshot(), plan.meta.catalog_revision)?),
        };
        self.current.store(Arc::new(current.followed_by(plan.meta, catalog)));
        Ok(plan.applied)
    }

    /// Writes past apply: a test's way to a state that takes years otherwise.
    #[cfg(test)]
    pub(crate) fn meddle(&self, batch: crate::kv::WriteBatch) {
        let current = self.current();
        current.store.write(batch, false).unwrap();
        current.cached.clear();
        current.forget_view();
    }

    /// The last entry that would be found applied after a power cut now.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn durable(&self) -> Result<Option<LogId>, Error> {
        let bytes = self.current().store.get_durable(META, keys::STATE)?;
        Ok(bytes.map(|bytes| decode_meta(&bytes)).transpose()?.and_then(|meta| meta.applied))
    }

    /// Makes everything applied so far durable.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn flush(&self) -> Result<(), Error> {
        Ok(self.current().store.flush()?)
    }

    /// Writes a copy of the state to the new folder `dir` and reads from inside it what it holds. On return the live
    /// state is durable at least up to there.
    ///
    /// # Errors
    /// When the storage fails or `dir` exists.
    pub fn checkpoint(&self, dir: &Path) -> Result<Contents, Error> {
        self.current().store.checkpoint(dir)?;
        self.inspect(dir)
    }

    /// Reads what the store in `dir` holds.
    ///
    /// # Errors
    /// When there is no store, or it is damaged.
    pub fn inspect(&self, dir: &Path) -> Result<Contents, Error> {
        let store = self.env.open_read_only(dir, &SPEC)?;
        Ok(Contents {
            meta: read_meta(&*store)?,
            membership: read_membership(&*store)?,
            cluster_id: read_cluster_id(&*store)?,
        })
    }

    /// Replaces the state by the store in `dir`, which stays as it is. A crash leaves the old state or the new one.
    ///
    /// # Errors
    /// When `dir` holds no sound store or the files cannot be copied; the state is then unchanged.
    pub fn install(&self, dir: &Path) -> Result<(), Error> {
        let _writing = self.writing.lock();
        // A folder without a store must not become an empty state.
        self.inspect(dir)?;
        let next = self.home.next()?;
        home::copy_store(dir, &next)?;
        let new = open_store(&*self.env, next, &self.limits)?;
        self.home.flip(new.generation.path())?;
        let former = self.current.swap(Arc::new(new));
        former.generation.retire();
        Ok(())
    }

    /// True while applying would have to wait for the storage.
    pub fn is_stalled(&self) -> bool {
        self.current().store.is_stalled()
    }

    /// Errors that the storage met in the background; more than none means that the node must stop.
    pub fn background_errors(&self) -> u64 {
        self.current().store.background_errors()
    }

    /// Figures of the storage, and of what is kept of it in memory, for metrics.
    pub fn figures(&self) -> Vec<(&'static str, f64)> {
        let current = self.current();
        let Current { store, cached, .. } = &*current;
        store.figures().into_iter().chain(cached.figures()).collect()
    }
}

fn open_store(env: &dyn Env, dir: PathBuf, limits: &Limits) -> Result<Current, Error> {
    let store = env.open(&dir, &SPEC)?;
    let meta = read_meta(&*store)?;
    let catalog = Arc::new(Catalog::load(&*store.snapshot(), meta.catalog_revision)?);
    let (meta, generation) = (Arc::new(meta), Arc::new(Folder::new(dir)));
    let cached = Arc::new(DocumentCache::new(limits.document_cache_bytes_max));
    let helpers = Arc::new(Helpers::new(limits.query_helpers_max));
    Ok(Current { store, meta, catalog, view: SharedView::default(), cached, uses: Arc::default(), helpers, generation })
}

fn read_meta(store: &dyn Store) -> Result<StateMeta, Error> {
    Ok(store.get(META, keys::STATE)?.map(|bytes| decode_meta(&bytes)).transpose()?.unwrap_or_default())
}

pub(crate) fn decode_meta(bytes: &[u8]) -> Result<StateMeta, Error> {
    StateMeta::decode(bytes).map_err(|e| Error::malformed("the counters", e))
}

fn read_membership(store: &dyn Store) -> Result<StoredMembership, Error> {
    let bytes = store.get(META, keys::MEMBERSHIP)?.unwrap_or_default();
    StoredMembership::decode(&*bytes).map_err(|e| Error::malformed("the membership", e))
}

fn read_cluster_id(store: &dyn Store) -> Result<String, Error> {
    let bytes = store.get(META, keys::IDENTITY)?.unwrap_or_default();
    let identity = aerodb_proto::Identity::decode(&*bytes).map_err(|e| Error::malformed("the identity", e))?;
    Ok(identity.cluster_id)
}
