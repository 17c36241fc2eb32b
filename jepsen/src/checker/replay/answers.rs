//! Reads and refusals against the replay.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::floors::{condition_holds, is_linearizable};
use super::timeline::{Timeline, revision_of, show};
use super::{Asked, Floors};
use crate::checker::Finding;
use crate::checker::query::{self, fields, merged};
use crate::client::{Consistency, HISTORY_PAGE, Op, is_definite};
use crate::history::Kind;

/// Errors that say something about the node or the moment, and nothing about the data.
const NODE: [&str; 13] = [
    "no_leader",
    "quorum_lost",
    "overloaded",
    "deadline_exceeded",
    "too_stale",
    "fenced",
    "storage_error",
    "shutting_down",
    "starting",
    "idempotency_full",
    "unknown_operation",
    "outcome_unknown",
    "request_timeout",
];

/// Checks what one operation was answered.
pub(super) fn check(asked: &Asked<'_>, timeline: &Timeline<'_>, floors: &Floors, finding: &mut Finding) {
    let operation = asked.operation;
    let code = operation.error.as_deref().unwrap_or_default();
    // Attempts before the last one, of what was sent until its outcome was known. Each left the outcome open.
    for before in operation.answer["before"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        unexpected(asked, before, finding);
    }
    if matches!(asked.op, Op::Follow { .. }) {
        // A stale stream asks one node alone, which may rightly not have come as far as the subscriber. That it gets there
        // in the end is for the feed's own checker.
        if code != "revision_ahead" {
            unexpected(asked, code, finding);
        }
        return;
    }
    match operation.kind {
        Kind::Ok if asked.op.is_write() => unchanged(asked, timeline, floors, finding),
        Kind::Ok => read(asked, timeline, floors, finding),
        Kind::Fail if is_definite(code) => refusal(asked, code, timeline, floors, finding),
        Kind::Fail if code == "revision_ahead" => ahead(asked, floors, finding),
        // The last answer to a write that was retried after an unknown outcome: it says nothing about the first attempt.
        Kind::Info if is_definite(code) => {}
        _ => unexpected(asked, code, finding),
    }
}

/// An error that nothing in the request asked for.
fn unexpected(asked: &Asked<'_>, code: &str, finding: &mut Finding) {
    // What the connection did is a sentence; codes are single words.
    let word = !code.is_empty() && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if word && code != "timeout" && !NODE.contains(&code) {
        finding.wrong(
            "unexpected error",
            format!("{} was answered with {code}", asked.operation.f),
            vec![asked.operation.begin],
        );
    }
}

/// The revision that the answer names; without one the answer is wrong already.
fn revision(asked: &Asked<'_>, finding: &mut Finding) -> Option<u64> {
    if asked.operation.revision.is_none() {
        finding.wrong("no revision", format!("{} names no revision", asked.operation.f), vec![asked.operation.begin]);
    }
    asked.operation.revision
}

/// The answer is at least as new as it was asked to be.
fn fresh(asked: &Asked<'_>, revision: u64, floors: &Floors, finding: &mut Finding) {
    let operation = asked.operation;
    let read = asked.op.read();
    let floor = floors.before(operation.begin);
    if is_linearizable(&asked.op) && revision < floor.revision {
        let text = format!("answered at revision {revision}, though {} was reached before it began", floor.revision);
        finding.wrong("stale read", text, vec![floor.by, operation.begin]);
    }
    match (read.as_of, read.consistency) {
        (Some(_), _) => {}
        (None, Consistency::Session(seen)) if revision < seen => {
            let text = format!("answered at revision {revision} to a client that had seen {seen}");
            finding.wrong("session broken", text, vec![operation.begin]);
        }
        (None, Consistency::Stale(bound)) => aged(asked, bound, revision, floors, finding),
        _ => {}
    }
}

