//! Sequences of random operations. They shrink: to fewer operations, and those to simpler ones.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::op::{Condition, Index, Op, Step, What};

/// Ids of documents; one begins with another, so that keys that run into each other are noticed.
pub const IDS: [&str; 5] = ["a", "ab", "b", "b!", "ü"];

/// Filters that operations and readers use.
pub const FILTERS: [&str; 10] = [
    "{}",
    r#"{"n":1}"#,
    r#"{"n":{"$gte":2}}"#,
    r#"{"m":{"$lt":2},"n":{"$exists":true}}"#,
    r#"{"$or":[{"m":null},{"s":"x"}]}"#,
    r#"{"n":{"$in":[1,2.5,null]}}"#,
    r#"{"m.k":{"$gt":0}}"#,
    r#"{"id":{"$in":["a","b!"]}}"#,
    r#"{"$not":{"s":{"$ne":"y"}}}"#,
    r#"{"n":{"$gt":1,"$lte":3}}"#,
];

/// Sequences of up to `longest` operations. The first makes the collection that most of them are about.
pub fn sequence(longest: usize) -> impl Strategy<Value = Vec<Op>> {
    proptest::collection::vec(op(), 1..longest).prop_map(|mut ops| {
        ops.insert(0, Op::Create("c".to_owned()));
        ops
    })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => step(false).prop_map(Op::One),
        4 => (collection(), documents()).prop_map(|(name, documents)| Op::Insert(name, documents)),
        4 => bulk(),
        5 => transaction(),
        2 => (collection(), index()).prop_map(|(name, index)| Op::CreateIndex(name, index)),
        1 => (collection(), index_name()).prop_map(|(name, index)| Op::DropIndex(name, index)),
        2 => (collection(), schema(), select(&["strict", "strict", "warn"][..]))
            .prop_map(|(name, schema, validation)| Op::SetSchema(name, schema, validation)),
        1 => collection().prop_map(Op::Create),
        1 => collection().prop_map(Op::Drop),
    ]
}

fn collection() -> impl Strategy<Value = String> {
    select(&["c", "c", "c", "c", "d"][..]).prop_map(str::to_owned)
}

fn id() -> impl Strategy<Value = String> {
    select(&IDS[..]).prop_map(str::to_owned)
}

fn text(texts: &'static [&'static str]) -> impl Strategy<Value = Value> {
    select(texts).prop_map(|text| serde_json::from_str(text).expect("it is JSON"))
}

fn value() -> impl Strategy<Value = Value> {
    text(&["1", "2", "3", "2.5", "null", r#""x""#, r#""y""#, "true", "[1,2]", "[]", r#"{"k":1}"#, r#"{"k":2}"#])
}

/// Fields of a document, or a merge patch.
fn fields() -> impl Strategy<Value = Value> {
    let field = || proptest::option::of(value());
    (field(), field(), field()).prop_map(|values| {
        let named = [("n", values.0), ("m", values.1), ("s", values.2)];
        named
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    })
}

fn documents() -> impl Strategy<Value = Vec<(String, Value)>> {
    proptest::collection::vec((id(), fields()), 1..4)
}

/// One edit or two, which do not touch the same place.
fn update() -> impl Strategy<Value = Value> {
    let operator = || select(&["$set", "$unset", "$inc", "$min", "$max", "$push", "$pull", "$addToSet"][..]);
    let edit = |paths: &'static [&'static str]| {
        (operator(), select(paths), text(&["1", "2", "-1", "0.5"]))
            .prop_map(|(operator, path, operand)| json!({ operator: { path: operand } }))
    };
    (edit(&["n", "s"]), proptest::option::of(edit(&["m", "m.k"]))).prop_map(|(mut first, second)| {
        for (operator, paths) in second.iter().filter_map(Value::as_object).flatten() {
            for (path, operand) in paths.as_object().into_iter().flatten() {
                first[operator][path] = operand.clone();
            }
        }
        first
    })
}

fn change() -> impl Strategy<Value = Value> {
    prop_oneof![fields(), update()]
}

fn filter() -> impl Strategy<Value = Value> {
    text(&FILTERS)
}

fn step(in_transaction: bool) -> impl Strategy<Value = Step> {
    let what = if in_transaction {
        prop_oneof![
            2 => fields().prop_map(What::Insert),
            3 => fields().prop_map(What::Put),
            4 => change().prop_map(What::Patch),
            2 => Just(What::Delete),
            2 => Just(What::Get),
        ]
        .boxed()
    } else {
        prop_oneof![
            4 => fields().prop_map(What::Put),
            5 => change().prop_map(What::Patch),
            3 => Just(What::Delete),
        ]
        .boxed()
    };
    let simple =
        prop_oneof![Just(Condition::Exists), Just(Condition::Absent), (0..4_u64).prop_map(Condition::Revision),];
    let condition = match in_transaction {
        true => prop_oneof![3 => simple, 1 => own_fields().prop_map(Condition::Matches)].boxed(),
        false => simple.boxed(),
    };
    let condition = prop_oneof![3 => Just(None), 1 => condition.prop_map(Some)];
    (collection(), id(), condition, what).prop_map(|(collection, id, condition, what)| Step {
        collection,
        id,
        condition,
        what,
    })
}

/// A filter on what the caller wrote: within a transaction a document has no revision yet.
fn own_fields() -> impl Strategy<Value = Value> {
    text(&[r#"{"n":1}"#, r#"{"n":{"$gte":2}}"#, r#"{"m":null}"#, r#"{"s":{"$exists":true}}"#])
}

fn transaction() -> impl Strategy<Value = Op> {
    (proptest::collection::vec(step(true), 1..5), proptest::option::weighted(0.3, 0..5_u64))
        .prop_map(|(steps, read_back)| Op::Transact(steps, read_back))
}

fn bulk() -> impl Strategy<Value = Op> {
    let max = proptest::option::weighted(0.3, 1..4_u64);
    (collection(), filter(), proptest::option::weighted(0.7, change()), max)
        .prop_map(|(name, filter, change, max)| Op::Bulk(name, filter, change, max))
}

fn index_name() -> impl Strategy<Value = String> {
    select(&["i", "j", "k"][..]).prop_map(str::to_owned)
}

fn index() -> impl Strategy<Value = Index> {
    let fields = select(&["n", "n.desc,m", "s", "m,n.desc", "m.k,s"][..]);
    let filter = prop_oneof![3 => Just(None), 1 => text(&[r#"{"n":{"$gte":1}}"#]).prop_map(Some)];
    (index_name(), fields, proptest::bool::weighted(0.3), filter).prop_map(|(name, fields, unique, filter)| Index {
        name,
        fields: fields.split(',').map(str::to_owned).collect(),
        unique,
        filter,
    })
}

fn schema() -> impl Strategy<Value = Option<Value>> {
    let schemas = text(&[
        r#"{"required":["n"]}"#,
        r#"{"properties":{"n":{"type":"number"}}}"#,
        r#"{"properties":{"n":{"maximum":2},"s":{"type":"string"}}}"#,
    ]);
    prop_oneof![1 => Just(None), 2 => schemas.prop_map(Some)]
}
