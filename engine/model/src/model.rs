//! The naive model: what each operation does to documents in maps.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::filter::matches;
use crate::op::{Condition, Index, Op, Step, What, pieces};
use crate::schema::fits;
use crate::update::changed;
use crate::value::reached;

/// A document: its fields, and the revision that wrote them.
#[derive(Clone, Debug, PartialEq)]
struct Doc {
    revision: u64,
    fields: Value,
}

#[derive(Clone, Debug, Default)]
struct Collection {
    docs: BTreeMap<String, Doc>,
    /// When each document went that was there.
    gone: BTreeMap<String, u64>,
    /// `false`: documents stood against it, and it is kept for nobody.
    indexes: BTreeMap<String, (Index, bool)>,
    /// The schema that binds, or only warns, and which of it.
    schema: Option<(Value, &'static str)>,
    /// One that documents stood against.
    failed: Option<Value>,
}

/// Everything that there is.
#[derive(Clone, Debug)]
pub struct Model {
    revision: u64,
    collections: BTreeMap<String, Collection>,
}

/// What has become of an operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// The revision at which it was answered.
    pub revision: u64,
    /// Whether it changed anything.
    pub changed: bool,
    /// What is answered.
    pub answer: Answer,
    /// What the system does by itself after it, at a revision of its own: an index or a schema of this collection comes into
    /// force, or (false) does not.
    pub settles: Option<(String, bool)>,
}

/// What an operation is answered with.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// That it was done.
    Done,
    /// That it was not, with this code.
    Refused(&'static str),
    /// With documents.
    Documents(Vec<Shown>),
    /// With how many documents matched, and how many changed.
    Affected(u64, u64),
}

/// A document with its system fields, without times; nothing where there is none.
pub type Shown = Option<Value>;

impl Doc {
    fn shown(&self, id: &str) -> Value {
        let mut shown = pieces::document(id, &self.fields);
        shown["_revision"] = json!(self.revision);
        shown
    }
}

type Refusal = &'static str;

/// The documents that an operation leaves otherwise than it found them; nothing: they go.
type Left = BTreeMap<(String, String), Option<Value>>;

impl Model {
    /// Nothing but what `revision` made already.
    pub fn new(revision: u64) -> Self {
        Self { revision, collections: BTreeMap::new() }
    }

    /// The last revision.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The names of all collections.
    pub fn collections(&self) -> impl Iterator<Item = &str> {
        self.collections.keys().map(String::as_str)
    }

    /// The documents of a collection that match, by id, as they are shown.
    pub fn list(&self, collection: &str, filter: &Value) -> Vec<Value> {
        let docs = self.collections.get(collection).into_iter().flat_map(|found| &found.docs);
        docs.map(|(id, doc)| doc.shown(id)).filter(|shown| matches(filter, shown)).collect()
    }

    /// Does what `op` asks for, and what the system does after it.
    pub fn play(&mut self, op: &Op) -> Done {
        let before = self.clone();
        let decided = match op {
            Op::Create(name) => self.create(name),
            Op::Drop(name) => self.drop(name),
            Op::CreateIndex(name, index) => self.create_index(name, index),
            Op::DropIndex(name, index) => self.drop_index(name, index),
            Op::SetSchema(name, schema, validation) => self.set_schema(name, schema.as_ref(), validation),
            Op::Insert(name, documents) => self.insert(name, documents),
            Op::One(step) => self.one(step),
            Op::Bulk(name, filter, change, max) => self.bulk(name, filter, change.as_ref(), *max),
            Op::Transact(steps, read_back) => self.transact(steps, *read_back),
        };
        match decided {
            Ok(Decided { changed, answer, settles }) => {
                let revision = if changed { self.revision + 1 } else { self.revision };
                self.revision = revision + u64::from(settles.is_some());
                Done { revision, changed, answer, settles }
            }
            Err(code) => {
                *self = before;
                Done { revision: self.revision, changed: false, answer: Answer::Refused(code), settles: None }
            }
        }
    }

    fn collection(&mut self, name: &str) -> Result<&mut Collection, Refusal> {
        self.collections.get_mut(name).ok_or("collection_not_found")
    }

    fn create(&mut self, name: &str) -> Result<Decided, Refusal> {
        if self.collections.contains_key(name) {
            return Err("collection_exists");
        }
        self.collections.insert(name.to_owned(), Collection::default());
        Ok(Decided::done(true))
    }

    fn drop(&mut self, name: &str) -> Result<Decided, Refusal> {
        self.collections.remove(name).map(|_| Decided::done(true)).ok_or("collection_not_found")
    }

    fn create_index(&mut self, name: &str, index: &Index) -> Result<Decided, Refusal> {
        let collection = self.collection(name)?;
        if collection.indexes.contains_key(&index.name) {
            return Err("index_exists");
        }
        let good = !has_twice(index, &collection.docs);
        collection.indexes.insert(index.name.clone(), (index.clone(), good));
        Ok(Decided { settles: Some((name.to_owned(), good)), ..Decided::done(true) })
    }

