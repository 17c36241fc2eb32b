//! What clients were told, judged by revision: every revision must come from an operation that somebody asked for and
//! that the model decides alike, every answer must be the model's at the revision that it names, and no answer may be
//! older than what anybody had seen before it was asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use aerodb_engine::view::Change;
use aerodb_proto as proto;
use proto::effect::Kind;
use proto::outcome::Result as Told;

use super::append::{self, Seen as Appended};
use super::canon::Canon;
use super::model::catalog::Change as Catalog;
use super::model::query::Query;
use super::model::{self, Doc, Event, Model, Op, Shown, Transacted, Verdict};
use crate::call::WhyNot;

/// How a write ended for its client.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// It was answered.
    Answered(proto::Outcome),
    /// The error says that nothing happened.
    Nothing,
    /// It may have happened, or may yet.
    Unknown,
}

/// Whether a write carried an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// It had none.
    None,
    /// It had its own, and was sent again under it where its fate was unknown.
    Own,
    /// It had one under which another request had succeeded.
    Used,
}

/// A write as its client saw it.
#[derive(Clone, Debug)]
pub struct Write {
    /// What was asked.
    pub op: Op,
    /// Its idempotency key.
    pub key: Key,
    /// It was sent more than once, under its key.
    pub again: bool,
    /// The highest revision that anybody had seen when it was first asked for.
    pub floor: u64,
    /// How it ended.
    pub end: End,
}

/// What a read asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// One document.
    Get {
        /// Where.
        collection: String,
        /// Which.
        id: String,
    },
    /// All that a query finds, over as many pages as it took.
    List {
        /// Where.
        collection: String,
        /// What.
        query: Query,
    },
}

/// A read as its client saw it.
#[derive(Clone, Debug)]
pub struct Read {
    /// What was asked.
    pub what: What,
    /// The revision that the answer says it was read at.
    pub revision: u64,
    /// The least revision that it may have been read at.
    pub floor: u64,
    /// The bodies, in their order.
    pub bodies: Vec<bytes::Bytes>,
    /// How many there are, where the answer says so.
    pub count: Option<u64>,
    /// Who answered, and how old the answer says it is.
    pub by: By,
}

/// Who answered a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct By {
    /// The node, of several pages the last one.
    pub node: u64,
    /// When it was asked.
    pub asked_at: Duration,
    /// What it said of a stale read.
    pub age: Option<Duration>,
}

/// A piece of the feed as a subscriber got it, be it an empty one.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Whose feed.
    pub collection: String,
    /// From where.
    pub since: u64,
    /// A piece ends with the revision in which it reaches so many events.
    pub limit: usize,
    /// The revision that the answer says it was read at.
    pub revision: u64,
    /// The least revision that it may have been read at.
    pub floor: u64,
    /// What came.
    pub events: Vec<Change>,
    /// Whether the answer says that there is more.
    pub more: bool,
    /// Who answered.
    pub by: By,
}

/// A read that was answered with no.
#[derive(Clone, Debug)]
pub struct Denial {
    /// Whose data was asked for.
    pub collection: String,
    /// The revision that was asked for: that of a cursor, of a read in the past, or where the feed was left.
    pub asked: Option<u64>,
    /// The revision at which the node looked.
    pub revision: u64,
    /// The least revision at which it may have looked.
    pub floor: u64,
    /// What it said.
    pub why: WhyNot,
    /// Who answered.
    pub by: By,
}

/// All that clients saw.
#[derive(Default)]
pub struct History {
    /// Writes.
    pub writes: Vec<Write>,
    /// Reads.
    pub reads: Vec<Read>,
    /// The feed.
    pub pieces: Vec<Piece>,
    /// Reads that were answered with no.
    pub denials: Vec<Denial>,
    /// What was appended to lists, and what was seen of them.
    pub appended: Vec<Appended>,
}

/// What the oracle says.
#[derive(Debug, Default)]
pub struct Judgement {
    /// What is wrong.
    pub wrong: Vec<String>,
    /// Indexes whose build came to a good end.
    pub built: u64,
    /// Indexes against which documents stood.
    pub failed: u64,
}

