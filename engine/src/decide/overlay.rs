//! What is decided and not applied yet, laid over the state. Each note carries the `seq` of its entry and goes once that
//! entry is applied: from then on the state says the same.
//!
//! Notes of the command being decided are staged: they count at once (a second document of one command sees the
//! first), and become part of the overlay with [`Overlay::commit`] or vanish with [`Overlay::discard`].

use std::collections::VecDeque;
use std::sync::Arc;

use aerodb_proto as proto;
use bytes::Bytes;
use prost::Message;
use proto::effect::Kind;
use proto::{Effect, IdempotencyRecord, Outcome};

use super::documents::Stop;
use super::references::{self, Found, PendingReferrers};
use super::sessions::{Number, SessionNotes};
use super::{indexes, refusal};
use crate::catalog::Catalog;
use crate::engine::{Current, Engine};
use crate::error::Error;
use crate::index::Index;
use crate::kv::Snapshot;
use crate::maps::{DocKey, DocRef, HashMap, IndexMap};
use crate::packed::Packed;
use crate::planted;
use crate::state::record::{self, Document};
use crate::state::{INDEX, META, keys};

/// Documents that are fetched at a time, at most: more are no cheaper, and may be large.
pub(super) const FETCHED_MAX: usize = 64;

pub(super) struct Overlay {
    engine: Arc<Engine>,
    documents: HashMap<DocKey, Pending>,
    /// In the order in which they were first written: that of their effects.
    staged: IndexMap<DocKey, Staged>,
    /// What the staged documents take, before and after.
    staged_bytes: usize,
    /// What to put back when the command takes back what it did last; kept only where it may.
    journal: Option<Journal>,
    catalog: Arc<Catalog>,
    staged_catalog: Option<Catalog>,
    next_collection_id: u32,
    identity_known: bool,
    idempotency: HashMap<Vec<u8>, (u64, IdempotencyRecord)>,
    idempotency_bytes: u64,
    /// Outcomes of commands, encoded: of many documents they are long, and nearly none is asked for.
    outcomes: HashMap<(u64, u64), Vec<u8>>,
    pub(super) sessions: SessionNotes,
    /// Whom a value of a unique index belongs to (`None`: nobody), by the key of its entries without an id.
    owners: HashMap<Vec<u8>, (u64, Option<String>)>,
    staged_owners: HashMap<Vec<u8>, Option<String>>,
    referrers: PendingReferrers,
    /// How far the build of an index has come in this epoch, by collection and index.
    progress: HashMap<(u32, u32), proto::WalkProgress>,
    /// Watermarks raised in this epoch.
    watermarks: HashMap<u32, u64>,
    /// Which notes go with which entry, in order.
    notes: VecDeque<(u64, Note)>,
}

/// What a command that is not applied yet leaves of a document.
struct Pending {
    seq: u64,
    /// The command's revision.
    revision: u64,
    document: Option<Document>,
}

/// A document that the command being decided writes.
#[derive(Clone)]
struct Staged {
    /// What was there before the command.
    base: Option<Document>,
    /// What is there after all that it has done so far.
    now: Option<Document>,
}

/// What was staged before a part of a command, as far as that changed it.
struct Journal {
    bytes: usize,
    /// The documents that were staged by then; those behind came later.
    documents: usize,
    changed: Vec<(DocKey, Staged)>,
}

enum Note {
    Document(DocKey),
    Owner(Vec<u8>),
    Referrer(Vec<u8>, String),
    Outcome((u64, u64)),
    Idempotency(Vec<u8>),
}

impl Overlay {
    pub(super) fn new(engine: Arc<Engine>, current: &Current) -> Self {
        Self {
            engine,
            documents: HashMap::default(),
            staged: IndexMap::default(),
            staged_bytes: 0,
            journal: None,
            next_collection_id: current.meta.next_collection_id.max(crate::catalog::API_KEYS),
            identity_known: !current.catalog.is_empty(),
            catalog: current.catalog.clone(),
            staged_catalog: None,
            idempotency: HashMap::default(),
            idempotency_bytes: current.meta.idempotency_bytes,
            outcomes: HashMap::default(),
            sessions: SessionNotes::default(),
            owners: HashMap::default(),
            staged_owners: HashMap::default(),
            referrers: PendingReferrers::default(),
            progress: HashMap::default(),
            watermarks: HashMap::default(),
            notes: VecDeque::new(),
        }
    }

