//! Turns effects into writes.

use aerodb_proto as proto;
use bytes::Bytes;
use hashbrown::hash_map::Entry;
use prost::Message;
use proto::{CollectionCounts, Effects, StateMeta, effect::Kind};

use super::indexes::IndexWrites;
use super::sessions::Outcomes;
use crate::catalog;
use crate::document_cache::DocumentCache;
use crate::error::Error;
use crate::kv::{Store, WriteBatch};
use crate::maps::HashMap;
use crate::packed::Packed;
use crate::state::record::{self, Change, ChangeKind, Document, Past};
use crate::state::{self, CHANGE, DOC, HISTORY, INDEX, INDEX_HISTORY, META, keys};

/// Collects the writes of a run of entries.
pub(super) struct Writer<'a> {
    pub(super) store: &'a dyn Store,
    cached: &'a DocumentCache,
    pub(super) meta: StateMeta,
    pub(super) batch: WriteBatch,
    /// What this run has written so far in `meta` (`None`: deleted): later effects read it again.
    pending: HashMap<Vec<u8>, Option<Bytes>>,
    /// What this run leaves of each document that it writes (`None`: deleted), by its key in `doc`.
    documents: HashMap<Vec<u8>, Option<Bytes>>,
    /// Of each document of the entry that is said to be new, in their order: whether the store has none before this run.
    absent: std::vec::IntoIter<bool>,
    history: Vec<(Vec<u8>, Vec<u8>)>,
    indexes: IndexWrites,
    /// By collection: its figures, as this run leaves them.
    counts: HashMap<u32, CollectionCounts>,
    /// Whether events say how many bytes of history were written: whoever wrote the entry has to know that, too.
    counts_history: bool,
    pub(super) outcomes: Outcomes,
}

/// What a version that went to history takes, bytes: its body, and all of it there.
#[derive(Clone, Copy)]
struct Retired {
    body: usize,
    history: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(store: &'a dyn Store, cached: &'a DocumentCache, meta: StateMeta) -> Self {
        Self {
            store,
            cached,
            meta,
            batch: WriteBatch::new(),
            pending: HashMap::new(),
            documents: HashMap::new(),
            absent: Vec::new().into_iter(),
            history: Vec::new(),
            indexes: IndexWrites::default(),
            counts: HashMap::new(),
            counts_history: false,
            outcomes: Outcomes::default(),
        }
    }

    /// The writes.
    ///
    /// A document that was written several times is written once, and what lies all over the tables goes in the order of
    /// its keys: each finds its place near the one before.
    ///
    /// # Errors
    /// When the storage fails.
    pub(super) fn finish(mut self) -> Result<WriteBatch, Error> {
        for (collection, counts) in &self.counts {
            put_figures(&mut self.batch, keys::collection_counts(*collection), counts);
        }
        self.indexes.finish(self.store, &mut self.batch)?;
        let mut documents: Vec<_> = self.documents.into_iter().collect();
        documents.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (key, document) in documents {
            match document {
                Some(document) => self.batch.put(DOC, key, document),
                None => self.batch.delete(DOC, key),
            }
        }
        self.history.sort_unstable();
        for (key, past) in self.history {
            self.batch.put(HISTORY, key, past);
        }
        Ok(self.batch)
    }

    pub(super) fn membership(&mut self, log_id: proto::LogId, membership: proto::Membership) {
        let stored = proto::StoredMembership { log_id: Some(log_id), membership: Some(membership) };
        self.batch.put(META, keys::MEMBERSHIP, stored.encode_to_vec());
    }

    pub(super) fn batch(&mut self, batch: proto::Batch) -> Result<(), Error> {
        if batch.revision < self.meta.revision || batch.time_ms < self.meta.time_ms {
            return Err(Error::Inconsistent("an entry would turn the revision or the time back".into()));
        }
        self.meta.seq += 1;
        self.meta.time_ms = batch.time_ms;
        self.counts_history = batch.feature_level >= proto::FEATURE_LEVEL_HISTORY_BYTES;
        self.absent = self.look_for_new(&batch)?.into_iter();
        for effects in batch.effects {
            self.effects(effects)?;
        }
        self.remember_outcomes();
        // Behind the effects: a number may be given up while it is decided, and its outcome must go too.
        for ack in &batch.acks {
            self.acknowledge(ack)?;
        }
        if self.meta.revision != batch.revision {
            return Err(Error::Inconsistent(format!(
                "an entry says that it ends at revision {} and ends at {}",
                batch.revision, self.meta.revision
            )));
        }
        self.batch.put(META, keys::revision_time(batch.time_ms / 1_000), batch.revision.to_be_bytes().to_vec());
        Ok(())
    }

