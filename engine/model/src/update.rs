//! Merge patches (RFC 7396) and update operators.

use serde_json::{Map, Value, json};

use crate::value::{compare, equal};

/// What a change makes of a document's fields; nothing where it cannot be applied.
pub(crate) fn changed(fields: &Value, change: &Value) -> Option<Value> {
    let mut after = fields.clone();
    let edits = change.as_object().expect("a change is an object");
    if !edits.keys().any(|name| name.starts_with('$')) {
        merge(&mut after, change);
        return Some(after);
    }
    for (operator, paths) in edits {
        for (path, operand) in paths.as_object().expect("an object of paths") {
            let path: Vec<&str> = path.split('.').collect();
            edit(&mut after, &path, operator, operand)?;
        }
    }
    Some(after)
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let fields = target.as_object_mut().expect("it is one now");
    for (name, change) in changes {
        match change {
            Value::Null => drop(fields.remove(name)),
            change => merge(fields.entry(name.clone()).or_insert(Value::Null), change),
        }
    }
}

fn edit(value: &mut Value, path: &[&str], operator: &str, operand: &Value) -> Option<()> {
    let removes = matches!(operator, "$unset" | "$pull");
    let (name, rest) = path.split_first()?;
    let fields: &mut Map<String, Value> = match value {
        Value::Object(fields) => fields,
        // What is not there need not be removed; nothing can be put within what is no object.
        _ => return removes.then_some(()),
    };
    if !rest.is_empty() {
        return match fields.get_mut(*name) {
            Some(inner) => edit(inner, rest, operator, operand),
            None if removes => Some(()),
            None => {
                let mut inner = json!({});
                edit(&mut inner, rest, operator, operand)?;
                fields.insert((*name).to_owned(), inner);
                Some(())
            }
        };
    }
    let found = fields.get(*name);
    let after = match (operator, found) {
        ("$unset", _) => {
            fields.remove(*name);
            return Some(());
        }
        ("$pull", None) => return Some(()),
        ("$pull", Some(found)) => {
            let kept = found.as_array()?.iter().filter(|item| !equal(item, operand));
            kept.cloned().collect()
        }
        ("$set", _) => operand.clone(),
        ("$inc" | "$min" | "$max", None) => operand.clone(),
        ("$inc", Some(found)) => add(found, operand)?,
        ("$min", Some(found)) => if compare(operand, found).is_lt() { operand } else { found }.clone(),
        ("$max", Some(found)) => if compare(operand, found).is_gt() { operand } else { found }.clone(),
        ("$push" | "$addToSet", found) => {
            let mut items = found.map_or(Some(Vec::new()), |found| found.as_array().cloned())?;
            if operator == "$push" || !items.iter().any(|item| equal(item, operand)) {
                items.push(operand.clone());
            }
            Value::Array(items)
        }
        (other, _) => panic!("the model knows no {other}"),
    };
    fields.insert((*name).to_owned(), after);
    Some(())
}

fn add(a: &Value, b: &Value) -> Option<Value> {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => Some(json!(a + b)),
        _ => Some(json!(a.as_f64()? + b.as_f64()?)),
    }
}
