//! Indexes: built while writes go on, kept by every write, and unique where they are to be.

use super::*;

#[test]
fn an_index_is_built_by_steps_and_kept_by_writes() {
    view::CHEAP.set(view::Cheap::Fetches);
    check(
        r#"
        insert c [{"id":"a","n":3},{"id":"b","n":1},{"id":"d","n":2}] => changed 3 a@3 b@3 d@3 created
        index c {"name":"by_n","fields":["n"]}  => changed 4 collection 2
        index c {"name":"by_n","fields":["m"]}  => index_exists after 3
        index d {"name":"by_n","fields":["m"]}  => collection_not_found after 3
        append                                  => seq 3
        apply                                   => [Effective]
        indexes c                               => by_n building 0
        list c {"n":{"$gte":2}} n               => d a by scan sorted
        put c b {"n":5}                         => changed 5 b@5
        delete c d                              => changed 6
        insert c {"id":"e","n":4}               => changed 7 e@7 created
        build 2                                 => unchanged 7
        append                                  => seq 4
        apply                                   => [Effective]
        indexes c                               => by_n building 3
        build 2                                 => changed 8 collection 2
        append                                  => seq 5
        apply                                   => [Effective]
        build                                   => nothing
        indexes c                               => by_n ready 3
        list c {"n":{"$gte":4}} n               => e b by by_n
        list c {} n.desc                        => b e a by by_n
        patch c a {"n":9}                       => changed 9 a@9
        append                                  => seq 6
        apply                                   => [Effective]
        list c {"n":{"$gte":4}} n.desc          => a b e by by_n
        unindex c by_n                          => changed 10 collection 2
        unindex c by_n                          => index_not_found after 7
        append                                  => seq 7
        apply                                   => [Effective]
        list c {"n":{"$gte":4}} n.desc          => a b e by scan sorted
        indexes c                               =>
        "#,
    );
}

