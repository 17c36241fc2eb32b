//! Documents and collections, decided over what is pending.

use super::*;

#[test]
fn what_is_pending_counts() {
    check(
        r#"
        insert c {"id":"a","n":1}       => changed 3 a@3 created
        insert c {"id":"a","n":2}       => already_exists [0] a after 3
        put c a {"n":3} if=2            => precondition_failed a after 3
        put c a {"n":3} absent          => precondition_failed a after 3
        put c a {"n":3} if=3            => changed 4 a@4
        put c a {"n":4} any=2/3         => precondition_failed a after 3
        put c a {"n":4} any=3/4         => changed 5 a@5
        delete c a if=4                 => precondition_failed a after 3
        delete c a if=5 exists          => changed 6
        delete c a                      => not_found a after 3
        delete c a exists               => precondition_failed a after 3
        patch c a {"n":5}               => not_found a after 3
        patch c a {"n":5} if=6          => precondition_failed a after 3
        put c a {"n":6} absent          => changed 7 a@7 created
        patch c a {"m":7} if=7          => changed 8 a@8
        append                          => seq 3
        apply                           => [Effective]
        get c a                         => @8 {"n":6,"m":7}
        state                           => index 4 seq 3 revision 8
        "#,
    );
}

/// Kept by the comparison of `seq` in `Overlay::prune`: applying an entry must not drop what a later one noted.
#[test]
fn later_notes_outlive_the_application_of_earlier_entries() {
    check(
        r#"
        put c a {"n":1}                 => changed 3 a@3 created
        append                          => seq 3
        put c a {"n":2}                 => changed 4 a@4
        append                          => seq 4
        delete c a                      => changed 5
        append                          => seq 5
        apply 1                         => [Effective]
        get c a                         => @3 {"n":1}
        delete c a                      => not_found a after 5
        apply 1                         => [Effective]
        insert c {"id":"a"}             => changed 6 a@6 created
        append                          => seq 6
        apply 1                         => [Effective]
        put c a {} if=6                 => changed 7 a@7
        append                          => seq 7
        apply                           => [Effective, Effective]
        put c a {} if=7                 => changed 8 a@8
        "#,
    );
}

#[test]
fn a_batch_with_a_duplicate_leaves_no_trace() {
    check(
        r#"
        insert c [{"id":"a"},{"id":"b"},{"id":"a"}]     => already_exists [2] a after 2
        patch c a {"n":1}               => not_found a after 2
        append                          => nothing
        insert c [{"id":"b","n":1},{"id":"a"}]          => changed 3 b@3 a@3 created
        insert c [{"id":"d"},{"id":"b"}]                => already_exists [1] b after 3
        insert c {"id":"d"}             => changed 4 d@4 created
        append                          => seq 3
        apply                           => [Effective]
        get c b                         => @3 {"n":1}
        get c d                         => @4 {}
        "#,
    );
}

#[test]
fn a_document_that_grows_past_its_bound_is_refused_without_trace() {
    let limits = Limits { document_bytes_max: 200, ..Limits::default() };
    let long = "x".repeat(60);
    check_with(
        limits,
        &format!(
            r#"
            put c a {{"n":1}}           => changed 3 a@3 created
            patch c a {{"a":"{long}","b":"{long}"}}                     => document_too_large a after 3
            insert c [{{"id":"b"}},{{"id":"d","a":"{long}","b":"{long}"}}]      => document_too_large [1] d after 3
            put c a {{"a":"{long}","b":"{long}"}}                       => document_too_large a after 3
            patch c a {{"n":1}}         => unchanged 3 a@3 after 3
            patch c b {{}}              => not_found b after 3
            patch c a {{"n":2}} if=3    => changed 4 a@4
            append                      => seq 3
            apply                       => [Effective]
            get c a                     => @4 {{"n":2}}
            "#
        ),
    );
}

/// Limits differ between nodes, and from one start to the next: what a peer sent or an earlier limit let in is no damage.
#[test]
fn other_limits_are_no_damage() {
    let limits = Limits { json_depth_max: 2, ..Limits::default() };
    check_with(
        limits,
        r#"
        put c a {"n":[[[1]]]}           => changed 3 a@3 created
        patch c a {"m":[[[1]]]}         => nesting_too_deep a after 3
        patch c a {"m":1}               => changed 4 a@4
        append                          => seq 3
        apply                           => [Effective]
        get c a                         => @4 {"n":[[[1]]],"m":1}
        "#,
    );
}

