//! Pages of one cursor: one revision, no document twice, no page that ends too soon. What the pages must hold is the
//! replay's part.

use std::collections::{BTreeMap, HashSet};

use super::{Checker, Finding, Run};
use crate::client::Op;
use crate::history::{Kind, Operation};

/// Walks over pages.
#[derive(Debug)]
pub struct Paging;

impl Checker for Paging {
    fn name(&self) -> &'static str {
        "paging"
    }

    fn check(&self, run: &Run) -> Finding {
        let mut finding = Finding::new(self.name());
        let mut walks: BTreeMap<String, Vec<(&Operation, u64)>> = BTreeMap::new();
        for operation in run.history.operations.iter().filter(|operation| operation.kind == Kind::Ok) {
            if let Ok(Op::List { query, .. }) = serde_json::from_value(operation.asked.clone())
                && let (Some(walk), Some(limit)) = (query.walk, query.limit)
            {
                walks.entry(walk).or_default().push((operation, limit));
            }
        }
        for pages in walks.values() {
            let all: Vec<u64> = pages.iter().map(|(page, _)| page.begin).collect();
            let revisions: HashSet<Option<u64>> = pages.iter().map(|(page, _)| page.revision).collect();
            if revisions.len() > 1 {
                finding.wrong("pages of several revisions", format!("{revisions:?}"), all.clone());
            }
            let mut ids = HashSet::new();
            for (page, limit) in pages {
                finding.count("pages");
                let items = page.answer["items"].as_array().map_or(&[][..], Vec::as_slice);
                if let Some(twice) = items.iter().find(|item| !ids.insert(item["id"].to_string())) {
                    finding.wrong("document twice", format!("{} is on two pages", twice["id"]), all.clone());
                }
                if page.answer["more"].as_bool() == Some(true) && (items.len() as u64) < *limit {
                    finding.wrong(
                        "page too short",
                        format!("{} of {limit}, and more follow", items.len()),
                        vec![page.begin],
                    );
                }
            }
            let ended = pages.last().is_some_and(|(page, _)| page.answer["more"].as_bool() == Some(false));
            finding.count(if ended { "whole walks" } else { "walks that were cut short" });
            let nodes: HashSet<Option<u64>> = pages.iter().map(|(page, _)| page.node).collect();
            finding.add("walks over several nodes", u64::from(nodes.len() > 1));
        }
        finding.needs("walks over several nodes");
        finding
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::checker::Verdict;
    use crate::checker::testing::{Script, rules};
    use crate::client::Query;

    fn check(pages: &[(u64, &[&str], bool)]) -> Finding {
        let script = Script::default();
        for (revision, ids, more) in pages {
            let query = Query { walk: Some("1".into()), limit: Some(2), ..Query::default() };
            let op = Op::List { collection: "c".into(), query, read: Default::default() };
            let items: Vec<Value> = ids.iter().map(|id| json!({ "id": id })).collect();
            script.does(0, &op, *revision, json!({ "items": items, "more": more }));
        }
        let mut run = script.run(&[]);
        run.history.operations.iter_mut().enumerate().for_each(|(place, page)| page.node = Some(place as u64));
        Paging.check(&run)
    }

    #[test]
    fn pages_fit_together() {
        assert_eq!(check(&[(7, &["a", "b"], true), (7, &["c"], false)]).verdict, Verdict::Valid);
        assert_eq!(check(&[(7, &["a"], false)]).verdict, Verdict::Unknown);
        assert_eq!(rules(&check(&[(7, &["a", "b"], true), (8, &["c"], false)])), ["pages of several revisions"]);
        assert_eq!(rules(&check(&[(7, &["a", "b"], true), (7, &["b"], false)])), ["document twice"]);
        assert_eq!(rules(&check(&[(7, &["a"], true), (7, &["b"], false)])), ["page too short"]);
    }
}
