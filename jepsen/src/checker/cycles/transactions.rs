//! What clients did, as transactions of appends to lists and reads of them.

use serde_json::{Value, json};

use crate::checker::Run;
use crate::client::Op;
use crate::history::{Kind, Operation};

/// A part of a transaction.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    /// To this list, this element.
    Append(String, String),
    /// This list held these elements.
    Read(String, Vec<String>),
}

/// A transaction.
#[derive(Clone, Debug)]
pub(super) struct Transaction {
    /// Index of the invocation.
    pub(super) begin: u64,
    /// Index of the completion; `u64::MAX` where there is none.
    pub(super) end: u64,
    pub(super) process: u64,
    pub(super) kind: Kind,
    pub(super) parts: Vec<Part>,
}

impl Transaction {
    /// In a few words.
    pub(super) fn text(&self) -> String {
        let part = |part: &Part| match part {
            Part::Append(list, element) => format!("append {list} {element}"),
            Part::Read(list, elements) => {
                let last = elements.last().map_or("", String::as_str);
                format!("read {list} ({} elements, last {last})", elements.len())
            }
        };
        format!("[{}]", self.parts.iter().map(part).collect::<Vec<_>>().join(", "))
    }
}

/// The transactions of a run. The lists at the end are one more read, after everything else.
pub(super) fn of(run: &Run) -> Vec<Transaction> {
    let mut transactions: Vec<Transaction> = run.history.operations.iter().filter_map(transaction).collect();
    for last in run.last.collections.values().flatten().filter(|last| last.error.is_none()) {
        let parts = last.documents.iter().filter_map(list).collect();
        let (begin, process) = (u64::MAX - 1, u64::MAX - last.node);
        transactions.push(Transaction { begin, end: u64::MAX, process, kind: Kind::Ok, parts });
    }
    transactions
}

fn list(document: &Value) -> Option<Part> {
    let elements = document["list"].as_array()?.iter().filter_map(Value::as_str).map(str::to_owned);
    Some(Part::Read(document["k"].as_str()?.to_owned(), elements.collect()))
}

fn transaction(operation: &Operation) -> Option<Transaction> {
    let read = |id: String| Part::Read(id, Vec::new());
    let parts = match serde_json::from_value(operation.asked.clone()).ok()? {
        Op::Get { id, .. } if operation.kind == Kind::Ok => {
            vec![list(&operation.answer["document"]).unwrap_or_else(|| read(id))]
        }
        Op::List { query, .. } if operation.kind == Kind::Ok => {
            let asked = json!(query.filter)["k"]["$in"].as_array().cloned().unwrap_or_default();
            let found: Vec<Part> = operation.answer["items"].as_array()?.iter().filter_map(list).collect();
            let mut names: Vec<String> = asked.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            names.sort_unstable();
            names.dedup();
            // A list that nobody has appended to is not there.
            names.retain(|name| !found.iter().any(|part| matches!(part, Part::Read(list, _) if list == name)));
            found.into_iter().chain(names.into_iter().map(read)).collect()
        }
        // Conditional on the version that was read before: reading it is a part of the transaction.
        Op::Put { id, document, .. } => {
            let Some(Part::Read(_, mut elements)) = list(&document) else { return None };
            let element = elements.pop()?;
            let append = Part::Append(id.clone(), element);
            match operation.kind {
                Kind::Ok => vec![Part::Read(id, elements), append],
                _ => vec![append],
            }
        }
        _ => return None,
    };
    let Operation { begin, end, process, kind, .. } = *operation;
    Some(Transaction { begin, end, process, kind, parts })
}
