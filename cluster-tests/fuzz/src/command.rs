//! Messages between nodes and records on disk, behind a byte that says which: whatever the bytes, the answer is a result,
//! and what one version decides, it can apply.

use std::sync::{Arc, LazyLock};

use aerodb_engine::apply::{ApplyEntry, ApplyPayload};
use aerodb_engine::decide::{Decider, Verdict};
use aerodb_engine::kv::rocks::RocksEnv;
use aerodb_engine::view::{ListQuery, ReadError};
use aerodb_engine::{Engine, Limits, fuzzing, prepare};
use aerodb_proto as proto;
use prost::Message;
use proto::command::Op;
use proto::{Command, LogId};
use tempfile::TempDir;

const TERM: u64 = 1;
const NOW_MS: u64 = 1_700_000_000_000;
const KEY: &str = "secret";

/// A node with a collection, two indexes and a few documents. Nothing that is given to it is applied: it stays as it is.
struct Node {
    engine: Arc<Engine>,
    _folder: TempDir,
}

static NODE: LazyLock<Node> = LazyLock::new(Node::start);

impl Node {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let engine = Engine::open(Arc::new(RocksEnv::new(1 << 20)), folder.path(), Limits::default()).unwrap();
        let node = Self { engine: Arc::new(engine), _folder: folder };
        node.apply(ApplyPayload::Blank);
        let service_key = prepare::put(&caller().key_id, br#"{"role":"service"}"#, &Limits::default()).unwrap();
        node.submit(Op::Bootstrap(proto::Bootstrap {
            cluster_id: "fuzz".into(),
            secret: vec![7; 32].into(),
            service_key: Some(service_key),
        }));
        node.submit(Op::CreateCollection(proto::CreateCollection { name: "c".into(), ..Default::default() }));
        for index in [r#"{"name":"u","fields":["u"],"unique":true}"#, r#"{"name":"a","fields":["a","b.c"]}"#] {
            let index = prepare::index(index.as_bytes(), &Limits::default()).unwrap();
            node.submit(Op::CreateIndex(proto::CreateIndex { collection: "c".into(), index: Some(index) }));
        }
        let documents = br#"[{"id":"x","u":1,"a":[1,2],"n":5},{"id":"y","u":2,"b":{"c":"d"}},{"id":"z"}]"#;
        let inserts = prepare::insert(documents, &mut String::new, &Limits::default()).unwrap();
        node.submit(Op::Insert(proto::InsertDocuments {
            collection: "c".into(),
            documents: inserts.documents,
            ..proto::InsertDocuments::default()
        }));
        node
    }

    fn submit(&self, op: Op) {
        let mut decider = Decider::begin(self.engine.clone(), TERM).unwrap();
        let command = Command { caller: Some(caller()), op: Some(op), ..Command::default() };
        let verdict = decider.decide(None, &command, NOW_MS).unwrap();
        assert!(matches!(verdict, Verdict::Proposed(_)), "{verdict:?}");
        let (_, batch) = decider.close().unwrap();
        self.apply(ApplyPayload::Batch(batch.encode_to_vec().into()));
    }

    fn apply(&self, payload: ApplyPayload) {
        self.engine.apply(&[self.entry(payload)]).unwrap();
    }

    /// The next entry of the log.
    fn entry(&self, payload: ApplyPayload) -> ApplyEntry {
        let index = self.engine.meta().applied.as_ref().map_or(1, |last| last.index + 1);
        ApplyEntry { log_id: LogId { term: TERM, index }, payload }
    }
}

fn caller() -> proto::Caller {
    proto::Caller { key_id: aerodb_engine::view::api_key_id(KEY) }
}

pub(crate) fn run(data: &[u8]) {
    let [kind, bytes @ ..] = data else { return };
    match kind % 6 {
        0 => command(bytes),
        1 => batch(bytes),
        2 => cursor(bytes),
        3 => {
            if let Ok(entry) = aerodb_raft::fuzzing::log_entry(bytes) {
                assert_eq!(aerodb_raft::fuzzing::log_entry(&entry).as_ref(), Ok(&entry));
            }
        }
        4 => {
            let _ = aerodb_raft::fuzzing::manifest(bytes);
        }
        _ => {
            let _ = aerodb_raft::fuzzing::append(bytes);
        }
    }
}

/// A command as another node sends it: it is decided, refused, or found to be damaged. What is decided can be applied.
fn command(bytes: &[u8]) {
    let Ok(mut command) = Command::decode(bytes) else { return };
    // Without somebody who may, nothing is looked at.
    command.caller = Some(caller());
    let mut decider = Decider::begin(NODE.engine.clone(), TERM).unwrap();
    let Ok(verdict) = decider.decide(None, &command, NOW_MS) else { return };
    let closed = decider.close();
    assert_eq!(closed.is_some(), matches!(verdict, Verdict::Proposed(_)), "{command:?}: {verdict:?}");
    let Some((_, batch)) = closed else { return };
    let entry = NODE.entry(ApplyPayload::Batch(batch.encode_to_vec().into()));
    let planned = fuzzing::plan(&NODE.engine, &[entry]);
    assert!(planned.is_ok(), "{command:?}: {verdict:?}: {planned:?}");
}

/// An entry of the log: it fits what it finds, or is an error.
fn batch(bytes: &[u8]) {
    let Ok(mut batch) = proto::Batch::decode(bytes) else { return };
    batch.decided_term = TERM;
    batch.base_seq = NODE.engine.meta().seq;
    let _ = fuzzing::plan(&NODE.engine, &[NODE.entry(ApplyPayload::Batch(batch.encode_to_vec().into()))]);
}

/// A cursor that nobody sealed is refused.
fn cursor(bytes: &[u8]) {
    let view = NODE.engine.view().unwrap();
    let collection = view.collection("c").unwrap();
    let cursor = Some(String::from_utf8_lossy(bytes).into_owned());
    let listed = view.list(&collection, &ListQuery { cursor, ..ListQuery::of(1) }, &|| false);
    assert!(matches!(listed, Err(ReadError::InvalidCursor(_))), "{listed:?}");
}
