//! One stage of a write or of a read, for `deploy/counts`, which counts its instructions under valgrind: they do not depend
//! on what else the machine does, so a few percent show.
//!
//! Each stage does its work [`COMMANDS`] times, on documents of 256 bytes, with RocksDB beneath it. What is counted is what
//! happens within [`measured`]. (Not by `gungraun`: among the workspace's dependencies it changes the features of what
//! builds RocksDB, which would be compiled once with and once without it.)

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on says where")]

mod leader;

use std::hint::black_box;

use aerodb_engine::apply::ApplyPayload;
use aerodb_engine::filter::Filter;
use aerodb_engine::{Limits, json, prepare};
use aerodb_proto as proto;
use leader::{Leader, apply, command};
use proto::Command;
use proto::command::Op;

/// The allocator of the product. glibc's merges what was freed now and then, and 5 % of a stage with it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const STAGES: [&str; 7] = ["prepare", "decide", "encode", "apply", "get_recent", "get_from_tables", "filter"];
const COMMANDS: usize = 32;

/// A leader whose collection has [`COMMANDS`] documents, each replaced once.
fn filled() -> Leader {
    let mut leader = Leader::new(8 << 20);
    leader.submit(&puts());
    leader.submit(&puts());
    leader
}

fn body() -> Vec<u8> {
    let text = "lorem ipsum dolor sit amet ".repeat(7);
    format!(r#"{{"name":"Ada","age":36,"tags":["x","y"],"nested":{{"n":1.5}},"text":"{text}"}}"#).into_bytes()
}

fn puts() -> Vec<Command> {
    let put = |n: usize| {
        let document = Some(prepare::put(&format!("document-{n}"), &body(), &Limits::default()).unwrap());
        let put = proto::PutDocument { collection: "c".into(), document, ..proto::PutDocument::default() };
        command(Op::Put(put))
    };
    (0..COMMANDS).map(put).collect()
}

fn decided() -> Leader {
    let mut leader = filled();
    drop(leader.decide(&puts()));
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
            let (mut leader, commands) = (filled(), puts());
            measured(&mut || drop(black_box(leader.decide(&commands))));
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
        "get_recent" => get(&filled()),
        "get_from_tables" => get(&filled().restarted()),
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
