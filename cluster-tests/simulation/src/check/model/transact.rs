//! Transactions, naively: one operation after the other on a copy of what they name.

use super::op::{Act, Pre, Step};
use super::value::{Doc, Fields, Value};
use super::{Model, Written, holds, patched};

/// What a transaction comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transacted {
    /// What it leaves of each document that it writes, in the order of the first writes.
    pub written: Vec<Written>,
    /// What is told of each operation's document.
    pub shown: Vec<Shown>,
}

/// Which version of its document an operation shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// None: it deletes it.
    None,
    /// As it was before the transaction.
    Before,
    /// As the transaction leaves it.
    After,
}

impl Model {
    /// What the operations come to when they are decided right after `revision`; the code of a refusal.
    ///
    /// # Errors
    /// When it is refused.
    pub fn transact(&self, steps: &[Step], read_revision: u64, revision: u64) -> Result<Transacted, &'static str> {
        if read_revision > revision {
            return Err("revision_ahead");
        }
        let mut written: Vec<Written> = Vec::new();
        let mut shown = Vec::new();
        for Step { collection, id, pre, act } in steps {
            if !self.catalog.has(collection, revision) {
                return Err("collection_not_found");
            }
            let base = self.at(collection, id, revision);
            if read_revision > 0 && self.changed(collection, id, revision) > read_revision {
                return Err("conflict");
            }
            let own = written.iter().position(|one| one.0 == *collection && one.1 == *id);
            let now = match own {
                Some(at) => written[at].2.clone(),
                None => base.map(|doc| doc.fields.clone()),
            };
            if !allowed(*pre, base, now.is_some()) {
                return Err("conflict");
            }
            let after = match act {
                Act::Insert(_) if now.is_some() => return Err("already_exists"),
                Act::Insert(fields) | Act::Put(fields) => Some(fields.clone()),
                Act::Patch(_) | Act::Append(..) => {
                    let fields = now.ok_or("not_found")?;
                    let after = match act {
                        Act::Patch(changes) => patched(&fields, changes),
                        Act::Append(field, value) => appended(&fields, field, *value)?,
                        _ => fields.clone(),
                    };
                    if after == fields {
                        shown.push(if own.is_some() { Shown::After } else { Shown::Before });
                        continue;
                    }
                    Some(after)
                }
                Act::Delete => {
                    now.ok_or("not_found")?;
                    None
                }
                Act::Get => {
                    shown.push(if own.is_some() { Shown::After } else { Shown::Before });
                    continue;
                }
            };
            shown.push(if after.is_some() { Shown::After } else { Shown::None });
            match own {
                Some(at) => written[at].2 = after,
                None => written.push((collection.clone(), id.clone(), after)),
            }
        }
        written.retain(|(collection, id, after)| after.is_some() || self.at(collection, id, revision).is_some());
        Ok(Transacted { written, shown })
    }
}

/// A revision is compared with what was there before the transaction, all else with what the operation finds.
fn allowed(pre: Pre, base: Option<&Doc>, exists: bool) -> bool {
    match pre {
        Pre::Any | Pre::Revision(_) => holds(pre, base),
        Pre::Exists => exists,
        Pre::Absent => !exists,
    }
}

fn appended(fields: &Fields, field: &str, value: i64) -> Result<Fields, &'static str> {
    let mut fields = fields.clone();
    match fields.entry(field.to_owned()).or_insert_with(|| Value::List(Vec::new())) {
        Value::List(numbers) => numbers.push(value),
        Value::Whole(_) => return Err("update_not_applicable"),
    }
    Ok(fields)
}
