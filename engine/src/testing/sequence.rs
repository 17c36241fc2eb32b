//! Operations of the naive model, as a node hands them to the leader.

use aerodb_model::{Condition, Op, Step, What, pieces};
use aerodb_proto as proto;
use proto::Command;
use proto::precondition::Kind;
use serde_json::Value;

use super::{Leader, create, create_index, delete, drop, drop_index, insert, patch, put, set_schema, transact, when};

/// The command that asks for `op`, in collections whose names begin with `prefix`. Nothing where no command can be made of
/// it: a change of many documents is found before it is decided, and there is no such collection.
pub(crate) fn command_of(leader: &Leader, op: &Op, prefix: &str) -> Option<Command> {
    let revision = leader.node.view().revision();
    let of = |name: &str| format!("{prefix}{name}");
    Some(match op {
        Op::Create(name) => create(&of(name)),
        Op::Drop(name) => drop(&of(name)),
        Op::CreateIndex(name, index) => create_index(&of(name), &index.body().to_string()),
        Op::DropIndex(name, index) => drop_index(&of(name), index),
        Op::SetSchema(name, schema, validation) => {
            let validation = match *validation {
                "warn" => proto::Validation::Warn,
                _ => proto::Validation::Strict,
            };
            let schema = schema.as_ref().map_or("none".to_owned(), Value::to_string);
            set_schema(&of(name), &schema, validation)
        }
        Op::Insert(name, documents) => {
            let documents = documents.iter().map(|(id, fields)| pieces::document(id, fields));
            insert(&of(name), &Value::Array(documents.collect()).to_string())
        }
        Op::One(step) => one(step, &of(&step.collection), revision),
        Op::Bulk(name, filter, change, max) => {
            leader.node.view().collection(&of(name))?;
            let change = change.as_ref().map(Value::to_string);
            let mut command = leader.bulk(&of(name), &filter.to_string(), change.as_deref());
            if let Some(proto::command::Op::Bulk(bulk)) = &mut command.op {
                bulk.max_affected = max.unwrap_or(0);
            }
            command
        }
        Op::Transact(steps, read_back) => {
            transact(&pieces::transaction(steps, *read_back, prefix, revision).to_string())
        }
    })
}

fn one(Step { id, condition, what, .. }: &Step, name: &str, revision: u64) -> Command {
    let command = match what {
        What::Put(fields) => put(name, id, &fields.to_string()),
        What::Patch(change) => patch(name, id, &change.to_string()),
        What::Delete => delete(name, id),
        other => panic!("{other:?} is no operation by itself"),
    };
    match condition {
        None => command,
        Some(Condition::Exists) => when(command, Kind::IfExists(true)),
        Some(Condition::Absent) => when(command, Kind::IfAbsent(true)),
        Some(Condition::Revision(back)) => when(command, Kind::IfRevision(pieces::before(revision, *back))),
        Some(Condition::Matches(_)) => panic!("only a transaction has a filter as a condition"),
    }
}
