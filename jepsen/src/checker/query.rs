//! What a list must answer: filter, order, selection and merge patch, as the contract words them and as naively as they
//! can be written. Not a line is shared with the product.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use crate::client::Query;

/// Fields that the cluster fills in.
const SYSTEM: [&str; 3] = ["_revision", "_created_at", "_updated_at"];

/// The document without what the cluster fills in.
pub(super) fn fields(document: &Value) -> Value {
    let mut fields = document.as_object().cloned().unwrap_or_default();
    fields.retain(|name, _| !SYSTEM.contains(&name.as_str()));
    Value::Object(fields)
}

/// JSON Merge Patch (RFC 7396).
pub(super) fn merged(target: &Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut out = target.as_object().cloned().unwrap_or_default();
    for (name, change) in patch {
        if change.is_null() {
            out.remove(name);
        } else {
            let merged = merged(out.get(name).unwrap_or(&Value::Null), change);
            out.insert(name.clone(), merged);
        }
    }
    Value::Object(out)
}

/// The items of a page, whether more follow, and how many match in all.
pub(super) fn page<'v>(documents: impl Iterator<Item = &'v Value>, query: &Query) -> (Vec<Value>, bool, u64) {
    let mut found: Vec<&Value> =
        documents.filter(|document| query.filter.as_ref().is_none_or(|filter| matches(document, filter))).collect();
    let order = query.order.as_deref().unwrap_or_default();
    found.sort_by(|a, b| ordered(a, b, order));
    let total = found.len() as u64;
    let skipped = query.after.unwrap_or(0) + query.offset.unwrap_or(0);
    let limit = query.limit.unwrap_or(100);
    let items = found.iter().skip(skipped as usize).take(limit as usize);
    let items = items.map(|document| selected(document, query.select.as_deref())).collect();
    (items, skipped + limit < total, total)
}

/// Whether `document` matches `filter`.
pub(super) fn matches(document: &Value, filter: &Value) -> bool {
    let Value::Object(filter) = filter else { return false };
    filter.iter().all(|(name, wanted)| match name.as_str() {
        "$and" => list(wanted).iter().all(|filter| matches(document, filter)),
        "$or" => list(wanted).iter().any(|filter| matches(document, filter)),
        "$nor" => !list(wanted).iter().any(|filter| matches(document, filter)),
        "$not" => !matches(document, wanted),
        path => field(&reached(document, path), wanted),
    })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A condition on a field: a value that it must equal, or operators that must all hold.
fn field(found: &[&Value], wanted: &Value) -> bool {
    match wanted {
        Value::Object(operators) if operators.keys().any(|name| name.starts_with('$')) => {
            operators.iter().all(|(operator, operand)| holds(found, operator, operand))
        }
        value => holds(found, "$eq", value),
    }
}

fn holds(found: &[&Value], operator: &str, operand: &Value) -> bool {
    // The array as a whole or any of its elements.
    let candidates = || found.iter().flat_map(|value| std::iter::once(*value).chain(list(value)));
    let compared =
        |wanted: fn(Ordering) -> bool| candidates().any(|value| same_type(value, operand).is_some_and(wanted));
    match operator {
        "$eq" => (operand.is_null() && found.is_empty()) || compared(Ordering::is_eq),
        "$ne" => !holds(found, "$eq", operand),
        "$gt" => compared(Ordering::is_gt),
        "$gte" => compared(Ordering::is_ge),
        "$lt" => compared(Ordering::is_lt),
        "$lte" => compared(Ordering::is_le),
        "$in" => list(operand).iter().any(|value| holds(found, "$eq", value)),
        "$nin" => !holds(found, "$in", operand),
        "$exists" => operand.as_bool() == Some(!found.is_empty()),
        "$not" => !field(found, operand),
        "$size" => found.iter().any(|v| v.as_array().is_some_and(|a| operand.as_u64() == Some(a.len() as u64))),
        "$startsWith" => candidates().any(|value| match (value.as_str(), operand.as_str()) {
            (Some(value), Some(start)) => value.starts_with(start),
            _ => false,
        }),
        _ => false,
    }
}

/// How `a` and `b` compare, if they are of one type.
fn same_type(a: &Value, b: &Value) -> Option<Ordering> {
    (std::mem::discriminant(a) == std::mem::discriminant(b)).then(|| total(a, b))
}

/// What a dotted path reaches: through objects, and through arrays by place or into the objects in them.
fn reached<'v>(value: &'v Value, path: &str) -> Vec<&'v Value> {
    let (head, rest) = path.split_once('.').map_or((path, None), |(head, rest)| (head, Some(rest)));
    let go = |next: &'v Value| match rest {
        Some(rest) => reached(next, rest),
        None => vec![next],
    };
    match value {
        Value::Object(fields) => fields.get(head).map(go).unwrap_or_default(),
        Value::Array(items) => {
            let place = head.parse().ok().and_then(|place: usize| items.get(place)).map(go).unwrap_or_default();
            let inside = items.iter().filter(|item| item.is_object()).flat_map(|item| reached(item, path));
            place.into_iter().chain(inside).collect()
        }
        _ => Vec::new(),
    }
}

