//! Which stretch of an index a filter needs: what its conditions say about the values of a field, as intervals of
//! encoded values. The intervals may hold more than what matches, never less: documents are checked against the filter
//! anyway.

use crate::filter::{Condition, Filter, Test};
use crate::index::encode;
use crate::json::{Kind, Path, Value};
use crate::kv::prefix_end;
use crate::state::keys;

/// A place among encoded values: before or behind all that begin with `bytes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    bytes: Vec<u8>,
    behind: bool,
}

impl Edge {
    fn before(bytes: Vec<u8>) -> Self {
        Self { bytes, behind: false }
    }

    fn behind(bytes: Vec<u8>) -> Self {
        Self { bytes, behind: true }
    }

    /// The least key at or behind this place, among keys that begin with `prefix`.
    pub(crate) fn key(&self, prefix: &[u8]) -> Vec<u8> {
        let key = [prefix, &self.bytes].concat();
        // An encoded value never consists of the greatest byte alone: there is a key behind it.
        if self.behind { prefix_end(&key).unwrap_or(key) } else { key }
    }

    /// The same place among ids, which are bare texts.
    fn among_ids(&self) -> Vec<u8> {
        let ended = self.bytes.len() > 1 && self.bytes.ends_with(encode::STRING_END);
        let text = self.bytes.get(1..).unwrap_or_default();
        let text = if ended { text.strip_suffix(encode::STRING_END).unwrap_or(text) } else { text };
        // No id has a control character: at the first one, it is decided.
        if let Some(control) = text.iter().position(|byte| *byte < b' ') {
            return [&text[..control], &[keys::BEHIND_ID]].concat();
        }
        match (ended, self.behind) {
            (_, false) => text.to_vec(),
            (true, true) => [text, &[keys::BEHIND_ID]].concat(),
            (false, true) => prefix_end(text).unwrap_or_else(keys::ids_end),
        }
    }

    /// The same place where every byte is inverted, and so the order.
    fn inverted(&self) -> Self {
        Self { bytes: self.bytes.iter().map(|byte| !byte).collect(), behind: !self.behind }
    }
}

/// Values from one edge to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    from: Edge,
    to: Edge,
}

impl Interval {
    /// All values that are equal to this one.
    fn point(value: &Value) -> Self {
        let bytes = encoded(value);
        Self { from: Edge::before(bytes.clone()), to: Edge::behind(bytes) }
    }

    /// The encoded value, if the interval holds no other. `inverted`: it is one of a descending field.
    pub(crate) fn as_point(&self, inverted: bool) -> Option<&[u8]> {
        let same = self.from.bytes == self.to.bytes && !self.from.behind && self.to.behind;
        let whole = encode::length(&self.from.bytes, inverted) == Some(self.from.bytes.len());
        (same && whole).then_some(&*self.from.bytes)
    }

    /// The interval in a descending field.
    pub(crate) fn inverted(&self) -> Self {
        Self { from: self.to.inverted(), to: self.from.inverted() }
    }

    /// The keys in it, among those that begin with `prefix`: from the first one up to, not including, the other.
    pub(crate) fn keys(&self, prefix: &[u8]) -> (Vec<u8>, Vec<u8>) {
        (self.from.key(prefix), self.to.key(prefix))
    }

    /// The ids in it, from the first one up to, not including, the other; `None` when it holds none.
    pub(crate) fn ids(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let texts = beginning_with("").and(self)?;
        let (from, to) = (texts.from.among_ids(), texts.to.among_ids());
        (from < to).then_some((from, to))
    }

    fn and(&self, other: &Self) -> Option<Self> {
        let later = |a: &Edge, b: &Edge| if a.key(&[]) >= b.key(&[]) { a.clone() } else { b.clone() };
        let earlier = |a: &Edge, b: &Edge| if a.key(&[]) <= b.key(&[]) { a.clone() } else { b.clone() };
        let both = Self { from: later(&self.from, &other.from), to: earlier(&self.to, &other.to) };
        (both.from.key(&[]) < both.to.key(&[])).then_some(both)
    }
}

/// Intervals in ascending order, none touching another.
pub(crate) type Intervals = Vec<Interval>;

/// The tests that every matching document passes for exactly this path.
pub(crate) fn tests_of<'f>(filter: &'f Filter, path: &Path) -> Vec<&'f Test> {
    let mut found = Vec::new();
    for condition in &filter.conditions {
        match condition {
            Condition::Field { path: other, tests } if other == path => found.extend(tests),
            Condition::And(filters) => found.extend(filters.iter().flat_map(|filter| tests_of(filter, path))),
            _ => {}
        }
    }
    found
}

