//! What came back, and what may be concluded from it.

use serde_json::{Value, json};

use super::op::{Condition, Op};
use crate::history::{Completion, Kind};

/// Codes of the published list with which a node says that a write has had no effect: it was never handed over, or
/// the answer says so. `fenced` and `storage_error` are not among them: they do not say when the disk gave up.
const NO_EFFECT: [&str; 8] = [
    "no_leader",
    "quorum_lost",
    "overloaded",
    "deadline_exceeded",
    "shutting_down",
    "starting",
    "idempotency_full",
    "unknown_operation",
];

/// The code of an answer that says that it succeeded, came whole, and cannot be understood.
pub const MALFORMED: &str = "malformed_answer";

/// How an operation ended.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Took effect, had none, or nobody knows.
    pub kind: Kind,
    /// A code of the published list, or what the connection did.
    pub error: Option<String>,
    /// The node that was asked.
    pub node: u64,
    /// The revision that the answer named.
    pub revision: Option<u64>,
    /// What the answer said, as it is recorded.
    pub body: Value,
    /// The cursor of the next page.
    pub cursor: Option<String>,
    /// Whether it was reached at all; a client that was not waits a little before it tries again.
    pub reached: bool,
}

impl Answer {
    /// It took effect.
    pub fn is_ok(&self) -> bool {
        self.kind == Kind::Ok
    }

    /// The error's code, or nothing.
    pub fn code(&self) -> &str {
        self.error.as_deref().unwrap_or_default()
    }

    /// The document that it carries.
    pub fn document(&self) -> Option<&Value> {
        self.body.get("document").filter(|document| !document.is_null())
    }

    /// The revision of the document that it carries.
    pub fn document_revision(&self) -> Option<u64> {
        self.document()?.get("_revision")?.as_u64()
    }

    /// As it is recorded.
    pub fn completion(self) -> Completion {
        Completion { value: self.body, error: self.error, node: Some(self.node), revision: self.revision }
    }

    /// No answer: the connection was refused, broke, or nothing came in time. `sent` tells whether the request may have
    /// reached anybody.
    pub(super) fn broken(op: &Op, node: u64, error: String, sent: bool) -> Self {
        // A read that fails has had no effect, whatever became of it.
        let kind = if sent && op.is_write() { Kind::Info } else { Kind::Fail };
        Self { kind, error: Some(error), node, revision: None, body: Value::Null, cursor: None, reached: false }
    }

    /// An answer that succeeded by its status and says something else: an error `code` of the API's own, or
    /// [`MALFORMED`], with the reason in words. Whether a write took effect nobody knows.
    pub(super) fn spoiled(op: &Op, node: u64, code: &str, why: &str) -> Self {
        let kind = if op.is_write() { Kind::Info } else { Kind::Fail };
        let (error, body) = (Some(code.to_owned()), json!({ "why": why }));
        Self { kind, error, node, revision: None, body, cursor: None, reached: true }
    }

    /// An error of the API.
    pub(super) fn refused(op: &Op, node: u64, status: u16, code: &str, revision: Option<u64>) -> Self {
        let known = !op.is_write() || (400..500).contains(&status) || (status == 503 && NO_EFFECT.contains(&code));
        let kind = if known { Kind::Fail } else { Kind::Info };
        let error = Some(code.to_owned());
        Self { kind, error, node, revision, body: Value::Null, cursor: None, reached: status < 500 }
    }

    /// The same, after an earlier attempt whose outcome nobody knows. That attempt may still be under way, so that most
    /// refusals say nothing about it; a document that has left the revision that the write asks for never returns.
    #[must_use]
    pub fn after_unknown(self, op: &Op) -> Self {
        let settled = self.code() == "precondition_failed" && matches!(op.condition(), Condition::Revision(_));
        match self.kind {
            Kind::Fail if !settled => Self { kind: Kind::Info, ..self },
            _ => self,
        }
    }
}

/// Whether the code is an answer about the state at a revision, rather than about the node or the request.
pub fn is_definite(code: &str) -> bool {
    matches!(code, "precondition_failed" | "not_found" | "already_exists")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(condition: Condition) -> Op {
        Op::Put { collection: "c".into(), id: "a".into(), document: Value::Null, condition, key: None }
    }

    #[test]
    fn only_what_says_so_had_no_effect() {
        let write = put(Condition::None);
        let read = Op::Get { collection: "c".into(), id: "a".into(), read: Default::default() };
        let kind = |op: &Op, status, code| Answer::refused(op, 1, status, code, None).kind;
        assert_eq!(kind(&write, 412, "precondition_failed"), Kind::Fail);
        assert_eq!(kind(&write, 503, "no_leader"), Kind::Fail);
        assert_eq!(kind(&write, 503, "storage_error"), Kind::Info);
        assert_eq!(kind(&write, 503, "a_word_of_tomorrow"), Kind::Info);
        assert_eq!(kind(&write, 504, "outcome_unknown"), Kind::Info);
        assert_eq!(kind(&write, 500, "internal"), Kind::Info);
        assert_eq!(kind(&read, 504, "outcome_unknown"), Kind::Fail);
        assert_eq!(Answer::broken(&write, 1, "timeout".into(), true).kind, Kind::Info);
        assert_eq!(Answer::broken(&write, 1, "refused".into(), false).kind, Kind::Fail);
        assert_eq!(Answer::broken(&read, 1, "timeout".into(), true).kind, Kind::Fail);
    }

    #[test]
    fn a_refusal_says_nothing_about_an_earlier_attempt() {
        let after = |condition, status, code| {
            let op = put(condition);
            Answer::refused(&op, 1, status, code, None).after_unknown(&op).kind
        };
        assert_eq!(after(Condition::Absent, 412, "precondition_failed"), Kind::Info);
        assert_eq!(after(Condition::Revision(7), 412, "precondition_failed"), Kind::Fail);
        assert_eq!(after(Condition::Revision(7), 503, "no_leader"), Kind::Info);
    }
}
