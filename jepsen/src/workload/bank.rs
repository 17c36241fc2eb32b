//! W5: money that moves and never comes or goes. Accounts of a branch lie in one document and move by conditional
//! writes; every transfer between branches is a double entry in the ledger, two documents that are inserted together or
//! not at all.

use anyhow::{Result, ensure};
use async_trait::async_trait;
use rand::RngExt;
use serde_json::json;

use super::{Worker, Workload};
use crate::checker::Checker;
use crate::checker::bank::{ACCOUNTS, Bank as BankChecker, TOTAL};
use crate::client::{Condition, Op, Query, Read};

const BRANCHES: &str = "branches";
const LEDGER: &str = "ledger";
/// Documents with accounts: few, so that transfers race.
const BRANCHES_MAX: u64 = 3;
/// Entries of one book: a book is read as one page.
const BOOK_MAX: u64 = 200;

/// Branches and a ledger.
#[derive(Debug)]
pub(super) struct Bank;

#[async_trait]
impl Workload for Bank {
    fn collections(&self) -> Vec<String> {
        vec![BRANCHES.into(), LEDGER.into()]
    }

    async fn setup(&self, worker: &mut Worker) -> Result<()> {
        for branch in 0..BRANCHES_MAX {
            let each = TOTAL / ACCOUNTS as i64;
            let document = json!({ "w": worker.tag(), "accounts": vec![each; ACCOUNTS] });
            let (collection, id) = (BRANCHES.to_owned(), format!("b{branch}"));
            let op = Op::Put { collection, id, document, condition: Condition::None, key: None };
            let answer = worker.run_surely(op).await;
            ensure!(answer.is_ok(), "no branch: {:?}", answer.error);
        }
        Ok(())
    }

    async fn step(&self, worker: &mut Worker) {
        match worker.rng.random_range(0..100) {
            0..55 => transfer(worker).await,
            55..75 => {
                // A book gets entries of about as many seconds as it has pages' worth, then the next one is opened.
                let book = worker.recorder().now_ns() / 4_000_000_000;
                let amount = worker.rng.random_range(1..100);
                let entry = |amount: i64, tag| json!({ "book": book, "amount": amount, "w": tag });
                let documents = vec![entry(amount, worker.tag()), entry(-amount, worker.tag())];
                worker.run(Op::Insert { collection: LEDGER.into(), documents, many: true, key: None }).await;
            }
            75..90 => {
                let newest = worker.recorder().now_ns() / 4_000_000_000;
                let book = newest.saturating_sub(worker.rng.random_range(0..3));
                let filter = Some(json!({ "book": book }));
                let select = Some("amount".to_owned());
                worker.walk(LEDGER, Query { filter, select, limit: Some(BOOK_MAX), ..Query::default() }).await;
            }
            _ => {
                let query = Query::default();
                worker.run(Op::List { collection: BRANCHES.into(), query, read: Read::default() }).await;
            }
        }
    }

    fn checkers(&self) -> Vec<Box<dyn Checker>> {
        vec![Box::new(BankChecker)]
    }
}

/// Reads a branch and writes it back with money moved, if nobody was faster.
async fn transfer(worker: &mut Worker) {
    let (collection, id) = (BRANCHES.to_owned(), format!("b{}", worker.rng.random_range(0..BRANCHES_MAX)));
    let read = worker.run(Op::Get { collection: collection.clone(), id: id.clone(), read: Read::default() }).await;
    let accounts = read.document().and_then(|document| document["accounts"].as_array());
    let (Some(revision), Some(accounts)) = (read.document_revision(), accounts) else { return };
    let mut accounts: Vec<i64> = accounts.iter().filter_map(|balance| balance.as_i64()).collect();
    if accounts.len() != ACCOUNTS {
        return;
    }
    let (from, to) = (worker.rng.random_range(0..ACCOUNTS), worker.rng.random_range(0..ACCOUNTS));
    let amount = worker.rng.random_range(0..=accounts[from].max(0));
    accounts[from] -= amount;
    accounts[to] += amount;
    let patch = json!({ "w": worker.tag(), "accounts": accounts });
    worker.run(Op::Patch { collection, id, patch, condition: Condition::Revision(revision), key: None }).await;
}
