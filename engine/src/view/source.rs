//! Where the documents of a list come from: a scan by id, or ids that are fetched: known ones, or those that indexes lead to.

use std::ops::Deref;

use bytes::Bytes;

use super::entries::Walk;
use super::history::{DocumentsAt, Lent};
use super::plan::{Access, ById, How, Merged};
use super::run::Run;
use super::{ReadError, View};
use crate::index::{Stretch, Through};
use crate::maps::HashSet;
use crate::packed::Packed;
use crate::state::keys;
use crate::state::record::Document;

/// Documents on the way that a plan chose.
pub(super) enum Source<'a> {
    Scan(Box<Scanned<'a>>),
    Fetch(Box<Fetched<'a>>),
}

/// Ids that are gathered between two looks at the clock.
const IDS_PER_CHECK: usize = 1_024;

/// A document that a list met.
pub(super) struct Met<'a> {
    pub(super) id: &'a str,
    pub(super) revision: u64,
    pub(super) body: Body<'a>,
}

/// The JSON of a document that was met.
#[derive(Clone, Copy)]
pub(super) enum Body<'a> {
    /// In the memory of a scan.
    Lent(&'a [u8]),
    /// In memory of its own.
    Own(&'a Bytes),
}

impl Body<'_> {
    /// To keep.
    pub(super) fn to_bytes(self) -> Bytes {
        match self {
            Body::Lent(bytes) => Bytes::copy_from_slice(bytes),
            Body::Own(bytes) => bytes.clone(),
        }
    }
}

impl Deref for Body<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Body::Lent(bytes) => bytes,
            Body::Own(bytes) => bytes,
        }
    }
}

impl<'a> Source<'a> {
    pub(super) fn new<'r: 'a>(run: &Run<'r>, access: &'a Access) -> Result<Self, ReadError> {
        let ids = match access {
            Access::Ids(by_id) => match by_id.points() {
                None => return Ok(Self::Scan(Box::new(Scanned::new(run, by_id)))),
                Some(points) => {
                    let mut ids: Vec<_> = points.map(<[u8]>::to_vec).collect();
                    if by_id.reverse {
                        ids.reverse();
                    }
                    Ids::Known { ids: ids.into_iter(), sure: false }
                }
            },
            Access::Index(through) => Ids::Walked(Box::new(Walked::new(run, through))),
            Access::Merged(merged) => Ids::Known { ids: gathered(run, merged)?.into_iter(), sure: !merged.has_ids() },
        };
        Ok(Self::Fetch(Box::new(Fetched::new(run, ids))))
    }

    /// The next document.
    pub(super) fn next(&mut self) -> Result<Option<Met<'_>>, ReadError> {
        let met = match self {
            Source::Scan(scanned) => {
                scanned.next()?.map(|Lent { id, revision, body }| (id, revision, Body::Lent(body)))
            }
            Source::Fetch(fetched) => {
                fetched.next()?.map(|(id, document)| (id, document.revision, Body::Own(&document.body)))
            }
        };
        let Some((id, revision, body)) = met else { return Ok(None) };
        let id = std::str::from_utf8(id).map_err(|e| crate::Error::malformed("an id", e))?;
        Ok(Some(Met { id, revision, body }))
    }
}

/// Documents whose ids lie in some stretches.
pub(super) struct Scanned<'a> {
    view: &'a View,
    collection: u32,
    revision: u64,
    reverse: bool,
    /// Those not begun, the next one last.
    stretches: Vec<&'a Stretch>,
    running: Option<DocumentsAt<'a>>,
}

impl<'a> Scanned<'a> {
    fn new<'r: 'a>(run: &Run<'r>, by_id: &'a ById) -> Self {
        let mut stretches: Vec<_> = by_id.stretches.iter().collect();
        if !by_id.reverse {
            stretches.reverse();
        }
        let (view, revision, collection) = (run.view, run.revision, run.collection.id);
        Self { view, collection, revision, reverse: by_id.reverse, stretches, running: None }
    }

