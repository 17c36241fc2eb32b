//! What the crates beneath report, as problems of the published list.

use aerodb_engine::{filter, json, order, prepare, select, view};
use aerodb_proto as proto;

use crate::error::{Code, Problem};

/// The published code called `name`. A word that is not published is a bug of ours, not the client's.
fn published(name: &str, fallback: Code) -> Code {
    Code::from_name(name).unwrap_or_else(|| {
        tracing::error!(code = name, "an error code is missing from the published list");
        fallback
    })
}

impl From<prepare::Error> for Problem {
    fn from(error: prepare::Error) -> Self {
        let code = published(
            error.code,
            match error.kind {
                prepare::ErrorKind::Malformed => Code::BadRequest,
                prepare::ErrorKind::TooLarge => Code::TooLarge,
                prepare::ErrorKind::Invalid => Code::InvalidFieldName,
            },
        );
        let problem = Problem::new(code, error.message.as_str()).with_mistake(error.path, error.message);
        match error.index {
            Some(index) => problem.with("index", index),
            None => problem,
        }
    }
}

impl From<json::Error> for Problem {
    fn from(error: json::Error) -> Self {
        Problem::new(published(error.code(), Code::InvalidJson), error.to_string()).with("offset", error.offset)
    }
}

/// A filter that is none; `at` names where it stands in the request.
pub(crate) fn bad_filter(at: &str, error: filter::Error) -> Problem {
    let code = published(error.code(), Code::InvalidFilter);
    Problem::new(code, error.to_string()).with_mistake(format!("{at}{}", error.path), error.message)
}

impl From<select::Error> for Problem {
    fn from(error: select::Error) -> Self {
        Problem::new(Code::InvalidSelect, error.to_string()).with_mistake("select", error.to_string())
    }
}

impl From<order::Error> for Problem {
    fn from(error: order::Error) -> Self {
        Problem::new(Code::InvalidOrder, error.to_string()).with_mistake("order", error.to_string())
    }
}

impl From<view::ReadError> for Problem {
    fn from(error: view::ReadError) -> Self {
        use view::ReadError::{
            Compacted, FullScan, InvalidCursor, InvalidGroup, InvalidOrder, RevisionAhead, Storage, TooExpensive,
        };
        let detail = error.to_string();
        match error {
            Compacted { oldest } => Problem::new(Code::Compacted, detail).with("oldest", oldest),
            RevisionAhead { current } => Problem::new(Code::RevisionAhead, detail).with("current", current),
            InvalidCursor(_) => Problem::new(Code::InvalidCursor, detail.as_str()).with_mistake("cursor", detail),
            InvalidOrder(_) => Problem::new(Code::InvalidOrder, detail.as_str()).with_mistake("order", detail),
            InvalidGroup(_) => Problem::new(Code::InvalidGroup, detail.as_str()).with_mistake("group_by", detail),
            FullScan { .. } => Problem::new(Code::FullScanForbidden, detail),
            TooExpensive(_) => Problem::new(Code::QueryTooExpensive, detail),
            Storage(error) => {
                Problem::new(Code::StorageError, "the node's storage failed: ask another node").with_cause(error)
            }
        }
    }
}

impl From<aerodb_raft::Error> for Problem {
    fn from(error: aerodb_raft::Error) -> Self {
        use aerodb_raft::Error;
        let code = published(error.code(), Code::Internal);
        let retry = error.retry_after();
        let problem = match &error {
            // Its words are for the operator: they may name files.
            Error::Fenced(why) => Problem::new(code, "this node has stopped serving: ask another one").with_cause(why),
            Error::TooStale { age } if *age == std::time::Duration::MAX => {
                Problem::new(code, "this node cannot tell how old its data is")
            }
            Error::RevisionAhead { current } => Problem::new(code, error.to_string()).with("current", *current),
            _ => Problem::new(code, error.to_string()),
        };
        problem.with_retry_after(retry)
    }
}

/// What was decided against, at `revision`.
pub(crate) fn refused(refusal: proto::Refusal, revision: u64) -> Problem {
    let Some(code) = Code::from_name(&refusal.code) else {
        return Problem::internal(format!("refused with the unpublished code {}: {}", refusal.code, refusal.detail));
    };
    let mut problem = Problem::new(code, refusal.detail.as_str());
    if let Some(index) = refusal.index {
        problem = problem.with("index", index);
        if refusal.violations.is_empty() {
            problem = problem.with_mistake(format!("/{index}"), refusal.detail);
        }
    }
    if !refusal.document_id.is_empty() {
        problem = problem.with("document_id", refusal.document_id);
    }
    // Places within the document; of several documents, that of the one at `index`.
    let within = refusal.index.map_or(String::new(), |index| format!("/{index}"));
    for violation in refusal.violations {
        problem = problem.with_violation(format!("{within}{}", violation.path), violation.keyword, violation.message);
    }
    problem.at_revision(revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every word between `before` and the next quote in the sources of the crates beneath.
    fn words(before: &str) -> Vec<String> {
        fn walk(dir: &std::path::Path, texts: &mut Vec<String>) {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    walk(&path, texts);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    texts.push(std::fs::read_to_string(&path).unwrap());
                }
            }
        }
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut texts = Vec::new();
        walk(&root.join("engine/src"), &mut texts);
        walk(&root.join("raft/src"), &mut texts);
        let found = texts.iter().flat_map(|text| text.split(before).skip(1));
        found.filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
    }

    #[test]
    fn every_code_of_the_crates_beneath_is_published() {
        // A session without a node: only nodes open sessions.
        let internal = ["invalid_request"];
        for word in words("refusal(\"").into_iter().filter(|word| !internal.contains(&word.as_str())) {
            assert!(Code::from_name(&word).is_some(), "{word} is not published");
        }
    }

    #[test]
    fn a_refusal_by_a_schema_names_every_place() {
        let violation = |path: &str, keyword: &str| proto::Violation {
            path: path.into(),
            keyword: keyword.into(),
            message: "no".into(),
        };
        let refusal = proto::Refusal {
            code: "schema_violation".into(),
            index: Some(3),
            violations: vec![violation("/age", "minimum"), violation("", "required")],
            ..Default::default()
        };
        let body = refused(refusal, 7).to_json(None);
        assert_eq!((&body["status"], &body["index"]), (&422.into(), &3.into()));
        let expected = serde_json::json!([
            {"path": "/3/age", "code": "minimum", "message": "no"},
            {"path": "/3", "code": "required", "message": "no"},
        ]);
        assert_eq!(body["errors"], expected);
    }

    #[test]
    fn a_refusal_names_the_document_in_the_way() {
        let refusal = proto::Refusal {
            code: "already_exists".into(),
            detail: "there is one".into(),
            index: Some(3),
            document_id: "a".into(),
            ..Default::default()
        };
        let body = refused(refusal, 7).to_json(None);
        assert_eq!((&body["status"], &body["index"], &body["document_id"]), (&409.into(), &3.into(), &"a".into()));
        assert_eq!(body["errors"][0]["path"], "/3");
        let unknown = proto::Refusal { code: "no_such_word".into(), ..Default::default() };
        assert_eq!(refused(unknown, 7).code(), Code::Internal);
    }
}
