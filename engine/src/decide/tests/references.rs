//! References: what may be written, what becomes of those that refer to what is deleted, and how a reference comes to be.

use super::*;
use crate::testing::{command, delete, insert, relate, transact};

/// What the last decision was against, in words.
fn detail(leader: &mut Leader, command: &Command) -> String {
    match outcome(leader.decide(command)).result {
        Some(proto::outcome::Result::Refusal(refusal)) => refusal.detail,
        other => panic!("{other:?} is no refusal"),
    }
}

#[test]
fn what_is_referred_to_is_there() {
    check(
        r#"
        create p [{"field":"by","collection":"c"}] => changed 3 collection 3
        insert p {"id":"x","by":"a"}            => reference_violation [0] x after 3
        put c a {}                              => changed 4 a@4 created
        insert p {"id":"x","by":"a"}            => changed 5 x@5 created
        insert p [{"id":"y"},{"id":"z","by":null},{"id":"w","by":["a","a"]},{"id":"v","by":[]}] => changed 6 y@6 z@6 w@6 v@6 created
        insert p [{"id":"u","by":"a"},{"id":"t","by":["a","b"]}] => reference_violation [1] t after 3
        put p x {"by":7}                        => reference_violation x after 3
        put p x {"by":["a",null]}               => reference_violation x after 3
        put p x {"by":{"id":"a"}}               => reference_violation x after 3
        patch p x {"by":"b"}                    => reference_violation x after 3
        patch p x {"n":1}                       => changed 7 x@7
        delete c a                              => reference_violation a after 3
        append                                  => seq 3
        apply                                   => [Effective]
        delete c a                              => reference_violation a after 3
        change p {"by":"a"} {"by":null}         => changed 8 matched 2 modified 2
        delete c a                              => changed 9
        insert p {"id":"r","by":"a"}            => reference_violation [0] r after 4
        append                                  => seq 4
        apply                                   => [Effective]
        insert p {"id":"r","by":"a"}            => reference_violation [0] r after 4
        "#,
    );
}

/// Kept by `PendingReferrers`: the state does not know yet who refers to what.
#[test]
fn who_refers_is_found_before_it_is_applied() {
    check(
        r#"
        create p [{"field":"by","collection":"c"}] => changed 3 collection 3
        insert c [{"id":"a"},{"id":"b"}]        => changed 4 a@4 b@4 created
        append                                  => seq 3
        apply                                   => [Effective]
        insert p {"id":"x","by":"a"}            => changed 5 x@5 created
        append                                  => seq 4
        delete c a                              => reference_violation a after 4
        put p x {"by":"b"}                      => changed 6 x@6
        append                                  => seq 5
        delete c b                              => reference_violation b after 5
        delete c a                              => changed 7
        apply 1                                 => [Effective]
        delete c b                              => reference_violation b after 6
        put p x {"by":null}                     => changed 8 x@8
        delete c b                              => changed 9
        append                                  => seq 6
        apply                                   => [Effective, Effective]
        get p x                                 => @8 {"by":null}
        "#,
    );
}

#[test]
fn those_that_refer_go_with_it() {
    check(
        r#"
        create p [{"field":"by","collection":"c","on_delete":"cascade"}] => changed 3 collection 3
        create q [{"field":"of","collection":"p","on_delete":"cascade"}] => changed 4 collection 4
        insert c [{"id":"a"},{"id":"b"}]        => changed 5 a@5 b@5 created
        insert p [{"id":"x","by":"a"},{"id":"y","by":["b","a"]},{"id":"z","by":"b"}] => changed 6 x@6 y@6 z@6 created
        append                                  => seq 3
        apply                                   => [Effective]
        insert q [{"id":"k","of":"x"},{"id":"l","of":"z"}] => changed 7 k@7 l@7 created
        delete c a                              => changed 8
        insert q {"id":"m","of":"x"}            => reference_violation [0] m after 4
        append                                  => seq 4
        apply                                   => [Effective]
        list c {}                               => b by scan
        list p {}                               => z by scan
        list q {}                               => l by scan
        remove c {}                             => changed 9 matched 1 modified 3
        "#,
    );
}