/// Orders two documents by `n.desc,s`, ties by id.
fn ordered(a: &Value, b: &Value, order: &str) -> Ordering {
    for part in order.split(',').filter(|part| !part.is_empty()) {
        let (path, descending) = match part.rsplit_once('.') {
            Some((path, "desc")) => (path, true),
            Some((path, "asc")) => (path, false),
            _ => (part, false),
        };
        let key = |document| reached(document, path).first().copied().unwrap_or(&Value::Null);
        let found = total(key(a), key(b));
        let found = if descending { found.reverse() } else { found };
        if found.is_ne() {
            return found;
        }
    }
    total(&a["id"], &b["id"])
}

/// The one total order of all values.
fn total(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Null => 0,
        Value::Bool(false) => 1,
        Value::Bool(true) => 2,
        Value::Number(_) => 3,
        Value::String(_) => 4,
        Value::Array(_) => 5,
        Value::Object(_) => 6,
    };
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a.cmp(&b),
            // The workloads write small numbers only: f64 holds them exactly.
            _ => a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal),
        },
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => {
            let differ = a.iter().zip(b).map(|(a, b)| total(a, b)).find(|order| order.is_ne());
            differ.unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        _ => rank(a).cmp(&rank(b)),
    }
}

/// The fields that were asked for, with the id and the revision.
fn selected(document: &Value, select: Option<&str>) -> Value {
    let Some(select) = select else { return document.clone() };
    let mut out = Map::new();
    for path in ["id", "_revision"].into_iter().chain(select.split(',')) {
        copy(document, path, &mut out);
    }
    Value::Object(out)
}

fn copy(from: &Value, path: &str, to: &mut Map<String, Value>) {
    match path.split_once('.') {
        None => {
            if let Some(value) = from.get(path) {
                to.insert(path.to_owned(), value.clone());
            }
        }
        Some((head, rest)) => {
            if let Some(inner @ Value::Object(_)) = from.get(head)
                && let Value::Object(into) = to.entry(head).or_insert_with(|| json!({}))
            {
                copy(inner, rest, into);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_mean_what_the_contract_says() {
        let document = json!({"n": 5, "s": "abc", "t": null, "a": [1, 7], "o": {"k": 2}, "l": [{"k": 1}, {"k": 3}]});
        let check = |filter: Value, expected: bool| assert_eq!(matches(&document, &filter), expected, "{filter}");
        check(json!({}), true);
        check(json!({"n": 5}), true);
        check(json!({"n": {"$gte": 1, "$lt": 5}}), false);
        check(json!({"n": {"$gt": "1"}}), false);
        check(json!({"t": null}), true);
        check(json!({"missing": null}), true);
        check(json!({"missing": {"$exists": true}}), false);
        check(json!({"t": {"$exists": true}}), true);
        check(json!({"missing": {"$lt": 3}}), false);
        check(json!({"missing": {"$ne": 3}}), true);
        check(json!({"a": 7}), true);
        check(json!({"a": [1, 7]}), true);
        check(json!({"a": {"$ne": 7}}), false);
        check(json!({"a.0": 1}), true);
        check(json!({"o.k": 2}), true);
        check(json!({"l.k": 3}), true);
        check(json!({"n": {"$not": {"$gt": 5}}}), true);
        check(json!({"n": {"$in": [1, 5]}, "s": {"$startsWith": "ab"}}), true);
        check(json!({"$or": [{"n": 1}, {"s": "abc"}]}), true);
        check(json!({"$nor": [{"n": 1}, {"s": "abc"}]}), false);
    }

    #[test]
    fn pages_are_cut_from_one_order() {
        let documents: Vec<Value> =
            (0..5).map(|n| json!({"id": format!("d{n}"), "_revision": n, "n": n % 2})).collect();
        let query = Query { order: Some("n.desc".into()), limit: Some(2), after: Some(1), ..Query::default() };
        let (items, more, total) = page(documents.iter(), &query);
        let ids: Vec<_> = items.iter().map(|item| item["id"].as_str().unwrap()).collect();
        assert_eq!((ids, more, total), (vec!["d3", "d0"], true, 5));
        let query = Query { select: Some("n".into()), limit: Some(1), ..Query::default() };
        assert_eq!(page(documents.iter(), &query).0, [json!({"id": "d0", "_revision": 0, "n": 0})]);
    }

    #[test]
    fn patches_merge() {
        let target = json!({"a": 1, "o": {"x": 1, "y": 2}});
        let patch = json!({"a": null, "o": {"x": null, "z": {"u": null, "v": 1}}, "n": [null]});
        assert_eq!(merged(&target, &patch), json!({"o": {"y": 2, "z": {"v": 1}}, "n": [null]}));
    }
}
