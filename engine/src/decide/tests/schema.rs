//! Schemas: what binds, and how a new one comes into force while writes go on.

use proto::Validation;

use super::*;
use crate::testing::{delete, insert, patch, set_schema, transact};

#[test]
fn a_schema_comes_into_force_once_all_documents_fit() {
    check(
        r#"
        insert c [{"id":"a","n":1},{"id":"b","n":"x"},{"id":"d"}] => changed 3 a@3 b@3 d@3 created
        schema c {"properties":{"n":{"type":"integer"}}}    => changed 4 collection 2
        insert c {"id":"e","n":"y"}                         => schema_violation [0] e after 3
        insert c {"id":"e","n":5}                           => changed 5 e@5 created
        append                                              => seq 3
        apply                                               => [Effective]
        check 1                                             => unchanged 5
        append                                              => seq 4
        apply                                               => [Effective]
        schemas c                                           => none, checking {"properties":{"n":{"type":"integer"}}}
        check                                               => changed 6 collection 2
        append                                              => seq 5
        apply                                               => [Effective]
        schemas c                                           => none, failed {"properties":{"n":{"type":"integer"}}} b/n type
        check                                               => nothing
        insert c {"id":"f","n":"binds-no-more"}             => changed 7 f@7 created
        delete c f                                          => changed 8
        patch c b {"n":2}                                   => changed 9 b@9
        schema c {"properties":{"n":{"type":"integer"}}}    => changed 10 collection 2
        append                                              => seq 6
        apply                                               => [Effective]
        check                                               => changed 11 collection 2
        append                                              => seq 7
        apply                                               => [Effective]
        schemas c                                           => {"properties":{"n":{"type":"integer"}}} strict
        patch c a {"n":"x"}                                 => schema_violation a after 7
        put c a {"n":1.5}                                   => schema_violation a after 7
        patch c a {"$set":{"n":false}}                      => schema_violation a after 7
        change c {"id":"a"} {"n":"z"}                       => schema_violation a after 7
        schema c {"properties":{"n":{"type":"integer"}}}    => unchanged 11 collection 2 after 7
        schema c none                                       => changed 12 collection 2
        put c a {"n":"x"}                                   => changed 13 a@13
        "#,
    );
}

#[test]
fn while_a_schema_is_checked_both_bind() {
    check(
        r#"
        schema c {"required":["a"]}             => changed 3 collection 2
        append                                  => seq 3
        apply                                   => [Effective]
        check                                   => changed 4 collection 2
        schema c {"required":["b"]}             => changed 5 collection 2
        put c x {"a":1}                         => schema_violation x after 4
        put c x {"b":1}                         => schema_violation x after 4
        put c x {"a":1,"b":1}                   => changed 6 x@6 created
        append                                  => seq 4
        apply                                   => [Effective]
        check                                   => changed 7 collection 2
        put c x {"b":1}                         => changed 8 x@8
        schema c {"required":["c"]} warn        => changed 9 collection 2
        put c x {"d":1}                         => changed 10 x@10
        schema c {"required":["d"]} off         => changed 11 collection 2
        put c x {}                              => changed 12 x@12
        schema d {"required":["d"]} off         => collection_not_found after 5
        "#,
    );
}

