//! From what was read to who depends on whom.

use std::collections::{BTreeMap, HashMap};

use super::graph::{Edge, Graph};
use super::transactions::{Part, Transaction};
use crate::checker::Finding;
use crate::history::Kind;

/// The dependencies between transactions. What is wrong without any cycle is found on the way.
pub(super) fn graph(transactions: &[Transaction], finding: &mut Finding) -> Graph {
    let appenders = appenders(transactions, finding);
    let orders = orders(transactions, finding);
    let mut graph = Graph::new(transactions.len());
    for (list, order) in &orders {
        let who = |element: &String| appenders.get(&(list.as_str(), element.as_str())).copied();
        for pair in order.windows(2) {
            if let (Some(first), Some(second)) = (who(&pair[0]), who(&pair[1])) {
                graph.add(first, second, Edge::Ww);
            }
        }
        for element in order.iter().filter(|element| who(element).is_none()) {
            finding.wrong("element of nobody", format!("{list} holds {element}"), Vec::new());
        }
    }
    for (place, transaction) in transactions.iter().enumerate().filter(|(_, t)| t.kind == Kind::Ok) {
        for (at, part) in transaction.parts.iter().enumerate() {
            let Part::Read(list, seen) = part else { continue };
            finding.count("reads of lists");
            let who = |element: &String| appenders.get(&(list.as_str(), element.as_str())).copied();
            // What this transaction has appended itself before says nothing about others.
            let own =
                transaction.parts[..at].iter().filter(|part| matches!(part, Part::Append(to, _) if to == list)).count();
            let foreign = &seen[..seen.len().saturating_sub(own)];
            if let Some(writer) = foreign.last().and_then(who) {
                graph.add(writer, place, Edge::Wr);
                intermediate(transactions, (writer, place), list, foreign, finding);
            }
            for element in seen {
                if who(element).is_some_and(|writer| transactions[writer].kind == Kind::Fail) {
                    let text = format!("{} read {element}, which was refused", transaction.text());
                    finding.wrong("G1a: read of a refused append", text, vec![transaction.begin]);
                }
            }
            let next = orders.get(list.as_str()).and_then(|order| order.get(foreign.len()));
            if let Some(writer) = next.and_then(who) {
                graph.add(place, writer, Edge::Rw);
            }
        }
    }
    lost(transactions, &orders, finding);
    real_time(transactions, &mut graph);
    graph
}

/// Who appended which element to which list.
fn appenders<'t>(transactions: &'t [Transaction], finding: &mut Finding) -> HashMap<(&'t str, &'t str), usize> {
    let mut appenders = HashMap::new();
    for (place, transaction) in transactions.iter().enumerate() {
        for part in &transaction.parts {
            if let Part::Append(list, element) = part {
                finding.count("appends");
                appenders.insert((list.as_str(), element.as_str()), place);
            }
        }
    }
    appenders
}

/// The order of each list's elements: the longest reading. Every other one must be a beginning of it.
fn orders(transactions: &[Transaction], finding: &mut Finding) -> BTreeMap<String, Vec<String>> {
    let mut orders: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let reads = || {
        transactions.iter().filter(|t| t.kind == Kind::Ok).flat_map(|transaction| {
            transaction.parts.iter().filter_map(move |part| match part {
                Part::Read(list, seen) => Some((transaction, list, seen)),
                Part::Append(..) => None,
            })
        })
    };
    for (_, list, seen) in reads() {
        let order = orders.entry(list.clone()).or_default();
        if seen.len() > order.len() {
            order.clone_from(seen);
        }
    }
    for (transaction, list, seen) in reads() {
        if !orders[list].starts_with(seen) {
            let text = format!("{list} was read as {seen:?} and as {:?}", orders[list]);
            finding.wrong("incompatible orders", text, vec![transaction.begin]);
        }
    }
    for (list, order) in &orders {
        let mut seen = std::collections::HashSet::new();
        if let Some(twice) = order.iter().find(|element| !seen.insert(*element)) {
            finding.wrong("element twice", format!("{list} holds {twice} twice"), Vec::new());
        }
    }
    orders
}

/// G1b: a read that ends at an append which its own transaction appended after.
fn intermediate(
    transactions: &[Transaction],
    (writer, reader): (usize, usize),
    list: &str,
    seen: &[String],
    finding: &mut Finding,
) {
    let last = transactions[writer].parts.iter().rev().find_map(|part| match part {
        Part::Append(to, element) if to == list => Some(element),
        _ => None,
    });
    if writer != reader && last != seen.last() {
        let text = format!("{} saw half of {}", transactions[reader].text(), transactions[writer].text());
        finding.wrong("G1b: intermediate read", text, vec![transactions[writer].begin, transactions[reader].begin]);
    }
}

/// An append that was acknowledged before a list was read for the last time, and that no reading shows.
fn lost(transactions: &[Transaction], orders: &BTreeMap<String, Vec<String>>, finding: &mut Finding) {
    let mut read_last: HashMap<&str, u64> = HashMap::new();
    for transaction in transactions.iter().filter(|transaction| transaction.kind == Kind::Ok) {
        for part in &transaction.parts {
            if let Part::Read(list, _) = part {
                let last = read_last.entry(list).or_default();
                *last = transaction.begin.max(*last);
            }
        }
    }
    for transaction in transactions.iter().filter(|transaction| transaction.kind == Kind::Ok) {
        for part in &transaction.parts {
            let Part::Append(list, element) = part else { continue };
            let shown = orders.get(list).is_some_and(|order| order.contains(element));
            let due = read_last.get(list.as_str()).is_some_and(|last| transaction.end < *last);
            if due && !shown {
                let text = format!("{element} was appended to {list} and no later reading shows it");
                finding.wrong("lost append", text, vec![transaction.begin]);
            }
        }
    }
}

/// Who began after whom had ended. Only the last ones to have ended are linked: the others follow from those.
fn real_time(transactions: &[Transaction], graph: &mut Graph) {
    let mut events: Vec<(u64, bool, usize)> = Vec::with_capacity(transactions.len() * 2);
    for (place, transaction) in transactions.iter().enumerate() {
        events.push((transaction.begin, true, place));
        if transaction.kind == Kind::Ok && transaction.end != u64::MAX {
            events.push((transaction.end, false, place));
        }
    }
    events.sort_unstable();
    let mut ended: Vec<usize> = Vec::new();
    for (_, begins, place) in events {
        if begins {
            ended.iter().for_each(|before| graph.add(*before, place, Edge::Rt));
        } else {
            let begin = transactions[place].begin;
            ended.retain(|before| transactions[*before].end > begin);
            ended.push(place);
        }
    }
}