    fn next(&mut self) -> Result<Option<Lent<'_>>, ReadError> {
        loop {
            match &mut self.running {
                Some(running) => {
                    if running.advance()? {
                        break;
                    }
                    self.running = None;
                }
                None => {
                    let Some(stretch) = self.stretches.pop() else { return Ok(None) };
                    let documents = self.view.documents_at(self.collection, self.revision, stretch, self.reverse);
                    self.running = Some(documents);
                }
            }
        }
        self.running.as_ref().map(DocumentsAt::lend).transpose()
    }
}

/// Documents whose ids come from somewhere, fetched many at a time.
pub(super) struct Fetched<'a> {
    view: &'a View,
    collection: u32,
    revision: u64,
    ids: Ids<'a>,
    batch: usize,
    /// Where those were looked for that were fetched last, and what was there.
    keys: Packed,
    documents: Vec<Option<Document>>,
    /// How many of them were met.
    met: usize,
}

/// Documents that are fetched at a time, at most: beyond it, one more costs as much as one by itself.
const FETCHED_MAX: usize = 64;

impl<'a> Fetched<'a> {
    fn new<'r: 'a>(run: &Run<'r>, ids: Ids<'a>) -> Self {
        let (view, revision, collection) = (run.view, run.revision, run.collection.id);
        let batch = (run.query.offset + run.query.limit + 1).clamp(1, FETCHED_MAX);
        let (keys, documents) = (Packed::with_capacity(batch), Vec::new());
        Self { view, collection, revision, ids, batch, keys, documents, met: 0 }
    }

    fn next(&mut self) -> Result<Option<(&[u8], &Document)>, ReadError> {
        while !self.advance()? {
            if !self.fetch()? {
                return Ok(None);
            }
        }
        let place = self.met - 1;
        Ok(self.documents[place].as_ref().map(|document| (keys::doc_id(self.keys.get(place)), document)))
    }

    /// Goes on to the next document that was fetched; false when there is no other.
    fn advance(&mut self) -> Result<bool, ReadError> {
        while let Some(document) = self.documents.get(self.met) {
            self.met += 1;
            if document.is_some() {
                return Ok(true);
            }
            if self.ids.are_sure() {
                return Err(crate::Error::malformed("an index", "an entry's document is not there").into());
            }
        }
        Ok(false)
    }

    /// Fetches the next ones; false at the end.
    fn fetch(&mut self) -> Result<bool, ReadError> {
        self.keys.clear();
        self.ids.next(self.collection, self.batch, &mut self.keys)?;
        self.documents = self.view.documents_of(self.collection, &self.keys, self.revision)?;
        self.met = 0;
        Ok(!self.documents.is_empty())
    }
}

/// Where ids come from.
enum Ids<'a> {
    Walked(Box<Walked<'a>>),
    /// `sure`: each is that of a document.
    Known {
        ids: std::vec::IntoIter<Vec<u8>>,
        sure: bool,
    },
}

impl Ids<'_> {
    /// Adds the keys of the next documents of `collection`, until there are `max` of them; none at the end.
    fn next(&mut self, collection: u32, max: usize, keys: &mut Packed) -> Result<(), ReadError> {
        let collection = &collection.to_be_bytes();
        match self {
            Ids::Walked(walked) => {
                while keys.len() < max && walked.advance()? {
                    keys.push(keys::doc_parts(collection, walked.walk.id()?));
                }
            }
            Ids::Known { ids, .. } => ids.take(max).for_each(|id| keys.push(keys::doc_parts(collection, &id))),
        }
        Ok(())
    }

    fn are_sure(&self) -> bool {
        matches!(self, Ids::Walked(_) | Ids::Known { sure: true, .. })
    }
}

/// The ids that an index leads to, each once.
struct Walked<'a> {
    walk: Walk<'a>,
    /// The ids met so far, where one may come again.
    met: Option<HashSet<Vec<u8>>>,
    ids_max: usize,
}

