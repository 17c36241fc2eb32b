//! The naive model: every state of every collection, by revision.

use aerodb_proto as proto;
use bytes::Bytes;
use proto::command::Op;
use proto::operation::Action;
use proto::precondition::Kind as Condition;
use proto::{Command, Precondition};

use super::*;
use crate::index::Index;
use crate::limits::Limits;
use crate::update::Update;
use crate::{patch, prepare, time};

/// A version of a document.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Doc {
    pub(super) revision: u64,
    created_ms: u64,
    pub(super) body: Bytes,
}

type Docs = BTreeMap<String, Doc>;

/// What the state has to say, worked out without it.
#[derive(Default)]
pub(super) struct Model {
    /// By revision: the documents of each collection that exists then, by its id.
    states: Vec<BTreeMap<u32, Docs>>,
    /// The collections that exist now.
    pub(super) names: BTreeMap<String, u32>,
    next_id: u32,
    /// By collection: what happened, in order.
    events: BTreeMap<u32, Vec<Change>>,
    /// By collection and name; `false` once it has failed.
    indexes: BTreeMap<(u32, String), (Index, bool)>,
    /// The watermarks.
    pub(super) oldest: BTreeMap<u32, u64>,
}

impl Model {
    /// The state after [`Leader::new`].
    pub(super) fn new() -> Self {
        let with_c: BTreeMap<u32, Docs> = [(2, Docs::new())].into();
        Self {
            states: vec![BTreeMap::new(), BTreeMap::new(), with_c],
            names: [("c".to_owned(), 2)].into(),
            next_id: 3,
            ..Self::default()
        }
    }

    pub(super) fn revision(&self) -> u64 {
        self.states.len() as u64 - 1
    }

    pub(super) fn at(&self, collection: u32, revision: u64) -> Docs {
        self.states[revision as usize].get(&collection).cloned().unwrap_or_default()
    }

    /// The events after `since`.
    pub(super) fn events(&self, collection: u32, since: u64) -> Vec<Change> {
        let events = self.events.get(&collection).cloned().unwrap_or_default();
        events.into_iter().filter(|event| event.revision > since).collect()
    }

    /// All versions of a document that held at or above the watermark, oldest first.
    pub(super) fn history(&self, collection: u32, id: &str) -> Vec<Version> {
        let mut versions: Vec<Version> = Vec::new();
        for revision in self.oldest.get(&collection).copied().unwrap_or(0)..=self.revision() {
            let now = self.at(collection, revision).get(id).cloned();
            let same = match (&now, versions.last()) {
                (Some(now), Some(last)) => last.from == now.revision,
                _ => false,
            };
            if same {
                continue;
            }
            if let Some(open) = versions.last_mut().filter(|version| version.to.is_none()) {
                open.to = Some(revision);
            }
            versions.extend(now.map(|doc| Version { from: doc.revision, to: None, body: doc.body }));
        }
        versions
    }

    /// Does what the command asks; false when it must change nothing.
    pub(super) fn play(&mut self, command: &Command, time_ms: u64) -> bool {
        let revision = self.states.len() as u64;
        let mut state = self.states[revision as usize - 1].clone();
        let Some(written) = self.written(command, &mut state) else { return false };
        let mut events = Vec::new();
        for (position, Written { collection, id, fields, anew }) in written.into_iter().enumerate() {
            let docs = state.get_mut(&collection).expect("the collection exists");
            let before = docs.get(&id).cloned();
            let created_ms = before.as_ref().filter(|_| !anew).map_or(time_ms, |doc| doc.created_ms);
            let after = fields.map(|fields| Doc {
                revision,
                created_ms,
                body: body(&id, revision, created_ms, time_ms, fields),
            });
            let kind = match (&before, &after) {
                (_, None) => ChangeKind::Delete,
                (None, Some(_)) => ChangeKind::Insert,
                (Some(_), Some(_)) => ChangeKind::Update,
            };
            match after.clone() {
                Some(doc) => docs.insert(id.clone(), doc),
                None => docs.remove(&id),
            };
            let (after, before) = (after.map(|doc| doc.body), before.map(|doc| doc.body));
            let change = Change { revision, position: position as u32, kind, id, after, before };
            events.push((collection, change));
        }
        if self.indexes.iter().any(|((id, _), (index, kept))| *kept && has_twice(index, state.get(id))) {
            return false;
        }
        for (collection, change) in events {
            self.events.entry(collection).or_default().push(change);
        }
        self.states.push(state);
        true
    }

