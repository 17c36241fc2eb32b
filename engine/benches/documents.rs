//! Reads, groups and writes of many documents by the engine alone: no network, no log, no fsync. What `compare documents`
//! measures over HTTP beside PostgreSQL, for whoever works on the engine.
//!
//! `cargo test --release -p aerodb-engine --bench documents -- 100000`: so many documents, made of the data set of the
//! quickstart with another population for each repetition. A second number says for how many seconds each row is worked on, and
//! a word asks only for the rows that begin with it. Shown are the time that passes and the processor time of the thread that works: the latter says something on a machine that
//! others use too. What RocksDB does in threads of its own is in neither.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench says what it found, and where it cannot go on")]
#![allow(clippy::disallowed_methods, reason = "it measures real time")]

mod leader;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aerodb_engine::decide::Verdict;
use aerodb_engine::filter::Filter;
use aerodb_engine::json::Path;
use aerodb_engine::order::Order;
use aerodb_engine::view::{Aggregate, Count, Grouping, ListQuery};
use aerodb_engine::{Limits, View, prepare};
use aerodb_proto as proto;
use leader::{Leader, command};
use proto::bulk_write::Action;
use proto::command::Op;
use proto::outcome;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

/// The allocator of the product.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The data set of the quickstart.
const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/data/cities.jsonl");
/// Documents when no number is given.
const DOCUMENTS: u64 = 100_000;
/// Documents of one insert.
const BULK: u64 = 500;
/// Documents in the stretch of an index that is asked for.
const STRETCH: usize = 200;
/// Documents that one update changes, about.
const UPDATED: usize = 100;
/// Memory for blocks of tables, as the product has it.
const CACHE_BYTES: usize = 128 << 20;
/// How long each kind of work is done, seconds, when no second number is given.
const SECONDS: u64 = 1;

struct Bench {
    leader: Leader,
    cities: Vec<Value>,
    rng: SmallRng,
    /// The populations of all documents, ascending.
    populations: Vec<i64>,
    /// Documents made so far.
    made: u64,
    /// What the rows that are asked for begin with.
    only: String,
    /// How long each kind of work is done.
    time: Duration,
}

impl Bench {
    fn new() -> Self {
        let text = std::fs::read_to_string(DATA).unwrap();
        let cities = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let rng = SmallRng::seed_from_u64(1);
        let (leader, populations) = (Leader::new(CACHE_BYTES), Vec::new());
        let (only, time) = (String::new(), Duration::ZERO);
        let mut bench = Self { leader, cities, rng, populations, made: 0, only, time };
        for field in ["population", "country"] {
            let index = json!({"name": field, "fields": [field]}).to_string();
            let index = Some(prepare::index(index.as_bytes(), &Limits::default()).unwrap());
            bench.submit(Op::CreateIndex(proto::CreateIndex { collection: "c".into(), index }));
            while let Some(step) = bench.view().build_step(1_000).unwrap() {
                bench.submit_internal(Op::BuildIndex(step));
            }
        }
        bench
    }

    fn submit(&mut self, op: Op) -> proto::Outcome {
        match self.leader.submit(&[command(op)]).remove(0) {
            Verdict::Proposed(outcome) if !matches!(outcome.result, Some(outcome::Result::Refusal(_))) => outcome,
            other => panic!("refused: {other:?}"),
        }
    }

    /// What a leader proposes by itself.
    fn submit_internal(&mut self, op: Op) {
        self.leader.submit(&[proto::Command { op: Some(op), ..proto::Command::default() }]);
    }

    fn view(&self) -> Arc<View> {
        self.leader.engine.view().unwrap()
    }

    /// The next document: a city, with another population from the second time on.
    fn document(&mut self) -> Value {
        let cities = self.cities.len() as u64;
        let (city, repetition) = (&self.cities[(self.made % cities) as usize], self.made / cities);
        let mut document = city.clone();
        if repetition > 0 {
            let population = city["population"].as_i64().unwrap() * self.rng.random_range(512..=1_536) / 1_024;
            document["population"] = population.into();
        }
        document["id"] = format!("{}-{repetition}", city["id"].as_str().unwrap()).into();
        self.made += 1;
        self.populations.push(document["population"].as_i64().unwrap());
        document
    }

    /// An insert as it comes in, of so many new documents.
    fn body(&mut self, many: u64) -> Vec<u8> {
        let documents: Vec<Value> = (0..many).map(|_| self.document()).collect();
        Value::from(documents).to_string().into_bytes()
    }

    fn insert(&mut self, body: &[u8]) {
        let inserts = prepare::insert(body, &mut || unreachable!("they have ids"), &Limits::default()).unwrap();
        self.submit(Op::Insert(proto::InsertDocuments {
            collection: "c".into(),
            documents: inserts.documents,
            many: inserts.many,
            ..Default::default()
        }));
    }

    /// A filter on populations that about so many documents match.
    fn stretch(&mut self, documents: usize) -> Filter {
        let at = self.rng.random_range(0..self.populations.len() - documents);
        let (from, to) = (self.populations[at], self.populations[at + documents]);
        filter(&json!({"population": {"$gte": from, "$lt": to.max(from + 1)}}))
    }

    fn list(&self, query: &ListQuery) {
        let view = self.view();
        let collection = view.collection("c").unwrap();
        assert!(!black_box(view.list(&collection, query, &|| false).unwrap()).items.is_empty());
    }