/// The age that a stale answer names is honest: everything acknowledged so long ago is in it.
fn aged(asked: &Asked<'_>, bound_ms: Option<u64>, revision: u64, floors: &Floors, finding: &mut Finding) {
    let operation = asked.operation;
    let age_ms = match &operation.answer["age_ms"] {
        Value::Number(age) => age.as_u64(),
        // The node cannot tell: honest, but no answer where there is a bound.
        Value::String(_) => None,
        // That there is no such document is said without an age; nothing can be told from that.
        Value::Null if operation.answer["document"].is_null() && operation.f == "get" => {
            return finding.count("stale answers without an age");
        }
        _ => {
            return finding.wrong("no age", format!("a stale answer to {}", operation.f), vec![operation.begin]);
        }
    };
    if bound_ms.is_some_and(|bound| age_ms.is_none_or(|age| age > bound)) {
        finding.wrong("too stale", format!("{age_ms:?} ms where {bound_ms:?} were asked for"), vec![operation.begin]);
    }
    let Some(age_ms) = age_ms else { return };
    finding.count("ages");
    // It was read between begin and end, and the age is cut to whole milliseconds: both to its favour.
    let since_ns = operation.begin_ns.saturating_sub((age_ms + 1) * 1_000_000);
    let floor = floors.before_time(since_ns);
    if revision < floor.revision {
        let text = format!("revision {revision}, said to be {age_ms} ms old, lacks {} of before", floor.revision);
        finding.wrong("dishonest age", text, vec![floor.by, operation.begin]);
    }
}

fn read(asked: &Asked<'_>, timeline: &Timeline<'_>, floors: &Floors, finding: &mut Finding) {
    let operation = asked.operation;
    let Some(revision) = revision(asked, finding) else { return };
    fresh(asked, revision, floors, finding);
    let wrong = |finding: &mut Finding, expected: String, answered: String| {
        let text = format!("at revision {revision} it is {expected}, answered was {answered}");
        finding.wrong("wrong read", text, vec![operation.begin]);
    };
    finding.count(&format!("reads by {}", operation.f));
    match &asked.op {
        Op::Get { id, read, .. } => {
            if read.as_of.is_some_and(|as_of| as_of != revision) {
                wrong(finding, format!("as of {:?}", read.as_of), format!("as of {revision}"));
            }
            let (expected, answered) = (timeline.at(id, revision), operation.answer.get("document"));
            let answered = answered.filter(|document| !document.is_null());
            if expected != answered {
                wrong(finding, show(expected), show(answered));
            }
        }
        Op::List { query, read, .. } => {
            let at = read.as_of.or(query.at);
            if at.is_some_and(|at| at != revision) || operation.answer["revision"].as_u64() != Some(revision) {
                wrong(
                    finding,
                    format!("a page of revision {at:?}"),
                    format!("one of {}", operation.answer["revision"]),
                );
            }
            let (items, more, total) = {
                let candidates = timeline.candidates(query.filter.as_ref(), revision);
                query::page(candidates.into_iter(), query)
            };
            let answer = &operation.answer;
            if answer["items"].as_array() != Some(&items) {
                let (expected, answered) =
                    (brief(&items), brief(answer["items"].as_array().map_or(&[], Vec::as_slice)));
                wrong(finding, expected, answered);
            }
            if answer["more"].as_bool() != Some(more) {
                wrong(finding, format!("followed by more: {more}"), answer["more"].to_string());
            }
            if query.count && answer["count"].as_u64() != Some(total) {
                wrong(finding, format!("{total} documents"), answer["count"].to_string());
            }
        }
        Op::History { id, limit, .. } => {
            let mut expected = intervals(timeline, id, revision);
            let limit = limit.unwrap_or(HISTORY_PAGE) as usize;
            let more = expected.len() > limit;
            expected.truncate(limit);
            if operation.answer["items"].as_array() != Some(&expected)
                || operation.answer["more"].as_bool().unwrap_or(more) != more
            {
                wrong(finding, Value::Array(expected).to_string(), operation.answer["items"].to_string());
            }
        }
        Op::Changes { since, limit, .. } => changes(asked, *since, *limit, revision, timeline, finding),
        _ => {}
    }
}

/// The versions of a document up to `revision`, as its history shows them.
fn intervals(timeline: &Timeline<'_>, id: &str, revision: u64) -> Vec<Value> {
    let versions = timeline.versions(id);
    let ends = versions.iter().skip(1).map(|(from, _)| Some(*from).filter(|from| *from <= revision));
    let spans = versions.iter().zip(ends.chain([None])).take_while(|((from, _), _)| *from <= revision);
    spans.filter_map(|((from, document), to)| Some(json!({"from": from, "to": to, "document": (*document)?}))).collect()
}