    /// The build of the index that was just made comes to its end.
    pub(super) fn build(&mut self, command: &Command) {
        let Some(Op::CreateIndex(create)) = &command.op else { return };
        let id = self.names[&create.collection];
        let state = self.states.last().cloned().unwrap_or_default();
        let name = create.index.as_ref().unwrap().name.clone();
        let (index, kept) = self.indexes.get_mut(&(id, name)).expect("the index was made");
        *kept = !has_twice(index, state.get(&id));
        self.states.push(state);
    }

    /// Which documents get which fields; nothing when the command is refused or a no-op.
    fn written(&mut self, command: &Command, state: &mut BTreeMap<u32, Docs>) -> Option<Vec<Written>> {
        let docs_of = |names: &BTreeMap<String, u32>, name: &str| names.get(name).map(|id| (*id, state[id].clone()));
        match command.op.as_ref()? {
            Op::CreateCollection(create) => {
                if self.names.contains_key(&create.name) {
                    return None;
                }
                self.names.insert(create.name.clone(), self.next_id);
                state.insert(self.next_id, Docs::new());
                self.next_id += 1;
                Some(Vec::new())
            }
            Op::CreateIndex(create) => {
                let key = (*self.names.get(&create.collection)?, create.index.as_ref()?.name.clone());
                if self.indexes.contains_key(&key) {
                    return None;
                }
                // Writes are held against it once its build has come to its end: here that is at once.
                self.indexes.insert(key, (Index::compile(create.index.clone()?).unwrap(), false));
                Some(Vec::new())
            }
            Op::DropIndex(drop) => {
                self.indexes.remove(&(*self.names.get(&drop.collection)?, drop.name.clone()))?;
                Some(Vec::new())
            }
            Op::DropCollection(drop) => {
                let id = self.names.remove(&drop.name)?;
                state.remove(&id);
                self.indexes.retain(|(collection, _), _| *collection != id);
                Some(Vec::new())
            }
            Op::Insert(insert) => {
                let (collection, docs) = docs_of(&self.names, &insert.collection)?;
                let mut written: BTreeMap<String, ()> = BTreeMap::new();
                for document in &insert.documents {
                    if docs.contains_key(&document.id) || written.insert(document.id.clone(), ()).is_some() {
                        return None;
                    }
                }
                let written = insert.documents.iter();
                Some(written.map(|new| Written::one(collection, &new.id, Some(parse(&new.fields)))).collect())
            }
            Op::Put(put) => {
                let (collection, docs) = docs_of(&self.names, &put.collection)?;
                let new = put.document.clone()?;
                hold(&put.preconditions, docs.get(&new.id))?;
                Some(vec![Written::one(collection, &new.id, Some(parse(&new.fields)))])
            }
            Op::Patch(change) => {
                let (collection, docs) = docs_of(&self.names, &change.collection)?;
                let doc = docs.get(&change.id)?;
                hold(&change.preconditions, Some(doc))?;
                let before = prepare::fields_of(parse(&doc.body));
                let after = changed(&before, &change.patch)?;
                (after != before).then(|| vec![Written::one(collection, &change.id, Some(after))])
            }
            Op::Delete(delete) => {
                let (collection, docs) = docs_of(&self.names, &delete.collection)?;
                let doc = docs.get(&delete.id)?;
                hold(&delete.preconditions, Some(doc))?;
                Some(vec![Written::one(collection, &delete.id, None)])
            }
            Op::Transaction(transaction) => self.transacted(transaction, state),
            other => panic!("the model knows no {other:?}"),
        }
    }
}

/// Whether two documents have the same values in a unique index, null aside.
fn has_twice(index: &Index, docs: Option<&Docs>) -> bool {
    let mut seen = std::collections::BTreeSet::new();
    let values =
        docs.into_iter().flat_map(|docs| docs.values()).flat_map(|doc| index.entries(&parse(&doc.body)).unwrap());
    index.definition.unique && { values }.any(|(values, _)| index.claims(&values) && !seen.insert(values))
}

/// A document that gets fields (`None`: it goes).
struct Written {
    collection: u32,
    id: String,
    fields: Option<Value>,
    /// It was gone in between: its time of creation is that of the command.
    anew: bool,
}