    fn update(&mut self, filter: Filter) {
        let (view, text) = (self.view(), filter.to_string());
        let collection = view.collection("c").unwrap();
        let patch = json!({"checked": self.rng.random::<u32>()}).to_string();
        let patch = prepare::patch_many(patch.as_bytes(), &Limits::default()).unwrap();
        let (candidates, more) = view.matching(&collection, filter, &|| false).unwrap();
        self.submit(Op::Bulk(proto::BulkWrite {
            collection: "c".into(),
            collection_id: collection.id,
            filter: text.into(),
            read_revision: view.revision(),
            candidates,
            more,
            max_affected: 0,
            action: Some(Action::Patch(patch)),
        }));
    }
}

fn filter(value: &Value) -> Filter {
    Filter::parse(&prepare::body(value.to_string().as_bytes(), &Limits::default()).unwrap()).unwrap()
}

/// What work takes.
#[derive(Clone, Copy, Default)]
struct Spent {
    time: Duration,
    processor: Duration,
}

impl Spent {
    fn on(&mut self, work: impl FnOnce()) {
        let (time, processor) = (Instant::now(), processor_time());
        work();
        self.time += time.elapsed();
        self.processor += processor_time() - processor;
    }

    fn print(self, what: &str, done: u64, times: u64) {
        let one = |spent: Duration| spent.as_secs_f64() * 1e6 / done as f64;
        println!("{what:<28} {:>12.1} µs {:>12.1} µs busy {times:>10} times", one(self.time), one(self.processor));
    }
}

/// Of this thread, since it began.
fn processor_time() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
}

/// Does it for a while, once at least, and prints what one of `parts` costs. What `prepare` makes is not counted.
fn time<I>(bench: &mut Bench, what: &str, parts: u64, prepare: fn(&mut Bench) -> I, work: fn(&mut Bench, I)) {
    if !what.starts_with(&bench.only) {
        return;
    }
    let (began, mut spent, mut done) = (Instant::now(), Spent::default(), 0u64);
    while done == 0 || began.elapsed() < bench.time {
        let input = prepare(bench);
        spent.on(|| work(bench, input));
        done += parts;
    }
    spent.print(what, done, done / parts);
}

fn reads(bench: &mut Bench) {
    let id = |bench: &mut Bench| {
        let number = bench.rng.random_range(0..bench.made);
        let cities = bench.cities.len() as u64;
        format!("{}-{}", bench.cities[(number % cities) as usize]["id"].as_str().unwrap(), number / cities)
    };
    time(bench, "get", 1, id, |bench, id| {
        let view = bench.view();
        let collection = view.collection("c").unwrap();
        assert!(black_box(view.get(&collection, &id).unwrap()).is_some());
    });
    let all = |_: &mut Bench| ();
    time(
        bench,
        "range, page of 50",
        1,
        |bench| bench.stretch(STRETCH),
        |bench, filter| {
            bench.list(&ListQuery {
                filter: Some(filter),
                order: Order::parse("population").unwrap(),
                ..ListQuery::of(50)
            });
        },
    );
    let below = |bench: &mut Bench| {
        let at = bench.rng.random_range(50..bench.populations.len());
        filter(&json!({"population": {"$lte": bench.populations[at]}}))
    };
    time(bench, "sort, page of 50", 1, below, |bench, filter| {
        let order = Order::parse("population.desc").unwrap();
        bench.list(&ListQuery { filter: Some(filter), order, ..ListQuery::of(50) });
    });
    time(bench, "top 10 without index", 1, all, |bench, ()| {
        bench.list(&ListQuery { order: Order::parse("lat.desc").unwrap(), ..ListQuery::of(10) });
    });
    let country = |bench: &mut Bench| {
        let at = bench.rng.random_range(0..bench.cities.len());
        filter(&json!({"country": bench.cities[at]["country"]}))
    };
    time(bench, "count by indexed filter", 1, country, |bench, filter| {
        bench.list(&ListQuery { filter: Some(filter), count: Count::Exact, ..ListQuery::of(1) });
    });
    time(bench, "count of all", 1, all, |bench, ()| {
        bench.list(&ListQuery { count: Count::Exact, ..ListQuery::of(1) });
    });
    time(bench, "group by country", 1, all, |bench, ()| {
        let path = |text| Path::parse(text).unwrap();
        let aggregates = vec![
            ("n".to_owned(), Aggregate::Count(None)),
            ("sum".to_owned(), Aggregate::Sum(path("population"))),
            ("mean".to_owned(), Aggregate::Avg(path("population"))),
        ];
        let grouping = Some(Grouping { group_by: vec![path("country")], aggregates });
        bench.list(&ListQuery { grouping, ..ListQuery::of(1_000) });
    });
}

fn main() {
    // cargo adds flags of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let mut numbers = arguments.iter().filter_map(|argument| argument.parse::<u64>().ok());
    let documents = numbers.next().unwrap_or(DOCUMENTS);
    let mut bench = Bench::new();
    bench.time = Duration::from_secs(numbers.next().unwrap_or(SECONDS));
    bench.only = arguments.into_iter().find(|argument| argument.parse::<u64>().is_err()).unwrap_or_default();
    let (mut spent, mut left) = (Spent::default(), documents.max(BULK));
    while left > 0 {
        let many = left.min(BULK);
        let body = bench.body(many);
        spent.on(|| bench.insert(&body));
        left -= many;
    }
    spent.print("load, a document", documents, documents);
    bench.leader = bench.leader.restarted();
    bench.populations.sort_unstable();
    reads(&mut bench);
    time(&mut bench, "update of 100 by filter", 1, |bench| bench.stretch(UPDATED), Bench::update);
    time(
        &mut bench,
        "insert one",
        1,
        |bench| bench.document().to_string().into_bytes(),
        |bench, body| bench.insert(&body),
    );
    time(&mut bench, "insert of 500, a document", BULK, |bench| bench.body(BULK), |bench, body| bench.insert(&body));
}