impl<'a> Walked<'a> {
    fn new<'r: 'a>(run: &Run<'r>, through: &'a Through) -> Self {
        let Through { index, stretches, reverse, repeats, .. } = through;
        let walk = Walk::new(run.view, run.collection.id, index, run.revision, stretches.clone(), *reverse);
        Self { walk, met: repeats.then(HashSet::new), ids_max: run.view.limits.query_ids_max }
    }

    /// Goes on to the next entry whose id was not met before; false at the end.
    fn advance(&mut self) -> Result<bool, ReadError> {
        while self.walk.advance()? {
            let Some(met) = &mut self.met else { return Ok(true) };
            if !met.insert(self.walk.id()?.to_vec()) {
                continue;
            }
            return if met.len() > self.ids_max { Err(too_many()) } else { Ok(true) };
        }
        Ok(false)
    }
}

/// The ids that several ways lead to, in the order that the documents are to be met.
fn gathered(run: &Run<'_>, merged: &Merged) -> Result<Vec<Vec<u8>>, ReadError> {
    let mut ids = match merged.how {
        How::All => in_all(run, &merged.parts)?,
        How::Any => in_any(run, &merged.parts)?,
    };
    if merged.reverse {
        ids.reverse();
    }
    if let Some(behind) = merged.behind.as_ref().map(String::as_bytes) {
        ids.retain(|id| if merged.reverse { **id < *behind } else { **id > *behind });
    }
    Ok(ids)
}

/// The ids that every part leads to, ascending.
fn in_all(run: &Run<'_>, parts: &[Access]) -> Result<Vec<Vec<u8>>, ReadError> {
    let Some((first, others)) = parts.split_first() else { return Ok(Vec::new()) };
    let mut ids = in_any(run, std::slice::from_ref(first))?;
    for part in others {
        let mut met = vec![false; ids.len()];
        each_id(run, part, &mut |id| {
            if let Ok(at) = ids.binary_search_by(|other| other.as_slice().cmp(id)) {
                met[at] = true;
            }
            Ok(true)
        })?;
        let mut met = met.into_iter();
        ids.retain(|_| met.next().unwrap_or(false));
    }
    Ok(ids)
}

/// The ids that any part leads to, ascending, each once.
fn in_any(run: &Run<'_>, parts: &[Access]) -> Result<Vec<Vec<u8>>, ReadError> {
    let (mut ids, max) = (Vec::new(), run.view.limits.query_ids_max);
    for part in parts {
        each_id(run, part, &mut |id| {
            ids.push(id.to_vec());
            if ids.len() > max {
                ids.sort_unstable();
                ids.dedup();
            }
            if ids.len() > max { Err(too_many()) } else { Ok(true) }
        })?;
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// Calls `visit` with every id that a way leads to, some more than once, until it says false. The clock is looked at now and
/// then.
pub(super) fn each_id(
    run: &Run<'_>,
    access: &Access,
    visit: &mut impl FnMut(&[u8]) -> Result<bool, ReadError>,
) -> Result<(), ReadError> {
    let mut steps = 0;
    let mut visit = |id: &[u8]| {
        steps += 1;
        if steps % IDS_PER_CHECK == 0 {
            run.check_time()?;
        }
        visit(id)
    };
    match access {
        Access::Ids(by_id) => match by_id.points() {
            Some(points) => {
                for id in points {
                    if !visit(id)? {
                        break;
                    }
                }
            }
            None => {
                let mut scanned = Scanned::new(run, by_id);
                while let Some(document) = scanned.next()? {
                    if !visit(document.id)? {
                        break;
                    }
                }
            }
        },
        Access::Index(Through { index, stretches, .. }) => {
            let mut walk = Walk::new(run.view, run.collection.id, index, run.revision, stretches.clone(), false);
            while walk.advance()? && visit(walk.id()?)? {}
        }
        Access::Merged(merged) => {
            for id in gathered(run, merged)? {
                if !visit(&id)? {
                    break;
                }
            }
        }
    }
    Ok(())
}

fn too_many() -> ReadError {
    ReadError::TooExpensive("the query meets more documents than it may: narrow the filter".into())
}