impl Written {
    fn one(collection: u32, id: &str, fields: Option<Value>) -> Self {
        Self { collection, id: id.to_owned(), fields, anew: false }
    }
}

/// What a change makes of a document's fields; nothing when it cannot be applied.
fn changed(before: &Value, change: &[u8]) -> Option<Value> {
    let (mut after, change) = (before.clone(), parse(change));
    match change.as_object().filter(|change| Update::is_meant(change)) {
        Some(update) => Update::parse(update).unwrap().apply(&mut after).ok()?,
        None => patch::merge(&mut after, &change),
    }
    Some(after)
}

impl Model {
    /// What a transaction leaves of each document that it writes, in the order of the first writes.
    fn transacted(&self, transaction: &proto::Transaction, state: &BTreeMap<u32, Docs>) -> Option<Vec<Written>> {
        let mut written: Vec<Written> = Vec::new();
        for operation in &transaction.operations {
            let (collection, id) = (*self.names.get(&operation.collection)?, &operation.id);
            let base = state[&collection].get(id);
            let read = transaction.read_revision;
            if read > 0 {
                let oldest = self.oldest.get(&collection).copied().unwrap_or(0);
                let changed = match base {
                    Some(base) => base.revision > read,
                    None => {
                        read < oldest || (read..=self.revision()).any(|then| self.at(collection, then).contains_key(id))
                    }
                };
                if read > self.revision() || changed {
                    return None;
                }
            }
            let at = written.iter().position(|one| one.collection == collection && one.id == *id);
            let now = match at {
                Some(at) => written[at].fields.clone(),
                None => base.map(|base| prepare::fields_of(parse(&base.body))),
            };
            for condition in &operation.preconditions {
                let holds = match condition.kind.as_ref()? {
                    Condition::IfRevision(wanted) => base.is_some_and(|base| base.revision == *wanted),
                    Condition::IfExists(_) => now.is_some(),
                    Condition::IfAbsent(_) => now.is_none(),
                    Condition::IfMatches(filter) => {
                        let filter = crate::filter::Filter::parse(&parse(filter)).unwrap();
                        now.as_ref().is_some_and(|now| filter.matches(now))
                    }
                    Condition::IfAnyRevision(_) => false,
                };
                holds.then_some(())?;
            }
            let after = match operation.action.as_ref()? {
                Action::Insert(_) if now.is_some() => return None,
                Action::Insert(fields) | Action::Put(fields) => Some(parse(fields)),
                Action::Patch(change) => {
                    let before = now.clone()?;
                    let after = changed(&before, change)?;
                    if after == before {
                        continue;
                    }
                    Some(after)
                }
                Action::Delete(_) => {
                    now.as_ref()?;
                    None
                }
                Action::Get(_) => continue,
            };
            let anew = now.is_none();
            match at {
                Some(at) => {
                    let anew = anew || written[at].anew;
                    written[at] = Written { collection, id: id.clone(), fields: after, anew };
                }
                None => written.push(Written { collection, id: id.clone(), fields: after, anew }),
            }
        }
        written.retain(|one| one.fields.is_some() || state[&one.collection].contains_key(&one.id));
        (!written.is_empty()).then_some(written)
    }
}

fn hold(preconditions: &[Precondition], doc: Option<&Doc>) -> Option<()> {
    let holds = preconditions.iter().all(|condition| match condition.kind {
        Some(Condition::IfRevision(revision)) => doc.is_some_and(|doc| doc.revision == revision),
        Some(Condition::IfExists(_)) => doc.is_some(),
        Some(Condition::IfAbsent(_)) => doc.is_none(),
        _ => false,
    });
    holds.then_some(())
}

pub(super) fn parse(bytes: &[u8]) -> Value {
    json::parse(bytes, &prepare::json_limits(&Limits::default())).unwrap()
}

fn body(id: &str, revision: u64, created_ms: u64, updated_ms: u64, fields: Value) -> Bytes {
    let mut all = vec![
        ("id".to_owned(), Value::from(id)),
        ("_revision".to_owned(), Value::from(revision)),
        ("_created_at".to_owned(), Value::from(time::rfc3339(created_ms))),
        ("_updated_at".to_owned(), Value::from(time::rfc3339(updated_ms))),
    ];
    all.extend(fields.as_object().expect("a document is an object").to_vec());
    Value::Object(all).to_bytes().into()
}