/// Where the values are of documents that pass all these tests; `None` when the tests say nothing that an index knows.
/// `single`: no document has several values, so that one value must pass all tests.
pub(crate) fn intervals(tests: &[&Test], single: bool) -> Option<Intervals> {
    let known = tests.iter().filter_map(|test| of_test(test));
    match single {
        true => known.reduce(|a, b| intersection(&a, &b)),
        // Different values may pass different tests: the narrowest one counts alone.
        false => known.min_by_key(width),
    }
}

/// Those of the tests that [`intervals`] comes of.
pub(crate) fn used<'f>(tests: &[&'f Test], single: bool) -> Vec<&'f Test> {
    let known = tests.iter().filter_map(|test| Some((*test, of_test(test)?)));
    match single {
        true => known.map(|(test, _)| test).collect(),
        false => known.min_by_key(|(_, intervals)| width(intervals)).map(|(test, _)| test).into_iter().collect(),
    }
}

/// How little intervals leave, as far as can be told without looking: the less the better.
fn width(intervals: &Intervals) -> (bool, usize) {
    (!intervals.iter().all(|one| one.as_point(false).is_some()), intervals.len())
}

fn of_test(test: &Test) -> Option<Intervals> {
    let operands = match test {
        Test::Eq(value) | Test::Gt(value) | Test::Gte(value) | Test::Lt(value) | Test::Lte(value) => {
            std::slice::from_ref(value)
        }
        Test::In(values) | Test::All(values) => values.as_slice(),
        _ => &[],
    };
    // Those of a document may be too long to have an entry of their own.
    if operands.iter().any(|operand| matches!(operand.kind(), Kind::Array | Kind::Object)) {
        return None;
    }
    Some(match test {
        Test::Eq(value) => vec![Interval::point(value)],
        Test::In(values) => values.as_slice().iter().map(Interval::point).collect(),
        Test::Gt(value) => of_kind(value, Some(Edge::behind(encoded(value))), None),
        Test::Gte(value) => of_kind(value, Some(Edge::before(encoded(value))), None),
        Test::Lt(value) => of_kind(value, None, Some(Edge::before(encoded(value)))),
        Test::Lte(value) => of_kind(value, None, Some(Edge::behind(encoded(value)))),
        Test::StartsWith(start) => vec![beginning_with(start)],
        Test::Regex(pattern) => vec![beginning_with(&pattern.start()?)],
        // What is missing stands as null.
        Test::Exists(false) => vec![Interval::point(&Value::Null)],
        Test::All(values) => vec![Interval::point(values.as_slice().first()?)],
        _ => return None,
    })
}

/// Whether a document whose only entry lies where this test says passes it: the interval holds neither more nor less.
pub(crate) fn is_exact(test: &Test) -> bool {
    let known = |value: &Value| !matches!(value.kind(), Kind::Array | Kind::Object);
    // What is missing stands as null, which is equal to null and yet not compared with it.
    let compared = |value: &Value| known(value) && !value.is_null();
    match test {
        Test::Eq(value) => known(value),
        Test::In(values) => values.as_slice().iter().all(known),
        Test::Gt(value) | Test::Gte(value) | Test::Lt(value) | Test::Lte(value) => compared(value),
        Test::StartsWith(_) => true,
        _ => false,
    }
}

/// The strings that begin with `start`.
fn beginning_with(start: &str) -> Interval {
    let mut bytes = Vec::new();
    encode::string_start(start, &mut bytes);
    Interval { from: Edge::before(bytes.clone()), to: Edge::behind(bytes) }
}

/// The strings up to `last`, and that one.
pub(super) fn strings_until(last: &str) -> Interval {
    let last = Value::from(last);
    let (first, _) = encode::tags(&last);
    Interval { from: Edge::before(vec![first]), to: Edge::behind(encoded(&last)) }
}

/// The values of the same type as `value` between two edges.
fn of_kind(value: &Value, from: Option<Edge>, to: Option<Edge>) -> Intervals {
    let (first, last) = encode::tags(value);
    let whole = Interval { from: Edge::before(vec![first]), to: Edge::behind(vec![last]) };
    let wanted = Interval { from: from.unwrap_or(whole.from.clone()), to: to.unwrap_or(whole.to.clone()) };
    whole.and(&wanted).into_iter().collect()
}

/// Both lists are in order and none of their intervals touch: one pass over both finds all that they share.
fn intersection(a: &[Interval], b: &[Interval]) -> Intervals {
    let (mut i, mut j, mut both) = (0, 0, Vec::new());
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        both.extend(x.and(y));
        if x.to.key(&[]) <= y.to.key(&[]) { i += 1 } else { j += 1 }
    }
    both
}

