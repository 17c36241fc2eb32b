//! The operations of the data API as steps of a register.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use crate::client::{Condition, Consistency, Op};
use crate::history::{Kind, Operation};

/// What a document holds: the tag of the write that made it, by number; nothing where there is none.
pub(super) type State = Option<u32>;

/// What must hold before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    Any,
    Is(State),
    Not(State),
}

/// One operation on a document.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// Index of the invocation.
    pub(super) begin: u64,
    /// Index of the completion, `u64::MAX` where there is none.
    pub(super) end: u64,
    pub(super) guard: Guard,
    /// What the document holds after.
    pub(super) effect: Option<State>,
    /// Nobody knows whether it happened. Where the guard does not hold it did not; where it never happened it can be
    /// put after everything else.
    pub(super) unknown: bool,
    /// In words.
    pub(super) text: String,
}

impl Step {
    /// The state after it; `None` where it cannot stand here.
    pub(super) fn apply(&self, state: State) -> Option<State> {
        let holds = match self.guard {
            Guard::Any => true,
            Guard::Is(wanted) => state == wanted,
            Guard::Not(unwanted) => state != unwanted,
        };
        match holds {
            true => Some(self.effect.unwrap_or(state)),
            false if self.unknown => Some(state),
            false => None,
        }
    }
}

/// The steps of each document.
pub(super) fn registers(operations: &[Operation]) -> BTreeMap<String, Vec<Step>> {
    let asked: Vec<(Op, &Operation)> = operations
        .iter()
        .filter_map(|operation| Some((serde_json::from_value(operation.asked.clone()).ok()?, operation)))
        .collect();
    let mut tags = Tags::default();
    for (_, operation) in &asked {
        tags.learn(&operation.answer);
    }
    let mut registers: BTreeMap<String, Vec<Step>> = BTreeMap::new();
    for (op, operation) in &asked {
        for (id, guard, effect) in steps(op, operation, &mut tags) {
            let unknown = operation.kind == Kind::Info;
            let node = operation.node.unwrap_or(0);
            let text = format!("{} at node {node} ({guard:?} -> {effect:?})", operation.f);
            let step = Step { begin: operation.begin, end: operation.end, guard, effect, unknown, text };
            registers.entry(format!("{}/{id}", op.collection())).or_default().push(step);
        }
    }
    registers
}

/// Numbers for tags, and which tag an entity tag stood for.
#[derive(Default)]
struct Tags {
    numbers: HashMap<String, u32>,
    by_revision: HashMap<(String, u64), u32>,
}

impl Tags {
    fn number(&mut self, tag: &str) -> u32 {
        let next = self.numbers.len() as u32;
        *self.numbers.entry(tag.to_owned()).or_insert(next)
    }

    fn of(&mut self, document: &Value) -> Option<u32> {
        Some(self.number(document["w"].as_str()?))
    }

    /// An answer says which value a revision stood for.
    fn learn(&mut self, answer: &Value) {
        let documents = answer["documents"].as_array().into_iter().flatten();
        for document in documents.chain(answer.get("document")) {
            let (id, revision) = (document["id"].as_str(), document["_revision"].as_u64());
            if let (Some(id), Some(revision), Some(tag)) = (id, revision, self.of(document)) {
                self.by_revision.insert((id.to_owned(), revision), tag);
            }
        }
    }

    fn guard(&self, id: &str, condition: Condition, otherwise: Guard) -> Option<Guard> {
        Some(match condition {
            Condition::None => otherwise,
            Condition::Exists => Guard::Not(None),
            Condition::Absent => Guard::Is(None),
            Condition::Revision(revision) => Guard::Is(Some(*self.by_revision.get(&(id.to_owned(), revision))?)),
        })
    }
}

/// What an operation means for the documents that it names; nothing where it says nothing about any.
fn steps(op: &Op, operation: &Operation, tags: &mut Tags) -> Vec<(String, Guard, Option<State>)> {
    let code = operation.error.as_deref().unwrap_or_default();
    let refused = |guard| match guard {
        Guard::Is(state) => Some(Guard::Not(state)),
        Guard::Not(state) => Some(Guard::Is(state)),
        Guard::Any => None,
    };
    // What happened, or may have; or, refused for its guard, the opposite of the guard. What an entity tag stood for is
    // unknown where no answer ever named it: then the write may stand anywhere, and its refusal says nothing.
    let outcome = |guard: Option<Guard>, effect: State| match (operation.kind, code) {
        (Kind::Ok | Kind::Info, _) => Some((guard.unwrap_or(Guard::Any), Some(effect))),
        (Kind::Fail, "precondition_failed" | "not_found" | "already_exists") => Some((refused(guard?)?, None)),
        _ => None,
    };
    let found = match op {
        Op::Get { id, read, .. } => {
            let plain = read.as_of.is_none() && read.consistency == Consistency::Linearizable;
            if operation.kind != Kind::Ok || !plain {
                return Vec::new();
            }
            let document = operation.answer.get("document").filter(|document| !document.is_null());
            Some((id.clone(), Guard::Is(document.and_then(|document| tags.of(document))), None))
        }
        Op::Put { id, document, condition, .. } => {
            let effect = tags.of(document);
            let guard = tags.guard(id, *condition, Guard::Any);
            outcome(guard, effect).map(|(guard, effect)| (id.clone(), guard, effect))
        }
        // A refused patch or delete that has a condition of its own may have been refused for either.
        Op::Patch { id, patch, condition, .. } => {
            let effect = tags.of(patch);
            let guard =
                if code == "not_found" { Some(Guard::Not(None)) } else { tags.guard(id, *condition, Guard::Not(None)) };
            outcome(guard, effect).map(|(guard, effect)| (id.clone(), guard, effect))
        }
        Op::Delete { id, condition, .. } => {
            let guard =
                if code == "not_found" { Some(Guard::Not(None)) } else { tags.guard(id, *condition, Guard::Not(None)) };
            outcome(guard, None).map(|(guard, effect)| (id.clone(), guard, effect))
        }
        Op::Insert { documents, .. } => {
            // Of several, nobody says which was there already.
            if operation.kind == Kind::Fail && documents.len() > 1 {
                return Vec::new();
            }
            let mut found = Vec::new();
            for document in documents {
                let (Some(id), effect) = (document["id"].as_str(), tags.of(document)) else { continue };
                found.extend(
                    outcome(Some(Guard::Is(None)), effect).map(|(guard, effect)| (id.to_owned(), guard, effect)),
                );
            }
            return found;
        }
        _ => None,
    };
    found.into_iter().collect()
}
