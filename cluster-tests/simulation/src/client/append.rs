//! Transactions that append to lists, and reads of several lists at one revision. Each appends what nobody else does, so that
//! a list tells who wrote it, and in which order.

use std::collections::BTreeSet;
use std::time::Duration;

use aerodb_proto as proto;
use aerodb_raft::Consistency;
use rand::RngExt;

use super::Client;
use crate::call::Wanted;
use crate::check::append::{Fate, Seen};
use crate::check::model::query::Query;
use crate::check::model::{self, Act, Doc, Op, Pre, Step, Value};
use crate::check::oracle::{End, Read};
use crate::plan::APPEND;
use crate::world::now;

/// The field that holds a list.
pub(crate) const LIST: &str = "l";

/// Lists that a transaction names at most.
const NAMED_MAX: usize = 4;

impl Client {
    /// Appends and reads until the world is healed.
    pub(super) async fn append(mut self) {
        while !self.is_over() {
            match self.rng.random_range(0..100) {
                0..45 => {
                    let steps = self.draw_steps(0.7);
                    self.transact(steps, 0).await;
                }
                45..60 => {
                    let steps = self.draw_steps(0.0);
                    self.transact(steps, 0).await;
                }
                60..85 => self.read_and_append().await,
                _ => drop(self.read_lists().await),
            }
            self.pause().await;
        }
    }

    /// Operations on some lists, each of which appends to its list with this chance.
    fn draw_steps(&mut self, appends: f64) -> Vec<Step> {
        let count = self.rng.random_range(1..=NAMED_MAX);
        (0..count)
            .map(|_| {
                let id = self.draw_list();
                let act = if self.rng.random_bool(appends) { self.draw_append() } else { Act::Get };
                Step { collection: APPEND.to_owned(), id, pre: Pre::Any, act }
            })
            .collect()
    }

    fn draw_list(&mut self) -> String {
        format!("l{}", self.rng.random_range(0..self.world.plan.lists))
    }

    fn draw_append(&mut self) -> Act {
        self.count += 1;
        Act::Append(LIST.to_owned(), (self.number * 1_000_000 + self.count) as i64)
    }

    /// Reads lists, and appends to some of them if none of those has changed meanwhile: by the revision of the read, or by
    /// those of the documents.
    async fn read_and_append(&mut self) {
        let Some((revision, found)) = self.read_lists().await else { return };
        let by_revision = self.rng.random_bool(0.5);
        let mut steps = Vec::new();
        for (id, doc) in found {
            if self.rng.random_bool(0.5) && steps.len() < NAMED_MAX {
                let pre = if by_revision { Pre::Any } else { Pre::Revision(doc.revision) };
                let act = if self.rng.random_bool(0.6) { self.draw_append() } else { Act::Get };
                steps.push(Step { collection: APPEND.to_owned(), id, pre, act });
            }
        }
        if !steps.is_empty() {
            self.transact(steps, if by_revision { revision } else { 0 }).await;
        }
    }

    async fn transact(&mut self, steps: Vec<Step>, read_revision: u64) {
        let keyed = self.rng.random_bool(0.5);
        let began = now();
        let end = self.write(Op::Transact { steps: steps.clone(), read_revision }, keyed).await;
        let appends = steps.iter().filter_map(|step| match &step.act {
            Act::Append(_, value) => Some((step.id.clone(), *value)),
            _ => None,
        });
        let (fate, lists) = match &end {
            End::Answered(outcome) => match &outcome.result {
                Some(proto::outcome::Result::Transacted(told)) => (Fate::Done, shown(told)),
                _ => (Fate::Not, Vec::new()),
            },
            End::Nothing => (Fate::Not, Vec::new()),
            End::Unknown => (Fate::Unknown, Vec::new()),
        };
        let appends: Vec<_> = appends.collect();
        self.world.checker.lock().coverage.appends += u64::from(fate == Fate::Done) * appends.len() as u64;
        let seen = Seen { began, ended: now(), fate, strict: true, appends, lists };
        self.world.history.lock().appended.push(seen);
    }

    /// Reads all lists at one revision, of now or of before.
    async fn read_lists(&mut self) -> Option<(u64, Vec<(String, Doc)>)> {
        let began = now();
        let as_of = (self.rng.random_bool(0.2) && self.seen > 0).then(|| self.rng.random_range(1..=self.seen));
        let fresh = match as_of {
            Some(revision) => (Consistency::AtLeast { revision }, revision),
            None => self.draw_consistency(),
        };
        let strict = fresh.0 == Consistency::Linearizable;
        let limit = self.rng.random_range(1..10);
        let (collection, query) = (APPEND.to_owned(), Query::default());
        let wanted = Wanted::List { collection, query, limit, cursor: None, as_of, count: false };
        let Read { revision, bodies, .. } = self.pages(wanted, fresh).await?;
        let found: Vec<(String, Doc)> = bodies.iter().filter_map(|body| model::read(body).ok()).collect();
        // Before the lists were made there is nothing to be seen of them.
        let lists: Vec<_> = found.iter().filter_map(|(id, doc)| Some((id.clone(), list(doc)?))).collect();
        let seen = Seen { began, ended: now(), fate: Fate::Done, strict, appends: Vec::new(), lists };
        self.world.history.lock().appended.push(seen);
        Some((revision, found))
    }

    /// After everything: all lists as they are now.
    pub(crate) async fn read_last_lists(&mut self, node: u64, patience: Duration) -> bool {
        let began = now();
        let (collection, query) = (APPEND.to_owned(), Query::default());
        let wanted = Wanted::List { collection, query, limit: 1_000, cursor: None, as_of: None, count: false };
        let fresh = (Consistency::Linearizable, *self.world.floor.lock());
        let Some(Ok(sight)) = self.see(node, wanted, fresh, patience).await else { return false };
        let found = sight.seen.bodies.iter().filter_map(|body| model::read(body).ok());
        let lists = found.filter_map(|(id, doc)| Some((id, list(&doc)?))).collect();
        let seen = Seen { began, ended: now(), fate: Fate::Done, strict: true, appends: Vec::new(), lists };
        self.world.history.lock().appended.push(seen);
        true
    }
}

/// What an answer shows of lists; each once: what a transaction names twice it shows twice.
fn shown(told: &proto::Transacted) -> Vec<(String, Vec<i64>)> {
    let documents = told.operations.iter().filter_map(|operated| operated.document.as_ref());
    let read = documents.filter_map(|document| model::read(&document.body).ok());
    let lists: BTreeSet<_> = read.filter_map(|(id, doc)| Some((id, list(&doc)?))).collect();
    lists.into_iter().collect()
}

fn list(doc: &Doc) -> Option<Vec<i64>> {
    match doc.fields.get(LIST)? {
        Value::List(elements) => Some(elements.clone()),
        Value::Whole(_) => None,
    }
}
