//! A leader without a network, for the benches: it decides, and applies at once what it decided.

use std::hint::black_box;
use std::sync::Arc;

use aerodb_engine::apply::{ApplyEntry, ApplyPayload};
use aerodb_engine::decide::{Decider, Verdict};
use aerodb_engine::kv::rocks::RocksEnv;
use aerodb_engine::{Engine, Limits, view};
use aerodb_proto as proto;
use prost::Message;
use proto::command::Op;
use proto::{Command, LogId};
use tempfile::TempDir;

const TERM: u64 = 1;
const KEY: &str = "a key for a bench";
const NOW_MS: u64 = 1_700_000_000_000;

/// A leader whose collection `c` is empty at first.
pub(crate) struct Leader {
    pub(crate) engine: Arc<Engine>,
    /// The index of the last entry that was applied.
    pub(crate) index: u64,
    decider: Decider,
    cache_bytes: usize,
    dir: TempDir,
}

impl Leader {
    /// Begins, with so much memory for blocks of tables.
    pub(crate) fn new(cache_bytes: usize) -> Self {
        let dir = TempDir::new().unwrap();
        let env = Arc::new(RocksEnv::new(cache_bytes));
        let engine = Arc::new(Engine::open(env, dir.path(), Limits::default()).unwrap());
        apply(&engine, 1, ApplyPayload::Blank);
        let decider = Decider::begin(engine.clone(), TERM).unwrap();
        let mut leader = Self { decider, engine, index: 1, cache_bytes, dir };
        let fields = bytes::Bytes::from_static(br#"{"role":"service"}"#);
        let service_key = Some(proto::NewDocument { id: view::api_key_id(KEY), fields });
        let bootstrap = proto::Bootstrap { cluster_id: "bench".into(), secret: vec![7; 32].into(), service_key };
        leader.submit(&[Command { op: Some(Op::Bootstrap(bootstrap)), ..Command::default() }]);
        let create = proto::CreateCollection { name: "c".into(), ..proto::CreateCollection::default() };
        leader.submit(&[command(Op::CreateCollection(create))]);
        leader
    }

    /// As after a restart: everything is in tables, and nothing recent.
    pub(crate) fn restarted(self) -> Self {
        self.engine.flush().unwrap();
        let Self { decider, engine, index, cache_bytes, dir } = self;
        drop((decider, engine));
        let env = Arc::new(RocksEnv::new(cache_bytes));
        let engine = Arc::new(Engine::open(env, dir.path(), Limits::default()).unwrap());
        let decider = Decider::begin(engine.clone(), TERM).unwrap();
        Self { decider, engine, index, cache_bytes, dir }
    }

    /// Decides, and gives what became of each command.
    pub(crate) fn decide(&mut self, commands: &[Command]) -> Vec<Verdict> {
        commands.iter().map(|command| self.decider.decide(None, command, NOW_MS).unwrap()).collect()
    }

    /// What was decided, as it goes to the log.
    pub(crate) fn close(&mut self) -> Vec<u8> {
        self.decider.close().expect("something was decided").1.encode_to_vec()
    }

    /// The same, and applies it.
    pub(crate) fn submit(&mut self, commands: &[Command]) -> Vec<Verdict> {
        let verdicts = self.decide(commands);
        let entry = self.close();
        self.index += 1;
        apply(&self.engine, self.index, ApplyPayload::Batch(entry.into()));
        self.decider.applied(self.engine.meta().seq);
        verdicts
    }
}

/// Applies an entry.
pub(crate) fn apply(engine: &Engine, index: u64, payload: ApplyPayload) {
    black_box(engine.apply(&[ApplyEntry { log_id: LogId { term: TERM, index }, payload }]).unwrap());
}

/// A command of the service key.
pub(crate) fn command(op: Op) -> Command {
    let caller = Some(proto::Caller { key_id: view::api_key_id(KEY) });
    Command { caller, op: Some(op), ..Command::default() }
}