    /// Looks for the documents that are said to be new: together, for one by one each would wait for the filters of all tables.
    fn look_for_new(&self, batch: &proto::Batch) -> Result<Vec<bool>, Error> {
        let mut keys = Packed::default();
        for effect in batch.effects.iter().flat_map(|effects| &effects.effects) {
            if let Some(Kind::PutDoc(put)) = &effect.kind
                && put.previous_revision == 0
            {
                keys.push(keys::doc_parts(&put.collection_id.to_be_bytes(), &put.id));
            }
        }
        let keys: Vec<&[u8]> = keys.iter().collect();
        if keys.len() < 2 {
            return Ok(Vec::new());
        }
        let found = self.store.snapshot().get_many(DOC, &keys)?;
        Ok(found.iter().map(Option::is_none).collect())
    }

    fn effects(&mut self, mut effects: Effects) -> Result<(), Error> {
        if effects.revision != 0 {
            if effects.revision != self.meta.revision + 1 {
                return Err(Error::Inconsistent(format!(
                    "revision {} follows {}",
                    effects.revision, self.meta.revision
                )));
            }
            self.meta.revision = effects.revision;
        }
        let outcome = effects.outcome.take().unwrap_or_default();
        for (position, effect) in effects.effects.into_iter().enumerate() {
            let kind = effect.kind.ok_or_else(|| Error::UnknownOperation("an effect without a known kind".into()))?;
            if effects.revision == 0 && takes_revision(&kind) {
                return Err(Error::Inconsistent("a document or the catalog changes without a revision".into()));
            }
            self.effect(kind, position as u32)?;
        }
        if effects.session != 0 {
            self.outcomes.note(effects.session, effects.number, outcome);
        }
        if let Some(record) = effects.idempotency {
            let bytes = record.encode_to_vec();
            self.meta.idempotency_bytes += bytes.len() as u64;
            self.batch.put(META, keys::idempotency_time(record.time_ms, &record.key), Vec::new());
            self.put_meta(keys::idempotency(&record.key), bytes);
        }
        Ok(())
    }

    fn effect(&mut self, kind: Kind, position: u32) -> Result<(), Error> {
        match kind {
            Kind::PutDoc(put) => self.put_doc(put, position)?,
            Kind::DeleteDoc(delete) => self.delete_doc(&delete, position)?,
            Kind::CreateCollection(collection) => self.create_collection(&collection)?,
            Kind::DropCollection(dropped) => {
                self.delete_meta(keys::collection(dropped.collection_id));
                self.batch.put(META, keys::dropped(dropped.collection_id), self.meta.revision.to_be_bytes().to_vec());
                self.delete_meta(keys::watermark(dropped.collection_id));
                self.counts.remove(&dropped.collection_id);
                self.batch.delete(META, keys::collection_counts(dropped.collection_id));
                self.indexes.forget_collection(dropped.collection_id);
                for (from, to) in keys::index_notes(dropped.collection_id) {
                    self.batch.delete_range(META, from, to);
                }
                self.meta.catalog_revision = self.meta.revision;
            }
            Kind::ChangeCollection(change) => self.change_collection(change)?,
            Kind::IndexStep(step) => self.index_step(step)?,
            Kind::NewSession(session) => self.new_session(session.node_id)?,
            Kind::Identity(identity) => self.batch.put(META, keys::IDENTITY, identity.encode_to_vec()),
            Kind::Watermark(mark) => self.watermark(mark)?,
            Kind::ForgetIdempotency(forget) => {
                for digest in &forget.keys {
                    self.forget_idempotency(digest)?;
                }
            }
        }
        Ok(())
    }