    fn drop_index(&mut self, name: &str, index: &str) -> Result<Decided, Refusal> {
        self.collection(name)?.indexes.remove(index).map(|_| Decided::done(true)).ok_or("index_not_found")
    }

    fn set_schema(&mut self, name: &str, wanted: Option<&Value>, validation: &'static str) -> Result<Decided, Refusal> {
        let collection = self.collection(name)?;
        let wanted = wanted.map(|schema| (schema.clone(), validation));
        if wanted == collection.schema {
            return Ok(Decided::done(collection.failed.take().is_some()));
        }
        collection.failed = None;
        match wanted {
            Some((schema, "strict")) => {
                let good = collection.docs.values().all(|doc| fits(&schema, &doc.fields));
                match good {
                    true => collection.schema = Some((schema, "strict")),
                    false => collection.failed = Some(schema),
                }
                Ok(Decided { settles: Some((name.to_owned(), good)), ..Decided::done(true) })
            }
            other => {
                collection.schema = other;
                Ok(Decided::done(true))
            }
        }
    }

    fn insert(&mut self, name: &str, documents: &[(String, Value)]) -> Result<Decided, Refusal> {
        self.collection(name)?;
        let mut left = Left::new();
        for (id, fields) in documents {
            if self.now(&left, name, id).is_some() {
                return Err("already_exists");
            }
            self.write(&mut left, name, id, fields.clone())?;
        }
        self.take(left)?;
        Ok(self.shows(documents.iter().map(|(id, _)| (name, id.as_str())), !documents.is_empty()))
    }

    fn one(&mut self, step: &Step) -> Result<Decided, Refusal> {
        let mut left = Left::new();
        self.step(&mut left, step)?;
        let changed = self.take(left)?;
        match step.what {
            What::Delete => Ok(Decided::done(true)),
            _ => Ok(self.shows([(step.collection.as_str(), step.id.as_str())], changed)),
        }
    }

    fn bulk(
        &mut self,
        name: &str,
        filter: &Value,
        change: Option<&Value>,
        max: Option<u64>,
    ) -> Result<Decided, Refusal> {
        let docs = self.collection(name)?.docs.clone();
        let found: Vec<_> = docs.iter().filter(|(id, doc)| matches(filter, &doc.shown(id))).collect();
        if max.is_some_and(|max| found.len() as u64 > max) {
            return Err("too_many_affected");
        }
        let mut left = Left::new();
        for (id, doc) in &found {
            match change {
                None => drop(left.insert((name.to_owned(), (*id).clone()), None)),
                Some(change) => {
                    let after = changed(&doc.fields, change).ok_or("update_not_applicable")?;
                    if after != doc.fields {
                        self.write(&mut left, name, id, after)?;
                    }
                }
            }
        }
        let (matched, modified) = (found.len() as u64, left.len() as u64);
        let changed = self.take(left)?;
        Ok(Decided { changed, answer: Answer::Affected(matched, modified), settles: None })
    }

    fn transact(&mut self, steps: &[Step], read_back: Option<u64>) -> Result<Decided, Refusal> {
        let mut left = Left::new();
        let before = self.clone();
        let mut found = Vec::new();
        for step in steps {
            self.collection(&step.collection)?;
            let read = read_back.map(|back| pieces::before(self.revision, back));
            if read.is_some_and(|read| self.last_change(&step.collection, &step.id) > read) {
                return Err("conflict");
            }
            let own = left.contains_key(&(step.collection.clone(), step.id.clone()));
            let was = left.clone();
            self.step(&mut left, step).map_err(|code| if code == "precondition_failed" { "conflict" } else { code })?;
            // What was read before the transaction wrote it is shown as it was.
            found.push(own || left != was);
        }
        let changed = self.take(left)?;
        let shown = steps.iter().zip(found).map(|(step, after)| match step.what {
            What::Delete => None,
            _ => {
                let from = if after { &*self } else { &before };
                let revision = self.revision + u64::from(changed);
                let shown = from.doc(&step.collection, &step.id).map(|doc| doc.shown(&step.id))?;
                debug_assert!(shown["_revision"].as_u64() <= Some(revision), "nothing is from later");
                Some(shown)
            }
        });
        Ok(Decided { changed, answer: Answer::Documents(shown.collect()), settles: None })
    }

