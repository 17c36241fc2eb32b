//! Groups and their figures: `{"group_by": ["city"], "aggregates": {"n": {"count": "*"}, "total": {"sum": "amount"}}}`.
//!
//! One pass over what matches keeps a row for each group, in bounded memory. Rows are ordered by what the query asks for, and
//! by the group's values where that leaves a tie, so pages of them are exact as pages of documents are.

use std::cmp::Ordering;

use aerodb_proto::Collection;
use hashbrown::hash_map::Entry;
use parking_lot::Mutex;

use super::cursor::Position;
use super::list::{Actual, Count, ListQuery, Page};
use super::parts::Memory;
use super::plan::{self, Access};
use super::run::Run;
use super::{ReadError, View};
use crate::exact::{EXACT_SUM_BYTES, ExactSum};
use crate::index::encode;
use crate::json::{Path, Reached, Value};
use crate::maps::HashMap;
use crate::order::Order;

/// Paths of a grouping at most.
pub const GROUP_PATHS_MAX: usize = 8;
/// Figures of a grouping at most.
pub const AGGREGATES_MAX: usize = 32;

/// What is asked for of each group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// Documents with equal values here are a group; all are one without.
    pub group_by: Vec<Path>,
    /// Figures, by the names that they have in the answer.
    pub aggregates: Vec<(String, Aggregate)>,
}

/// A figure of a group. Documents in which the path leads to nothing, or to null, do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// How many documents; all without a path.
    Count(Option<Path>),
    /// The sum of what are numbers: whole while all of them are and it fits 64 bits.
    Sum(Path),
    /// The mean of what are numbers; null without any.
    Avg(Path),
    /// The least value, in the order of all values; null without any.
    Min(Path),
    /// The greatest value; null without any.
    Max(Path),
}

/// What has been seen of a group for one figure.
enum Tally {
    Count(u64),
    /// Of whole numbers, and of others, which are exact either way: the order of documents changes nothing.
    Sum {
        whole: i128,
        float: Option<ExactSum>,
        numbers: u64,
    },
    Extreme(Option<Value>),
}

impl Tally {
    /// What it takes beside itself, as [`Aggregate::add`] counts it.
    fn bytes(&self) -> isize {
        match self {
            Tally::Sum { float: Some(_), .. } => EXACT_SUM_BYTES as isize,
            Tally::Extreme(Some(value)) => value.to_bytes().len() as isize,
            _ => 0,
        }
    }
}

struct Group {
    values: Vec<Value>,
    tallies: Vec<Tally>,
}

impl Aggregate {
    fn begin(&self) -> Tally {
        match self {
            Aggregate::Count(_) => Tally::Count(0),
            Aggregate::Sum(_) | Aggregate::Avg(_) => Tally::Sum { whole: 0, float: None, numbers: 0 },
            Aggregate::Min(_) | Aggregate::Max(_) => Tally::Extreme(None),
        }
    }

    fn path(&self) -> Option<&Path> {
        match self {
            Aggregate::Count(path) => path.as_ref(),
            Aggregate::Sum(path) | Aggregate::Avg(path) | Aggregate::Min(path) | Aggregate::Max(path) => Some(path),
        }
    }

    /// Takes in a document; returns by how many bytes the tally has grown.
    fn add(&self, tally: &mut Tally, document: &Value) -> Result<isize, ReadError> {
        let value = match self.path() {
            None => None,
            Some(path) => match single(path, document)? {
                Value::Null => return Ok(0),
                value => Some(value),
            },
        };
        match (tally, value) {
            (Tally::Count(count), _) => *count += 1,
            (Tally::Sum { whole, float, numbers }, Some(value)) => {
                let is_first = float.is_none();
                match value {
                    Value::Int(int) => *whole += i128::from(*int),
                    Value::UInt(int) => *whole += i128::from(*int),
                    Value::Float(number) => float.get_or_insert_with(ExactSum::new).add(*number),
                    _ => return Ok(0),
                }
                *numbers += 1;
                let grown = if is_first && float.is_some() { EXACT_SUM_BYTES } else { 0 };
                return Ok(grown as isize);
            }
            (Tally::Extreme(extreme), Some(value)) => {
                return Ok(self.replace(extreme, value));
            }
            (Tally::Sum { .. } | Tally::Extreme(_), None) => {}
        }
        Ok(0)
    }