/// `_created_at` belongs to the document, `_updated_at` to the write; a clock that goes back moves neither.
#[test]
fn times_never_go_backwards() {
    check(
        r#"
        clock 100
        put c a {"n":1}
        clock 200
        put c a {"n":2}
        patch c a {"n":3}
        append
        apply
        times c a                       => created 100 updated 200
        clock 50
        patch c a {"n":4}
        put c b {}
        append
        apply
        times c a                       => created 100 updated 200
        times c b                       => created 200 updated 200
        term
        clock 60
        put c a {"n":5}
        append
        apply
        times c a                       => created 100 updated 200
        clock 300
        delete c a
        put c a {"n":6}
        append
        apply
        times c a                       => created 300 updated 300
        "#,
    );
}

#[test]
fn a_patch_that_changes_nothing_takes_no_revision() {
    check(
        r#"
        put c a {"n":1,"o":{"x":null}}  => changed 3 a@3 created
        append                          => seq 3
        apply                           => [Effective]
        patch c a {}                    => unchanged 3 a@3 after 3
        patch c a {"n":1,"gone":null}   => unchanged 3 a@3 after 3
        patch c a {"o":{}}              => unchanged 3 a@3 after 3
        append                          => nothing
        patch c a {"n":1.0}             => changed 4 a@4
        patch c a {"o":{"x":null}}      => changed 5 a@5
        put c a {"n":1.0,"o":{}}        => changed 6 a@6
        "#,
    );
}

/// Kept by `take_collection_id` and `next_collection_id` in the counters: a dropped collection's id is gone for good.
#[test]
fn the_ids_of_collections_are_never_used_again() {
    check(
        r#"
        create d                        => changed 3 collection 3
        create d                        => collection_exists after 3
        put d a {}                      => changed 4 a@4 created
        drop d                          => changed 5
        put d a {}                      => collection_not_found after 3
        drop d                          => collection_not_found after 3
        create d                        => changed 6 collection 4
        patch d a {}                    => not_found a after 3
        insert d {"id":"a"}             => changed 7 a@7 created
        append                          => seq 3
        apply                           => [Effective]
        get d a                         => @7 {}
        drop d                          => changed 8
        append                          => seq 4
        term
        create d                        => changed 9 collection 5
        append                          => seq 5
        apply                           => [Effective]
        get d a                         => none
        "#,
    );
}

#[test]
fn collections_are_bounded() {
    let limits = Limits { collections_max: 3, ..Limits::default() };
    check_with(
        limits,
        r#"
        create d                        => changed 3 collection 3
        create e                        => too_many_collections after 3
        drop d                          => changed 4
        create e                        => changed 5 collection 4
        "#,
    );
}

#[test]
fn a_cluster_is_bootstrapped_once() {
    check(
        r#"
        bootstrap                       => unchanged 2 after 2
        term
        bootstrap                       => unchanged 2 after 2
        append                          => nothing
        "#,
    );
    let node = Node::new();
    let mut decider = Decider::begin(node.engine().clone(), 1).unwrap();
    let bootstrap = crate::testing::bootstrap();
    assert_eq!(show(&decider.decide(None, &bootstrap, 1).unwrap()), "changed 1");
    assert_eq!(show(&decider.decide(None, &bootstrap, 1).unwrap()), "unchanged 1 after 1");
}

/// The system's own collections are out of reach: without its keys a cluster would take no command any more.
#[test]
fn system_collections_stay() {
    check(
        r#"
        drop _api_keys                  => collection_not_found after 2
        put _api_keys a {}              => collection_not_found after 2
        insert _api_keys {"id":"a"}     => collection_not_found after 2
        patch _api_keys a {}            => collection_not_found after 2
        delete _api_keys a              => collection_not_found after 2
        create _api_keys                => collection_exists after 2
        put c a {}                      => changed 3 a@3 created
        "#,
    );
}

/// Watermarks rise only, and never above what is decided: apply trusts them, and collecting cannot be undone.
#[test]
fn watermarks_only_rise() {
    let leader = check(
        r#"
        put c a {"n":1}                 => changed 3 a@3 created
        put c a {"n":2}                 => changed 4 a@4
        put c a {"n":3}                 => changed 5 a@5
        append                          => seq 3
        apply                           => [Effective]
        mark c 4
        mark c 3
        append                          => seq 4
        mark c 3
        append
        mark c 1000
        append
        apply
        "#,
    );
    let view = leader.node.view();
    let collection = view.collection("c").unwrap();
    assert!(matches!(view.get_at(&collection, "a", 3), Err(view::ReadError::Compacted { oldest: 4 | 5 })));
    assert_eq!(view.get_at(&collection, "a", 5).unwrap().map(|found| found.revision), Some(5));
}
