//! A merge patch or update operators in the first line, a document behind it: what comes of it is a document again, and
//! what says where to arrive rather than how far to go arrives there the first time.

use aerodb_engine::Limits;
use aerodb_engine::json::{self, Value};
use aerodb_engine::patch::merge;
use aerodb_engine::prepare;
use aerodb_engine::update::Update;

use crate::two_texts;

/// Operators that do the same the second time as the first.
const SETTLED: [&str; 6] = ["$set", "$unset", "$min", "$max", "$pull", "$addToSet"];

pub(crate) fn run(data: &[u8]) {
    let limits = Limits::default();
    let Some((change, document)) = two_texts(data) else { return };
    let Ok(change) = prepare::patch("x", change, &limits) else { return };
    let Ok(document) = prepare::put("x", document, &limits) else { return };
    let change = json::parse(&change, &json::STORED).unwrap();
    let before = json::parse(&document.fields, &json::STORED).unwrap();
    let mut after = before.clone();
    if !apply(&change, &mut after) {
        return;
    }
    let written = after.to_bytes();
    assert_eq!(json::parse(&written, &json::STORED).unwrap().to_bytes(), written, "{change} of {before}");
    match prepare::put("x", &written, &limits) {
        Ok(accepted) => assert_eq!(accepted.fields, written, "{change} of {before}"),
        Err(error) => assert_eq!(error.code, "nesting_too_deep", "{change} of {before}: {error}"),
    }
    let operators: Vec<&str> = change.as_object().unwrap().iter().map(|(name, _)| name.as_str()).collect();
    if operators.iter().all(|name| !name.starts_with('$') || SETTLED.contains(name)) {
        let mut twice = after.clone();
        assert!(apply(&change, &mut twice), "{change} of {before}, twice");
        assert_eq!(twice.to_bytes(), written, "{change} of {before}, twice");
    }
}

/// Whether it could be done.
fn apply(change: &Value, document: &mut Value) -> bool {
    let fields = change.as_object().unwrap();
    if Update::is_meant(fields) {
        return Update::parse(fields).unwrap().apply(document).is_ok();
    }
    merge(document, change);
    true
}