    /// Puts `value` in the place of an extreme that is less of one; returns by how many bytes that has grown.
    fn replace(&self, extreme: &mut Option<Value>, value: &Value) -> isize {
        let wanted = if matches!(self, Aggregate::Min(_)) { Ordering::Less } else { Ordering::Greater };
        let replaces = |extreme: &Value| value.compare(extreme) == wanted || is_shown_before(value, extreme);
        if !extreme.as_ref().is_none_or(replaces) {
            return 0;
        }
        let former = extreme.replace(value.clone()).map_or(0, |former| former.to_bytes().len());
        value.to_bytes().len() as isize - former as isize
    }

    /// Takes in what has been seen of other documents.
    fn add_tally(&self, tally: &mut Tally, other: Tally) {
        match (tally, other) {
            (Tally::Count(count), Tally::Count(more)) => *count += more,
            (Tally::Sum { whole, float, numbers }, Tally::Sum { whole: w, float: f, numbers: n }) => {
                *whole += w;
                *numbers += n;
                match (float, f) {
                    (Some(float), Some(more)) => float.add_sum(more),
                    (float @ None, more) => *float = more,
                    (Some(_), None) => {}
                }
            }
            (Tally::Extreme(extreme), Tally::Extreme(Some(value))) => drop(self.replace(extreme, &value)),
            // One figure has one kind of tally.
            _ => {}
        }
    }

    fn end(&self, tally: Tally) -> Value {
        match (self, tally) {
            (_, Tally::Count(count)) => Value::from(count),
            (_, Tally::Extreme(extreme)) => extreme.unwrap_or(Value::Null),
            (Aggregate::Avg(_), Tally::Sum { numbers: 0, .. }) => Value::Null,
            (Aggregate::Avg(_), Tally::Sum { whole, float, numbers }) => {
                let mut sum = float.unwrap_or_else(ExactSum::new);
                sum.add_whole(whole);
                number(sum.rounded() / numbers as f64)
            }
            (_, Tally::Sum { whole, float: Some(mut sum), .. }) => {
                sum.add_whole(whole);
                number(sum.rounded())
            }
            (_, Tally::Sum { whole, float: None, .. }) => match (i64::try_from(whole), u64::try_from(whole)) {
                (Ok(int), _) => Value::Int(int),
                (_, Ok(int)) => Value::UInt(int),
                _ => number(whole as f64),
            },
        }
    }
}

/// Of equal values, such as 1 and 1.0, one stands for all, whichever comes first.
fn is_shown_before(value: &Value, other: &Value) -> bool {
    value != other && value.equals(other) && value.to_bytes() < other.to_bytes()
}

/// A float as JSON has it: what is not finite is null.
fn number(float: f64) -> Value {
    if float.is_finite() { Value::Float(float) } else { Value::Null }
}

/// The one value that a path leads to; null when there is none.
fn single<'v>(path: &Path, document: &'v Value) -> Result<&'v Value, ReadError> {
    match path.single(document) {
        Reached::One(value) => Ok(value),
        Reached::Missing => Ok(&Value::Null),
        Reached::Many => {
            let problem = format!("`{path}` leads through an array of objects: there is not one value");
            Err(ReadError::InvalidGroup(problem))
        }
    }
}

impl Grouping {
    /// Calls `visit` with every path into documents that it asks for.
    pub(super) fn each_path(&self, visit: &mut dyn FnMut(&Path)) {
        self.group_by.iter().for_each(&mut *visit);
        self.aggregates.iter().filter_map(|(_, aggregate)| aggregate.path()).for_each(visit);
    }