#[test]
fn circles_end() {
    check(
        r#"
        create t [{"field":"next","collection":"t","on_delete":"cascade"}] => changed 3 collection 3
        put t a {"next":"a"}                    => changed 4 a@4 created
        transact {"operations":[{"op":"put","collection":"t","id":"b","document":{"next":"d"}},{"op":"put","collection":"t","id":"d","document":{"next":"b"}},{"op":"put","collection":"t","id":"e","document":{"next":["d","e","a"]}}]} => changed 5 b@5+ d@5+ e@5+
        append                                  => seq 3
        apply                                   => [Effective]
        delete t b                              => changed 6
        append                                  => seq 4
        apply                                   => [Effective]
        list t {}                               => a by scan
        delete t a                              => changed 7
        drop t                                  => changed 8
        "#,
    );
}

#[test]
fn those_that_refer_may_lose_it() {
    check(
        r#"
        create p [{"field":"by","collection":"c","on_delete":"set_null"},{"field":"l.c","collection":"c","on_delete":"set_null"}] => changed 3 collection 3
        insert c [{"id":"a"},{"id":"b"}]        => changed 4 a@4 b@4 created
        insert p [{"id":"x","by":"a","n":1},{"id":"y","by":["b","a"],"l":[{"c":"a"},{"c":"b"},{"c":["a","b"]}]},{"id":"z","by":"b"}] => changed 5 x@5 y@5 z@5 created
        append                                  => seq 3
        apply                                   => [Effective]
        clock 5000                              => set
        delete c a                              => changed 6
        append                                  => seq 4
        apply                                   => [Effective]
        get p x                                 => @6 {"by":null,"n":1}
        times p x                               => created 0 updated 5000
        get p y                                 => @6 {"by":["b"],"l":[{"c":null},{"c":"b"},{"c":["b"]}]}
        get p z                                 => @5 {"by":"b"}
        list p {"by":"a"}                       => by _ref_by
        remove c {}                             => changed 7 matched 1 modified 3
        append                                  => seq 5
        apply                                   => [Effective]
        get p y                                 => @7 {"by":[],"l":[{"c":null},{"c":null},{"c":[]}]}
        "#,
    );
}

