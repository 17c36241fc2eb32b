//! Scenarios as text: one step a line, and what comes of it behind `=>`. Nothing in a step holds a space.
//!
//! ```text
//! insert C BODY             put C ID BODY         patch C ID BODY        delete C ID
//! transact BODY
//! change C FILTER BODY      remove C FILTER       … max=COUNT           what matches is looked for in what is applied
//! index C BODY              unindex C NAME        build [COUNT]          one step of a build, of so many documents
//! schema C JSON|none [warn|off]        validation C warn
//! check [COUNT]             one step of the check of a new schema, of so many documents
//! schemas C                 what is in force, and what is to be
//! expire                    what has come to its end is looked for in what is applied, and goes
//! indexes C                 their states
//! list C FILTER [ORDER]     the ids that a reader finds, and through which index
//! create C [REFERENCES]     relate C REFERENCES   what refers to what
//! drop C                    session NODE           bootstrap
//!     … if=REVISION any=R/R exists absent key=KEY scope=SCOPE as=SESSION.NUMBER again by=SECRET
//! ack SESSION FIRST LAST
//! append                    the entry under construction goes to the log
//! lose                      … and the log refuses it
//! apply [COUNT]             the next entries, or all
//! grant SECRET              an API key becomes known, as if by a pending command
//! revoke SECRET             … and is no longer
//! clock MS                  what the leader's clock shows, counted from the start
//! epoch                     a new epoch of the same term
//! term                      a new term
//! get C ID                  the document that a reader sees
//! times C ID                when it was created and written, counted from the start
//! state                     the counters
//! mark C REVISION           raises a watermark
//! collect                   everything that the watermarks allow
//! ```

use std::fmt::Write;

use aerodb_proto as proto;
use proto::command::Op;
use proto::precondition::Kind as Condition;
use proto::{Command, outcome::Result as Answer};

use super::{
    Leader, START_MS, ack, bootstrap, command, create, create_index, create_with, delete, drop, drop_index, insert,
    keyed, patch, put, relate, set_schema, transact, when,
};
use crate::decide::{Number, Verdict};
use crate::filter::Filter;
use crate::json::{self, Value};
use crate::limits::Limits;
use crate::order::Order;
use crate::prepare::fields_of;
use crate::view::{IndexInfo, ListQuery, Way};

/// Plays `script` and compares every `=>`.
#[track_caller]
pub(crate) fn check(script: &str) -> Leader {
    check_with(Limits::default(), script)
}

#[track_caller]
pub(crate) fn check_with(limits: Limits, script: &str) -> Leader {
    let mut leader = Leader::with(limits);
    let (mut expected, mut found) = (String::new(), String::new());
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (step, result) = line.split_once("=>").map_or((line, None), |(step, result)| (step, Some(result.trim())));
        let words: Vec<&str> = step.split_whitespace().collect();
        let came = play(&mut leader, &words);
        let step = words.join(" ");
        let _ = writeln!(expected, "{step} => {}", result.unwrap_or(&came));
        let _ = writeln!(found, "{step} => {came}");
    }
    assert_eq!(found, expected, "found:\n{found}");
    leader
}

fn play(leader: &mut Leader, words: &[&str]) -> String {
    let number = |at: usize| words[at].parse::<u64>().unwrap_or_else(|_| panic!("no number in {words:?}"));
    match words {
        ["ack", ..] => {
            leader.decider.acknowledge(number(1), &ack(number(2), number(3))).unwrap();
            "noted".into()
        }
        ["append"] => leader.append().map_or("nothing".into(), |seq| format!("seq {seq}")),
        ["lose"] => {
            leader.lose();
            "lost".into()
        }
        ["apply"] => format!("{:?}", leader.apply()),
        ["apply", _] => format!("{:?}", leader.apply_some(number(1))),
        ["clock", _] => {
            leader.clock_ms = START_MS + number(1);
            "set".into()
        }
        ["epoch"] => {
            leader.new_epoch();
            "begun".into()
        }
        ["term"] => {
            leader.new_term();
            "begun".into()
        }
        ["get", name, id] => get(leader, name, id)
            .map_or("none".into(), |(revision, body)| format!("@{revision} {}", fields_of(json::tests::value(&body)))),
        ["build"] => leader.build_step(usize::MAX).map_or("nothing".into(), |verdict| show(&verdict)),
        ["build", _] => leader.build_step(number(1) as usize).map_or("nothing".into(), |verdict| show(&verdict)),
        ["check"] => leader.schema_step(u64::MAX).map_or("nothing".into(), |verdict| show(&verdict)),
        ["check", _] => leader.schema_step(number(1)).map_or("nothing".into(), |verdict| show(&verdict)),
        ["schemas", name] => schemas(leader, name),
        ["expire"] => leader.expire(usize::MAX).map_or("nothing".into(), |verdict| show(&verdict)),
        ["indexes", name] => indexes(leader, name),
        ["list", name, filter] => list(leader, name, filter, ""),
        ["list", name, filter, order] => list(leader, name, filter, order),
        ["times", name, id] => times(leader, name, id),
        ["state"] => {
            let meta = leader.node.engine().meta();
            format!("index {} seq {} revision {}", leader.node.applied_index(), meta.seq, meta.revision)
        }
        ["collect"] => {
            while leader.node.engine().collect_step().unwrap() {}
            "done".into()
        }
        ["grant", secret] => {
            leader.decider.note_key(secret, true);
            "noted".into()
        }
        ["revoke", secret] => {
            leader.decider.note_key(secret, false);
            "noted".into()
        }
        _ => decide(leader, words),
    }
}

