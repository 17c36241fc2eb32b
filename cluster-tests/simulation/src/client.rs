//! Clients: they write, read, page, subscribe and retry through any node, and write down what they saw. What is here every run
//! does; what only some do has a module of its own.

mod append;
mod command;
mod indexes;
mod queries;
mod unique;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aerodb_proto as proto;
use aerodb_raft::{Consistency, Error};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{sleep, timeout};

use crate::call::{Ask, No, Reply, Seen, Wanted, WhyNot};
use crate::check::model::query::{Query, Test, Wanted as Holds};
use crate::check::model::{Changes, Fields, Op, Pre};
use crate::check::oracle::{By, Denial, End, Key, Piece, Read, What, Write};
use crate::plan::Workload;
use crate::trace;
use crate::world::{World, now};
use command::command;

/// What plans need to know of documents with indexes.
pub(crate) mod indexed {
    pub(crate) use super::append::LIST;
    pub(crate) use super::indexes::{DOCUMENTS, index};
    pub(crate) use super::unique::owned;
}

/// The collections, and the seconds of history that each keeps. The second is short, so that history is collected and
/// reads below the watermark are refused.
pub const COLLECTIONS: [(&str, u64); 2] = [("long", 3_600), ("short", 3)];

/// Attempts of a write under one idempotency key.
const ATTEMPTS_MAX: u32 = 12;

/// Chance that a key whose request has succeeded is used for another one.
const REUSED: f64 = 0.1;

/// Reads of a leader that has just begun to lead.
const LOOKS_AT_A_LEADER: u32 = 60;

/// Commands for a leader that was replaced.
const ASKED_OF_THE_DEPOSED: u32 = 5;

/// What a node showed, and the least revision that it may be of.
pub(crate) struct Sight {
    pub(crate) seen: Seen,
    pub(crate) floor: u64,
    pub(crate) by: By,
}

/// One client.
pub struct Client {
    world: Arc<World>,
    rng: SmallRng,
    number: u64,
    /// Operations so far; with the client's number it marks what each write wrote.
    count: u64,
    /// The highest revision that this client has seen.
    seen: u64,
    /// Revisions of documents that it has seen, for preconditions.
    known: BTreeMap<(String, String), u64>,
}

impl Client {
    /// The next client; all that chance decides for it follows from the world's seed and its number.
    pub fn new(world: Arc<World>) -> Self {
        let number = {
            let mut clients = world.clients.lock();
            *clients += 1;
            *clients
        };
        let rng = SmallRng::seed_from_u64(world.plan.seed.wrapping_mul(7_919).wrapping_add(number));
        Self { world, rng, number, count: 0, seen: 0, known: BTreeMap::new() }
    }

    /// Makes the collections, and what the workload of this run begins with.
    pub async fn prepare(&mut self) {
        for (name, retention_seconds) in self.world.plan.collections() {
            self.insist(&Op::Create { name: name.to_owned(), retention_seconds }).await;
        }
        for op in self.world.plan.workload.begins_with(&self.world.plan) {
            self.insist(&op).await;
        }
    }

