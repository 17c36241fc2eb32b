//! Indexes that come and go while their collection is written and read.

use std::time::Duration;

use rand::RngExt;
use rand::seq::IndexedRandom;
use tokio::time::sleep;

use super::Client;
use super::append::LIST;
use super::unique::OWNED;
use crate::check::model::catalog::Index;
use crate::check::model::{Act, Changes, Fields, Op, Pre, Step, Value};
use crate::plan::INDEXED;

/// Documents of the collection, mostly there: a build takes many steps.
pub(crate) const DOCUMENTS: u64 = 40;

/// The indexes that there may be: name, fields (`-`: descending), unique, the least `a`.
const INDEXES: [(&str, &[&str], bool, Option<i64>); 6] = [
    ("by_a", &["a"], false, None),
    ("by_a_down", &["-a", "b"], false, None),
    ("by_b_of_some", &["b", "-a"], false, Some(10)),
    ("by_list", &[LIST], false, None),
    ("by_owned", &[OWNED], true, None),
    ("by_list_and_b", &["b", LIST], false, Some(3)),
];

/// One of the indexes that there may be.
pub(crate) fn index(at: usize) -> Index {
    let (name, fields, unique, least) = INDEXES[at % INDEXES.len()];
    let field = |text: &&str| (text.trim_start_matches('-').to_owned(), text.starts_with('-'));
    Index { name: name.to_owned(), fields: fields.iter().map(field).collect(), unique, least }
}

impl Client {
    /// Makes and drops indexes, writes and asks until the world is healed.
    pub(super) async fn index(mut self) {
        while !self.is_over() {
            match self.rng.random_range(0..100) {
                0..18 => self.change_index().await,
                18..70 => {
                    let (op, keyed) = (self.draw_indexed(), self.rng.random_bool(0.5));
                    self.write(op, keyed).await;
                }
                _ => self.ask_a_query(INDEXED).await,
            }
            self.pause().await;
        }
    }

    /// Makes an index or drops one; now and then drops the one that it has just made, while that is built.
    async fn change_index(&mut self) {
        let index = index(self.rng.random_range(0..INDEXES.len()));
        let (collection, name) = (INDEXED.to_owned(), index.name.clone());
        let drop = Op::DropIndex { collection: collection.clone(), name };
        if self.rng.random_bool(0.4) {
            self.write(drop, true).await;
            return;
        }
        self.write(Op::CreateIndex { collection, index }, true).await;
        if self.rng.random_bool(0.15) {
            let pause = self.rng.random_range(0..100);
            sleep(Duration::from_millis(pause)).await;
            self.write(drop, true).await;
        }
    }

    /// Fields that some index has.
    fn draw_fields(&mut self) -> Fields {
        let mut fields = self.mark();
        if self.rng.random_bool(0.6) {
            let length = self.rng.random_range(0..4);
            let list = (0..length).map(|_| self.rng.random_range(0..8)).collect();
            fields.insert(LIST.to_owned(), Value::List(list));
        }
        // Seldom the same as another's: a unique index comes to be about as often as not.
        if self.rng.random_bool(0.4) {
            fields.insert(OWNED.to_owned(), self.rng.random_range::<i64, _>(0..60).into());
        }
        fields
    }

    fn draw_indexed(&mut self) -> Op {
        let id = format!("i{:02}", self.rng.random_range(0..DOCUMENTS));
        let place = (INDEXED.to_owned(), id);
        let pre = self.draw_pre(&place);
        let (collection, id) = place;
        match self.rng.random_range(0..100) {
            0..35 => Op::Put { collection, id, fields: self.draw_fields(), pre },
            35..60 => {
                let mut changes: Changes =
                    self.draw_fields().into_iter().map(|(name, value)| (name, Some(value))).collect();
                let gone = *["a", "b", LIST, OWNED].choose(&mut self.rng).unwrap_or(&"a");
                changes.insert(gone.to_owned(), None);
                Op::Patch { collection, id, changes, pre }
            }
            60..75 => Op::Insert { collection, documents: vec![(id, self.draw_fields())] },
            75..88 => {
                let other = format!("i{:02}", self.rng.random_range(0..DOCUMENTS));
                let step = |id: String, act| Step { collection: collection.clone(), id, pre: Pre::Any, act };
                let mut steps = vec![step(id.clone(), Act::Put(self.draw_fields()))];
                steps.extend((other != id).then(|| step(other, Act::Delete)));
                Op::Transact { steps, read_revision: 0 }
            }
            _ => Op::Delete { collection, id, pre },
        }
    }
}
