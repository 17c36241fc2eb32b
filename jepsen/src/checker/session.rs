//! Sessions, by what the documents themselves say: within one process no document goes back to an earlier version, its
//! own writes included, and none that was seen disappears. (That the revisions in the headers keep to what was asked,
//! and that ages are honest, is the replay's part.)

use std::collections::HashMap;

use super::{Checker, Finding, Run};
use crate::client::{Consistency, Op};
use crate::history::Kind;

/// Monotonic reads and read-your-writes.
#[derive(Debug)]
pub struct Session;

impl Checker for Session {
    fn name(&self) -> &'static str {
        "session"
    }

    fn check(&self, run: &Run) -> Finding {
        let mut finding = Finding::new(self.name());
        // What each process has seen of each document: the version, and the operation that showed it.
        let mut seen: HashMap<(u64, String), (u64, u64)> = HashMap::new();
        for operation in run.history.operations.iter().filter(|operation| operation.kind == Kind::Ok) {
            let (id, bound) = match serde_json::from_value(operation.asked.clone()) {
                Ok(Op::Get { id, read, .. }) => (id, !matches!(read.consistency, Consistency::Stale(_))),
                Ok(Op::Put { id, .. }) => (id, true),
                _ => continue,
            };
            let revision = operation.answer["document"]["_revision"].as_u64().unwrap_or(0);
            let before = seen.entry((operation.process, id.clone())).or_insert((0, operation.begin));
            finding.count(if bound { "session reads and writes" } else { "stale reads" });
            if bound && revision < before.0 {
                let text = format!("{id}: {revision} after {} had been seen by the same client", before.0);
                finding.wrong("time goes backwards", text, vec![before.1, operation.begin]);
            }
            // A stale read obliges nobody: sessions begin with what the client tells the next node it has seen.
            if bound && revision > before.0 {
                *before = (revision, operation.begin);
            }
        }
        finding.needs("session reads and writes");
        finding
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::checker::Verdict;
    use crate::checker::testing::{Script, put, with};
    use crate::client::Read;

    fn read(consistency: Consistency) -> Op {
        Op::Get { collection: "c".into(), id: "a".into(), read: Read { consistency, as_of: None } }
    }

    fn check(consistency: Consistency, revision: u64) -> Verdict {
        let script = Script::default();
        script.does(0, &put("a", "1"), 5, with("a", 5, "1"));
        let answer = if revision == 0 { json!({ "document": null }) } else { with("a", revision, "x") };
        script.does(0, &read(consistency), 9, answer);
        Session.check(&script.run(&[])).verdict
    }

    #[test]
    fn a_client_reads_what_it_wrote() {
        assert_eq!(check(Consistency::Session(5), 5), Verdict::Valid);
        assert_eq!(check(Consistency::Session(5), 6), Verdict::Valid);
        assert_eq!(check(Consistency::Stale(None), 4), Verdict::Valid);
        assert_eq!(check(Consistency::Session(5), 4), Verdict::Invalid);
        assert_eq!(check(Consistency::Session(5), 0), Verdict::Invalid);
        assert_eq!(check(Consistency::Linearizable, 4), Verdict::Invalid);
    }
}