#[test]
fn a_document_that_is_to_lose_it_keeps_to_its_schema() {
    let mut leader = check(
        r#"
        create p [{"field":"by","collection":"c","on_delete":"set_null"}] => changed 3 collection 3
        schema p {"properties":{"by":{"type":"string"}}} => changed 4 collection 3
        append                                  => seq 3
        apply                                   => [Effective]
        check                                   => changed 5 collection 3
        put c a {}                              => changed 6 a@6 created
        put p x {"by":"a"}                      => changed 7 x@7 created
        delete c a                              => schema_violation x after 4
        append                                  => seq 4
        apply                                   => [Effective]
        get c a                                 => @6 {}
        "#,
    );
    let words = detail(&mut leader, &delete("c", "a"));
    assert!(
        words.starts_with(r#""by" of the document "x" of "p" cannot be emptied: the document does not fit"#),
        "{words}"
    );
}

/// Kept by deciding on what a command leaves in all, not on each operation.
#[test]
fn only_what_a_command_leaves_counts() {
    check(
        r#"
        create p [{"field":"by","collection":"c"}] => changed 3 collection 3
        transact {"operations":[{"op":"insert","collection":"p","document":{"id":"x","by":"a"}},{"op":"insert","collection":"c","document":{"id":"a"}}]} => changed 4 x@4+ a@4+
        transact {"operations":[{"op":"delete","collection":"c","id":"a"},{"op":"put","collection":"c","id":"a","document":{"n":1}}]} => changed 5 - a@5+
        append                                  => seq 3
        apply                                   => [Effective]
        transact {"operations":[{"op":"delete","collection":"c","id":"a"}]} => reference_violation [0] a after 3
        transact {"operations":[{"op":"delete","collection":"c","id":"a"},{"op":"delete","collection":"p","id":"x"}]} => changed 6 - -
        transact {"operations":[{"op":"insert","collection":"p","document":{"id":"y","by":"a"}}]} => reference_violation [0] y after 4
        transact {"operations":[{"op":"insert","collection":"c","document":{"id":"b"}},{"op":"insert","collection":"p","document":{"id":"y","by":"b"}},{"op":"delete","collection":"c","id":"b"}]} => reference_violation [1] y after 4
        "#,
    );
}

/// A command that makes a document refer to what it deletes is refused, however deletions go on: else what a caller has just
/// written would be gone with the answer that it is written.
#[test]
fn nothing_new_refers_to_what_is_deleted() {
    for on_delete in ["restrict", "cascade", "set_null"] {
        for delayed in [false, true] {
            let mut leader = check("put c a {} => changed 3 a@3 created\nput c b {}");
            let references = format!(r#"[{{"field":"by","collection":"c","on_delete":"{on_delete}"}}]"#);
            leader.decide(&crate::testing::create_with("p", &references));
            leader.decide(&insert("p", r#"{"id":"x","by":"a"}"#));
            leader.append();
            leader.apply();
            // It refers to `a` no more; the index in the state says that it does.
            leader.decide(&put("p", "x", r#"{"by":"b"}"#));
            if !delayed {
                leader.append();
                leader.apply();
            }
            let again = transact(
                r#"{"operations":[{"op":"put","collection":"p","id":"x","document":{"by":"a"}},{"op":"delete","collection":"c","id":"a"}]}"#,
            );
            let shown = show(&leader.decide(&again));
            assert!(shown.starts_with("reference_violation [0] x"), "{on_delete} {delayed}: {shown}");
        }
    }
}

#[test]
fn a_document_that_goes_itself_is_in_nobodys_way() {
    check(
        r#"
        create p [{"field":"of","collection":"c","on_delete":"cascade"},{"field":"by","collection":"c","on_delete":"restrict"}] => changed 3 collection 3
        insert c [{"id":"a"},{"id":"b"}]        => changed 4 a@4 b@4 created
        put p x {"of":"a","by":"b"}             => changed 5 x@5 created
        delete c b                              => reference_violation b after 3
        append                                  => seq 3
        apply                                   => [Effective]
        remove c {}                             => changed 6 matched 2 modified 3
        "#,
    );
}

#[test]
fn what_follows_from_a_deletion_is_bounded() {
    let limits = Limits { bulk_documents_max: 3, reference_lookups_max: 12, ..Limits::default() };
    let mut leader = check_with(
        limits,
        r#"
        create p [{"field":"by","collection":"c","on_delete":"cascade"}] => changed 3 collection 3
        create q [{"field":"by","collection":"c","on_delete":"set_null"}] => changed 4 collection 4
        insert c [{"id":"a"},{"id":"b"},{"id":"d"}] => changed 5 a@5 b@5 d@5 created
        insert p [{"id":"x","by":"a"},{"id":"y","by":"a"},{"id":"z","by":"b"}] => changed 6 x@6 y@6 z@6 created
        insert p {"id":"w","by":"a"}            => changed 7 w@7 created
        insert q [{"id":"x","by":"d"},{"id":"y","by":"d"},{"id":"z","by":"d"}] => changed 8 x@8 y@8 z@8 created
        delete c a                              => too_large after 3
        append                                  => seq 3
        apply                                   => [Effective]
        delete c a                              => too_large after 3
        delete c d                              => too_large after 3
        get p x                                 => @6 {"by":"a"}
        delete p w                              => changed 9
        delete q z                              => changed 10
        delete c a                              => changed 11
        delete c d                              => changed 12
        insert p {"id":"v","by":["1","2","3","4","5","6","7","8","9","10","11","12","13"]} => reference_violation [0] v after 4
        "#,
    );
    let ids: Vec<String> = (10..30).map(|n| format!(r#"{{"id":"t{n}"}}"#)).collect();
    leader.submit(&insert("c", &format!("[{}]", ids.join(","))));
    let all: Vec<String> = (10..30).map(|n| format!(r#""t{n}""#)).collect();
    let words = detail(&mut leader, &put("p", "v", &format!(r#"{{"by":[{}]}}"#, all.join(","))));
    assert!(words.contains("more than 12 look-ups"), "{words}");
}

#[test]
fn a_collection_that_others_refer_to_stays() {
    let mut leader = check(
        r#"
        create p [{"field":"by","collection":"c"},{"field":"up","collection":"p"}] => changed 3 collection 3
        drop c                                  => collection_referenced after 3
        relate p [{"field":"up","collection":"p"}] => changed 4 collection 3
        drop c                                  => changed 5
        drop p                                  => changed 6
        create p [{"field":"by","collection":"c"}] => collection_not_found after 3
        create c [{"field":"by","collection":"p"}] => collection_not_found after 3
        create p [{"field":"by","collection":"p"}] => changed 7 collection 4
        relate p [{"field":"by","collection":"z"}] => collection_not_found after 3
        create c [{"field":"by","collection":"p"}] => changed 8 collection 5
        unindex c _ref_by                       => index_of_reference after 3
        drop p                                  => collection_referenced after 3
        drop c                                  => changed 9
        drop p                                  => changed 10
        "#,
    );
    leader.submit(&crate::testing::create("c"));
    leader.submit(&crate::testing::create_with(
        "p",
        r#"[{"field":"a.b","collection":"c"},{"field":"a_b","collection":"c"}]"#,
    ));
    let words = detail(&mut leader, &crate::testing::drop("c"));
    assert_eq!(words, r#""p" refers to "c" at "a.b": drop that reference first"#);
    let names: Vec<_> =
        leader.node.view().collection("p").unwrap().indexes.iter().map(|index| index.name.clone()).collect();
    assert_eq!(names, ["_ref_a_b", "_ref_a_b_2"]);
}

#[test]
fn a_reference_is_built_over_what_is_there() {
    check(
        r#"
        create p                                => changed 3 collection 3
        insert c [{"id":"a"},{"id":"b"}]        => changed 4 a@4 b@4 created
        insert p [{"id":"x","by":"a"},{"id":"y","by":["b"]},{"id":"z","by":"n"}] => changed 5 x@5 y@5 z@5 created
        relate p [{"field":"by","collection":"c"}] => changed 6 collection 3
        put p w {"by":"n"}                      => reference_violation w after 3
        patch p z {"n":1}                       => reference_violation z after 3
        append                                  => seq 3
        apply                                   => [Effective]
        build 2                                 => unchanged 6
        delete c a                              => reference_violation a after 4
        append                                  => seq 4
        apply                                   => [Effective]
        delete c a                              => reference_violation a after 4
        build 2                                 => changed 7 collection 3
        append                                  => seq 5
        apply                                   => [Effective]
        indexes p                               => _ref_by failed 0: the document "z" has "n" at "by", and there is no document "n" in "c"
        delete c a                              => changed 8
        put p x {"by":"b"}                      => changed 9 x@9
        drop c                                  => changed 10
        create c                                => changed 11 collection 4
        put c b {}                              => changed 12 b@12 created
        delete p z                              => changed 13
        relate p [{"field":"by","collection":"c"}] => changed 14 collection 3
        append                                  => seq 6
        apply                                   => [Effective]
        build                                   => changed 15 collection 3
        append                                  => seq 7
        apply                                   => [Effective]
        indexes p                               => _ref_by ready 3
        delete c b                              => reference_violation b after 7
        relate p [{"field":"by","collection":"c"}] => unchanged 15 collection 3 after 7
        relate p [{"field":"by","collection":"c","on_delete":"cascade"}] => changed 16 collection 3
        delete c b                              => changed 17
        append                                  => seq 8
        apply                                   => [Effective]
        list p {}                               => by scan
        relate p []                             => changed 18 collection 3
        put p x {"by":"n"}                      => changed 19 x@19 created
        append                                  => seq 9
        apply                                   => [Effective]
        indexes p                               =>
        "#,
    );
}

#[test]
fn what_is_no_reference_stops_a_build() {
    check(
        r#"
        create p                                => changed 3 collection 3
        insert p {"id":"x","by":7}              => changed 4 x@4 created
        relate p [{"field":"by","collection":"c"}] => changed 5 collection 3
        append                                  => seq 3
        apply                                   => [Effective]
        build                                   => changed 6 collection 3
        append                                  => seq 4
        apply                                   => [Effective]
        indexes p                               => _ref_by failed 0: "by" of the document "x" is an id, an array of ids or null, and holds a number
        "#,
    );
}

#[test]
fn what_must_stay_holds_up_no_other_end() {
    check(
        r#"
        create p [{"field":"by","collection":"c"}] => changed 3 collection 3
        create q [{"field":"by","collection":"c","on_delete":"cascade"}] => changed 4 collection 4
        index c {"name":"end","fields":["at"],"ttl_seconds":0} => changed 5 collection 2
        append                                  => seq 3
        apply                                   => [Effective]
        build                                   => changed 6 collection 2
        insert c [{"id":"a","at":"2020-01-01T00:00:00Z"},{"id":"b","at":"2020-01-01T00:00:00Z"},{"id":"d","at":"2020-01-01T00:00:00Z"}] => changed 7 a@7 b@7 d@7 created
        insert p {"id":"x","by":"a"}            => changed 8 x@8 created
        insert q [{"id":"x","by":"a"},{"id":"y","by":["a","b"]}] => changed 9 x@9 y@9 created
        append                                  => seq 4
        apply                                   => [Effective]
        expire                                  => changed 10 kept a
        append                                  => seq 5
        apply                                   => [Effective]
        list c {}                               => a by scan
        list q {}                               => x by scan
        expire                                  => unchanged 10 kept a after 5
        delete p x                              => changed 11
        expire                                  => changed 12
        append                                  => seq 6
        apply                                   => [Effective]
        list c {}                               => by scan
        list q {}                               => by scan
        "#,
    );
}

#[test]
fn ends_of_documents_with_many_others_come_one_after_the_other() {
    let limits = Limits { bulk_documents_max: 3, ..Limits::default() };
    check_with(
        limits,
        r#"
        create q [{"field":"by","collection":"c","on_delete":"cascade"}] => changed 3 collection 3
        index c {"name":"end","fields":["at"],"ttl_seconds":0} => changed 4 collection 2
        append                                  => seq 3
        apply                                   => [Effective]
        build                                   => changed 5 collection 2
        insert c [{"id":"a","at":"2020-01-01T00:00:00Z"},{"id":"b","at":"2020-01-01T00:00:00Z"},{"id":"d","at":"2020-01-01T00:00:00Z"}] => changed 6 a@6 b@6 d@6 created
        insert q [{"id":"1","by":"a"},{"id":"2","by":"b"},{"id":"3","by":"d"},{"id":"4","by":"d"},{"id":"5","by":"d"}] => changed 7 1@7 2@7 3@7 4@7 5@7 created
        append                                  => seq 4
        apply                                   => [Effective]
        expire                                  => changed 8
        append                                  => seq 5
        apply                                   => [Effective]
        list c {}                               => b d by scan
        expire                                  => changed 9
        append                                  => seq 6
        apply                                   => [Effective]
        expire                                  => unchanged 9 kept d after 6
        list q {}                               => 3 4 5 by scan
        "#,
    );
}

/// What a step of a build has found counts before it is applied.
#[test]
fn a_step_that_is_not_applied_protects_what_it_saw() {
    let mut leader = check(
        r#"
        create p                                => changed 3 collection 3
        put c a {}                              => changed 4 a@4 created
        put p x {"by":"a"}                      => changed 5 x@5 created
        append                                  => seq 3
        apply                                   => [Effective]
        "#,
    );
    leader.submit(&relate("p", r#"[{"field":"by","collection":"c"}]"#));
    let step = leader.node.view().build_step(10).unwrap().unwrap();
    leader.decide(&command(Op::BuildIndex(step)));
    assert_eq!(show(&leader.decide(&delete("c", "a"))), "reference_violation a after 5");
}
