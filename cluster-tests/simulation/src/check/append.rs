//! Lists that transactions append to, judged without trusting a revision: the order of the elements in a list says in which
//! order transactions wrote it, and which of them each reader had seen. What depends on what may not go in a circle
//! (Adya, 1999; Kingsbury and Alvaro, Elle, 2020).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// How a transaction ended for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It has happened.
    Done,
    /// It has not, and will not.
    Not,
    /// It may have happened, or may yet.
    Unknown,
}

/// A transaction, or a read of several lists at once, as its client saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When it was asked for.
    pub began: Duration,
    /// When its answer was there.
    pub ended: Duration,
    /// How it ended.
    pub fate: Fate,
    /// It must show all that had been answered before it was asked for.
    pub strict: bool,
    /// Lists and what it appends to them, in its order. No other transaction appends the same.
    pub appends: Vec<(String, i64)>,
    /// Lists and what was seen of them: where it appends to one, with what it appends.
    pub lists: Vec<(String, Vec<i64>)>,
}

/// Why one transaction stands before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// It wrote what the other wrote over.
    Overwritten,
    /// It wrote what the other has read.
    Read,
    /// It read what the other wrote over.
    Missed,
    /// It was answered before the other was asked for.
    Earlier,
}

/// Judges what was seen. Says what is wrong.
pub fn judge(seen: &[Seen]) -> Vec<String> {
    match Judge::new(seen) {
        Ok(judge) => judge.orders().map_or_else(|wrong| wrong, |orders| judge.circle(&orders).into_iter().collect()),
        Err(wrong) => vec![wrong],
    }
}

/// By list: its elements as anybody saw them at most.
type Orders<'a> = BTreeMap<&'a str, &'a [i64]>;

struct Judge<'a> {
    seen: &'a [Seen],
    /// Who appends each element.
    writers: BTreeMap<i64, usize>,
}

impl<'a> Judge<'a> {
    fn new(seen: &'a [Seen]) -> Result<Self, String> {
        let mut writers = BTreeMap::new();
        for (at, one) in seen.iter().enumerate() {
            for (list, element) in &one.appends {
                if writers.insert(*element, at).is_some_and(|other| other != at) {
                    return Err(format!("the workload is wrong: {element} is appended to {list} twice"));
                }
            }
        }
        Ok(Self { seen, writers })
    }

