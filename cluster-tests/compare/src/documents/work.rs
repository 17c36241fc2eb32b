//! What is asked of both products, in terms of neither.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::cities::Cities;

/// Documents of a page.
pub(super) const PAGE: u64 = 50;
/// Documents of a page without an index.
pub(super) const TOP: u64 = 10;
/// Documents of a bulk insert.
pub(super) const BULK: u64 = 500;
/// Documents in the stretch that a page is taken from: more than the page holds.
const STRETCH: u64 = 200;
/// Documents that one update changes, about.
const UPDATED: u64 = 100;

/// A kind of request: a row of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Work {
    /// One document by its id
    Get,
    /// A page of 50 out of a range of an index
    Range,
    /// A page of 50 in the order of an index, descending, from anywhere in it
    Sort,
    /// The first 10 of all documents by a field without an index
    Topk,
    /// How many documents a country has, by an index
    Count,
    /// How many documents there are
    CountAll,
    /// Number, sum and mean for each country
    Group,
    /// One change of the 100 documents in a range of an index
    Update,
    /// One new document
    Insert,
    /// 500 new documents in one request
    Bulk,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// The document with this id.
    Get { id: String },
    /// The first page of those with a population in this range, ascending.
    Range { from: i64, to: i64 },
    /// The first page of those with at most this population, descending.
    Sort { from: i64 },
    /// The northernmost.
    Topk,
    /// How many are in this country.
    Count { country: String },
    /// How many there are.
    CountAll,
    /// Number, sum and mean of populations for each country.
    Group,
    /// Sets a member of those with a population in this range.
    Update { from: i64, to: i64, value: i64 },
    /// Inserts these.
    Insert { documents: Vec<(String, String)>, many: bool },
}

/// Makes a request of a number that is drawn for it.
pub(super) type Ask = Arc<dyn Fn(u64) -> Question + Send + Sync>;

impl Work {
    /// What it is called in the table.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Get => "point get",
            Self::Range => "indexed range, page of 50",
            Self::Sort => "sort by index, page of 50",
            Self::Topk => "top 10 without index",
            Self::Count => "count by indexed filter",
            Self::CountAll => "count of all",
            Self::Group => "group by country",
            Self::Update => "update of 100 by filter",
            Self::Insert => "insert one",
            Self::Bulk => "insert bulk, documents",
        }
    }

    /// Whether one request looks at so many documents that it keeps a core busy for long.
    pub(super) fn is_heavy(self) -> bool {
        matches!(self, Self::Topk | Self::Count | Self::CountAll | Self::Group)
    }

    /// How many documents one request stands for in the rate.
    pub(super) fn parts(self) -> f64 {
        if self == Self::Bulk { BULK as f64 } else { 1.0 }
    }

    /// Requests of this kind. `fresh` is the number of the next document that is not there yet.
    pub(super) fn ask(self, cities: Arc<Cities>, fresh: Arc<AtomicU64>) -> Ask {
        Arc::new(move |number| match self {
            Self::Get => Question::Get { id: cities.id(number) },
            Self::Range => {
                let (from, to) = cities.stretch(number, STRETCH);
                Question::Range { from, to }
            }
            // So many are at or below it at least.
            Self::Sort => Question::Sort { from: cities.stretch(number.max(PAGE), 0).0 },
            Self::Topk => Question::Topk,
            Self::Count => Question::Count { country: cities.country(number).to_owned() },
            Self::CountAll => Question::CountAll,
            Self::Group => Question::Group,
            Self::Update => {
                let (from, to) = cities.stretch(number, UPDATED);
                Question::Update { from, to, value: number.cast_signed() }
            }
            Self::Insert => Question::insert(&cities, fresh.fetch_add(1, Ordering::Relaxed), 1),
            Self::Bulk => Question::insert(&cities, fresh.fetch_add(BULK, Ordering::Relaxed), BULK),
        })
    }
}

impl Question {
    /// Inserts so many documents from this one on.
    pub(super) fn insert(cities: &Cities, first: u64, many: u64) -> Self {
        let document = |number| (cities.id(number), cities.document(number));
        Self::Insert { documents: (first..first + many).map(document).collect(), many: many > 1 }
    }
}
