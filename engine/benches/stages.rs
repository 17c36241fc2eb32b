//! One stage of a write or of a read, for `deploy/counts`, which counts its instructions under valgrind: they do not depend
//! on what else the machine does, so a few percent show.
//!
//! Each stage does its work [`COMMANDS`] times, on documents of 256 bytes, with RocksDB beneath it. What is counted is what
//! happens within [`measured`]. (Not by `gungraun`: among the workspace's dependencies it changes the features of what
//! builds RocksDB, which would be compiled once with and once without it.)

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on says where")]

use std::hint::black_box;
use std::sync::Arc;

use aerodb_engine::apply::{ApplyEntry, ApplyPayload};
use aerodb_engine::decide::Decider;
use aerodb_engine::filter::Filter;
use aerodb_engine::kv::rocks::RocksEnv;
use aerodb_engine::{Engine, Limits, json, prepare, view};
use aerodb_proto as proto;
use prost::Message;
use proto::command::Op;
use proto::{Command, LogId};
use tempfile::TempDir;

/// The allocator of the product. glibc's merges what was freed now and then, and 5 % of a stage with it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const STAGES: [&str; 7] = ["prepare", "decide", "encode", "apply", "get_recent", "get_from_tables", "filter"];
const COMMANDS: usize = 32;
const TERM: u64 = 1;
const KEY: &str = "a key for a bench";
const NOW_MS: u64 = 1_700_000_000_000;

/// A leader without a network whose collection `c` has [`COMMANDS`] documents, each replaced once.
struct Leader {
    decider: Decider,
    engine: Arc<Engine>,
    index: u64,
    dir: TempDir,
}

impl Leader {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let env = Arc::new(RocksEnv::new(8 << 20));
        let engine = Arc::new(Engine::open(env, dir.path(), Limits::default()).unwrap());
        apply(&engine, 1, ApplyPayload::Blank);
        let decider = Decider::begin(engine.clone(), TERM).unwrap();
        let mut leader = Self { decider, engine, index: 1, dir };
        let fields = bytes::Bytes::from_static(br#"{"role":"service"}"#);
        let service_key = Some(proto::NewDocument { id: view::api_key_id(KEY), fields });
        let bootstrap = proto::Bootstrap { cluster_id: "bench".into(), secret: vec![7; 32].into(), service_key };
        leader.submit(&[command(Op::Bootstrap(bootstrap), "")]);
        let create = proto::CreateCollection { name: "c".into(), ..proto::CreateCollection::default() };
        leader.submit(&[command(Op::CreateCollection(create), &view::api_key_id(KEY))]);
        leader.submit(&puts());
        leader.submit(&puts());
        leader
    }

    /// As after a restart: everything is in tables, and nothing recent.
    fn restarted(self) -> Self {
        self.engine.flush().unwrap();
        let Self { decider, engine, index, dir } = self;
        drop((decider, engine));
        let env = Arc::new(RocksEnv::new(8 << 20));
        let engine = Arc::new(Engine::open(env, dir.path(), Limits::default()).unwrap());
        let decider = Decider::begin(engine.clone(), TERM).unwrap();
        Self { decider, engine, index, dir }
    }

    fn decide(&mut self, commands: &[Command]) {
        for command in commands {
            black_box(self.decider.decide(None, command, NOW_MS).unwrap());
        }
    }

    fn close(&mut self) -> Vec<u8> {
        self.decider.close().expect("something was decided").1.encode_to_vec()
    }

    fn submit(&mut self, commands: &[Command]) {
        self.decide(commands);
        let entry = self.close();
        self.index += 1;
        apply(&self.engine, self.index, ApplyPayload::Batch(entry.into()));
        self.decider.applied(self.engine.meta().seq);
    }
}

fn apply(engine: &Engine, index: u64, payload: ApplyPayload) {
    black_box(engine.apply(&[ApplyEntry { log_id: LogId { term: TERM, index }, payload }]).unwrap());
}

fn command(op: Op, key_id: &str) -> Command {
    let caller = Some(proto::Caller { key_id: key_id.to_owned() });
    Command { caller, op: Some(op), ..Command::default() }
}

fn body() -> Vec<u8> {
    let text = "lorem ipsum dolor sit amet ".repeat(7);
    format!(r#"{{"name":"Ada","age":36,"tags":["x","y"],"nested":{{"n":1.5}},"text":"{text}"}}"#).into_bytes()
}

fn puts() -> Vec<Command> {
    let put = |n: usize| {
        let document = Some(prepare::put(&format!("document-{n}"), &body(), &Limits::default()).unwrap());
        let put = proto::PutDocument { collection: "c".into(), document, ..proto::PutDocument::default() };
        command(Op::Put(put), &view::api_key_id(KEY))
    };
    (0..COMMANDS).map(put).collect()
}

fn decided() -> Leader {
    let mut leader = Leader::new();
    leader.decide(&puts());
    leader
}

fn closed() -> (Leader, Vec<u8>) {
    let mut leader = decided();
    let entry = leader.close();
    (leader, entry)
}

fn filter() -> (Filter, Vec<u8>) {
    let text = br#"{"age":{"$gte":21},"tags":"y","$or":[{"name":"Bob"},{"nested.n":{"$lt":2}}]}"#;
    let parsed = prepare::body(text, &Limits::default()).unwrap();
    (Filter::parse(&parsed).unwrap(), body())
}

/// What is counted: valgrind knows it by its name.
#[unsafe(no_mangle)]
#[inline(never)]
#[allow(unsafe_code, reason = "a name that is not mangled; nothing else has it")]
fn measured(work: &mut dyn FnMut()) {
    work();
}

fn stage(name: &str) {
    let limits = Limits::default();
    match name {
        "prepare" => {
            let body = body();
            measured(&mut || {
                for _ in 0..COMMANDS {
                    black_box(prepare::put("document-1", &body, &limits).unwrap());
                }
            });
        }
        "decide" => {
            let (mut leader, commands) = (Leader::new(), puts());
            measured(&mut || leader.decide(&commands));
        }
        "encode" => {
            let mut leader = decided();
            measured(&mut || drop(black_box(leader.close())));
        }
        "apply" => {
            let (leader, entry) = closed();
            let (index, mut payload) = (leader.index + 1, Some(ApplyPayload::Batch(entry.into())));
            measured(&mut || apply(&leader.engine, index, payload.take().expect("it is applied once")));
        }
        "get_recent" => get(&Leader::new()),
        "get_from_tables" => get(&Leader::new().restarted()),
        "filter" => {
            let (filter, body) = filter();
            let limits = prepare::json_limits(&limits);
            measured(&mut || {
                for _ in 0..COMMANDS {
                    let value = json::parse(&body, &limits).unwrap();
                    assert!(black_box(filter.matches(&value)));
                }
            });
        }
        _ => panic!("there is no stage {name:?}"),
    }
}

/// Reads all documents in a view that is there already, as most readers find it.
fn get(leader: &Leader) {
    let view = leader.engine.view().unwrap();
    let collection = view.collection("c").expect("it was created");
    let ids: Vec<String> = (0..COMMANDS).map(|n| format!("document-{n}")).collect();
    measured(&mut || {
        for id in &ids {
            assert!(black_box(view.get(&collection, id).unwrap()).is_some());
        }
    });
}

fn main() {
    // cargo adds flags of its own.
    match std::env::args().nth(1).filter(|name| !name.starts_with('-')) {
        Some(name) => stage(&name),
        None => STAGES.into_iter().for_each(stage),
    }
}