/// Kept by `since::changed` and the overlay: what has changed since a step was read is passed over, applied or not.
#[test]
fn a_step_passes_over_what_has_changed_since() {
    let mut leader = check(
        r#"
        insert c [{"id":"a","n":1},{"id":"b","n":2},{"id":"d","n":3},{"id":"e","n":4},{"id":"f","n":5}] => changed 3 a@3 b@3 d@3 e@3 f@3 created
        index c {"name":"by_n","fields":["n"]}  => changed 4 collection 2
        append                                  => seq 3
        apply                                   => [Effective]
        "#,
    );
    let step = leader.node.view().build_step(10).unwrap().expect("an index is being built");
    for (id, other) in [("a", "b"), ("d", "e")] {
        leader.append();
        leader.apply();
        for change in [put("c", id, r#"{"n":7}"#), crate::testing::delete("c", other)] {
            leader.decide(&change);
        }
    }
    let build = |step: proto::BuildIndex| crate::testing::command(proto::command::Op::BuildIndex(step));
    assert!(matches!(leader.decide(&build(step.clone())), Verdict::Proposed(outcome) if outcome.changed));
    // Sent again, or by a leader that did not know: nothing happens twice.
    assert!(matches!(leader.decide(&build(step)), Verdict::Read { .. }));
    leader.append();
    leader.apply();
    let view = leader.node.view();
    let collection = view.collection("c").unwrap();
    assert_eq!(view.indexes(&collection).unwrap()[0].entries, 3);
}

/// Kept by `indexes::claim`, and by the owners in the overlay: the state does not know yet what is decided.
#[test]
fn unique_values_belong_to_one_document() {
    view::CHEAP.set(view::Cheap::Fetches);
    check(
        r#"
        index c {"name":"u","fields":["n"],"unique":true} => changed 3 collection 2
        insert c {"id":"a","n":1}               => changed 4 a@4 created
        insert c {"id":"b","n":1.0}             => unique_violation [0] b after 3
        insert c {"id":"b","n":2}               => changed 5 b@5 created
        append                                  => seq 3
        apply                                   => [Effective]
        build                                   => changed 6 collection 2
        append                                  => seq 4
        apply                                   => [Effective]
        indexes c                               => u ready 2
        put c b {"n":1}                         => unique_violation b after 4
        insert c [{"id":"x"},{"id":"y"},{"id":"z","n":null}] => changed 7 x@7 y@7 z@7 created
        insert c [{"id":"v","n":9},{"id":"w","n":9}] => unique_violation [1] w after 5
        put c v {"n":[1,3]}                     => unique_violation v after 5
        transact {"operations":[{"op":"put","collection":"c","id":"a","document":{"n":2}},{"op":"put","collection":"c","id":"b","document":{"n":1}}]} => changed 8 a@8 b@8
        delete c a                              => changed 9
        put c x {"n":2}                         => changed 10 x@10
        put c y {"n":2}                         => unique_violation y after 5
        append                                  => seq 5
        apply                                   => [Effective]
        put c y {"n":2}                         => unique_violation y after 5
        put c x {"n":2,"m":1}                   => changed 11 x@11
        list c {"n":{"$gt":0}} n                => b x by u
        "#,
    );
}

#[test]
fn a_build_that_meets_a_document_against_it_fails_and_says_so() {
    view::CHEAP.set(view::Cheap::Fetches);
    check(
        r#"
        insert c [{"id":"a","n":1},{"id":"b","n":2},{"id":"d","n":1}] => changed 3 a@3 b@3 d@3 created
        index c {"name":"u","fields":["n"],"unique":true} => changed 4 collection 2
        append                                  => seq 3
        apply                                   => [Effective]
        build 2                                 => unchanged 4
        insert c {"id":"e","n":2}               => unique_violation [0] e after 4
        append                                  => seq 4
        apply                                   => [Effective]
        build 2                                 => changed 5 collection 2
        insert c {"id":"e","n":2}               => changed 6 e@6 created
        append                                  => seq 5
        apply                                   => [Effective]
        indexes c                               => u failed 0: the documents "a" and "d" have the same values
        list c {"n":2}                          => b e by scan
        unindex c u                             => changed 7 collection 2
        append                                  => seq 6
        apply                                   => [Effective]
        indexes c                               =>
        "#,
    );
}

#[test]
fn a_new_leader_goes_on_where_the_last_one_stopped() {
    view::CHEAP.set(view::Cheap::Fetches);
    check(
        r#"
        insert c [{"id":"a","n":3},{"id":"b","n":1},{"id":"d","n":2}] => changed 3 a@3 b@3 d@3 created
        index c {"name":"by_n","fields":["n.desc"]} => changed 4 collection 2
        append                                  => seq 3
        apply                                   => [Effective]
        build 1                                 => unchanged 4
        append                                  => seq 4
        apply                                   => [Effective]
        build 1                                 => unchanged 4
        lose                                    => lost
        term                                    => begun
        indexes c                               => by_n building 1
        build 1                                 => unchanged 4
        append                                  => seq 5
        apply                                   => [Effective]
        build                                   => changed 5 collection 2
        append                                  => seq 6
        apply                                   => [Effective]
        list c {} n                             => b d a by by_n
        list c {"n":{"$lte":2}} n.desc          => d b by by_n
        "#,
    );
}

#[test]
fn the_cheapest_way_is_taken() {
    let documents: Vec<String> =
        (0..200).map(|n| format!(r#"{{"id":"{n:03}","n":{n},"m":{},"t":["x{}","y"]}}"#, n % 10, n % 4)).collect();
    let script = format!(
        r#"
        insert c [{}] => {}
        index c {{"name":"n","fields":["n"]}}             => changed 4 collection 2
        index c {{"name":"m_n","fields":["m","n.desc"]}}  => changed 5 collection 2
        index c {{"name":"t","fields":["t"]}}             => changed 6 collection 2
        index c {{"name":"few","fields":["m"],"filter":{{"n":{{"$lt":3}}}}}} => changed 7 collection 2
        append => seq 3
        apply => [Effective]
        build => changed 8 collection 2
        append => seq 4
        apply => [Effective]
        build => changed 9 collection 2
        append => seq 5
        apply => [Effective]
        build => changed 10 collection 2
        append => seq 6
        apply => [Effective]
        build => changed 11 collection 2
        append => seq 7
        apply => [Effective]
        list c {{"n":7}}                          => 007 by n
        list c {{"n":{{"$gt":197}}}} n.desc         => 199 198 by n
        list c {{"m":3,"n":{{"$lt":25}}}} n.desc    => 023 013 003 by m_n
        list c {{"m":3,"n":{{"$lt":25}}}} m,n       => 003 013 023 by m_n
        list c {{"m":3,"n":{{"$lt":4}}}}            => 003 by m_n sorted
        list c {{"m":2,"n":{{"$lt":3}}}}            => 002 by few
        list c {{"t":"x3","n":{{"$gte":195}}}}      => 195 199 by n sorted
        list c {{"n":{{"$ne":7}},"m":{{"$contains":"x"}}}} => by scan
        "#,
        documents.join(","),
        "IGNORED"
    );
    // The first line's answer names every document.
    let script = script.replacen("=> IGNORED", "", 1);
    check(&script);
}

/// Kept by the second look of `expire`: what is found is one thing, what is deleted another.
#[test]
fn documents_go_when_their_time_is_over() {
    view::CHEAP.set(view::Cheap::Fetches);
    // The clock of the test begins at 22:13:20.
    check(
        r#"
        index c {"name":"end","fields":["at"],"ttl_seconds":10,"filter":{"keep":null}} => changed 3 collection 2
        build                                   => nothing
        append                                  => seq 3
        apply                                   => [Effective]
        build                                   => changed 4 collection 2
        insert c [{"id":"a","at":"2023-11-14T22:13:12Z"},{"id":"b","at":"2023-11-14T22:13:13.5Z"}] => changed 5 a@5 b@5 created
        insert c [{"id":"d","at":"2023-11-14T22:13:05Z","keep":1},{"id":"e","at":12},{"id":"f"}] => changed 6 d@6 e@6 f@6 created
        append                                  => seq 4
        apply                                   => [Effective]
        clock 1999                              => set
        expire                                  => nothing
        clock 2000                              => set
        list c {"at":{"$gte":""}} at            => d a b by scan sorted
        expire                                  => changed 7
        append                                  => seq 5
        apply                                   => [Effective]
        get c a                                 => none
        clock 9999                              => set
        patch c b {"at":"2023-11-14T22:13:20Z"} => changed 8 b@8
        expire                                  => unchanged 8 after 6
        append                                  => seq 6
        apply                                   => [Effective]
        clock 10000                             => set
        expire                                  => changed 9
        unindex c end                           => changed 10 collection 2
        append                                  => seq 7
        apply                                   => [Effective]
        clock 90000000                          => set
        expire                                  => nothing
        list c {}                               => d e f by scan
        "#,
    );
}