    /// The order of the elements of each list, in which all that was seen of it must be.
    fn orders(&self) -> Result<Orders<'a>, Vec<String>> {
        let mut orders = Orders::new();
        for (list, found) in self.seen.iter().flat_map(|one| &one.lists) {
            let longest = orders.entry(list).or_default();
            if found.len() > longest.len() {
                *longest = found;
            }
        }
        let mut wrong = Vec::new();
        for (&list, &order) in &orders {
            let elements: BTreeSet<i64> = order.iter().copied().collect();
            if elements.len() < order.len() {
                wrong.push(format!("{list} has an element twice: {order:?}"));
            }
            for element in order {
                match self.writers.get(element).map(|at| &self.seen[*at]) {
                    None => wrong.push(format!("{list} has {element}, which nobody has appended")),
                    Some(one) if one.fate == Fate::Not => {
                        wrong.push(format!("{list} has {element} of what was refused (G1a): {one:?}"));
                    }
                    Some(_) => {}
                }
            }
            for one in self.seen.iter().filter(|one| one.fate == Fate::Done) {
                let lost = one.appends.iter().find(|(to, element)| to == list && !elements.contains(element));
                if let Some((_, element)) = lost {
                    wrong.push(format!("{list} has lost {element} of what was acknowledged: {one:?}"));
                }
            }
            for one in self.seen {
                for (_, found) in one.lists.iter().filter(|(name, _)| name == list) {
                    if !order.starts_with(found) {
                        wrong.push(format!("{list} was seen as {found:?} and as {order:?}"));
                    }
                    wrong.extend(self.intermediate(one, list, found));
                }
            }
        }
        if wrong.is_empty() { Ok(orders) } else { Err(wrong) }
    }

    /// All that a transaction appends to a list is seen at once, or none of it (G1b).
    fn intermediate(&self, reader: &Seen, list: &str, found: &[i64]) -> Option<String> {
        let last = self.seen.get(*self.writers.get(found.last()?)?)?;
        let own: Vec<i64> = last.appends.iter().filter(|(to, _)| to == list).map(|(_, element)| *element).collect();
        (!found.ends_with(&own)).then(|| format!("{list} shows a part of {last:?} (G1b): {reader:?}"))
    }

    /// A circle of transactions each of which stands before the next.
    fn circle(&self, orders: &Orders<'a>) -> Option<String> {
        let edges = self.edges(orders);
        let sources: Vec<usize> = edges.keys().map(|(from, _)| *from).collect();
        let mut next: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (from, to) in edges.keys() {
            next.entry(*from).or_default().push(*to);
        }
        // What leads nowhere is in no circle; of what is left, everything can reach one.
        let mut left: BTreeSet<usize> = sources.into_iter().collect();
        loop {
            let before = left.len();
            let leads = |at: &usize| next.get(at).is_some_and(|to| to.iter().any(|to| left.contains(to)));
            let kept: BTreeSet<usize> = left.iter().copied().filter(leads).collect();
            left = kept;
            if left.len() == before {
                break;
            }
        }
        let shortest = left.iter().filter_map(|start| path(&next, &left, *start)).min_by_key(Vec::len)?;
        let pairs = shortest.iter().zip(shortest.iter().cycle().skip(1));
        let whys: Vec<Why> = pairs.map(|(from, to)| edges[&(*from, *to)]).collect();
        let missed = whys.iter().filter(|why| **why == Why::Missed).count();
        let name = match missed {
            0 if whys.contains(&Why::Read) => "G1c",
            0 => "G0",
            1 => "G-single",
            _ => "G2",
        };
        let name = if whys.contains(&Why::Earlier) { format!("{name} in real time") } else { name.to_owned() };
        let steps = shortest.iter().zip(&whys).map(|(at, why)| format!("{:?} {why:?}", self.seen[*at]));
        Some(format!("transactions go in a circle ({name}): {}", steps.collect::<Vec<_>>().join("; then ")))
    }

    /// Who stands before whom, and why; of several reasons the one that says most.
    fn edges(&self, orders: &Orders<'a>) -> BTreeMap<(usize, usize), Why> {
        let mut edges = BTreeMap::new();
        let mut add = |from: usize, to: usize, why: Why| {
            if from != to {
                let known = edges.entry((from, to)).or_insert(why);
                *known = why.min(*known);
            }
        };
        let writer = |element: &i64| self.writers.get(element).copied();
        for order in orders.values() {
            for pair in order.windows(2) {
                if let (Some(from), Some(to)) = (writer(&pair[0]), writer(&pair[1])) {
                    add(from, to, Why::Overwritten);
                }
            }
        }
        for (at, one) in self.seen.iter().enumerate() {
            for (list, found) in &one.lists {
                // Without what it appended itself.
                let own = found.iter().rev().take_while(|element| writer(element) == Some(at)).count();
                let before = found.len() - own;
                if let Some(last) = found[..before].last().and_then(writer) {
                    add(last, at, Why::Read);
                }
                let behind = orders.get(list.as_str()).and_then(|order| order.get(found.len()));
                if let Some(next) = behind.and_then(writer) {
                    add(at, next, Why::Missed);
                }
            }
        }
        let strict = || self.seen.iter().enumerate().filter(|(_, one)| one.strict && one.fate != Fate::Not);
        for (from, one) in strict().filter(|(_, one)| one.fate == Fate::Done) {
            for (to, _) in strict().filter(|(_, later)| later.began > one.ended) {
                add(from, to, Why::Earlier);
            }
        }
        edges
    }
}

/// The shortest way from `start` back to it, within `left`.
fn path(next: &BTreeMap<usize, Vec<usize>>, left: &BTreeSet<usize>, start: usize) -> Option<Vec<usize>> {
    let mut from: BTreeMap<usize, usize> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for &to in next.get(&at).into_iter().flatten().filter(|to| left.contains(to)) {
            if to == start {
                let mut way = vec![at];
                while way.last() != Some(&start) {
                    way.push(*from.get(way.last()?)?);
                }
                way.reverse();
                return Some(way);
            }
            if let Entry::Vacant(vacant) = from.entry(to) {
                vacant.insert(at);
                queue.push_back(to);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests;
