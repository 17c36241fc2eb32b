//! Turns effects into writes.

use std::collections::{BTreeMap, HashMap};

use aerodb_proto as proto;
use bytes::Bytes;
use prost::Message;
use proto::{Effects, StateMeta, effect::Kind};

use super::sessions::Outcomes;
use crate::catalog;
use crate::error::Error;
use crate::kv::{Store, WriteBatch};
use crate::recent::Recent;
use crate::state::record::{self, Change, ChangeKind, Document, Past};
use crate::state::{CHANGE, DOC, HISTORY, META, keys};

/// Collects the writes of a run of entries.
pub(super) struct Writer<'a> {
    pub(super) store: &'a dyn Store,
    recent: &'a Recent,
    pub(super) meta: StateMeta,
    pub(super) batch: WriteBatch,
    /// What this run has written so far in `meta` (`None`: deleted): later effects read it again.
    pending: HashMap<Vec<u8>, Option<Bytes>>,
    documents: Documents,
    history: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) outcomes: Outcomes,
}

/// What a run leaves of each document that it writes (`None`: deleted), by its key in `doc`.
pub(crate) type Documents = BTreeMap<Vec<u8>, Option<Bytes>>;

impl<'a> Writer<'a> {
    pub(super) fn new(store: &'a dyn Store, recent: &'a Recent, meta: StateMeta) -> Self {
        Self {
            store,
            recent,
            meta,
            batch: WriteBatch::new(),
            pending: HashMap::new(),
            documents: Documents::new(),
            history: Vec::new(),
            outcomes: Outcomes::default(),
        }
    }

    /// The writes, and what they leave of each document.
    ///
    /// A document that was written several times is written once, and what lies all over the tables goes in the order of
    /// its keys: each finds its place near the one before.
    pub(super) fn finish(mut self) -> (WriteBatch, Documents) {
        for (key, document) in &self.documents {
            match document {
                Some(document) => self.batch.put(DOC, key.clone(), document.clone()),
                None => self.batch.delete(DOC, key.clone()),
            }
        }
        self.history.sort_unstable();
        for (key, past) in self.history {
            self.batch.put(HISTORY, key, past);
        }
        (self.batch, self.documents)
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
                self.batch.delete(META, keys::collection(dropped.collection_id));
                self.batch.put(META, keys::dropped(dropped.collection_id), self.meta.revision.to_be_bytes().to_vec());
                self.delete_meta(keys::watermark(dropped.collection_id));
                self.meta.catalog_revision = self.meta.revision;
            }
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
        let revision = self.meta.revision;
        let key = keys::doc(put.collection_id, &put.id);
        self.retire(put.collection_id, &put.id, &key, put.previous_revision)?;
        let document = Document { revision, created_ms: put.created_ms, body: put.body };
        self.documents.insert(key, Some(document.encode().into()));
        let kind = if put.previous_revision == 0 { ChangeKind::Insert } else { ChangeKind::Update };
        let change = Change { kind, previous: put.previous_revision, id: put.id.to_vec() };
        self.batch.put(CHANGE, keys::change(put.collection_id, revision, position), change.encode());
        Ok(())
    }

    fn delete_doc(&mut self, delete: &proto::DeleteDoc, position: u32) -> Result<(), Error> {
        if delete.previous_revision == 0 {
            return Err(Error::Inconsistent("a delete of nothing".into()));
        }
        let key = keys::doc(delete.collection_id, &delete.id);
        self.retire(delete.collection_id, &delete.id, &key, delete.previous_revision)?;
        self.documents.insert(key, None);
        let change = Change { kind: ChangeKind::Delete, previous: delete.previous_revision, id: delete.id.to_vec() };
        let key = keys::change(delete.collection_id, self.meta.revision, position);
        self.batch.put(CHANGE, key, change.encode());
        Ok(())
    }

    /// Copies the version that is about to be replaced to history. The decision named it (0: there is none); it must be
    /// what is here, and of an earlier command: one command leaves one net effect per document.
    fn retire(&mut self, collection: u32, id: &[u8], key: &[u8], previous: u64) -> Result<(), Error> {
        let old = self.document(key)?.map(Document::decode).transpose()?;
        let found = old.as_ref().map_or(0, |document| document.revision);
        if found != previous || found == self.meta.revision {
            let problem = format!("revision {} replaces {previous}, and {found} is here", self.meta.revision);
            return Err(Error::Inconsistent(problem));
        }
        if let Some(document) = old {
            let past = Past { to: self.meta.revision, document };
            self.history.push((keys::history(collection, id, previous), past.encode()));
        }
        Ok(())
    }

    fn create_collection(&mut self, collection: &proto::Collection) -> Result<(), Error> {
        if collection.id < self.meta.next_collection_id.max(catalog::API_KEYS) {
            return Err(Error::Inconsistent(format!("the collection id {} is used again", collection.id)));
        }
        self.batch.put(META, keys::collection(collection.id), collection.encode_to_vec());
        self.meta.next_collection_id = collection.id + 1;
        self.meta.catalog_revision = self.meta.revision;
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
        match self.recent.get(key) {
            Some(recent) => Ok(Some(recent)),
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

/// True for what readers see at a revision.
fn takes_revision(kind: &Kind) -> bool {
    match kind {
        Kind::PutDoc(_) | Kind::DeleteDoc(_) | Kind::CreateCollection(_) | Kind::DropCollection(_) => true,
        Kind::NewSession(_) | Kind::Identity(_) | Kind::Watermark(_) | Kind::ForgetIdempotency(_) => false,
    }
}