    pub(super) fn catalog(&self) -> &Catalog {
        self.staged_catalog.as_ref().unwrap_or(&self.catalog)
    }

    pub(super) fn catalog_mut(&mut self) -> &mut Catalog {
        self.staged_catalog.get_or_insert_with(|| Catalog::clone(&self.catalog))
    }

    /// The id that the next collection gets.
    pub(super) fn next_collection_id(&self) -> u32 {
        self.next_collection_id
    }

    /// An id that no collection has had.
    pub(super) fn take_collection_id(&mut self) -> u32 {
        let id = self.next_collection_id;
        self.next_collection_id += 1;
        id
    }

    /// True once the cluster has its identity.
    pub(super) fn bootstrapped(&self) -> bool {
        self.identity_known
    }

    pub(super) fn set_bootstrapped(&mut self) {
        self.identity_known = true;
    }

    /// The document as the command finds it, after what it has done itself.
    pub(super) fn document(&self, collection: u32, id: &str) -> Result<Option<Document>, Error> {
        match self.staged.get(&DocRef(collection, id)) {
            Some(staged) => Ok(staged.now.clone()),
            None => self.decided(collection, id),
        }
    }

    /// The same of several documents, in the order of `ids`. All are held at once: ask for few.
    pub(super) fn documents(&self, collection: u32, ids: &[&str]) -> Result<Vec<Option<Document>>, Error> {
        let (mut found, mut places, mut keys) = (Vec::with_capacity(ids.len()), Vec::new(), Packed::default());
        for id in ids {
            let staged = self.staged.get(&DocRef(collection, id)).map(|staged| &staged.now);
            let known = staged.or_else(|| self.pending(collection, id));
            if known.is_none() {
                places.push(found.len());
                keys.push(keys::doc_parts(&collection.to_be_bytes(), id.as_bytes()));
            }
            found.push(known.cloned().flatten());
        }
        for (place, document) in places.into_iter().zip(self.engine.current().documents(&keys)?) {
            found[place] = document;
        }
        Ok(found)
    }

    /// The document as it was before the command.
    pub(super) fn base(&self, collection: u32, id: &str) -> Result<Option<Document>, Error> {
        match self.staged.get(&DocRef(collection, id)) {
            Some(staged) => Ok(staged.base.clone()),
            None => self.decided(collection, id),
        }
    }

    /// The revision at which a command that is decided and not applied yet has deleted the document.
    pub(super) fn pending_deletion(&self, collection: u32, id: &str) -> Option<u64> {
        let pending = self.documents.get(&DocRef(collection, id))?;
        pending.document.is_none().then_some(pending.revision)
    }

    /// Whether a command that is decided and not applied yet has written the document.
    pub(super) fn is_pending(&self, collection: u32, id: &str) -> bool {
        self.documents.contains_key(&DocRef(collection, id))
    }

    /// The documents of a collection that commands write which are decided and not applied yet, as the last of them leaves
    /// each; only those that were written after `revision`.
    pub(super) fn pending_since(
        &self,
        collection: u32,
        revision: u64,
    ) -> impl Iterator<Item = (&str, Option<&Document>)> {
        let pending = self.documents.iter();
        let pending = pending.filter(move |((of, _), pending)| *of == collection && pending.revision > revision);
        pending.map(|((_, id), pending)| (id.as_str(), pending.document.as_ref()))
    }

    /// Bytes of what the command has written so far, and of what was there before.
    pub(super) fn staged_bytes(&self) -> usize {
        self.staged_bytes
    }

    /// How many documents the command writes.
    pub(super) fn staged_count(&self) -> usize {
        self.staged.len()
    }

    fn decided(&self, collection: u32, id: &str) -> Result<Option<Document>, Error> {
        match self.pending(collection, id) {
            Some(pending) => Ok(pending.clone()),
            None => self.engine.current().document(&keys::doc(collection, id.as_bytes())),
        }
    }

    /// What commands that are decided and not applied yet leave of the document, if any of them writes it.
    fn pending(&self, collection: u32, id: &str) -> Option<&Option<Document>> {
        let pending = self.documents.get(&DocRef(collection, id)).filter(|_| !planted!("decide-without-overlay"))?;
        Some(&pending.document)
    }