fn get(leader: &Leader, name: &str, id: &str) -> Option<(u64, String)> {
    let view = leader.node.view();
    let stored = view.get(&*view.collection(name)?, id).unwrap()?;
    Some((stored.revision, String::from_utf8(stored.body.to_vec()).unwrap()))
}

fn indexes(leader: &Leader, name: &str) -> String {
    let view = leader.node.view();
    let indexes = view.indexes(&view.collection(name).expect("the collection exists")).unwrap();
    let text = |info: &IndexInfo| {
        let state = format!("{:?}", info.definition.state()).to_lowercase();
        let failure = if info.definition.failure.is_empty() { "" } else { ": " };
        format!("{} {state} {}{failure}{}", info.definition.name, info.entries, info.definition.failure)
    };
    indexes.iter().map(text).collect::<Vec<_>>().join(", ")
}

fn schemas(leader: &Leader, name: &str) -> String {
    let collection = leader.node.view().collection(name).expect("the collection exists");
    let text = |schema: &proto::Schema| String::from_utf8(schema.json.to_vec()).unwrap();
    let current = collection.schema.as_ref().map_or("none".into(), |schema| {
        format!("{} {}", text(schema), format!("{:?}", schema.validation()).to_lowercase())
    });
    let next = collection.next_schema.as_ref().map_or(String::new(), |next| {
        let offender = |offender: &proto::Offender| {
            let violation = offender.violation.clone().unwrap_or_default();
            format!(" {}{} {}", offender.id, violation.path, violation.keyword)
        };
        let offenders: String = next.offenders.iter().map(offender).collect();
        format!(", {} {}{offenders}", if next.failed { "failed" } else { "checking" }, text(next))
    });
    format!("{current}{next}")
}

fn list(leader: &Leader, name: &str, filter: &str, order: &str) -> String {
    let view = leader.node.view();
    let collection = view.collection(name).expect("the collection exists");
    let query = ListQuery {
        filter: Some(Filter::parse(&json::tests::value(filter)).unwrap()),
        order: Order::parse(order).unwrap(),
        ..ListQuery::of(1_000)
    };
    let page = match view.list(&collection, &query, &|| false) {
        Ok(page) => page,
        Err(error) => return error.to_string(),
    };
    let id = |body: &bytes::Bytes| {
        let body = String::from_utf8(body.to_vec()).unwrap();
        json::tests::value(&body).get("id").and_then(Value::as_str).unwrap().to_owned()
    };
    let explained = view.explain(&collection, &query, false, &|| false).unwrap();
    let chosen = explained.candidates.iter().find(|candidate| candidate.chosen).unwrap();
    let ids = page.items.iter().map(id).collect::<Vec<_>>().join(" ");
    let space = if ids.is_empty() { "" } else { " " };
    let way = match &chosen.way {
        Way::Scan => "scan",
        Way::Ids => "ids",
        Way::Index(name) => name,
        Way::Intersection(_) => "intersection",
        Way::Union(_) => "union",
    };
    format!("{ids}{space}by {way}{}", if explained.ordered { "" } else { " sorted" })
}

fn times(leader: &Leader, name: &str, id: &str) -> String {
    let (_, body) = get(leader, name, id).expect("the document exists");
    let body = json::tests::value(&body);
    let time = |field: &str| {
        let time: jiff::Timestamp = body.get(field).and_then(Value::as_str).unwrap().parse().unwrap();
        time.as_millisecond() as u64 - START_MS
    };
    format!("created {} updated {}", time("_created_at"), time("_updated_at"))
}

