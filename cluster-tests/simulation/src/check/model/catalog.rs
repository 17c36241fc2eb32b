//! The catalog of the model: collections and indexes, by revision, and what a command or the system itself may do to them.

use std::collections::BTreeMap;

use aerodb_proto as proto;
use serde_json::Value as Json;

use super::value::{Fields, Value};

/// An index, as its owner describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Its name.
    pub name: String,
    /// Its fields, and whether each is descending.
    pub fields: Vec<(String, bool)>,
    /// No two documents have the same values.
    pub unique: bool,
    /// Only documents whose `a` is at least this have entries.
    pub least: Option<i64>,
}

/// How far an index has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Documents from before it are being added.
    Building,
    /// It serves reads.
    Ready,
    /// Documents stand against it.
    Failed,
}

/// What a revision did to the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// There is a collection of this name.
    Collection(String),
    /// A collection has an index more, which is to be built.
    Index(String, Index),
    /// A collection has no index of this name any more.
    NoIndex(String, String),
    /// An index is built.
    Ready(String, String),
    /// An index cannot be built.
    Failed(String, String),
}

impl Change {
    /// The collection and the index whose build ends with it. Nobody asks for that: the system does it by itself.
    pub fn ends_a_build(&self) -> Option<(&str, &str)> {
        match self {
            Self::Ready(collection, name) | Self::Failed(collection, name) => Some((collection, name)),
            _ => None,
        }
    }
}

impl Index {
    /// What a document with these fields claims for itself if the index is unique. A document that lacks one of the fields,
    /// or is none of the index's, claims nothing.
    pub fn claim(&self, fields: &Fields) -> Option<Vec<Value>> {
        let is_of = |least: i64| fields.get("a").is_some_and(|a| a.reached().any(|a| a >= least));
        if !self.unique || !self.least.is_none_or(is_of) {
            return None;
        }
        self.fields.iter().map(|(name, _)| fields.get(name).cloned()).collect()
    }

    /// As the catalog of a node has it; nothing where that is no index that a client here makes.
    pub fn of(index: &proto::Index) -> Option<(Self, State)> {
        let least = match &*index.filter {
            [] => None,
            bytes => {
                let filter: Json = serde_json::from_slice(bytes).ok()?;
                Some(filter.get("a")?.get("$gte")?.as_i64()?)
            }
        };
        let state = match index.state() {
            proto::IndexState::Building => State::Building,
            proto::IndexState::Ready => State::Ready,
            proto::IndexState::Failed => State::Failed,
        };
        let fields = index.fields.iter().map(|field| (field.path.clone(), field.descending)).collect();
        Some((Self { name: index.name.clone(), fields, unique: index.unique, least }, state))
    }
}

/// A collection's indexes, in the order in which they were made.
pub type Indexes = Vec<(Index, State)>;

/// The catalog, as it was at each revision.
#[derive(Default)]
pub struct Catalog {
    /// Names and the revision at which each came to be.
    collections: BTreeMap<String, u64>,
    /// By collection: what there is from a revision on.
    indexes: BTreeMap<String, Vec<(u64, Indexes)>>,
}

impl Catalog {
    /// Whether the collection exists at `revision`.
    pub fn has(&self, collection: &str, revision: u64) -> bool {
        self.collections.get(collection).is_some_and(|made| *made <= revision)
    }

    /// The collection's indexes at `revision`.
    pub fn indexes(&self, collection: &str, revision: u64) -> &[(Index, State)] {
        let all = self.indexes.get(collection).map_or(&[][..], Vec::as_slice);
        let behind = all.partition_point(|(from, _)| *from <= revision);
        behind.checked_sub(1).map_or(&[][..], |last| &all[last].1)
    }

    /// What has changed when a collection's record says `now` at `revision`.
    ///
    /// # Errors
    /// When that is nothing that one revision does.
    pub fn change_to(&self, collection: &str, now: &proto::Collection, revision: u64) -> Result<Change, String> {
        let was = self.indexes(collection, revision);
        let found: Option<Indexes> = now.indexes.iter().map(Index::of).collect();
        let found = found.ok_or_else(|| format!("nobody asked for an index like one of {:?}", now.indexes))?;
        let strange = || format!("the indexes of {collection} go from {was:?} to {found:?}");
        if found.len() == was.len() {
            let mut differing = was.iter().zip(&found).zip(&now.indexes).filter(|((was, now), _)| was != now);
            return match (differing.next(), differing.next()) {
                (Some((((was, State::Building), (now, state)), record)), None) if was == now => match state {
                    State::Ready if record.ready_revision == revision => {
                        Ok(Change::Ready(collection.to_owned(), now.name.clone()))
                    }
                    State::Failed => Ok(Change::Failed(collection.to_owned(), now.name.clone())),
                    _ => Err(strange()),
                },
                _ => Err(strange()),
            };
        }
        if let Some(((index, State::Building), before)) = found.split_last().map(|((index, s), b)| ((index, s), b))
            && before == was
        {
            return Ok(Change::Index(collection.to_owned(), index.clone()));
        }
        let gone = was.iter().position(|one| !found.contains(one)).ok_or_else(strange)?;
        let left: Indexes = was.iter().enumerate().filter(|(at, _)| *at != gone).map(|(_, one)| one.clone()).collect();
        match left == found {
            true => Ok(Change::NoIndex(collection.to_owned(), was[gone].0.name.clone())),
            false => Err(strange()),
        }
    }

    /// Takes in what `revision` did.
    pub fn push(&mut self, change: &Change, revision: u64) {
        let (collection, name) = match change {
            Change::Collection(name) => {
                self.collections.insert(name.clone(), revision);
                return;
            }
            Change::Index(collection, index) => (collection, &index.name),
            Change::NoIndex(collection, name) | Change::Ready(collection, name) | Change::Failed(collection, name) => {
                (collection, name)
            }
        };
        let mut indexes = self.indexes(collection, revision).to_vec();
        let at = indexes.iter().position(|(index, _)| index.name == *name);
        match (change, at) {
            (Change::Index(_, index), _) => indexes.push((index.clone(), State::Building)),
            (Change::NoIndex(..), Some(at)) => drop(indexes.remove(at)),
            (Change::Ready(..), Some(at)) => indexes[at].1 = State::Ready,
            (Change::Failed(..), Some(at)) => indexes[at].1 = State::Failed,
            _ => {}
        }
        self.indexes.entry(collection.clone()).or_default().push((revision, indexes));
    }
}
