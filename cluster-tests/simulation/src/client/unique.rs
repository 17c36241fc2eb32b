//! Clients that race for the values of a unique index.

use rand::RngExt;
use rand::seq::IndexedRandom;

use super::Client;
use crate::check::model::catalog::Index;
use crate::check::model::{Act, Changes, Fields, Op, Pre, Step};
use crate::plan::UNIQUE;

/// The field whose values belong to one document each.
pub(crate) const OWNED: &str = "u";

/// Documents, and values that they fight over: fewer, so that somebody always goes without.
const DOCUMENTS: u64 = 8;
const VALUES: i64 = 5;

/// The index.
pub(crate) fn owned() -> Index {
    Index { name: "owned".to_owned(), fields: vec![(OWNED.to_owned(), false)], unique: true, least: None }
}

impl Client {
    /// Claims and gives up values until the world is healed.
    pub(super) async fn race(mut self) {
        while !self.is_over() {
            match self.rng.random_range(0..100) {
                0..25 => self.claim_at_once().await,
                25..40 => {
                    let op = self.exchange();
                    self.claim(op).await;
                }
                40..90 => {
                    let op = self.draw_claim();
                    self.claim(op).await;
                }
                _ => self.list_all(UNIQUE).await,
            }
            self.pause().await;
        }
    }

    async fn claim(&mut self, op: Op) {
        let keyed = self.rng.random_bool(0.5);
        self.write(op, keyed).await;
    }

    fn draw_owner(&mut self) -> String {
        format!("u{}", self.rng.random_range(0..DOCUMENTS))
    }

    /// A document that holds this.
    fn holding(&mut self, value: i64) -> Fields {
        let mut fields = self.mark();
        fields.insert(OWNED.to_owned(), value.into());
        fields
    }

    fn draw_claim(&mut self) -> Op {
        let (id, value) = (self.draw_owner(), self.rng.random_range(0..VALUES));
        let place = (UNIQUE.to_owned(), id);
        let pre = self.draw_pre(&place);
        let (collection, id) = place;
        match self.rng.random_range(0..10) {
            0..3 => Op::Put { collection, id, fields: self.holding(value), pre },
            3..5 => Op::Insert { collection, documents: vec![(id, self.holding(value))] },
            5..8 => {
                // Null is nobody's, and so is what is not there.
                let value = self.rng.random_bool(0.8).then(|| value.into());
                Op::Patch { collection, id, changes: Changes::from([(OWNED.to_owned(), value)]), pre }
            }
            _ => Op::Delete { collection, id, pre },
        }
    }

    /// Two documents change what they hold in one transaction: for each other's, or one in the place of the other.
    fn exchange(&mut self) -> Op {
        let (one, two) = (self.draw_owner(), self.draw_owner());
        let (a, b) = (self.rng.random_range(0..VALUES), self.rng.random_range(0..VALUES));
        let step = |id: &str, act: Act| Step { collection: UNIQUE.to_owned(), id: id.to_owned(), pre: Pre::Any, act };
        let patch = |value: i64| Act::Patch(Changes::from([(OWNED.to_owned(), Some(value.into()))]));
        let steps = match one == two {
            true => vec![step(&one, patch(a))],
            false => match [0, 1, 2].choose(&mut self.rng) {
                Some(0) => vec![step(&one, patch(a)), step(&two, patch(b))],
                Some(1) => vec![step(&two, Act::Put(self.holding(b))), step(&one, Act::Put(self.holding(a)))],
                _ => vec![step(&one, Act::Delete), step(&two, Act::Insert(self.holding(a)))],
            },
        };
        Op::Transact { steps, read_revision: 0 }
    }

    /// Many claim the same value at the same moment, each for another document.
    async fn claim_at_once(&mut self) {
        let (value, count) = (self.rng.random_range(0..VALUES), self.rng.random_range(2..=DOCUMENTS));
        // Mostly it is free: whoever has it gives it up first.
        let holder = self.draw_owner();
        let changes = Changes::from([(OWNED.to_owned(), None)]);
        let gives_up = Op::Patch { collection: UNIQUE.to_owned(), id: holder, changes, pre: Pre::Any };
        self.claim(gives_up).await;
        let ops: Vec<Op> = (0..count)
            .map(|n| {
                let (collection, id, fields) = (UNIQUE.to_owned(), format!("u{n}"), self.holding(value));
                match self.rng.random_bool(0.5) {
                    true => Op::Put { collection, id, fields, pre: Pre::Any },
                    false => Op::Insert { collection, documents: vec![(id, fields)] },
                }
            })
            .collect();
        let racers = ops.into_iter().map(|op| {
            let mut racer = Client::new(self.world.clone());
            async move { racer.claim(op).await }
        });
        futures::future::join_all(racers).await;
    }
}