    /// The document before the command and now, if the command has written it.
    pub(super) fn written(&self, collection: u32, id: &str) -> Option<(Option<Document>, Option<Document>)> {
        let staged = self.staged.get(&DocRef(collection, id))?;
        Some((staged.base.clone(), staged.now.clone()))
    }

    /// Whether the command has written the document.
    pub(super) fn is_staged(&self, collection: u32, id: &str) -> bool {
        self.staged.contains_key(&DocRef(collection, id))
    }

    /// The documents that the command deletes, of collections that others refer to.
    pub(super) fn staged_deletions(&self) -> Vec<DocKey> {
        let goes = |(key, staged): &(&DocKey, &Staged)| {
            staged.base.is_some() && staged.now.is_none() && !self.catalog().referrers(key.0).is_empty()
        };
        self.staged.iter().filter(goes).map(|(key, _)| key.clone()).collect()
    }

    /// The documents that the command leaves anew, of collections that have indexes: before it and now.
    pub(super) fn staged_writes(&self) -> impl Iterator<Item = (&DocKey, Option<&Document>, &Document)> {
        let indexed = self.staged.iter().filter(move |(key, _)| !self.catalog().indexes(key.0).is_empty());
        indexed.filter_map(|(key, staged)| Some((key, staged.base.as_ref(), staged.now.as_ref()?)))
    }

    /// From here on [`Overlay::roll_back`] takes back what the command stages.
    pub(super) fn set_savepoint(&mut self) {
        self.journal = Some(Journal { bytes: self.staged_bytes, documents: self.staged.len(), changed: Vec::new() });
    }

    /// Takes back what the command has staged since the savepoint.
    pub(super) fn roll_back(&mut self) {
        let Some(journal) = self.journal.take() else { return };
        self.staged_bytes = journal.bytes;
        self.staged.truncate(journal.documents);
        // What was noted first was there first.
        for (key, staged) in journal.changed.into_iter().rev() {
            self.staged.insert(key, staged);
        }
    }

    /// Notes that the command leaves `now` where it found `found`.
    pub(super) fn stage_document(&mut self, collection: u32, id: &str, found: Option<Document>, now: Option<Document>) {
        let length = |document: &Option<Document>| document.as_ref().map_or(0, |document| document.body.len());
        self.staged_bytes += length(&now);
        match self.staged.entry((collection, id.to_owned())) {
            indexmap::map::Entry::Occupied(mut staged) => {
                if let Some(journal) = &mut self.journal
                    && staged.index() < journal.documents
                {
                    journal.changed.push((staged.key().clone(), staged.get().clone()));
                }
                staged.get_mut().now = now;
            }
            indexmap::map::Entry::Vacant(vacant) => {
                self.staged_bytes += length(&found);
                vacant.insert(Staged { base: found, now });
            }
        }
    }

    /// What the command does to documents: one net effect for each, however often it was written. Stages what becomes of
    /// unique values too.
    ///
    /// # Errors
    /// When an index stands against it.
    pub(super) fn staged_effects(&mut self) -> Result<Vec<Effect>, Stop> {
        let (mut effects, mut indexed) = (Vec::with_capacity(self.staged.len()), Vec::new());
        let mut referring = Vec::new();
        let limits = self.engine.limits();
        let mut reading = indexes::Reading::default();
        let (mut bytes, bytes_max) = (0, limits.command_entries_bytes_max);
        let (mut entries, entries_max) = (0, limits.command_entries_max);
        for ((collection, id), staged) in &self.staged {
            let (base, now) = (staged.base.as_ref(), staged.now.as_ref());
            let changes = indexes::changes(self, &mut reading, *collection, base, now);
            let mut changes = changes.map_err(|stop| stop.of_document(id))?;
            let indexes = std::mem::take(&mut changes.indexes);
            referring.extend(references::referring(self.catalog(), *collection, id, &indexes));
            bytes += indexes.iter().map(indexes::bytes).sum::<usize>();
            entries += indexes.iter().map(|change| change.removed.len() + change.added.len()).sum::<usize>();
            if entries > entries_max {
                let detail =
                    format!("its documents have more than {entries_max} entries in indexes: write fewer at once");
                return Err(Stop::from(refusal("too_large", detail)).of_document(id));
            }
            if bytes > bytes_max {
                let detail =
                    format!("the index entries of its documents take more than {bytes_max} bytes: write fewer at once");
                return Err(Stop::from(refusal("too_large", detail)).of_document(id));
            }
            let (collection_id, previous_revision) = (*collection, base.map_or(0, |base| base.revision));
            let bytes = Bytes::copy_from_slice(id.as_bytes());
            let kind = match (base, now) {
                // Inserted and deleted again: nobody saw it.
                (None, None) => continue,
                (Some(_), None) => {
                    Kind::DeleteDoc(proto::DeleteDoc { collection_id, id: bytes, previous_revision, indexes })
                }
                (_, Some(now)) => {
                    let (body, created_ms) = (now.body.clone(), now.created_ms);
                    Kind::PutDoc(proto::PutDoc {
                        collection_id,
                        id: bytes,
                        body,
                        previous_revision,
                        created_ms,
                        indexes,
                    })
                }
            };
            effects.push(Effect { kind: Some(kind) });
            if changes.is_unique() {
                indexed.push((id.clone(), changes));
            }
        }
        indexes::claim(self, &indexed)?;
        self.referrers.stage(referring);
        Ok(effects)
    }

