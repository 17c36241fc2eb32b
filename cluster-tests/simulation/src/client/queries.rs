//! Queries of all kinds at revisions of now and of before, page after page through any node.

use aerodb_raft::Consistency;
use rand::RngExt;
use rand::seq::IndexedRandom;

use super::append::LIST;
use super::{COLLECTIONS, Client};
use crate::call::Wanted;
use crate::check::model::query::{Query, Test, Wanted as Holds};

impl Client {
    /// Writes a little and asks a lot until the world is healed.
    pub(super) async fn query(mut self) {
        while !self.is_over() {
            if self.rng.random_bool(0.3) {
                let (op, keyed) = (self.draw_op(), self.rng.random_bool(0.5));
                self.write(op, keyed).await;
            } else {
                let collection = COLLECTIONS.choose(&mut self.rng).unwrap_or(&COLLECTIONS[0]).0;
                self.ask_a_query(collection).await;
            }
            self.pause().await;
        }
    }

    /// All documents of a collection.
    pub(super) async fn list_all(&mut self, collection: &str) {
        let limit = self.rng.random_range(1..10);
        self.ask_for(collection, Query::default(), limit).await;
    }

    /// A query by chance.
    pub(super) async fn ask_a_query(&mut self, collection: &str) {
        let conditions = self.rng.random_range(0..3);
        let wanted = (0..conditions).map(|_| self.draw_wanted()).collect();
        let mut order: Vec<(String, bool)> = Vec::new();
        for _ in 0..self.rng.random_range(0..3) {
            let key = (self.draw_field(), self.rng.random_bool(0.5));
            if order.iter().all(|known| known.0 != key.0) {
                order.push(key);
            }
        }
        let limit = *[1, 2, 5, 20, 100].choose(&mut self.rng).unwrap_or(&5);
        self.ask_for(collection, Query { wanted, order }, limit).await;
    }

    async fn ask_for(&mut self, collection: &str, query: Query, limit: usize) {
        let as_of = (self.rng.random_bool(0.35) && self.seen > 0).then(|| {
            // What has just been is read as often as all that ever was.
            let least = if self.rng.random_bool(0.5) { self.seen.saturating_sub(20).max(1) } else { 1 };
            self.rng.random_range(least..=self.seen)
        });
        let fresh = match as_of {
            Some(revision) => (Consistency::AtLeast { revision }, revision),
            None => self.draw_consistency(),
        };
        let (collection, count) = (collection.to_owned(), self.rng.random_bool(0.3));
        let wanted = Wanted::List { collection, query, limit, cursor: None, as_of, count };
        if self.pages(wanted, fresh).await.is_some() {
            self.world.checker.lock().coverage.queries += 1;
        }
    }

    fn draw_field(&mut self) -> String {
        (*["a", "a", "b", "b", LIST, "u", "w"].choose(&mut self.rng).unwrap_or(&"a")).to_owned()
    }

    fn draw_wanted(&mut self) -> Holds {
        match self.rng.random_range(0..10) {
            0 => Holds::Any((0..2).map(|_| self.draw_one()).collect()),
            1 => Holds::Not(Box::new(self.draw_one())),
            _ => self.draw_one(),
        }
    }

    fn draw_one(&mut self) -> Holds {
        let field = self.draw_field();
        let value = if field == LIST { self.rng.random_range(0..8) } else { self.rng.random_range(0..20) };
        let test = match self.rng.random_range(0..12) {
            0..3 => Test::Eq(Some(value)),
            3 => Test::Eq(None),
            4 => Test::Ne(Some(value)),
            5 => Test::Gt(value),
            6 | 7 => Test::Gte(value),
            8 => Test::Lt(value),
            9 => Test::Lte(value),
            10 => Test::In((0..3).map(|n| (value + n * 5) % 20).collect()),
            _ => Test::Exists(self.rng.random_bool(0.5)),
        };
        Holds::Field(field, test)
    }
}
