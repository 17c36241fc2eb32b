//! Changes of all that match, decided over what is pending.

use super::*;
use crate::filter::Filter;
use crate::json::{self, Value};
use crate::testing::{create_index, random};
use crate::view::ListQuery;

#[test]
fn all_that_match_are_changed_at_one_revision() {
    check(
        r#"
        insert c [{"id":"a","n":1},{"id":"b","n":2},{"id":"d","n":3}] => changed 3 a@3 b@3 d@3 created
        append                              => seq 3
        apply                               => [Effective]
        change c {"n":{"$gte":2}} {"$inc":{"n":10}} max=1 => too_many_affected after 3
        change c {"n":{"$gte":2}} {"$inc":{"n":10}} max=2 => changed 4 matched 2 modified 2
        change c {"n":77} {"m":1}           => unchanged 4 matched 0 modified 0 after 4
        append                              => seq 4
        apply                               => [Effective]
        get c b                             => @4 {"n":12}
        get c a                             => @3 {"n":1}
        change c {} {"n":1}                 => changed 5 matched 3 modified 2
        change c {} {"$push":{"n":1}}       => update_not_applicable a after 5
        append                              => seq 5
        apply                               => [Effective]
        remove c {"n":1} max=2              => too_many_affected after 5
        remove c {"n":1}                    => changed 6 matched 3 modified 3
        append                              => seq 6
        apply                               => [Effective]
        get c a                             => none
        "#,
    );
}

/// Kept by the second look in `bulk::matching::since_the_look`: what was found was found before what is pending.
#[test]
fn what_is_pending_counts_and_not_what_was_found() {
    check(
        r#"
        insert c [{"id":"a","n":1},{"id":"b","n":1},{"id":"d","n":2}] => changed 3 a@3 b@3 d@3 created
        append                              => seq 3
        apply                               => [Effective]
        put c a {"n":5}                     => changed 4 a@4
        put c d {"n":1}                     => changed 5 d@5
        insert c {"id":"e","n":1}           => changed 6 e@6 created
        delete c b                          => changed 7
        change c {"n":1} {"m":1}            => changed 8 matched 2 modified 2
        append                              => seq 4
        apply                               => [Effective]
        get c a                             => @4 {"n":5}
        get c d                             => @8 {"n":1,"m":1}
        get c e                             => @8 {"n":1,"m":1}
        "#,
    );
}

#[test]
fn bulk_writes_are_bounded() {
    let limits = Limits { bulk_documents_max: 2, ..Limits::default() };
    check_with(
        limits,
        r#"
        insert c [{"id":"a"},{"id":"b"},{"id":"d"}] => changed 3 a@3 b@3 d@3 created
        append                              => seq 3
        apply                               => [Effective]
        change c {} {"m":1}                 => too_large after 3
        change c {} {"m":1} max=5           => too_large after 3
        change c {"id":{"$lt":"d"}} {"m":1} => changed 4 matched 2 modified 2
        "#,
    );
}

/// Whatever was decided and applied since the look: the bulk write changes exactly what matches at its place in the order.
#[test]
fn a_bulk_write_is_as_if_it_had_looked_in_its_place() {
    let (mut changed, mut stopped) = (0, 0);
    for seed in 0..400 {
        let mut dice = Dice::new(seed);
        // A look that has to stop early says so: it must not pass for all that there is.
        let bulk_documents_max = *dice.one_of(&[1, 2, 2_000]);
        let mut leader = Leader::with(Limits { bulk_documents_max, ..Limits::default() });
        for _ in 0..20 {
            leader.submit(&random(&mut dice, 5));
        }
        let Some(before) = leader.node.view().collection("c").map(|found| found.id) else { continue };
        // Half of them are told by the entries of an index.
        let text = match dice.once_in(2) {
            true => *dice.one_of(&[r#"{"n":1}"#, r#"{"m":{"$ne":2}}"#, r#"{"s":{"$exists":true}}"#]),
            false => *dice.one_of(&[r#"{"n":1}"#, r#"{"n":{"$gte":1}}"#, r#"{"n":{"$in":[1,2,null]}}"#]),
        };
        if dice.once_in(2) {
            leader.submit(&create_index("c", r#"{"name":"bulk_n","fields":["n"]}"#));
            leader.build(100);
        }
        let bulk = leader.bulk("c", text, Some(r#"{"z":1}"#));
        for _ in 0..dice.below(8) {
            leader.decide(&random(&mut dice, 5));
            if dice.once_in(3) {
                leader.append();
            }
            if dice.once_in(4) {
                leader.apply();
            }
        }
        let Verdict::Proposed(outcome) = leader.decide(&bulk) else {
            stopped += usize::from(bulk_documents_max < 2_000);
            continue;
        };
        leader.append();
        leader.apply();
        let view = leader.node.view();
        let Some(collection) = view.collection("c").filter(|found| found.id == before) else { continue };
        let ids = |filter: &str, as_of: u64| -> Vec<String> {
            let filter = Some(Filter::parse(&json::tests::value(filter)).unwrap());
            let query = ListQuery { filter, as_of: Some(as_of), ..ListQuery::of(100) };
            let page = view.list(&collection, &query, &|| false).unwrap();
            let id = |body: &bytes::Bytes| {
                let body = json::parse(body, &json::STORED).unwrap();
                body.get("id").and_then(Value::as_str).unwrap().to_owned()
            };
            page.items.iter().map(id).collect()
        };
        let expected = ids(text, outcome.revision - 1);
        assert_eq!(ids(&format!(r#"{{"_revision":{}}}"#, outcome.revision), outcome.revision), expected, "seed {seed}");
        changed += 1;
    }
    assert!(changed > 120 && stopped > 60, "{changed} bulk writes changed something, {stopped} did not");
}