    fn put_doc(&mut self, put: proto::PutDoc, position: u32) -> Result<(), Error> {
        let (collection, revision) = (put.collection_id, self.meta.revision);
        let key = keys::doc(collection, &put.id);
        let retired = self.retire(collection, &put.id, &key, put.previous_revision)?;
        let document = Document { revision, created_ms: put.created_ms, body: put.body };
        let came = document.body.len();
        self.documents.insert(key, Some(document.encode().into()));
        let kind = if put.previous_revision == 0 { ChangeKind::Insert } else { ChangeKind::Update };
        // What was not there had no entries: whoever deleted it took them away.
        let fresh = put.previous_revision == 0;
        let former_entries = self.indexes.change(self.store, revision, (collection, &put.id), &put.indexes, fresh)?;
        let (previous, id) = (put.previous_revision, put.id);
        let event = Change { kind, previous, written: 0, id, former_entries };
        self.event(collection, position, event, Some(came), retired)
    }

    fn delete_doc(&mut self, delete: &proto::DeleteDoc, position: u32) -> Result<(), Error> {
        let (collection, revision, previous) = (delete.collection_id, self.meta.revision, delete.previous_revision);
        if previous == 0 {
            return Err(Error::Inconsistent("a delete of nothing".into()));
        }
        let key = keys::doc(collection, &delete.id);
        let retired = self.retire(collection, &delete.id, &key, previous)?;
        self.documents.insert(key, None);
        let former_entries =
            self.indexes.change(self.store, revision, (collection, &delete.id), &delete.indexes, false)?;
        let (kind, id) = (ChangeKind::Delete, delete.id.clone());
        let event = Change { kind, previous, written: 0, id, former_entries };
        self.event(collection, position, event, None, retired)
    }