/// A new schema while another one is being checked: the steps for the other one come to nothing.
#[test]
fn a_check_belongs_to_one_schema() {
    let mut leader = check(
        r#"
        insert c [{"id":"a","n":1},{"id":"b","n":"x"}] => changed 3 a@3 b@3 created
        schema c {"required":["a"]}             => changed 4 collection 2
        append                                  => seq 3
        apply                                   => [Effective]
        "#,
    );
    let step = leader.node.view().schema_step(1, usize::MAX).unwrap().unwrap();
    leader.decide(&set_schema("c", r#"{"required":["n"]}"#, Validation::Strict));
    let late = leader.decide(&crate::testing::command(proto::command::Op::CheckSchema(step)));
    assert!(matches!(late, Verdict::Read { .. }), "{late:?}");
    leader.append();
    leader.apply();
    while leader.schema_step(1).is_some() {
        leader.append();
        leader.apply();
    }
    let collection = leader.node.view().collection("c").unwrap();
    assert_eq!(collection.schema.as_ref().map(|schema| &schema.json[..]), Some(&br#"{"required":["n"]}"#[..]));
}

/// What the node that took the request says of a schema's version counts only for that version.
#[test]
fn what_was_checked_under_another_version_is_checked_again() {
    let mut leader = check(r#"schema c {"required":["a"]} => changed 3 collection 2"#);
    let mut command = put("c", "x", "{}");
    // A version is the revision that set it: no other schema has it, of this collection or of a later one of its name.
    for (version, refused) in [(0, true), (1, true), (2, true), (4, true), (3, false)] {
        if let Some(proto::command::Op::Put(put)) = &mut command.op {
            put.schema_version = version;
        }
        let verdict = leader.decide(&command);
        assert_eq!(matches!(verdict, Verdict::Read { .. }), refused, "{version}: {verdict:?}");
    }
}

/// At every revision at which a strict schema is in force, every document fits it; whatever is written meanwhile, however
/// steps, entries and new leaders come between.
#[test]
fn what_is_in_force_holds() {
    let schemas = [r#"{"required":["a"]}"#, r#"{"properties":{"a":{"maximum":3}}}"#, r#"{"required":["b"]}"#, "none"];
    let bodies = ["{}", r#"{"a":1}"#, r#"{"a":9}"#, r#"{"b":1}"#, r#"{"a":2,"b":2}"#, r#"{"a":7,"b":0}"#];
    let (mut in_force, mut failed, mut refused) = (0, 0, 0);
    for seed in 0..40 {
        let (mut dice, mut leader) = (Dice::new(seed), check(""));
        let id = |dice: &mut Dice| *dice.one_of(&["p", "q", "r", "s", "t", "u"]);
        for _ in 0..150 {
            let (id, body) = (id(&mut dice), *dice.one_of(&bodies[..]));
            let command = match dice.below(12) {
                0 | 1 => {
                    let validation = if dice.once_in(6) { Validation::Warn } else { Validation::Strict };
                    let schema = *dice.one_of(&schemas);
                    set_schema("c", schema, validation)
                }
                2 | 3 => delete("c", id),
                4 | 5 => patch("c", id, body),
                6 => {
                    let comma = if body == "{}" { "" } else { "," };
                    insert("c", &body.replacen('{', &format!(r#"{{"id":"{id}"{comma}"#), 1))
                }
                7 => transact(&format!(
                    r#"{{"operations":[{{"op":"put","collection":"c","id":"{id}","document":{body}}},{{"op":"put","collection":"c","id":"v","document":{}}}]}}"#,
                    dice.one_of(&bodies[..])
                )),
                _ => put("c", id, body),
            };
            let verdict = leader.decide(&command);
            refused += usize::from(show(&verdict).starts_with("schema_violation"));
            if dice.once_in(3) {
                leader.append();
            }
            if dice.once_in(3) {
                leader.append();
                leader.apply();
                drop(leader.schema_step(1 + dice.below(4)));
            }
            if dice.once_in(25) {
                leader.append();
                leader.apply();
                leader.new_term();
            }
            let view = leader.node.view();
            let collection = view.collection("c").unwrap();
            failed += usize::from(collection.next_schema.as_ref().is_some_and(|next| next.failed));
            let Some(strict) = collection.schema.as_ref().filter(|s| s.validation() == Validation::Strict) else {
                continue;
            };
            in_force += 1;
            let schema = crate::schema::Schema::new((**strict).clone());
            let page = view.list(&collection, &view::ListQuery::of(100), &|| false).unwrap();
            for body in page.items {
                assert_eq!(schema.first_violation_of(&body), Ok(None), "seed {seed}: {body:?} and {schema:?}");
            }
        }
    }
    assert!(in_force > 300 && failed > 100 && refused > 300, "{in_force} {failed} {refused}");
}

#[test]
fn a_schema_that_failed_is_not_set_by_the_way() {
    check(
        r#"
        schema c {"required":["a"]}             => changed 3 collection 2
        append                                  => seq 3
        apply                                   => [Effective]
        check                                   => changed 4 collection 2
        put c x {"a":1}                         => changed 5 x@5 created
        schema c {"required":["b"]}             => changed 6 collection 2
        append                                  => seq 4
        apply                                   => [Effective]
        check                                   => changed 7 collection 2
        append                                  => seq 5
        apply                                   => [Effective]
        schemas c                               => {"required":["a"]} strict, failed {"required":["b"]} x required
        validation c warn                       => changed 8 collection 2
        append                                  => seq 6
        apply                                   => [Effective]
        schemas c                               => {"required":["a"]} warn
        "#,
    );
}

/// A node that knows a former collection of the same name must not speak for this one.
#[test]
fn a_new_collection_of_an_old_name_is_not_the_old_one() {
    let mut leader = check("");
    leader.submit(&crate::testing::drop("c"));
    let versions: Vec<u64> = (0..2)
        .map(|_| {
            leader.submit(&crate::testing::create("c"));
            leader.submit(&set_schema("c", r#"{"required":["a"]}"#, Validation::Strict));
            let version = leader.node.view().collection("c").unwrap().schema_version;
            leader.submit(&crate::testing::drop("c"));
            version
        })
        .collect();
    assert!(0 < versions[0] && versions[0] < versions[1], "{versions:?}");
}
