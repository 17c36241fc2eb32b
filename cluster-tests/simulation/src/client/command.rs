//! Operations as a node hands them to the leader.

use aerodb_engine::{Limits, prepare};
use aerodb_proto as proto;
use proto::command::Op as Wire;
use proto::operation::Action;

use crate::check::model::catalog::Index;
use crate::check::model::{Act, Fields, Op, Pre, Step};
use crate::node::SERVICE_KEY;

/// The command that asks for `op`.
pub(super) fn command(op: &Op, idempotency: Option<proto::IdempotencyKey>) -> proto::Command {
    let wire = match op {
        Op::Create { name, retention_seconds } => Wire::CreateCollection(proto::CreateCollection {
            name: name.clone(),
            history_retention_seconds: *retention_seconds,
            ..Default::default()
        }),
        Op::Insert { collection, documents } => Wire::Insert(proto::InsertDocuments {
            collection: collection.clone(),
            documents: documents.iter().map(|(id, fields)| document(id, fields)).collect(),
            many: true,
            ..Default::default()
        }),
        Op::Put { collection, id, fields, pre } => Wire::Put(proto::PutDocument {
            collection: collection.clone(),
            document: Some(document(id, fields)),
            preconditions: preconditions(*pre),
            ..Default::default()
        }),
        Op::Patch { collection, id, changes, pre } => Wire::Patch(proto::PatchDocument {
            collection: collection.clone(),
            id: id.clone(),
            patch: patch(id, &json(changes)),
            preconditions: preconditions(*pre),
        }),
        Op::Delete { collection, id, pre } => Wire::Delete(proto::DeleteDocument {
            collection: collection.clone(),
            id: id.clone(),
            preconditions: preconditions(*pre),
        }),
        Op::Transact { steps, read_revision } => Wire::Transaction(proto::Transaction {
            operations: steps.iter().map(operation).collect(),
            read_revision: *read_revision,
        }),
        Op::CreateIndex { collection, index } => {
            Wire::CreateIndex(proto::CreateIndex { collection: collection.clone(), index: prepared(index) })
        }
        Op::DropIndex { collection, name } => {
            Wire::DropIndex(proto::DropIndex { collection: collection.clone(), name: name.clone() })
        }
    };
    let caller = Some(proto::Caller { key_id: aerodb_engine::view::api_key_id(SERVICE_KEY) });
    proto::Command { caller, idempotency, op: Some(wire), ..Default::default() }
}

fn preconditions(pre: Pre) -> Vec<proto::Precondition> {
    use proto::precondition::Kind;
    let kind = match pre {
        Pre::Any => return Vec::new(),
        Pre::Revision(revision) => Kind::IfRevision(revision),
        Pre::Exists => Kind::IfExists(true),
        Pre::Absent => Kind::IfAbsent(true),
    };
    vec![proto::Precondition { kind: Some(kind) }]
}

fn operation(Step { collection, id, pre, act }: &Step) -> proto::Operation {
    let action = match act {
        Act::Insert(fields) => Action::Insert(document(id, fields).fields),
        Act::Put(fields) => Action::Put(document(id, fields).fields),
        Act::Patch(changes) => Action::Patch(patch(id, &json(changes))),
        Act::Append(field, value) => {
            let update = serde_json::json!({ "$push": { field: value } });
            Action::Patch(patch(id, update.to_string().as_bytes()))
        }
        Act::Delete => Action::Delete(true),
        Act::Get => Action::Get(true),
    };
    let preconditions = preconditions(*pre);
    proto::Operation { collection: collection.clone(), id: id.clone(), preconditions, action: Some(action) }
}

fn prepared(index: &Index) -> Option<proto::Index> {
    let order = |descending: &bool| if *descending { "desc" } else { "asc" };
    let fields = index.fields.iter().map(|(path, d)| serde_json::json!({ "path": path, "order": order(d) }));
    let fields: Vec<_> = fields.collect();
    let filter = index.least.map(|least| serde_json::json!({ "a": { "$gte": least } }));
    let body = serde_json::json!({ "name": index.name, "fields": fields, "unique": index.unique, "filter": filter });
    prepare::index(body.to_string().as_bytes(), &Limits::default()).ok()
}

/// As a node prepares a document that it is sent. Ours are always sound.
fn document(id: &str, fields: &Fields) -> proto::NewDocument {
    prepare::put(id, &json(fields), &Limits::default()).unwrap_or_default()
}

fn patch(id: &str, json: &[u8]) -> bytes::Bytes {
    prepare::patch(id, json, &Limits::default()).unwrap_or_default()
}

/// Fields as a body. Whole numbers and lists of them always have one.
fn json(fields: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(fields).unwrap_or_default()
}