    /// The documents that the groups of `query` are made of.
    pub(super) fn documents(&self, query: &ListQuery) -> ListQuery {
        ListQuery {
            order: Order::default(),
            // All of them: a plan that stops early would be no help.
            limit: plan::ALL,
            offset: 0,
            cursor: None,
            count: Count::None,
            grouping: None,
            ..query.clone()
        }
    }
}

impl View {
    /// The groups that `query` and `grouping` ask for. `query.order` is over what the answer shows.
    pub(super) fn group(
        &self,
        collection: &Collection,
        query: &ListQuery,
        grouping: &Grouping,
        expired: &(dyn Fn() -> bool + Sync),
    ) -> Result<(Page, Actual), ReadError> {
        let (start, revision, fingerprint) = self.begin(collection, query)?;
        let documents = grouping.documents(query);
        let plan = self.take_plan(collection, &documents, revision)?;
        let actual = Mutex::default();
        let (view, members) = (self, query.members());
        let run = Run { view, collection, query: &documents, revision, start: None, expired, actual: &actual, members };
        let mut rows = self.rows(&run, &plan.access, grouping, &query.order)?;
        rows.sort_unstable_by(|a, b| query.order.compare(&a.place, &b.place));
        let count = (query.count != Count::None).then_some(rows.len() as u64);
        let behind = |row: &Row| {
            let start = start.as_ref().map(|start| (start.key.clone(), start.id.clone()));
            start.is_none_or(|start| query.order.compare(&row.place, &start).is_gt())
        };
        let skip = if start.is_some() { 0 } else { query.offset };
        let mut rest = rows.into_iter().filter(behind).skip(skip).peekable();
        let page: Vec<Row> = rest.by_ref().take(query.limit).collect();
        let next_cursor = match (rest.peek(), page.last()) {
            (Some(_), Some(last)) => {
                let (key, id) = last.place.clone();
                Some(self.seal_cursor(&Position { revision, key, id }, &fingerprint)?)
            }
            _ => None,
        };
        let items: Vec<_> = page.into_iter().map(|row| row.value.to_bytes().into()).collect();
        let actual = Actual { returned: items.len() as u64, ..actual.into_inner() };
        Ok((Page { items, next_cursor, count, revision }, actual))
    }

    fn rows(&self, run: &Run<'_>, access: &Access, grouping: &Grouping, order: &Order) -> Result<Vec<Row>, ReadError> {
        let memory = Memory {
            bytes: |groups: &Groups<'_>| usize::try_from(groups.bytes).unwrap_or(0),
            bytes_max: self.limits.query_bytes_max,
            problem: "there are more groups than a query may keep in memory: narrow the filter, or group by less",
        };
        let new = || Groups::new(grouping);
        let parts = run.each_in_parts(access, memory, new, |groups, _, document| groups.add(document))?;
        let mut parts = parts.into_iter();
        let mut groups = parts.next().unwrap_or_else(new);
        parts.for_each(|part| groups.add_groups(part));
        groups.rows.into_iter().map(|(key, group)| Row::of(key, group, grouping, order)).collect()
    }
}

/// The groups that were met so far.
struct Groups<'a> {
    grouping: &'a Grouping,
    /// By their encoded values.
    rows: HashMap<Vec<u8>, Group>,
    /// What they take, about.
    bytes: isize,
    /// Kept for its memory.
    key: Vec<u8>,
}

impl<'a> Groups<'a> {
    fn new(grouping: &'a Grouping) -> Self {
        let mut groups = Self { grouping, rows: HashMap::new(), bytes: 0, key: Vec::new() };
        if grouping.group_by.is_empty() {
            groups.begin(Vec::new(), Vec::new());
        }
        groups
    }

    fn begin(&mut self, key: Vec<u8>, values: Vec<Value>) -> &mut Group {
        self.bytes += self.bytes_of(&key);
        let tallies = self.grouping.aggregates.iter().map(|(_, aggregate)| aggregate.begin()).collect();
        self.rows.entry(key).insert(Group { values, tallies }).into_mut()
    }

