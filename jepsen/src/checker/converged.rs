//! Once everything is healed, all nodes have the same: the same feed, and the documents that it leads to.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Checker, Finding, Run};

/// The nodes' last words against each other.
#[derive(Debug)]
pub struct Converged;

impl Checker for Converged {
    fn name(&self) -> &'static str {
        "converged"
    }

    fn check(&self, run: &Run) -> Finding {
        let mut finding = Finding::new(self.name());
        for (collection, nodes) in &run.last.collections {
            for node in &run.nodes {
                if !nodes.iter().any(|last| last.node == *node) {
                    finding.unknown(format!("node {node} was not asked for {collection:?}"));
                }
            }
            let Some(first) = nodes.iter().find(|last| last.error.is_none()) else {
                finding.unknown(format!("no node could be read at the end: {collection:?}"));
                continue;
            };
            for last in nodes {
                if let Some(error) = &last.error {
                    finding.wrong(
                        "node not readable",
                        format!("node {}: {collection}: {error}", last.node),
                        Vec::new(),
                    );
                    continue;
                }
                finding.count("nodes compared");
                if last.changes != first.changes {
                    let same = last.changes.iter().zip(&first.changes).take_while(|(a, b)| a == b).count();
                    let shown = |changes: &[super::Change]| {
                        changes.get(same).map_or("its end".into(), |c| format!("{}@{} ({})", c.id, c.revision, c.kind))
                    };
                    let text = format!(
                        "the feeds of {collection:?} differ at change {same}: node {} has {}, node {} has {}",
                        first.node,
                        shown(&first.changes),
                        last.node,
                        shown(&last.changes)
                    );
                    finding.wrong("nodes differ", text, Vec::new());
                }
                let mut expected: BTreeMap<&str, &Value> = BTreeMap::new();
                for change in &last.changes {
                    match &change.document {
                        Some(document) => expected.insert(&change.id, document),
                        None => expected.remove(change.id.as_str()),
                    };
                }
                if !expected.values().copied().eq(last.documents.iter()) {
                    let text = format!(
                        "node {} lists {} documents of {collection:?} where its feed leads to {}, or other ones",
                        last.node,
                        last.documents.len(),
                        expected.len()
                    );
                    finding.wrong("list and feed differ", text, Vec::new());
                }
            }
        }
        for (name, _, detail) in &run.history.notes {
            if name == "digests" && detail["equal"].as_bool() == Some(false) {
                finding.wrong("digests differ", detail.to_string(), Vec::new());
            }
        }
        finding.needs("nodes compared");
        finding
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::testing::{change, last_of};
    use crate::checker::{Last, Verdict};

    fn check(last: Last) -> Verdict {
        let nodes = last.collections["c"].iter().map(|node| node.node).collect();
        Converged.check(&Run { last, nodes, ..Run::default() }).verdict
    }

    #[test]
    fn nodes_that_have_the_same_are_converged() {
        let feed = vec![change(1, "a", "w1", None), change(2, "a", "w2", Some((1, "w1")))];
        assert_eq!(check(last_of(&[&feed, &feed, &feed])), Verdict::Valid);
    }

    #[test]
    fn a_node_that_lacks_or_changed_something_is_not() {
        let feed = vec![change(1, "a", "w1", None), change(2, "b", "w2", None)];
        assert_eq!(check(last_of(&[&feed, &feed[..1], &feed])), Verdict::Invalid);
        let mut other = feed.clone();
        other[1] = change(2, "b", "w9", None);
        assert_eq!(check(last_of(&[&feed, &feed, &other])), Verdict::Invalid);
        let mut last = last_of(&[&feed, &feed]);
        last.collections.get_mut("c").unwrap()[1].documents.pop();
        assert_eq!(check(last), Verdict::Invalid);
        let mut last = last_of(&[&feed, &feed]);
        last.collections.get_mut("c").unwrap()[1].error = Some("timeout".into());
        assert_eq!(check(last), Verdict::Invalid);
    }
}