/// Judges `history` against what is committed; of the collections in `forgets` history may have been given up meanwhile.
pub fn judge(canon: &Canon, history: &History, forgets: &[&str]) -> Judgement {
    let said = Judgement::default();
    let mut judge = Judge { model: Model::default(), names: BTreeMap::new(), forgets, said };
    judge.said.wrong.extend(append::judge(&history.appended));
    judge.replay(canon, history);
    for write in &history.writes {
        judge.answer(write);
    }
    for read in &history.reads {
        judge.read(read);
    }
    for piece in &history.pieces {
        judge.piece(piece);
    }
    for denial in &history.denials {
        judge.denial(canon, denial);
    }
    judge.said
}

struct Judge<'a> {
    model: Model,
    /// Collections by id.
    names: BTreeMap<u32, String>,
    /// Collections whose history may have been given up.
    forgets: &'a [&'a str],
    said: Judgement,
}

/// What the committed log says that a revision did.
struct Done {
    catalog: Vec<Catalog>,
    written: Vec<(String, String, Option<Doc>)>,
}

impl Judge<'_> {
    /// Finds the operation behind each revision.
    fn replay(&mut self, canon: &Canon, history: &History) {
        let mut answered: BTreeMap<u64, Vec<&Write>> = BTreeMap::new();
        let mut unknown: Vec<Option<&Write>> = Vec::new();
        for write in &history.writes {
            match &write.end {
                End::Answered(outcome) if outcome.changed => {
                    answered.entry(outcome.revision).or_default().push(write);
                }
                End::Unknown => unknown.push(Some(write)),
                _ => {}
            }
        }
        for revision in 1..=canon.revision() {
            let Some(effects) = canon.effects(revision) else { continue };
            let done = match self.done(effects) {
                Ok(done) => done,
                Err(problem) => return self.said.wrong.push(format!("revision {revision}: {problem}")),
            };
            let by_itself = self.by_itself(&done, revision);
            match answered.remove(&revision).as_deref() {
                _ if revision == 1 => {}
                None if by_itself.is_some() => self.said.wrong.extend(by_itself.flatten()),
                Some([write]) => {
                    if let Err(problem) = self.explains(write, &done, revision) {
                        self.said.wrong.push(format!("revision {revision} was answered to {:?}: {problem}", write.op));
                    }
                }
                Some(several) => {
                    self.said
                        .wrong
                        .push(format!("revision {revision} was answered {} times: {several:?}", several.len()));
                }
                None => {
                    let found = unknown
                        .iter_mut()
                        .find(|candidate| candidate.is_some_and(|write| self.explains(write, &done, revision).is_ok()));
                    match found {
                        Some(write) => *write = None,
                        None => {
                            self.said.wrong.push(format!("nobody asked for what revision {revision} did: {effects:?}"))
                        }
                    }
                }
            }
            let Done { catalog, written } = done;
            if let Some(problem) = self.model.push(&catalog, written) {
                self.said.wrong.push(format!("revision {revision}: {problem}"));
            }
        }
        for (revision, writes) in answered {
            self.said.wrong.push(format!("revision {revision} was acknowledged and is not committed: {writes:?}"));
        }
    }

    /// What a revision did that nobody asks for: the build of an index comes to its end. `Some(Some(..))`: what is wrong
    /// with that.
    fn by_itself(&mut self, done: &Done, revision: u64) -> Option<Option<String>> {
        let ([change], []) = (&done.catalog[..], &done.written[..]) else { return None };
        let (collection, name) = change.ends_a_build()?;
        let failed = matches!(change, Catalog::Failed(..));
        let cause = self.model.breaks_unique(collection, name, revision - 1);
        self.said.built += u64::from(!failed);
        self.said.failed += u64::from(failed);
        Some((failed && !cause).then(|| format!("revision {revision}: {change:?}, and no documents stand against it")))
    }

    fn done(&mut self, effects: &proto::Effects) -> Result<Done, String> {
        let (mut catalog, mut written) = (Vec::new(), Vec::new());
        for effect in &effects.effects {
            match &effect.kind {
                Some(Kind::CreateCollection(collection)) => {
                    self.names.insert(collection.id, collection.name.clone());
                    catalog.push(Catalog::Collection(collection.name.clone()));
                }
                Some(Kind::ChangeCollection(change)) => {
                    let now = change.collection.clone().unwrap_or_default();
                    let name = self.names.get(&now.id).cloned().unwrap_or_default();
                    catalog.push(self.model.catalog.change_to(&name, &now, effects.revision)?);
                }
                // The first service key is a document of the system's.
                Some(Kind::PutDoc(put)) if effects.revision == 1 => {
                    self.names.entry(put.collection_id).or_default();
                }
                Some(Kind::PutDoc(put)) => {
                    let (id, doc) = model::read(&put.body).map_err(|e| e.to_string())?;
                    if id.as_bytes() != &*put.id || doc.revision != effects.revision {
                        return Err(format!("the body of {id} is of revision {}", doc.revision));
                    }
                    written.push((self.names.get(&put.collection_id).cloned().unwrap_or_default(), id, Some(doc)));
                }
                Some(Kind::DeleteDoc(delete)) => {
                    let id = String::from_utf8_lossy(&delete.id).into_owned();
                    written.push((self.names.get(&delete.collection_id).cloned().unwrap_or_default(), id, None));
                }
                _ => {}
            }
        }
        Ok(Done { catalog, written })
    }

    /// Whether `write`, decided right before `revision`, does what that revision did.
    fn explains(&self, write: &Write, done: &Done, revision: u64) -> Result<(), String> {
        if write.floor >= revision {
            return Err(format!("it was asked for when {} had been seen", write.floor));
        }
        if write.key == Key::Used {
            return Err("its key was used by another request before".to_owned());
        }
        match self.model.decide(&write.op, revision - 1) {
            Verdict::Catalog(change) if done.catalog == [change.clone()] && done.written.is_empty() => Ok(()),
            Verdict::Writes(expected) | Verdict::Contested(expected) if done.catalog.is_empty() => {
                let found: Vec<_> = done
                    .written
                    .iter()
                    .map(|(c, id, doc)| (c.clone(), id.clone(), doc.as_ref().map(|doc| doc.fields.clone())))
                    .collect();
                if found != expected {
                    return Err(format!("the model writes {expected:?}, the log {found:?}"));
                }
                for (collection, id, doc) in &done.written {
                    let before = self.model.at(collection, id, revision - 1);
                    if let (Some(before), Some(doc)) = (before, doc)
                        && before.created_at != doc.created_at
                    {
                        return Err(format!("{id} was created at {} and now {}", before.created_at, doc.created_at));
                    }
                }
                Ok(())
            }
            other => Err(format!("the model says {other:?}, the log {:?}, {:?}", done.catalog, done.written)),
        }
    }

    /// An answer must be what the model says at its revision.
    fn answer(&mut self, write: &Write) {
        let End::Answered(outcome) = &write.end else { return };
        let revision = outcome.revision;
        if revision < write.floor || (outcome.changed && revision == write.floor) {
            let problem =
                format!("the answer is of revision {revision}; {} had been seen: {:?}", write.floor, write.op);
            return self.said.wrong.push(problem);
        }
        if revision > self.model.revision() {
            return self
                .said
                .wrong
                .push(format!("the answer is of revision {revision}, which does not exist: {:?}", write.op));
        }
        let wrong = match (&outcome.result, outcome.changed) {
            (Some(Told::Documents(documents)), true) => self.bodies(write, documents, revision),
            (Some(Told::Transacted(told)), changed) => self.transacted(write, told, revision, changed),
            (Some(Told::Deleted(_) | Told::Collection(_)), true) => None,
            (Some(Told::Refusal(refusal)), false) if write.key == Key::Used => {
                let expected = "idempotency_key_reused";
                (refusal.code != expected).then(|| format!("refused as {}, and not as {expected}", refusal.code))
            }
            _ if write.key == Key::Used => Some("its key was used by another request before".to_owned()),
            (Some(Told::Refusal(refusal)), false) => match self.model.decide(&write.op, revision) {
                Verdict::Refused(code) if code == refusal.code => None,
                Verdict::Contested(_) if refusal.code == "unique_violation" => None,
                // Whether a document that is not there has changed since then is not known any more.
                _ if refusal.code == "compacted" && self.may_forget(&write.op) => None,
                // How many keys are remembered is not in the model; without a key nobody may be told so.
                _ if refusal.code == "idempotency_full" && write.key == Key::Own => None,
                other => Some(format!("refused as {} and the model says {other:?}", refusal.code)),
            },
            // A no-op with a key is answered again later under the revision of the first answer.
            (Some(Told::Documents(documents)), false) => match self.model.decide(&write.op, revision) {
                Verdict::Noop => self.bodies(write, documents, revision),
                other => Some(format!("told that nothing changed and the model says {other:?}")),
            },
            other => Some(format!("the answer makes no sense: {other:?}")),
        };
        if let Some(wrong) = wrong {
            self.said.wrong.push(format!("{:?}, answered at {revision}: {wrong}", write.op));
        }
    }

    /// Whether a transaction asks for a revision of a collection that may have given it up.
    fn may_forget(&self, op: &Op) -> bool {
        let Op::Transact { steps, read_revision } = op else { return false };
        *read_revision > 0 && steps.iter().any(|step| self.forgets.contains(&&*step.collection))
    }

    /// What is told of a transaction must be what the model shows of its documents.
    fn transacted(&self, write: &Write, told: &proto::Transacted, revision: u64, changed: bool) -> Option<String> {
        let Op::Transact { steps, read_revision } = &write.op else { return Some("it is no transaction".to_owned()) };
        let before = revision - u64::from(changed);
        let Transacted { written, shown } = match self.model.transact(steps, *read_revision, before) {
            Ok(transacted) => transacted,
            Err(code) => return Some(format!("done, and the model refuses it as {code}")),
        };
        if written.is_empty() == changed || told.operations.len() != steps.len() {
            return Some(format!("changed is {changed}, and the model writes {written:?}; told {told:?}"));
        }
        for ((step, operated), shown) in steps.iter().zip(&told.operations).zip(shown) {
            let expected = match shown {
                Shown::None => None,
                Shown::Before => self.model.at(&step.collection, &step.id, before),
                Shown::After => self.model.at(&step.collection, &step.id, revision),
            };
            let wrong = match (&operated.document, expected) {
                (None, None) => None,
                (Some(document), Some(_)) => self.body(write, &step.collection, document, expected),
                (document, expected) => Some(format!("{step:?} shows {document:?}, the model {expected:?}")),
            };
            if wrong.is_some() {
                return wrong;
            }
        }
        None
    }

    fn bodies(&self, write: &Write, documents: &proto::Documents, revision: u64) -> Option<String> {
        documents.documents.iter().find_map(|document| {
            let expected = self.model.at(&documents.collection, &document.id, revision);
            self.body(write, &documents.collection, document, expected)
        })
    }

    fn body(
        &self,
        write: &Write,
        collection: &str,
        document: &proto::DocumentRef,
        expected: Option<&Doc>,
    ) -> Option<String> {
        // A later attempt finds a version that history no longer keeps without its content.
        if document.body.is_empty() && write.again && self.forgets.contains(&collection) {
            return None;
        }
        match model::read(&document.body).map_err(|e| e.to_string()) {
            Ok((id, doc)) if id == document.id && Some(&doc) == expected => None,
            other => Some(format!("{} is {other:?}, the model has {expected:?}", document.id)),
        }
    }

    fn read(&mut self, read: &Read) {
        let Read { what, revision, floor, bodies, count, by } = read;
        if revision < floor {
            let problem = format!("{what:?} was read at {revision}, and may not be older than {floor}; {by:?}");
            return self.said.wrong.push(problem);
        }
        if *revision > self.model.revision() {
            return self.said.wrong.push(format!("{what:?} was read at {revision}, which does not exist"));
        }
        let expected: Vec<(&str, &Doc)> = match what {
            What::Get { collection, id } => {
                self.model.at(collection, id, *revision).map(|doc| (id.as_str(), doc)).into_iter().collect()
            }
            What::List { collection, query } => query.find(self.model.list(collection, *revision)),
        };
        let found: Vec<(String, Doc)> = match bodies.iter().map(|body| model::read(body)).collect() {
            Ok(found) => found,
            Err(error) => {
                let error: anyhow::Error = error;
                return self.said.wrong.push(format!("{what:?} at {revision}: {error}"));
            }
        };
        if !found.iter().map(|(id, doc)| (id.as_str(), doc)).eq(expected.iter().copied()) {
            self.said.wrong.push(format!("{what:?} at {revision} gave {found:?}; the model has {expected:?}"));
        } else if count.is_some_and(|count| count != expected.len() as u64) {
            self.said.wrong.push(format!("{what:?} at {revision} counts {count:?}; the model has {}", expected.len()));
        }
    }

    fn piece(&mut self, piece: &Piece) {
        let Piece { collection, since, limit, revision, floor, .. } = piece;
        if revision < floor {
            let problem = format!(
                "the feed of {collection} behind {since} was read at {revision}, and may not be older than {floor}; {:?}",
                piece.by
            );
            return self.said.wrong.push(problem);
        }
        // All that there was, up to the end of the revision in which the piece is full.
        let behind = self.model.feed(collection, *since);
        let there = &behind[..behind.partition_point(|event| event.revision <= *revision)];
        let full = limit.checked_sub(1).and_then(|last| there.get(last));
        let expected = match full {
            Some(last) => &there[..there.partition_point(|event| event.revision <= last.revision)],
            None => there,
        };
        let mut found = Vec::new();
        for Change { revision, position, id, before, after, .. } in &piece.events {
            let read = |body: &Option<bytes::Bytes>| body.as_ref().map(|body| model::read(body)).transpose();
            match (read(before), read(after)) {
                (Ok(before), Ok(after)) => found.push(Event {
                    revision: *revision,
                    position: *position,
                    id: id.clone(),
                    before: before.map(|(_, doc)| doc),
                    after: after.map(|(_, doc)| doc),
                }),
                other => return self.said.wrong.push(format!("an event of {collection} at {revision}: {other:?}")),
            }
        }
        if found != expected || piece.more != (expected.len() < there.len()) {
            let problem = format!(
                "the feed of {collection} behind {since}, read at {revision}, gave {found:?}, more: {}; the model has \
                 {expected:?} of {}; {:?}",
                piece.more,
                there.len(),
                piece.by
            );
            self.said.wrong.push(problem);
        }
    }

    fn denial(&mut self, canon: &Canon, denial: &Denial) {
        let Denial { collection, asked, revision, floor, why, .. } = denial;
        let wrong = match why {
            _ if revision < floor => Some(format!("and may not look at what is older than {floor}")),
            WhyNot::NoCollection => {
                self.model.catalog.has(collection, *revision).then(|| "where the collection exists".to_owned())
            }
            WhyNot::Compacted(_) if !self.forgets.contains(&&**collection) => {
                Some("of a collection that keeps everything".to_owned())
            }
            WhyNot::Compacted(oldest) if asked.is_none_or(|asked| asked >= *oldest) => {
                Some("and was not asked for so much".to_owned())
            }
            WhyNot::Compacted(oldest) => {
                let known = self.names.iter().find(|(_, name)| *name == collection);
                let marked = known.is_some_and(|(id, _)| canon.is_mark(*id, *oldest));
                (!marked).then(|| "and no such watermark is committed".to_owned())
            }
            WhyNot::Ahead if asked.is_none_or(|asked| asked <= *revision) => {
                Some("and was not asked for so much".to_owned())
            }
            WhyNot::Ahead => None,
            WhyNot::Other(_) => Some("for no reason that there could be".to_owned()),
        };
        if let Some(wrong) = wrong {
            self.said.wrong.push(format!("a read of {collection} was denied at {revision}, {wrong}: {denial:?}"));
        }
    }
}

#[cfg(test)]
mod tests;
