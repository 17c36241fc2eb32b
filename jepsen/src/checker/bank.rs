//! The totals never move: in each branch that anybody reads, over each book of the ledger, and at the end.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Checker, Finding, Run};
use crate::client::Op;
use crate::history::Kind;

/// Accounts of a branch.
pub const ACCOUNTS: usize = 6;
/// The money of a branch.
pub const TOTAL: i64 = 600;

/// Totals.
#[derive(Debug)]
pub struct Bank;

impl Checker for Bank {
    fn name(&self) -> &'static str {
        "bank"
    }

    fn check(&self, run: &Run) -> Finding {
        let mut finding = Finding::new(self.name());
        // A book is read page by page: what its pages add up to counts, once the last one was read.
        let mut books: BTreeMap<String, (i64, u64, Vec<u64>)> = BTreeMap::new();
        for operation in run.history.operations.iter().filter(|operation| operation.kind == Kind::Ok) {
            let me = vec![operation.begin];
            match serde_json::from_value(operation.asked.clone()) {
                Ok(Op::Get { .. }) => branch(&operation.answer["document"], &me, &mut finding),
                Ok(Op::List { query, .. }) => {
                    let items = operation.answer["items"].as_array().map_or(&[][..], Vec::as_slice);
                    let Some(walk) = query.walk else {
                        items.iter().for_each(|item| branch(item, &me, &mut finding));
                        continue;
                    };
                    let book = books.entry(walk).or_default();
                    book.0 += items.iter().filter_map(|item| item["amount"].as_i64()).sum::<i64>();
                    book.1 += items.len() as u64;
                    book.2.push(operation.begin);
                    if operation.answer["more"].as_bool() == Some(false) {
                        ledger(book.0, book.1, book.2.clone(), &mut finding);
                    }
                }
                _ => {}
            }
        }
        for last in run.last.collections.values().flatten().filter(|last| last.error.is_none()) {
            last.documents.iter().for_each(|document| branch(document, &[], &mut finding));
            let amounts: Vec<i64> = last.documents.iter().filter_map(|document| document["amount"].as_i64()).collect();
            ledger(amounts.iter().sum(), amounts.len() as u64, Vec::new(), &mut finding);
        }
        finding.needs("branches read");
        finding.needs("books read");
        finding
    }
}

fn branch(document: &Value, operations: &[u64], finding: &mut Finding) {
    let Some(accounts) = document["accounts"].as_array() else { return };
    finding.count("branches read");
    let balances: Vec<i64> = accounts.iter().filter_map(Value::as_i64).collect();
    let total: i64 = balances.iter().sum();
    if total != TOTAL || balances.len() != ACCOUNTS || balances.iter().any(|balance| *balance < 0) {
        let text = format!("{} holds {balances:?}, {total} in all, not {TOTAL}", document["id"]);
        finding.wrong("money made or lost", text, operations.to_vec());
    }
}

fn ledger(total: i64, entries: u64, operations: Vec<u64>, finding: &mut Finding) {
    finding.count("books read");
    finding.add("entries read", entries);
    if total != 0 || entries % 2 != 0 {
        finding.wrong("half a double entry", format!("{entries} entries add up to {total}"), operations);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::checker::testing::{Script, get, rules};
    use crate::checker::{Last, NodeLast, Verdict};
    use crate::client::Query;

    fn check(accounts: &[i64], pages: &[&[i64]], last: &[i64]) -> Finding {
        let script = Script::default();
        script.does(0, &get("b0"), 1, json!({ "document": { "id": "b0", "accounts": accounts } }));
        for (place, page) in pages.iter().enumerate() {
            let query = Query { walk: Some("1".into()), ..Query::default() };
            let op = Op::List { collection: "l".into(), query, read: Default::default() };
            let items: Vec<Value> = page.iter().map(|amount| json!({ "amount": amount })).collect();
            script.does(0, &op, 2, json!({ "items": items, "more": place + 1 < pages.len() }));
        }
        let documents = last.iter().map(|amount| json!({ "amount": amount })).collect();
        let nodes = vec![NodeLast { node: 1, documents, ..NodeLast::default() }];
        let last = Last { collections: BTreeMap::from([("l".to_owned(), nodes)]) };
        Bank.check(&Run { history: script.history(), last, ..Run::default() })
    }

    #[test]
    fn totals_never_move() {
        let even = [100; 6];
        assert_eq!(check(&even, &[&[5, -5], &[7], &[-7]], &[1, -1]).verdict, Verdict::Valid);
        assert_eq!(rules(&check(&[101, 100, 100, 100, 100, 100], &[&[]], &[])), ["money made or lost"]);
        assert_eq!(rules(&check(&[700, -100, 0, 0, 0, 0], &[&[]], &[])), ["money made or lost"]);
        assert_eq!(rules(&check(&even, &[&[5, -5], &[7]], &[])), ["half a double entry"]);
        assert_eq!(rules(&check(&even, &[&[]], &[1, -1, 3])), ["half a double entry"]);
    }
}