    /// Notes the entries that a document gets by a step of a build.
    pub(super) fn stage_built(&mut self, collection: u32, index: &Index, id: &str, added: &[Bytes]) {
        self.referrers.stage(references::entries(collection, index, id, added));
    }

    /// Who has entries that begin with `key` (see [`Index::referrers_key`]), by what is applied and by what is not yet.
    pub(super) fn referrers<'s>(&self, snapshot: &'s dyn Snapshot, key: &[u8]) -> Found<'s> {
        self.referrers.find(snapshot, key)
    }

    /// Whom a value of a unique index belongs to; `key` is that of its entries, without an id.
    pub(super) fn owner(&self, key: &[u8]) -> Result<Option<String>, Error> {
        if let Some(owner) = self.staged_owners.get(key) {
            return Ok(owner.clone());
        }
        if let Some((_, owner)) = self.owners.get(key) {
            return Ok(owner.clone());
        }
        let snapshot = self.snapshot();
        // Ids hold no such byte, and no values are the beginning of others.
        let end = [key, &[u8::MAX]].concat();
        let mut scan = snapshot.scan(INDEX, key, &end, false);
        let id = |found: &[u8]| String::from_utf8(found[key.len()..].to_vec());
        let found = scan.next()?.map(|(found, _)| id(found)).transpose();
        found.map_err(|e| Error::malformed("an index entry", e))
    }

    pub(super) fn stage_owner(&mut self, key: Vec<u8>, owner: Option<String>) {
        self.staged_owners.insert(key, owner);
    }

    /// An index goes.
    pub(super) fn forget_owners(&mut self, prefix: &[u8]) {
        self.owners.retain(|key, _| !key.starts_with(prefix));
        self.staged_owners.retain(|key, _| !key.starts_with(prefix));
    }

    /// How far the build of an index has come.
    pub(super) fn walk_progress(&self, collection: u32, index: u32) -> Result<proto::WalkProgress, Error> {
        if let Some(progress) = self.progress.get(&(collection, index)) {
            return Ok(progress.clone());
        }
        let bytes = self.get_meta(&keys::walk_progress(collection, index))?.unwrap_or_default();
        proto::WalkProgress::decode(&*bytes).map_err(|e| Error::malformed("an index's progress", e))
    }

    pub(super) fn stage_progress(&mut self, collection: u32, index: u32, progress: proto::WalkProgress) {
        self.progress.insert((collection, index), progress);
    }

    /// Staged notes become part of the entry `seq`, at `revision` if they change documents.
    pub(super) fn commit(&mut self, seq: u64, revision: u64) {
        self.staged_bytes = 0;
        self.journal = None;
        for (key, id) in self.referrers.commit(seq) {
            self.notes.push_back((seq, Note::Referrer(key, id)));
        }
        for (key, staged) in self.staged.drain(..) {
            self.notes.push_back((seq, Note::Document(key.clone())));
            self.documents.insert(key, Pending { seq, revision, document: staged.now });
        }
        for (key, owner) in self.staged_owners.drain() {
            self.notes.push_back((seq, Note::Owner(key.clone())));
            self.owners.insert(key, (seq, owner));
        }
        if let Some(catalog) = self.staged_catalog.take() {
            self.catalog = Arc::new(catalog);
        }
    }

    /// Staged notes vanish.
    pub(super) fn discard(&mut self) {
        self.staged.clear();
        self.staged_bytes = 0;
        self.journal = None;
        self.referrers.discard();
        self.staged_owners.clear();
        self.staged_catalog = None;
    }

    pub(super) fn idempotency(&self, digest: &[u8]) -> Result<Option<IdempotencyRecord>, Error> {
        if let Some((_, record)) = self.idempotency.get(digest) {
            return Ok(Some(record.clone()));
        }
        let bytes = self.get_meta(&keys::idempotency(digest))?;
        let record = bytes.map(|bytes| IdempotencyRecord::decode(&*bytes)).transpose();
        record.map_err(|e| Error::malformed("a remembered key", e))
    }

    pub(super) fn idempotency_has_room(&self) -> bool {
        self.idempotency_bytes < self.engine.limits().idempotency_bytes_max
    }

    pub(super) fn remember_idempotency(&mut self, seq: u64, record: IdempotencyRecord) {
        self.idempotency_bytes += record.encoded_len() as u64;
        self.notes.push_back((seq, Note::Idempotency(record.key.to_vec())));
        self.idempotency.insert(record.key.to_vec(), (seq, record));
    }

    /// Notes that room was made; exact again at the next epoch.
    pub(super) fn forget_idempotency(&mut self, bytes: u64) {
        self.idempotency_bytes = self.idempotency_bytes.saturating_sub(bytes);
    }

    pub(super) fn remember_outcome(&mut self, seq: u64, number: Number, outcome: &Outcome) {
        self.notes.push_back((seq, Note::Outcome((number.session, number.number))));
        self.outcomes.insert((number.session, number.number), outcome.encode_to_vec());
    }

    /// The outcome of a command that is decided and not applied yet.
    pub(super) fn outcome(&self, number: Number) -> Result<Option<Outcome>, Error> {
        let bytes = self.outcomes.get(&(number.session, number.number));
        let outcome = bytes.map(|bytes| Outcome::decode(&**bytes)).transpose();
        outcome.map_err(|e| Error::malformed("a remembered outcome", e))
    }

    /// Notes the watermark; false when it does not rise.
    pub(super) fn raise_watermark(&mut self, mark: &proto::Watermark) -> Result<bool, Error> {
        let before = match self.watermarks.get(&mark.collection_id) {
            Some(&raised) => raised,
            None => {
                let bytes = self.get_meta(&keys::watermark(mark.collection_id))?;
                bytes.map(|bytes| record::number(&bytes)).transpose()?.unwrap_or(0)
            }
        };
        if mark.revision > before {
            self.watermarks.insert(mark.collection_id, mark.revision);
        }
        Ok(mark.revision > before)
    }

    /// What is applied.
    pub(super) fn snapshot(&self) -> Arc<dyn Snapshot> {
        self.engine.current().store.snapshot()
    }

    /// What is applied, and a revision that it has at least.
    pub(super) fn applied(&self) -> (u64, Arc<dyn Snapshot>) {
        let current = self.engine.current();
        (current.meta.revision, current.store.snapshot())
    }

    pub(super) fn get_meta(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.engine.current().store.get(META, key)?)
    }

    /// Drops the notes of the entries up to `seq`, which are applied.
    pub(super) fn prune(&mut self, seq: u64) {
        while self.notes.front().is_some_and(|(noted, _)| *noted <= seq) {
            let Some((_, note)) = self.notes.pop_front() else { break };
            // A later entry may have written the same key again: its note stays.
            match note {
                Note::Document(key) => {
                    if self.documents.get(&key).is_some_and(|pending| pending.seq <= seq) {
                        self.documents.remove(&key);
                    }
                }
                Note::Owner(key) => {
                    if self.owners.get(&key).is_some_and(|(noted, _)| *noted <= seq) {
                        self.owners.remove(&key);
                    }
                }
                Note::Referrer(key, id) => self.referrers.prune(&key, &id, seq),
                Note::Outcome(number) => {
                    self.outcomes.remove(&number);
                }
                Note::Idempotency(digest) => {
                    self.idempotency.remove(&digest);
                }
            }
        }
    }
}