fn encoded(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode::encode(value, &mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::tests::{value, value_of};

    fn of(filter: &str, single: bool) -> Option<Intervals> {
        let filter = Filter::parse(&value(filter)).unwrap();
        intervals(&tests_of(&filter, &Path::parse("a").unwrap()), single)
    }

    fn holds(intervals: &Intervals, value: &Value, inverted: bool) -> bool {
        let mut key = encoded(value);
        let mut intervals = intervals.clone();
        if inverted {
            key.iter_mut().for_each(|byte| *byte = !*byte);
            intervals = intervals.iter().map(Interval::inverted).collect();
        }
        key.extend(b"id");
        intervals.iter().any(|interval| {
            let (from, to) = interval.keys(&[]);
            from <= key && key < to
        })
    }

    #[test]
    fn conditions_become_intervals() {
        for (filter, inside, outside) in [
            (r#"{"a":3}"#, &["3", "3.0"][..], &["2", "4", r#""3""#, "[3]"][..]),
            (r#"{"a":{"$in":[1,"x"]}}"#, &["1", r#""x""#], &["2", r#""xy""#]),
            (r#"{"a":{"$gt":3}}"#, &["3.5", "1e300"], &["3", "2", r#""x""#, "null"]),
            (r#"{"a":{"$gte":3,"$lt":5}}"#, &["3", "4.9"], &["5", "2.9"]),
            (r#"{"a":{"$lte":"m"}}"#, &[r#""""#, r#""m""#], &[r#""ma""#, "3"]),
            (r#"{"a":{"$gt":false}}"#, &["true"], &["false", "0"]),
            (r#"{"a":{"$gte":null}}"#, &["null"], &["false"]),
            (r#"{"a":{"$startsWith":"ab"}}"#, &[r#""ab""#, r#""abc""#], &[r#""a""#, r#""ac""#]),
            (r#"{"a":{"$regex":"^ab?c$"}}"#, &[r#""ac""#, r#""abc""#], &[r#""b""#, r#""""#]),
            (r#"{"a":{"$exists":false}}"#, &["null"], &["1"]),
            (r#"{"$and":[{"a":{"$gt":1}},{"a":{"$lt":3}}]}"#, &["2"], &["1", "3"]),
            (r#"{"a":{"$gt":5,"$lt":3}}"#, &[], &["2", "4", "6"]),
        ] {
            let intervals = of(filter, true).expect(filter);
            for inverted in [false, true] {
                for text in inside {
                    assert!(holds(&intervals, &value(text), inverted), "{text} in {filter}, {inverted}");
                }
                for text in outside {
                    assert!(!holds(&intervals, &value(text), inverted), "{text} not in {filter}, {inverted}");
                }
            }
        }
        // An element may be within an array within the array, and long values have no entry of their own.
        for filter in [r#"{"a":{"$elemMatch":{"$gt":1}}}"#, r#"{"a":[1]}"#, r#"{"a":{"$in":[1,{}]}}"#] {
            assert_eq!(of(filter, true), None, "{filter}");
        }
        for filter in [r#"{"a":{"$ne":3}}"#, r#"{"b":3}"#, r#"{"$or":[{"a":1},{"b":2}]}"#, r#"{"a":{"$contains":"x"}}"#]
        {
            assert_eq!(of(filter, true), None, "{filter}");
        }
        assert!(of(r#"{"a":7}"#, true).unwrap()[0].as_point(false).is_some());
        assert!(of(r#"{"a":{"$startsWith":"x"}}"#, true).unwrap()[0].as_point(false).is_none());
    }

    #[test]
    fn what_bounds_is_told() {
        let filter = Filter::parse(&value(r#"{"a":{"$gt":5,"$ne":7,"$in":[1,2]}}"#)).unwrap();
        let tests = tests_of(&filter, &Path::parse("a").unwrap());
        assert_eq!(used(&tests, true), [tests[0], tests[2]]);
        assert_eq!(used(&tests, false), [tests[2]]);
    }

    #[test]
    fn several_values_pass_tests_each_for_itself() {
        // [1, 9] passes both, and neither of its values does.
        let intervals = of(r#"{"a":{"$gt":5,"$lt":3}}"#, false).unwrap();
        assert!(holds(&intervals, &value("1"), false) || holds(&intervals, &value("9"), false));
    }

    proptest! {
        #[test]
        fn nothing_that_matches_lies_outside(stored in value_of(2), operand in value_of(2), operator in 0_usize..6) {
            let operator = ["$eq", "$gt", "$gte", "$lt", "$lte", "$in"][operator];
            let operand = if operator == "$in" { Value::Array(vec![operand]) } else { operand };
            let tests = Value::Object(vec![(operator.to_owned(), operand)]);
            let filter = Filter::parse(&Value::Object(vec![("a".to_owned(), tests)])).unwrap();
            let Some(intervals) = intervals(&tests_of(&filter, &Path::parse("a").unwrap()), true) else { return Ok(()) };
            let document = Value::Object(vec![("a".to_owned(), stored.clone())]);
            let values = stored.as_array().unwrap_or_default().iter().chain([&stored]);
            for inverted in [false, true] {
                let found = { values.clone() }.any(|value| holds(&intervals, value, inverted));
                prop_assert_eq!(found, filter.matches(&document));
            }
        }
    }
}