fn decide(leader: &mut Leader, words: &[&str]) -> String {
    let is_option = |word: &&str| {
        matches!(*word, "exists" | "absent" | "again")
            || ["if=", "any=", "key=", "scope=", "as=", "by=", "max="].iter().any(|option| word.starts_with(option))
    };
    let options: Vec<&str> = words.iter().copied().filter(is_option).collect();
    let words: Vec<&str> = words.iter().copied().filter(|word| !is_option(word)).collect();
    let mut command = operation(leader, &words);
    let value = |name: &str| options.iter().find_map(|option| option.strip_prefix(name));
    for option in &options {
        command = match option.split_once('=') {
            None if *option == "exists" => when(command, Condition::IfExists(true)),
            None if *option == "absent" => when(command, Condition::IfAbsent(true)),
            Some(("if", revision)) => when(command, Condition::IfRevision(revision.parse().unwrap())),
            Some(("any", list)) => {
                let revisions = list.split('/').map(|revision| revision.parse().unwrap()).collect();
                when(command, Condition::IfAnyRevision(proto::Revisions { revisions }))
            }
            Some(("max", count)) => {
                if let Some(Op::Bulk(bulk)) = &mut command.op {
                    bulk.max_affected = count.parse().unwrap();
                }
                command
            }
            Some(("key", key)) => keyed(command, value("scope=").unwrap_or("POST /"), key, &words.join(" ")),
            Some(("by", secret)) => {
                Command { caller: Some(proto::Caller { key_id: crate::view::api_key_id(secret) }), ..command }
            }
            _ => command,
        };
    }
    let verdict = match value("as=").and_then(|place| place.split_once('.')) {
        Some((session, number)) => {
            let first_attempt = !options.contains(&"again");
            let (session, number) = (session.parse().unwrap(), number.parse().unwrap());
            leader.decide_as(Number { session, number, first_attempt }, &command)
        }
        None => leader.decide(&command),
    };
    show(&verdict)
}

fn operation(leader: &Leader, words: &[&str]) -> Command {
    match *words {
        ["insert", name, body] => insert(name, body),
        ["put", name, id, body] => put(name, id, body),
        ["patch", name, id, body] => patch(name, id, body),
        ["delete", name, id] => delete(name, id),
        ["transact", body] => transact(body),
        ["change", name, filter, body] => leader.bulk(name, filter, Some(body)),
        ["remove", name, filter] => leader.bulk(name, filter, None),
        ["index", name, body] => create_index(name, body),
        ["unindex", name, index] => drop_index(name, index),
        ["schema", name, json] => set_schema(name, json, proto::Validation::Strict),
        ["schema", name, json, "warn"] => set_schema(name, json, proto::Validation::Warn),
        ["schema", name, json, "off"] => set_schema(name, json, proto::Validation::Off),
        ["validation", name, "warn"] => command(Op::ChangeSettings(proto::ChangeSettings {
            collection: name.into(),
            validation: Some(proto::Validation::Warn.into()),
            ..Default::default()
        })),
        ["create", name] => create(name),
        ["create", name, references] => create_with(name, references),
        ["relate", name, references] => relate(name, references),
        ["drop", name] => drop(name),
        ["bootstrap"] => bootstrap(),
        ["session", node] => command(Op::OpenSession(proto::OpenSession { node_id: node.parse().unwrap() })),
        ["mark", name, revision] => {
            let collection_id = leader.node.view().collection(name).expect("the collection is applied").id;
            let watermark = proto::Watermark { collection_id, revision: revision.parse().unwrap() };
            command(Op::AdvanceWatermarks(proto::AdvanceWatermarks { watermarks: vec![watermark] }))
        }
        _ => panic!("no such step: {words:?}"),
    }
}

/// A verdict as a line.
pub(crate) fn show(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Proposed(outcome) => show_outcome(outcome),
        Verdict::Read { outcome, after_seq } => format!("{} after {after_seq}", show_outcome(outcome)),
        Verdict::Stale => "stale".into(),
        Verdict::SessionGone => "session gone".into(),
        Verdict::EntryFull => "entry full".into(),
    }
}

fn show_outcome(outcome: &proto::Outcome) -> String {
    let changed = if outcome.changed { "changed" } else { "unchanged" };
    let mut text = format!("{changed} {}", outcome.revision);
    match outcome.result.as_ref().expect("an outcome has a result") {
        Answer::Refusal(refusal) => {
            text = refusal.code.clone();
            if let Some(index) = refusal.index {
                let _ = write!(text, " [{index}]");
            }
            if !refusal.document_id.is_empty() {
                let _ = write!(text, " {}", refusal.document_id);
            }
        }
        Answer::Documents(documents) => {
            for document in &documents.documents {
                let _ = write!(text, " {}@{}", document.id, document.revision);
            }
            text.push_str(if documents.created { " created" } else { "" });
        }
        Answer::Transacted(transacted) => {
            for operated in &transacted.operations {
                match &operated.document {
                    Some(document) => {
                        let _ = write!(text, " {}@{}", document.id, document.revision);
                    }
                    None => text.push_str(" -"),
                }
                text.push_str(if operated.created { "+" } else { "" });
            }
        }
        Answer::Affected(affected) => {
            let _ = write!(text, " matched {} modified {}", affected.matched, affected.modified);
        }
        Answer::Collection(info) => {
            let _ = write!(text, " collection {}", info.collection.as_ref().map_or(0, |found| found.id));
        }
        Answer::Session(opened) => {
            let _ = write!(text, " session {}", opened.session);
        }
        Answer::Done(done) if !done.kept.is_empty() => {
            let _ = write!(text, " kept {}", done.kept.join(" "));
        }
        Answer::Deleted(_) | Answer::Done(_) => {}
    }
    text
}