/// A finite reading of the feed: all changes in between, no revision split, and an honest bookmark.
fn changes(
    asked: &Asked<'_>,
    since: u64,
    limit: Option<u64>,
    revision: u64,
    timeline: &Timeline<'_>,
    finding: &mut Finding,
) {
    let answer = &asked.operation.answer;
    let bookmark = answer["bookmark"].as_u64().unwrap_or(0);
    let begin = timeline.feed.partition_point(|change| change.revision <= since);
    let end = timeline.feed.partition_point(|change| change.revision <= bookmark);
    let available = timeline.feed.partition_point(|change| change.revision <= revision);
    let expected = timeline.feed[begin..end.max(begin)].iter();
    let answered = answer["changes"].as_array().into_iter().flatten();
    let differs = !expected.map(|change| json!(change)).eq(answered.cloned());
    let more = end < available;
    let cut_short = more && limit.is_none_or(|limit| ((end - begin) as u64) < limit);
    let lies = answer["more"].as_bool() != Some(more) || (!more && bookmark != revision.max(since));
    if differs || cut_short || lies || bookmark > revision.max(since) {
        let shown = answer["changes"].as_array().map_or(0, Vec::len);
        let text = format!(
            "since {since}, limit {limit:?}, read at {revision}: {shown} changes, bookmark {bookmark}, more {}; there \
             are {} up to that bookmark (differs: {differs}, cut short: {cut_short})",
            answer["more"],
            end.saturating_sub(begin)
        );
        finding.wrong("wrong feed page", text, vec![asked.operation.begin]);
    }
}

/// A refusal is a read: the state that it names must be against it.
fn refusal(asked: &Asked<'_>, code: &str, timeline: &Timeline<'_>, floors: &Floors, finding: &mut Finding) {
    let Some(revision) = revision(asked, finding) else { return };
    fresh(asked, revision, floors, finding);
    finding.count("refusals");
    let exists = |id: &str| timeline.at(id, revision).is_some();
    let right = match (&asked.op, code) {
        (Op::Insert { documents, .. }, "already_exists") => {
            let ids: Vec<&str> = documents.iter().filter_map(|document| document["id"].as_str()).collect();
            // One that is there, or the same one twice in the request.
            let mut seen = HashSet::new();
            ids.iter().any(|id| exists(id) || !seen.insert(*id))
        }
        (Op::Patch { id, .. } | Op::Delete { id, .. }, "not_found") => !exists(id),
        (Op::Put { id, .. } | Op::Patch { id, .. } | Op::Delete { id, .. }, "precondition_failed") => {
            !condition_holds(asked.op.condition(), revision_of(timeline.at(id, revision)))
        }
        _ => false,
    };
    if !right {
        let text = format!(
            "{} was refused with {code} at revision {revision}, where nothing is against it",
            asked.operation.f
        );
        finding.wrong("false refusal", text, vec![asked.operation.begin]);
    }
}

/// A write that was acknowledged without changing anything: a patch that leaves the document as it is.
fn unchanged(asked: &Asked<'_>, timeline: &Timeline<'_>, floors: &Floors, finding: &mut Finding) {
    let (Op::Patch { id, patch, .. }, operation) = (&asked.op, asked.operation) else { return };
    if !patch["w"].is_null() {
        return;
    }
    let Some(revision) = revision(asked, finding) else { return };
    fresh(asked, revision, floors, finding);
    finding.count("writes without a change");
    let document = timeline.at(id, revision);
    let same = document.is_some_and(|document| merged(&fields(document), patch) == fields(document));
    let holds = condition_holds(asked.op.condition(), revision_of(document));
    if !same || !holds || operation.answer.get("document") != document {
        let answered = show(operation.answer.get("document"));
        let text = format!("at revision {revision} there is {}, answered {answered}", show(document));
        finding.wrong("wrong answer to a write", text, vec![operation.begin]);
    }
}

/// "Not reached yet" must not be said of what was reached before.
fn ahead(asked: &Asked<'_>, floors: &Floors, finding: &mut Finding) {
    let operation = asked.operation;
    let wanted = match &asked.op {
        Op::Changes { since, .. } => Some(*since),
        op => op.read().as_of,
    };
    let floor = floors.before(operation.begin);
    if wanted.is_none_or(|wanted| wanted <= floor.revision) {
        let text = format!("revision {wanted:?} is said to be ahead, though {} was reached", floor.revision);
        finding.wrong("false refusal", text, vec![floor.by, operation.begin]);
    }
}

/// A list in a sentence.
fn brief(items: &[Value]) -> String {
    let one = |item: &Value| format!("{}@{}", item["id"].as_str().unwrap_or("?"), item["_revision"]);
    let shown: Vec<String> = items.iter().take(8).map(one).collect();
    format!("{} items [{}{}]", items.len(), shown.join(" "), if items.len() > 8 { " .." } else { "" })
}