    /// Writes down an event, and what it does to the figures of its collection: a body of so many bytes `came`, and a version
    /// went to history.
    fn event(
        &mut self,
        collection: u32,
        position: u32,
        mut event: Change,
        came: Option<usize>,
        went: Option<Retired>,
    ) -> Result<(), Error> {
        let counts = match self.counts.entry(collection) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(vacant) => {
                vacant.insert(state::collection_counts(&|key| self.store.get(META, key), collection)?)
            }
        };
        if let Some(body) = came {
            counts.documents += 1;
            counts.bytes += body as u64;
        }
        if let Some(Retired { body, .. }) = went {
            counts.documents = counts.documents.saturating_sub(1);
            counts.bytes = counts.bytes.saturating_sub(body as u64);
        }
        if self.counts_history {
            counts.history_bytes_written += event.bytes() + went.map_or(0, |went| went.history) as u64;
            event.written = counts.history_bytes_written;
        }
        self.batch.put(CHANGE, keys::change(collection, self.meta.revision, position), event.encode());
        Ok(())
    }

    /// Copies the version that is about to be replaced to history. The decision named it (0: there is none); it must be
    /// what is here, and of an earlier command: one command leaves one net effect per document.
    fn retire(&mut self, collection: u32, id: &[u8], key: &[u8], previous: u64) -> Result<Option<Retired>, Error> {
        let is_absent = previous == 0 && self.absent.next() == Some(true) && !self.documents.contains_key(key);
        let old = if is_absent { None } else { self.document(key)?.map(Document::decode).transpose()? };
        let found = old.as_ref().map_or(0, |document| document.revision);
        if found != previous || found == self.meta.revision {
            let problem = format!("revision {} replaces {previous}, and {found} is here", self.meta.revision);
            return Err(Error::Inconsistent(problem));
        }
        let Some(document) = old else { return Ok(None) };
        let body = document.body.len();
        let past = Past { to: self.meta.revision, document };
        let (key, past) = (keys::history(collection, id, previous), past.encode());
        let history = key.len() + past.len();
        self.history.push((key, past));
        Ok(Some(Retired { body, history }))
    }

    fn create_collection(&mut self, collection: &proto::Collection) -> Result<(), Error> {
        if collection.id < self.meta.next_collection_id.max(catalog::API_KEYS) {
            return Err(Error::Inconsistent(format!("the collection id {} is used again", collection.id)));
        }
        self.put_meta(keys::collection(collection.id), collection.encode_to_vec());
        self.meta.next_collection_id = collection.id + 1;
        self.meta.catalog_revision = self.meta.revision;
        Ok(())
    }

    fn change_collection(&mut self, change: proto::ChangeCollection) -> Result<(), Error> {
        let collection = change.collection.unwrap_or_default();
        let key = keys::collection(collection.id);
        if self.get_meta(&key)?.is_none() {
            return Err(Error::Inconsistent(format!("the collection {} changes and is not there", collection.id)));
        }
        for index in change.cleared_indexes {
            self.indexes.forget(collection.id, index);
            for cf in [INDEX, INDEX_HISTORY] {
                let (from, to) = (keys::index_prefix(collection.id, index), keys::index_end(collection.id, index));
                self.batch.delete_range(cf, from, to);
            }
            self.batch.delete(META, keys::index_counts(collection.id, index));
            self.batch.delete(META, keys::walk_progress(collection.id, index));
        }
        self.put_meta(key, collection.encode_to_vec());
        self.meta.catalog_revision = self.meta.revision;
        Ok(())
    }

    fn index_step(&mut self, step: proto::IndexStep) -> Result<(), Error> {
        let (collection, index) = (step.collection_id, step.index_id);
        for document in step.documents {
            let change =
                proto::IndexChange { index_id: index, removed: Vec::new(), added: document.added, building: true };
            // A step passes over what has changed since the index began, and the build over what it has been through.
            self.indexes.change(self.store, self.meta.revision, (collection, &document.id), &[change], true)?;
        }
        let key = keys::walk_progress(collection, index);
        match step.progress {
            Some(progress) => self.batch.put(META, key, progress.encode_to_vec()),
            None => self.batch.delete(META, key),
        }
        Ok(())
    }

    /// What is below a watermark may be collected at once, so it never falls, and never passes what there is.
    fn watermark(&mut self, mark: proto::Watermark) -> Result<(), Error> {
        let key = keys::watermark(mark.collection_id);
        let former = self.get_meta(&key)?.map(|bytes| record::number(&bytes)).transpose()?.unwrap_or(0);
        if mark.revision < former || mark.revision > self.meta.revision {
            let problem = format!("a watermark goes from {former} to {} at {}", mark.revision, self.meta.revision);
            return Err(Error::Inconsistent(problem));
        }
        self.put_meta(key, mark.revision.to_be_bytes().to_vec());
        Ok(())
    }

    fn forget_idempotency(&mut self, digest: &[u8]) -> Result<(), Error> {
        let key = keys::idempotency(digest);
        let Some(bytes) = self.get_meta(&key)? else { return Ok(()) };
        let record = proto::IdempotencyRecord::decode(&*bytes).map_err(|e| Error::malformed("a remembered key", e))?;
        self.meta.idempotency_bytes = self.meta.idempotency_bytes.saturating_sub(bytes.len() as u64);
        self.batch.delete(META, keys::idempotency_time(record.time_ms, digest));
        self.delete_meta(key);
        Ok(())
    }

    /// The document at `key` as this run and those before it left it.
    fn document(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        if let Some(document) = self.documents.get(key) {
            return Ok(document.clone());
        }
        match self.cached.get(key) {
            Some(cached) => Ok(Some(cached)),
            None => Ok(self.store.get(DOC, key)?.map(Bytes::from)),
        }
    }

    pub(super) fn get_meta(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        match self.pending.get(key) {
            Some(pending) => Ok(pending.clone()),
            None => Ok(self.store.get(META, key)?.map(Bytes::from)),
        }
    }

    pub(super) fn put_meta(&mut self, key: Vec<u8>, value: Vec<u8>) {
        let value = Bytes::from(value);
        self.pending.insert(key.clone(), Some(value.clone()));
        self.batch.put(META, key, value);
    }

    pub(super) fn delete_meta(&mut self, key: Vec<u8>) {
        self.pending.insert(key.clone(), None);
        self.batch.delete(META, key);
    }
}

/// Writes figures. Such as say nothing have no record: what comes and goes leaves the same state in one run and in two.
pub(super) fn put_figures<M: Message + Default + PartialEq>(batch: &mut WriteBatch, key: Vec<u8>, figures: &M) {
    match *figures == M::default() {
        true => batch.delete(META, key),
        false => batch.put(META, key, figures.encode_to_vec()),
    }
}

/// True for what readers see at a revision.
fn takes_revision(kind: &Kind) -> bool {
    match kind {
        Kind::PutDoc(_)
        | Kind::DeleteDoc(_)
        | Kind::CreateCollection(_)
        | Kind::DropCollection(_)
        | Kind::ChangeCollection(_) => true,
        Kind::NewSession(_)
        | Kind::Identity(_)
        | Kind::Watermark(_)
        | Kind::ForgetIdempotency(_)
        | Kind::IndexStep(_) => false,
    }
}