    /// Asks until it is done, or refused as done before.
    async fn insist(&mut self, op: &Op) {
        loop {
            match self.write(op.clone(), true).await {
                // Until the cluster has its first key it refuses everybody.
                End::Answered(outcome) if outcome.revision > 0 => break,
                _ => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Writes and reads until the world is healed.
    pub async fn work(mut self) {
        while !self.is_over() {
            match self.rng.random_range(0..100) {
                0..55 => {
                    let (op, keyed) = (self.draw_op(), self.rng.random_bool(0.5));
                    self.write(op, keyed).await;
                }
                55..75 => self.get().await,
                75..90 => self.list().await,
                90..97 => self.get_as_of().await,
                // A burst: more than the small bounds take.
                _ => self.burst().await,
            }
            self.pause().await;
        }
    }

    /// Does what this run's workload is, until the world is healed.
    pub async fn work_at(self, workload: Workload) {
        match workload {
            Workload::Documents => self.work().await,
            Workload::Append => self.append().await,
            Workload::Unique => self.race().await,
            Workload::Indexes => self.index().await,
            Workload::Queries => self.query().await,
        }
    }

    fn is_over(&self) -> bool {
        *self.world.healed.lock()
    }

    async fn pause(&mut self) {
        let pause = self.rng.random_range(0..self.world.plan.pace_ms);
        sleep(Duration::from_millis(pause)).await;
    }

    /// Looks at each new leader, again and again in its first moments, at whatever it has: it may not claim to know more
    /// than it can.
    pub async fn watch_leaders(mut self) {
        let (mut known, mut looks) = (None, 0);
        while !self.is_over() {
            let leadership = self.world.checker.lock().leadership();
            if leadership != known {
                (known, looks) = (leadership, LOOKS_AT_A_LEADER);
            }
            match known {
                Some((leader, _)) if looks > 0 => {
                    looks -= 1;
                    let (collection, id) = self.draw_place();
                    let wanted = Wanted::Get { collection: collection.clone(), id: id.clone(), as_of: None };
                    let (stale, patience) = (Consistency::Stale { max_staleness: None }, Duration::from_millis(200));
                    self.read_at(leader, wanted, stale, patience, 0, What::Get { collection, id }).await;
                }
                _ => sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Asks each leader that another one has replaced for what it is likely to refuse: it may not know that it is no leader
    /// any more, and then it may not refuse either.
    pub async fn ask_the_deposed(mut self) {
        let mut known = None;
        while !self.is_over() {
            let now = self.world.checker.lock().leadership();
            if let (Some((deposed, _)), Some((leader, _))) = (known, now)
                && known != now
                && deposed != leader
            {
                for _ in 0..ASKED_OF_THE_DEPOSED {
                    let (collection, id) = self.draw_place();
                    let op = Op::Put { collection, id, fields: self.mark(), pre: Pre::Absent };
                    self.write_at(deposed, op, Duration::from_millis(100)).await;
                }
            }
            known = now;
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Follows the feed of a collection, from node to node, until the world is healed and beyond: to `end`.
    pub async fn subscribe(mut self, collection: &'static str) {
        let mut since = 0;
        loop {
            let done = *self.world.healed.lock();
            let node = self.draw_node();
            let limit = self.rng.random_range(1..20);
            let (consistency, floor) = match self.rng.random_range(0..3) {
                0 => (Consistency::Stale { max_staleness: None }, 0),
                1 => (Consistency::Session { min_revision: since }, since),
                _ => (Consistency::Linearizable, *self.world.floor.lock()),
            };
            let patience = Duration::from_millis(800);
            match self.follow(node, collection, since, limit, (consistency, floor), patience).await {
                Some(Ok(Some(next))) => since = next,
                // Below what is kept: begin anew at what there is now.
                Some(Err(WhyNot::Compacted(_))) => since = (since + 1).max(*self.world.floor.lock()),
                _ if done => return,
                _ => sleep(Duration::from_millis(40)).await,
            }
        }
    }

    /// A piece of the feed of a collection. Gives the revision of its last event, if there is one; `None`: no answer.
    pub(crate) async fn follow(
        &mut self,
        node: u64,
        collection: &str,
        since: u64,
        limit: usize,
        fresh: (Consistency, u64),
        patience: Duration,
    ) -> Option<Result<Option<u64>, WhyNot>> {
        let wanted = Wanted::Changes { collection: collection.to_owned(), since, limit };
        let Sight { seen, floor, by } = match self.see(node, wanted, fresh, patience).await? {
            Ok(sight) => sight,
            Err(why) => return Some(Err(why)),
        };
        let Seen { revision, changes: events, more, .. } = seen;
        let last = events.last().map(|event| event.revision);
        self.world.saw(last.unwrap_or(0));
        let piece = Piece { collection: collection.to_owned(), since, limit, revision, floor, events, more, by };
        self.world.history.lock().pieces.push(piece);
        Some(Ok(last))
    }

    fn draw_node(&mut self) -> u64 {
        self.rng.random_range(1..=self.world.plan.nodes)
    }

    fn draw_place(&mut self) -> (String, String) {
        let collection = COLLECTIONS[usize::from(self.rng.random_bool(0.3))].0.to_owned();
        (collection, format!("d{}", self.rng.random_range(0..self.world.plan.documents)))
    }

    fn draw_pre(&mut self, place: &(String, String)) -> Pre {
        match (self.rng.random_range(0..10), self.known.get(place)) {
            (0..3, Some(revision)) => Pre::Revision(*revision),
            (3, _) => Pre::Exists,
            (4, _) => Pre::Absent,
            _ => Pre::Any,
        }
    }

    /// Fields that no other operation writes.
    fn mark(&mut self) -> Fields {
        self.count += 1;
        let mark = (self.number * 1_000_000 + self.count) as i64;
        let mut fields = Fields::from([("w".to_owned(), mark.into())]);
        for name in ["a", "b"] {
            if self.rng.random_bool(0.6) {
                fields.insert(name.to_owned(), self.rng.random_range::<i64, _>(0..20).into());
            }
        }
        fields
    }

    fn draw_op(&mut self) -> Op {
        let place = self.draw_place();
        let pre = self.draw_pre(&place);
        let (collection, id) = place;
        match self.rng.random_range(0..100) {
            0..40 => Op::Put { collection, id, fields: self.mark(), pre },
            40..60 => {
                let mut changes: Changes = self.mark().into_iter().map(|(name, value)| (name, Some(value))).collect();
                if self.rng.random_bool(0.3) {
                    changes.insert("b".to_owned(), None);
                }
                // Now and then one that changes nothing.
                let changes = if self.rng.random_bool(0.15) { Changes::new() } else { changes };
                Op::Patch { collection, id, changes, pre }
            }
            60..80 => {
                let count = self.rng.random_range(1..=3);
                let mut documents: BTreeMap<String, Fields> = BTreeMap::new();
                for _ in 0..count {
                    let id = self.draw_place().1;
                    let fields = self.mark();
                    documents.insert(id, fields);
                }
                Op::Insert { collection, documents: documents.into_iter().collect() }
            }
            _ => Op::Delete { collection, id, pre },
        }
    }

    async fn burst(&mut self) {
        let ops: Vec<_> = (0..self.rng.random_range(5..25)).map(|_| self.draw_op()).collect();
        let clients = ops.into_iter().enumerate().map(|(n, op)| {
            let mut client = Client::new(self.world.clone());
            client.known = self.known.clone();
            async move { client.write(op, n % 2 == 0).await }
        });
        futures::future::join_all(clients).await;
    }

    /// Sends a write until it is answered or given up, and writes down how it ended.
    pub async fn write(&mut self, op: Op, keyed: bool) -> End {
        self.count += 1;
        let key = keyed.then(|| format!("{}-{}", self.number, self.count));
        let kind = if keyed { Key::Own } else { Key::None };
        let end = self.write_under(op.clone(), key.clone(), kind).await;
        // A key whose request has succeeded is used up: another request under it is no retry.
        if let (Some(key), End::Answered(outcome)) = (key, &end)
            && self.world.plan.reuses_keys
            && !matches!(outcome.result, Some(proto::outcome::Result::Refusal(_)))
            && self.rng.random_bool(REUSED)
        {
            let another = self.draw_op();
            // The same request once more would be a retry.
            if another != op {
                self.write_under(another, Some(key), Key::Used).await;
                self.world.checker.lock().coverage.reused += 1;
            }
        }
        end
    }

    async fn write_under(&mut self, op: Op, key: Option<String>, kind: Key) -> End {
        let floor = *self.world.floor.lock();
        let attempts = if key.is_some() { ATTEMPTS_MAX } else { 1 };
        // Where keys are not used again it says nothing, and takes no bytes.
        let digest = if self.world.plan.reuses_keys { format!("{op:?}").into_bytes() } else { Vec::new() };
        let key = key.map(|key| proto::IdempotencyKey { key, body_digest: digest.into(), ..Default::default() });
        let command = command(&op, key);
        let (mut end, mut sent) = (End::Nothing, 0);
        while sent < attempts {
            sent += 1;
            let node = self.draw_node();
            let patience = Duration::from_millis(self.rng.random_range(200..3_000));
            let reply = self.ask(node, Ask::Write(Box::new(command.clone()), patience)).await;
            match attempt(reply) {
                End::Answered(outcome) => {
                    end = End::Answered(outcome);
                    break;
                }
                End::Unknown => end = End::Unknown,
                // What an earlier attempt did stays unknown.
                End::Nothing => {}
            }
            let pause = self.rng.random_range(1..200);
            sleep(Duration::from_millis(pause)).await;
        }
        self.took_note(&op, &end);
        self.world.history.lock().writes.push(Write { op, key: kind, again: sent > 1, floor, end: end.clone() });
        end
    }

    /// Sends a write once, to one node.
    pub async fn write_at(&mut self, node: u64, op: Op, patience: Duration) -> End {
        let floor = *self.world.floor.lock();
        let end = attempt(self.ask(node, Ask::Write(Box::new(command(&op, None)), patience)).await);
        self.took_note(&op, &end);
        self.world.history.lock().writes.push(Write { op, key: Key::None, again: false, floor, end: end.clone() });
        end
    }

    fn took_note(&mut self, op: &Op, end: &End) {
        let checker = &mut *self.world.checker.lock();
        let outcome = match end {
            End::Answered(outcome) => outcome,
            End::Nothing => return,
            End::Unknown => {
                checker.coverage.unknown += 1;
                return;
            }
        };
        if outcome.revision > checker.canon.revision() {
            checker.violate(format!("{op:?} was answered before its revision {} is committed", outcome.revision));
        }
        trace::fold(&[6, self.number, outcome.revision, u64::from(outcome.changed)]);
        match &outcome.result {
            Some(proto::outcome::Result::Refusal(_)) => checker.coverage.refused += 1,
            _ => checker.coverage.acknowledged += 1,
        }
        self.seen = self.seen.max(outcome.revision);
        self.world.saw(outcome.revision);
        if let Some(proto::outcome::Result::Documents(documents)) = &outcome.result {
            for document in &documents.documents {
                self.known.insert((documents.collection.clone(), document.id.clone()), document.revision);
            }
        }
        match (&outcome.result, op) {
            (Some(proto::outcome::Result::Refusal(refusal)), _) => match refusal.code.as_str() {
                "conflict" => checker.coverage.conflicts += 1,
                "unique_violation" => checker.coverage.unique_refused += 1,
                _ => {}
            },
            (Some(proto::outcome::Result::Transacted(transacted)), Op::Transact { steps, .. }) => {
                for (step, operated) in steps.iter().zip(&transacted.operations) {
                    let place = (step.collection.clone(), step.id.clone());
                    self.known.extend(operated.document.as_ref().map(|document| (place, document.revision)));
                }
            }
            _ => {}
        }
    }

    /// How fresh a read is asked to be, and the revision that it may not be older than.
    fn draw_consistency(&mut self) -> (Consistency, u64) {
        match self.rng.random_range(0..4) {
            0 => (Consistency::Session { min_revision: self.seen }, self.seen),
            1 => (Consistency::Stale { max_staleness: None }, 0),
            _ => (Consistency::Linearizable, *self.world.floor.lock()),
        }
    }

    async fn get(&mut self) {
        let (collection, id) = self.draw_place();
        let (consistency, floor) = self.draw_consistency();
        let wanted = Wanted::Get { collection: collection.clone(), id: id.clone(), as_of: None };
        self.read(wanted, consistency, floor, What::Get { collection, id }).await;
    }

    async fn get_as_of(&mut self) {
        let (collection, id) = self.draw_place();
        let revision = self.rng.random_range(0..=self.seen);
        let wanted = Wanted::Get { collection: collection.clone(), id: id.clone(), as_of: Some(revision) };
        self.read(wanted, Consistency::AtLeast { revision }, revision, What::Get { collection, id }).await;
    }

    async fn read(&mut self, wanted: Wanted, consistency: Consistency, floor: u64, what: What) {
        let node = self.draw_node();
        let patience = Duration::from_millis(self.rng.random_range(100..2_000));
        self.read_at(node, wanted, consistency, patience, floor, what).await;
    }

    async fn read_at(
        &mut self,
        node: u64,
        wanted: Wanted,
        consistency: Consistency,
        patience: Duration,
        floor: u64,
        what: What,
    ) {
        let as_of = matches!(wanted, Wanted::Get { as_of: Some(_), .. });
        if let Some(Ok(Sight { seen, floor, by })) = self.see(node, wanted, (consistency, floor), patience).await {
            self.note_read(Read { what, revision: seen.revision, floor, bodies: seen.bodies, count: None, by }, as_of);
        }
    }

    /// Reads from a node, `fresh` enough: what it may not be older than follows from that, and from the age that the
    /// answer names. An answer that is no is written down as well. `None`: no answer.
    pub(crate) async fn see(
        &mut self,
        node: u64,
        wanted: Wanted,
        (consistency, floor): (Consistency, u64),
        patience: Duration,
    ) -> Option<Result<Sight, WhyNot>> {
        let asked = match (&wanted, consistency) {
            (Wanted::Get { as_of, .. }, _) => *as_of,
            (Wanted::List { as_of: Some(revision), .. }, _) => Some(*revision),
            (Wanted::List { cursor: Some(_), .. }, Consistency::AtLeast { revision }) => Some(revision),
            (Wanted::List { .. }, _) => None,
            (Wanted::Changes { since, .. }, _) => Some(*since),
        };
        let collection = wanted.collection().to_owned();
        let asked_at = now();
        match self.ask(node, Ask::Read(wanted, consistency, patience)).await? {
            Reply::Seen(seen) => {
                self.world.checker.lock().coverage.by_index += u64::from(seen.by_index);
                let by = By { node, asked_at, age: seen.age };
                Some(Ok(Sight { floor: floor.max(self.floor_by_age(&by)), by, seen }))
            }
            Reply::No(No { revision, age, why }) => {
                let by = By { node, asked_at, age };
                let floor = floor.max(self.floor_by_age(&by));
                trace::fold(&[8, self.number, revision]);
                self.world.checker.lock().coverage.denied += 1;
                let denial = Denial { collection, asked, revision, floor, why: why.clone(), by };
                self.world.history.lock().denials.push(denial);
                Some(Err(why))
            }
            _ => None,
        }
    }

    /// The revision that an answer may not be older than if the age that it names is honest: what somebody had seen so
    /// long before it was asked for.
    fn floor_by_age(&self, by: &By) -> u64 {
        let Some(age) = by.age else { return 0 };
        self.world.checker.lock().coverage.ages += 1;
        by.asked_at.checked_sub(age).map_or(0, |then| self.world.floor_at(then))
    }

    fn note_read(&mut self, read: Read, as_of: bool) {
        trace::fold(&[7, self.number, read.revision, read.bodies.len() as u64]);
        if !as_of {
            self.seen = self.seen.max(read.revision);
            self.world.saw(read.revision);
        }
        self.world.checker.lock().coverage.reads += 1;
        self.world.history.lock().reads.push(read);
    }

    /// A list by one bound, or by none.
    async fn list(&mut self) {
        let collection = self.draw_place().0;
        let least = self.rng.random_bool(0.5).then(|| self.rng.random_range(0..20));
        let by_a = self.rng.random_bool(0.4);
        let limit = self.rng.random_range(1..8);
        let wanted = least.map(|least| Holds::Field("a".to_owned(), Test::Gte(least))).into_iter().collect();
        let order = by_a.then(|| ("a".to_owned(), true)).into_iter().collect();
        let fresh = self.draw_consistency();
        self.pages(
            Wanted::List { collection, query: Query { wanted, order }, limit, cursor: None, as_of: None, count: false },
            fresh,
        )
        .await;
    }

    /// All pages of a list, each through another node, all at the revision of the first. Gives what was read, if it came to
    /// an end.
    async fn pages(&mut self, wanted: Wanted, (first, mut floor): (Consistency, u64)) -> Option<Read> {
        let Wanted::List { collection, query, limit, as_of, count: counted, .. } = wanted else { return None };
        let (mut cursor, mut bodies, mut at, mut count) = (None, Vec::new(), None, None);
        let what = What::List { collection: collection.clone(), query: query.clone() };
        for _ in 0..200 {
            let node = self.draw_node();
            let wanted = Wanted::List {
                collection: collection.clone(),
                query: query.clone(),
                limit,
                cursor: cursor.clone(),
                as_of,
                count: counted,
            };
            let fresh = at.map_or((first, floor), |revision| (Consistency::AtLeast { revision }, floor.max(revision)));
            let patience = Duration::from_millis(1_000);
            let Some(Ok(sight)) = self.see(node, wanted, fresh, patience).await else { return None };
            let Sight { seen, by, .. } = sight;
            if at.is_some_and(|at| at != seen.revision || count != seen.count) {
                let problem = format!(
                    "a page of {collection} is of {} and counts {:?}, the first one is of {at:?} and counts {count:?}",
                    seen.revision, seen.count
                );
                self.world.checker.lock().violate(problem);
                return None;
            }
            (at, count) = (Some(seen.revision), seen.count);
            // How old the node was says nothing of a read in the past.
            floor = if as_of.is_some() { floor } else { floor.max(sight.floor) };
            bodies.extend(seen.bodies);
            cursor = seen.cursor;
            if cursor.is_none() {
                let read = Read { what, revision: seen.revision, floor, bodies, count, by };
                self.note_read(read.clone(), as_of.is_some());
                return Some(read);
            }
        }
        None
    }

    /// Asks a node over the clients' own network, which delays and never loses. `None`: no answer, for whatever reason.
    pub async fn ask(&mut self, node: u64, ask: Ask) -> Option<Reply> {
        let (there, back) = (self.rng.random_range(0..8), self.rng.random_range(0..8));
        sleep(Duration::from_millis(there)).await;
        // Every request has its own deadline in the node; this one is for a node that does not even say no.
        let answer = match self.world.send(node, ask) {
            Some(answer) => timeout(Duration::from_secs(20), answer).await,
            None => return Some(Reply::Failed(Error::NoLeader)),
        };
        sleep(Duration::from_millis(back)).await;
        answer.ok()?.ok()
    }
}

/// What an answer to one attempt of a write says about its fate.
fn attempt(reply: Option<Reply>) -> End {
    match reply {
        Some(Reply::Outcome(outcome)) => End::Answered(outcome),
        Some(Reply::Failed(
            Error::NoLeader | Error::QuorumLost | Error::Overloaded | Error::DeadlineExceeded(_) | Error::TooLarge(_),
        )) => End::Nothing,
        _ => End::Unknown,
    }
}
