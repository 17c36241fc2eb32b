//! What was answered, to compare: figures of products that answer differently say nothing.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::work::{PAGE, Question, TOP};

/// How far means may differ, as a share: the last digits of a float depend on how it was divided.
const MEAN_OFF_MAX: f64 = 1e-12;

/// An answer, in the form of neither product.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// Documents, in the order in which they came.
    Documents(Vec<Value>),
    /// How many there are, or were changed.
    Number(u64),
    /// Number, sum and mean by country.
    Groups(BTreeMap<String, (i64, i64, f64)>),
}

impl Answer {
    /// An error unless both mean the same.
    pub(super) fn check_same(&self, other: &Self, question: &Question) -> Result<()> {
        match (self, other) {
            (Self::Documents(these), Self::Documents(those)) => {
                ensure!(!these.is_empty(), "nothing was found");
                let key = match question {
                    Question::Range { .. } | Question::Sort { .. } => "population",
                    Question::Topk => "lat",
                    _ => "id",
                };
                same_documents(these, those, key)
            }
            (Self::Groups(these), Self::Groups(those)) => {
                ensure!(!these.is_empty() && these.keys().eq(those.keys()), "other groups: {these:?} and {those:?}");
                for ((country, a), b) in these.iter().zip(those.values()) {
                    let near = (a.2 - b.2).abs() <= MEAN_OFF_MAX * a.2.abs();
                    ensure!((a.0, a.1) == (b.0, b.1) && near, "{country}: {a:?} and {b:?}");
                }
                Ok(())
            }
            (these, those) => {
                ensure!(these == those, "{these:?} and {those:?}");
                Ok(())
            }
        }
    }
}

/// The same documents in the same order by `key`. Among equal keys any order will do, and at the end of a full page any of
/// them.
fn same_documents(these: &[Value], those: &[Value], key: &str) -> Result<()> {
    let keys = |documents: &[Value]| documents.iter().map(|document| document[key].to_string()).collect::<Vec<_>>();
    ensure!(keys(these) == keys(those), "by {key}: {:?} and {:?}", keys(these), keys(those));
    let is_full = [PAGE, TOP].contains(&(these.len() as u64));
    let last = these.last().map(|document| &document[key]);
    let by_id = |documents: &[Value]| {
        let cut = |document: &Value| is_full && Some(&document[key]) == last;
        let kept = documents.iter().filter(|document| !cut(document));
        let id = |document: &Value| document["id"].as_str().map(str::to_owned).context("a document without an id");
        kept.map(|document| Ok((id(document)?, document.clone()))).collect::<Result<BTreeMap<_, _>>>()
    };
    let (these, those) = (by_id(these)?, by_id(those)?);
    for (id, document) in &these {
        let other = those.get(id);
        ensure!(other == Some(document), "document {id}: {document} and {}", other.unwrap_or(&Value::Null));
    }
    ensure!(these.len() == those.len(), "{} and {} documents", these.len(), those.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(these: &[Value], those: &[Value]) -> bool {
        let (these, those) = (Answer::Documents(these.to_vec()), Answer::Documents(those.to_vec()));
        these.check_same(&those, &Question::Range { from: 0, to: 1 }).is_ok()
    }

    #[test]
    fn ties_may_come_in_any_order_and_nothing_else_may_differ() {
        let city = |id: &str, population: u64| json!({"id": id, "population": population});
        let (a, b, c) = (city("a", 1), city("b", 1), city("c", 2));
        assert!(check(&[a.clone(), b.clone(), c.clone()], &[b.clone(), a.clone(), c.clone()]));
        assert!(!check(&[a.clone(), c.clone()], &[c.clone(), a.clone()]));
        assert!(!check(&[a.clone(), c.clone()], &[b, c.clone()]));
        assert!(!check(std::slice::from_ref(&a), &[a.clone(), c]));
        assert!(!check(&[], &[]), "nothing is no evidence");
        let groups = |mean| Answer::Groups(BTreeMap::from([("DE".to_owned(), (3, 10, mean))]));
        assert!(groups(10.0 / 3.0).check_same(&groups(3.333_333_333_333_334), &Question::Group).is_ok());
        assert!(groups(10.0 / 3.0).check_same(&groups(3.33), &Question::Group).is_err());
    }
}
