//! References against a model that looks at everything: random writes, deletes and transactions over collections that refer to
//! each other and to themselves. Both refuse the same and leave the same, however late entries are applied.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::json::{self, Value};
use crate::testing::{create, create_with, delete, insert, relate, transact};
use crate::view::ListQuery;

const IDS: [&str; 4] = ["a", "ab", "b", "ü"];

/// A field that refers: its collection, its name, where it leads, and what happens then.
type Reference = (&'static str, &'static str, &'static str, &'static str);

/// A document's fields that refer, as lists of ids, each with whether it is an array.
type Fields = BTreeMap<&'static str, (Vec<String>, bool)>;

/// What there is, by collection and id.
type Model = BTreeMap<(&'static str, String), Fields>;

/// One operation.
#[derive(Clone, Debug)]
enum Operation {
    Put(&'static str, String, Fields),
    Delete(&'static str, String),
}

fn text(fields: &Fields) -> String {
    let value = |(ids, many): &(Vec<String>, bool)| match (ids.first(), many) {
        (_, true) => format!("[{}]", ids.iter().map(|id| format!("\"{id}\"")).collect::<Vec<_>>().join(",")),
        (Some(id), false) => format!("\"{id}\""),
        (None, false) => "null".to_owned(),
    };
    let members: Vec<_> = fields.iter().map(|(name, ids)| format!("\"{name}\":{}", value(ids))).collect();
    format!("{{{}}}", members.join(","))
}

/// What becomes of `base` by these operations: `None` when a reference stands against them.
fn run(base: &Model, operations: &[Operation], references: &[Reference]) -> Option<Model> {
    let mut now = base.clone();
    for operation in operations {
        match operation.clone() {
            Operation::Put(of, id, fields) => drop(now.insert((of, id), fields)),
            Operation::Delete(of, id) => drop(now.remove(&(of, id))),
        }
    }
    // What a document had before and still has, and what is gone, at a reference.
    let kept_and_gone = |now: &Model, of: &'static str, id: &str, (_, field, target, _): &Reference| -> Vec<String> {
        let ids = |model: &Model| -> BTreeSet<String> {
            let fields = model.get(&(of, id.to_owned()));
            fields.and_then(|fields| fields.get(field)).into_iter().flat_map(|(ids, _)| ids.clone()).collect()
        };
        let kept: BTreeSet<String> = ids(base).intersection(&ids(now)).cloned().collect();
        kept.into_iter().filter(|id| !now.contains_key(&(*target, id.clone()))).collect()
    };
    let of_kind = |kind: &'static str| references.iter().filter(move |reference| reference.3 == kind);
    loop {
        let goes = |(of, id): &&(&'static str, String)| {
            of_kind("cascade").any(|it| it.0 == *of && !kept_and_gone(&now, of, id, it).is_empty())
        };
        let Some(gone) = now.keys().find(goes).cloned() else { break };
        now.remove(&gone);
    }
    let documents: Vec<_> = now.keys().cloned().collect();
    for (of, id) in &documents {
        if of_kind("restrict").any(|it| it.0 == *of && !kept_and_gone(&now, of, id, it).is_empty()) {
            return None;
        }
    }
    for (of, id) in &documents {
        for it in of_kind("set_null").filter(|it| it.0 == *of) {
            let lost = kept_and_gone(&now, of, id, it);
            if let Some((ids, _)) = now.get_mut(&(*of, id.clone())).and_then(|fields| fields.get_mut(it.1)) {
                ids.retain(|id| !lost.contains(id));
            }
        }
    }
    dangling(&now, references).is_none().then_some(now)
}

/// A document that refers to what is not there.
fn dangling(model: &Model, references: &[Reference]) -> Option<String> {
    for ((of, id), fields) in model {
        for (_, field, target, _) in references.iter().filter(|reference| reference.0 == *of) {
            for refers in fields.get(field).iter().flat_map(|(ids, _)| ids) {
                if !model.contains_key(&(*target, refers.clone())) {
                    return Some(format!("{of} {id} refers to {refers} of {target}"));
                }
            }
        }
    }
    None
}

fn random_fields(dice: &mut Dice, of: &str, references: &[Reference]) -> Fields {
    let mut fields = Fields::new();
    for (_, field, _, _) in references.iter().filter(|reference| reference.0 == of) {
        let value = match dice.below(4) {
            0 => continue,
            1 => (Vec::new(), false),
            2 => (vec![(*dice.one_of(&IDS)).to_owned()], false),
            _ => ((0..dice.below(3)).map(|_| (*dice.one_of(&IDS)).to_owned()).collect(), true),
        };
        fields.insert(field, value);
    }
    fields
}

fn random_operation(dice: &mut Dice, references: &[Reference]) -> Operation {
    let (of, id) = (*dice.one_of(&["c", "d", "e"]), (*dice.one_of(&IDS)).to_owned());
    match dice.below(5) {
        0..2 => Operation::Delete(of, id),
        _ => Operation::Put(of, id, random_fields(dice, of, references)),
    }
}

fn as_text(operation: &Operation) -> String {
    match operation {
        Operation::Put(of, id, fields) => {
            format!(r#"{{"op":"put","collection":"{of}","id":"{id}","document":{}}}"#, text(fields))
        }
        Operation::Delete(of, id) => format!(r#"{{"op":"delete","collection":"{of}","id":"{id}"}}"#),
    }
}

/// What is applied.
fn found(leader: &Leader, references: &[Reference]) -> Model {
    let (view, mut model) = (leader.node.view(), Model::new());
    for of in ["c", "d", "e"] {
        let collection = view.collection(of).unwrap();
        for body in view.list(&collection, &ListQuery::of(1_000), &|| false).unwrap().items {
            let document = json::parse(&body, &json::STORED).unwrap();
            let mut fields = Fields::new();
            for (_, field, _, _) in references.iter().filter(|reference| reference.0 == of) {
                let ids = |items: &[Value]| items.iter().map(|item| item.as_str().unwrap().to_owned()).collect();
                let value = match document.get(field) {
                    None => continue,
                    Some(Value::Null) => (Vec::new(), false),
                    Some(Value::Array(items)) => (ids(items), true),
                    Some(one) => (vec![one.as_str().unwrap().to_owned()], false),
                };
                fields.insert(field, value);
            }
            model.insert((of, document.get("id").and_then(Value::as_str).unwrap().to_owned()), fields);
        }
    }
    model
}

fn json_of(references: &[Reference], of: &str) -> String {
    let one = |(_, field, target, on_delete): &Reference| {
        format!(r#"{{"field":"{field}","collection":"{target}","on_delete":"{on_delete}"}}"#)
    };
    let own: Vec<String> = references.iter().filter(|reference| reference.0 == of).map(one).collect();
    format!("[{}]", own.join(","))
}

fn random_references(dice: &mut Dice) -> Vec<Reference> {
    let places = [("d", "by", "c"), ("d", "up", "d"), ("e", "of", "d"), ("e", "by", "c")];
    let kinds = ["restrict", "cascade", "set_null", "cascade"];
    let mut references: Vec<Reference> =
        places.iter().map(|(of, field, target)| (*of, *field, *target, *dice.one_of(&kinds))).collect();
    references.retain(|_| !dice.once_in(6));
    references
}

#[test]
fn references_keep_to_a_model_that_looks_at_everything() {
    let (mut taken, mut refused, mut cascaded) = (0, 0, 0);
    for seed in 0..60 {
        let mut dice = Dice::new(seed);
        let references = random_references(&mut dice);
        let (mut leader, mut model) = (Leader::new(), Model::new());
        leader.submit(&create("d"));
        leader.submit(&create_with("e", &json_of(&references, "e")));
        // Only now, as it may refer to itself.
        leader.submit(&relate("d", &json_of(&references, "d")));
        while leader.build_step(10).is_some() {
            leader.append();
            leader.apply();
        }
        for step in 0..150 {
            let (operations, command) = match dice.below(8) {
                0 => {
                    let of = *dice.one_of(&["c", "d", "e"]);
                    let gone = model.keys().filter(|(found, _)| *found == of);
                    let operations = gone.map(|(of, id)| Operation::Delete(of, id.clone())).collect();
                    (operations, leader.bulk(of, "{}", None))
                }
                1..3 => {
                    let operations: Vec<_> =
                        (0..1 + dice.below(5)).map(|_| random_operation(&mut dice, &references)).collect();
                    let texts: Vec<_> = operations.iter().map(as_text).collect();
                    let command = transact(&format!(r#"{{"operations":[{}]}}"#, texts.join(",")));
                    (operations, command)
                }
                _ => {
                    let operation = random_operation(&mut dice, &references);
                    let command = match &operation {
                        Operation::Put(of, id, fields) => put(of, id, &text(fields)),
                        Operation::Delete(of, id) => delete(of, id),
                    };
                    (vec![operation], command)
                }
            };
            let shown = show(&leader.decide(&command));
            if shown.starts_with("not_found") {
                // A delete of what is not there, in a transaction perhaps after another one: nothing is changed.
                continue;
            }
            let at = format!("seed {seed}, step {step}, {references:?}: {operations:?}: {shown}");
            match run(&model, &operations, &references) {
                Some(after) => {
                    assert!(shown.starts_with("changed") || shown.starts_with("unchanged"), "{at}");
                    cascaded += usize::from(model.len() > after.len() + operations.len());
                    taken += 1;
                    model = after;
                }
                None => {
                    assert!(shown.starts_with("reference_violation"), "{at}");
                    refused += 1;
                }
            }
            if dice.once_in(3) {
                leader.append();
            }
            if dice.once_in(3) {
                leader.apply_some(dice.below(4));
            }
            if dice.once_in(10) {
                leader.append();
                leader.apply();
                assert_eq!(found(&leader, &references), model, "{at}");
                if dice.once_in(3) {
                    leader.new_term();
                }
            }
        }
    }
    assert!(taken > 3_000 && refused > 1_000 && cascaded > 50, "{taken} {refused} {cascaded}");
}

/// References that come and go while documents are written: whatever is ready holds, at every revision that is applied.
#[test]
fn what_is_ready_holds() {
    let (mut ready, mut failed) = (0, 0);
    for seed in 0..60 {
        let mut dice = Dice::new(seed);
        let (mut leader, mut references) = (Leader::new(), random_references(&mut dice));
        let fields = [("d", "by", "c", ""), ("d", "up", "d", ""), ("e", "of", "d", ""), ("e", "by", "c", "")];
        leader.submit(&create("d"));
        leader.submit(&create("e"));
        for _ in 0..150 {
            let command = match dice.below(12) {
                0 => {
                    references = random_references(&mut dice);
                    relate("d", &json_of(&references, "d"))
                }
                1 => relate("e", &json_of(&references, "e")),
                2 => insert("c", r#"[{"id":"a"},{"id":"ab"},{"id":"b"},{"id":"ü"}]"#),
                _ => match random_operation(&mut dice, &fields) {
                    Operation::Put(of, id, fields) => put(of, &id, &text(&fields)),
                    Operation::Delete(of, id) => delete(of, &id),
                },
            };
            leader.decide(&command);
            if dice.once_in(3) {
                leader.append();
            }
            if dice.once_in(3) {
                leader.append();
                leader.apply();
                drop(leader.build_step(1 + dice.below(3) as usize));
            }
            if dice.once_in(25) {
                leader.append();
                leader.apply();
                leader.new_term();
            }
            let (view, mut in_force) = (leader.node.view(), Vec::new());
            for of in ["d", "e"] {
                for index in &view.collection(of).unwrap().indexes {
                    let Some(reference) = &index.reference else { continue };
                    failed += usize::from(index.state() == proto::IndexState::Failed);
                    let known = fields.iter().find(|known| known.0 == of && known.1 == index.fields[0].path).unwrap();
                    assert_eq!(known.2, reference.collection);
                    if index.state() == proto::IndexState::Ready {
                        in_force.push(*known);
                    }
                }
            }
            ready += usize::from(!in_force.is_empty());
            assert_eq!(dangling(&found(&leader, &fields), &in_force), None, "seed {seed}");
        }
    }
    assert!(ready > 1_000 && failed > 200, "{ready} {failed}");
}