    fn step(&self, left: &mut Left, step: &Step) -> Result<(), Refusal> {
        let Step { collection, id, condition, what } = step;
        if !self.collections.contains_key(collection) {
            return Err("collection_not_found");
        }
        let base = self.doc(collection, id).map(|doc| doc.revision);
        let now = self.now(left, collection, id);
        let holds = match condition {
            None => true,
            Some(Condition::Exists) => now.is_some(),
            Some(Condition::Absent) => now.is_none(),
            Some(Condition::Revision(back)) => base == Some(pieces::before(self.revision, *back)),
            Some(Condition::Matches(filter)) => now.as_ref().is_some_and(|now| matches(filter, now)),
        };
        if !holds {
            return Err("precondition_failed");
        }
        match what {
            What::Insert(_) if now.is_some() => Err("already_exists"),
            What::Insert(fields) | What::Put(fields) => self.write(left, collection, id, fields.clone()),
            What::Patch(change) => {
                let now = now.ok_or("not_found")?;
                let after = changed(&now, change).ok_or("update_not_applicable")?;
                if after == now { Ok(()) } else { self.write(left, collection, id, after) }
            }
            What::Delete => {
                now.ok_or("not_found")?;
                left.insert((collection.clone(), id.clone()), None);
                Ok(())
            }
            What::Get => Ok(()),
        }
    }

    fn doc(&self, collection: &str, id: &str) -> Option<&Doc> {
        self.collections.get(collection)?.docs.get(id)
    }

    /// The revision that last wrote or deleted the document.
    fn last_change(&self, collection: &str, id: &str) -> u64 {
        let gone = self.collections.get(collection).and_then(|found| found.gone.get(id));
        self.doc(collection, id).map(|doc| doc.revision).or(gone.copied()).unwrap_or(0)
    }

    fn now(&self, left: &Left, collection: &str, id: &str) -> Option<Value> {
        match left.get(&(collection.to_owned(), id.to_owned())) {
            Some(left) => left.clone(),
            None => self.doc(collection, id).map(|doc| doc.fields.clone()),
        }
    }

    fn write(&self, left: &mut Left, collection: &str, id: &str, fields: Value) -> Result<(), Refusal> {
        let schema = self.collections.get(collection).and_then(|found| found.schema.as_ref());
        if schema.is_some_and(|(schema, validation)| *validation == "strict" && !fits(schema, &fields)) {
            return Err("schema_violation");
        }
        left.insert((collection.to_owned(), id.to_owned()), Some(fields));
        Ok(())
    }

    /// Takes in what an operation leaves, at the next revision; whether that is anything.
    fn take(&mut self, left: Left) -> Result<bool, Refusal> {
        let revision = self.revision + 1;
        let mut changed = false;
        for ((collection, id), fields) in left {
            let Collection { docs, gone, .. } = self.collection(&collection)?;
            match fields {
                Some(fields) => drop(docs.insert(id, Doc { revision, fields })),
                None if docs.remove(&id).is_some() => drop(gone.insert(id, revision)),
                None => continue,
            }
            changed = true;
        }
        let mut kept = self.collections.values().flat_map(|found| found.indexes.values().map(move |one| (one, found)));
        match kept.any(|((index, good), found)| *good && has_twice(index, &found.docs)) {
            true => Err("unique_violation"),
            false => Ok(changed),
        }
    }

    fn shows<'a>(&self, places: impl IntoIterator<Item = (&'a str, &'a str)>, changed: bool) -> Decided {
        let shown = places.into_iter().map(|(name, id)| self.doc(name, id).map(|doc| doc.shown(id)));
        Decided { changed, answer: Answer::Documents(shown.collect()), settles: None }
    }
}

/// What an operation comes to that is not refused.
struct Decided {
    changed: bool,
    answer: Answer,
    settles: Option<(String, bool)>,
}

impl Decided {
    fn done(changed: bool) -> Self {
        Self { changed, answer: Answer::Done, settles: None }
    }
}

/// Whether two documents have the same values in a unique index, where none of them is null or missing.
fn has_twice(index: &Index, docs: &BTreeMap<String, Doc>) -> bool {
    let mut seen = BTreeSet::new();
    index.unique && docs.values().flat_map(|doc| claims(index, &doc.fields)).any(|claim| !seen.insert(claim))
}

/// What a document claims: each combination of the values that it has in the index's fields, once.
fn claims(index: &Index, fields: &Value) -> BTreeSet<Vec<String>> {
    if index.filter.as_ref().is_some_and(|filter| !matches(filter, fields)) {
        return BTreeSet::new();
    }
    let mut all: BTreeSet<Vec<String>> = [Vec::new()].into();
    for field in &index.fields {
        let path = field.strip_suffix(".desc").unwrap_or(field);
        let values: BTreeSet<String> =
            reached(fields, path).into_iter().filter(|value| !value.is_null()).map(name).collect();
        all = all
            .iter()
            .flat_map(|claim| values.iter().map(|v| [&claim[..], std::slice::from_ref(v)].concat()))
            .collect();
    }
    all
}

/// Equal values have equal names.
fn name(value: &Value) -> String {
    match value {
        Value::Number(number) => format!("{:?}", number.as_f64()),
        Value::Array(items) => format!("[{}]", items.iter().map(name).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}