    fn bytes_of(&self, key: &[u8]) -> isize {
        (2 * key.len() + GROUP_BYTES + TALLY_BYTES * self.grouping.aggregates.len()) as isize
    }

    /// Takes in a document.
    fn add(&mut self, document: &Value) -> Result<(), ReadError> {
        let Grouping { group_by, aggregates } = self.grouping;
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        let mut differ = false;
        for path in group_by {
            let value = single(path, document)?;
            differ |= may_differ(value);
            encode::encode(value, &mut key);
        }
        let group = match self.rows.get_mut(&key) {
            Some(group) => group,
            None => {
                let values = group_by.iter().map(|path| single(path, document).cloned());
                self.begin(key.clone(), values.collect::<Result<_, _>>()?)
            }
        };
        if differ {
            for (path, shown) in group_by.iter().zip(&mut group.values) {
                show(shown, single(path, document)?);
            }
        }
        let mut bytes = 0;
        for ((_, aggregate), tally) in aggregates.iter().zip(&mut group.tallies) {
            bytes += aggregate.add(tally, document)?;
        }
        self.bytes += bytes;
        self.key = key;
        Ok(())
    }

    /// Takes in the groups of other documents.
    fn add_groups(&mut self, other: Self) {
        self.bytes += other.bytes;
        for (key, group) in other.rows {
            let twice = self.bytes_of(&key);
            match self.rows.entry(key) {
                Entry::Vacant(vacant) => drop(vacant.insert(group)),
                Entry::Occupied(mut known) => {
                    let known = known.get_mut();
                    let bytes = |tallies: &[Tally]| tallies.iter().map(Tally::bytes).sum::<isize>();
                    self.bytes -= twice + bytes(&known.tallies) + bytes(&group.tallies);
                    known.values.iter_mut().zip(&group.values).for_each(|(shown, value)| show(shown, value));
                    let figures = self.grouping.aggregates.iter().zip(&mut known.tallies).zip(group.tallies);
                    figures.for_each(|(((_, aggregate), tally), other)| aggregate.add_tally(tally, other));
                    self.bytes += bytes(&known.tallies);
                }
            }
        }
    }
}

/// Whether there are values that equal this one and are not the same.
fn may_differ(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(_) | Value::String(_))
}

/// Shows `value` in the place of an equal one, if it is the one to show.
fn show(shown: &mut Value, value: &Value) {
    if is_shown_before(value, shown) {
        shown.clone_from(value);
    }
}

/// What a group takes in memory beside its values, bytes, about.
const GROUP_BYTES: usize = 160;
/// What a figure takes, bytes, about.
const TALLY_BYTES: usize = 48;

/// A group as it is answered.
struct Row {
    /// What it is ordered by, and the group's values as text without a tie.
    place: (Vec<Value>, String),
    value: Value,
}

impl Row {
    fn of(key: Vec<u8>, group: Group, grouping: &Grouping, order: &Order) -> Result<Self, ReadError> {
        let values = grouping.group_by.iter().map(Path::to_string).zip(group.values);
        let figures = grouping.aggregates.iter().zip(group.tallies);
        let figures = figures.map(|((name, aggregate), tally)| (name.clone(), aggregate.end(tally)));
        let members: Vec<(String, Value)> = values.chain(figures).collect();
        // The answer shows a path such as `a.b` as one name, and is ordered by what it shows.
        let shown = |path: &Path| {
            let name = path.to_string();
            members.iter().find(|(member, _)| *member == name).map(|(_, value)| value.clone()).ok_or_else(|| {
                ReadError::InvalidOrder(format!("cannot order groups by `{name}`: the answer has no such field"))
            })
        };
        let place = order.keys().iter().map(|key| shown(&key.path)).collect::<Result<_, _>>()?;
        let tie = key.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { place: (place, tie), value: Value::Object(members) })
    }
}
