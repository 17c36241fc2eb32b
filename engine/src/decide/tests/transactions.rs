//! Transactions, decided over what is pending.

use super::*;

#[test]
fn each_operation_finds_what_those_before_it_left() {
    check(
        r#"
        put c a {"n":1}             => changed 3 a@3 created
        create d                    => changed 4 collection 3
        transact {"operations":[{"op":"patch","collection":"c","id":"a","patch":{"$inc":{"n":1}},"if":{"n":1}},{"op":"patch","collection":"c","id":"a","patch":{"$inc":{"n":1}},"if":{"n":2},"if_revision":3},{"op":"insert","collection":"d","document":{"id":"b"}},{"op":"get","collection":"d","id":"b"},{"op":"get","collection":"d","id":"z"}]} => changed 5 a@5 a@5 b@5+ b@5 -
        append                      => seq 3
        apply                       => [Effective]
        get c a                     => @5 {"n":3}
        get d b                     => @5 {}
        transact {"operations":[{"op":"insert","collection":"c","document":{"id":"x"}},{"op":"delete","collection":"c","id":"x"}]} => unchanged 5 -+ - after 3
        transact {"operations":[{"op":"get","collection":"c","id":"a"},{"op":"patch","collection":"c","id":"a","patch":{"n":3}}]} => unchanged 5 a@5 a@5 after 3
        transact {"operations":[{"op":"delete","collection":"c","id":"a"},{"op":"put","collection":"c","id":"a","document":{"m":1}}]} => changed 6 - a@6+
        append                      => seq 4
        apply                       => [Effective]
        get c a                     => @6 {"m":1}
        "#,
    );
}

#[test]
fn all_or_nothing() {
    check(
        r#"
        put c a {"n":1}             => changed 3 a@3 created
        transact {"operations":[{"op":"put","collection":"c","id":"b","document":{}},{"op":"insert","collection":"c","document":{"id":"a"}}]} => already_exists [1] a after 3
        transact {"operations":[{"op":"put","collection":"c","id":"b","document":{}},{"op":"patch","collection":"c","id":"z","patch":{}}]} => not_found [1] z after 3
        transact {"operations":[{"op":"put","collection":"c","id":"b","document":{}},{"op":"get","collection":"c","id":"a","if_revision":2}]} => conflict [1] a after 3
        transact {"operations":[{"op":"put","collection":"c","id":"b","document":{}},{"op":"put","collection":"c","id":"b","document":{},"if_absent":true}]} => conflict [1] b after 3
        transact {"operations":[{"op":"put","collection":"c","id":"b","document":{}},{"op":"get","collection":"c","id":"a","if":{"n":{"$gt":1}}}]} => conflict [1] a after 3
        transact {"operations":[{"op":"put","collection":"c","id":"b","document":{}},{"op":"patch","collection":"c","id":"a","patch":{"$push":{"n":1}}}]} => update_not_applicable [1] a after 3
        transact {"operations":[{"op":"put","collection":"c","id":"b","document":{}},{"op":"put","collection":"nowhere","id":"a","document":{}}]} => collection_not_found [1] a after 3
        append                      => seq 3
        apply                       => [Effective]
        get c b                     => none
        "#,
    );
}

/// Kept by `check_unchanged`: without it, two callers that read the same balance both spend it.
#[test]
fn what_was_read_must_not_have_changed() {
    check(
        r#"
        put c a {"n":1}             => changed 3 a@3 created
        put c b {"n":1}             => changed 4 b@4 created
        append                      => seq 3
        apply                       => [Effective]
        transact {"read_revision":4,"operations":[{"op":"get","collection":"c","id":"a"},{"op":"get","collection":"c","id":"x"},{"op":"put","collection":"c","id":"b","document":{"n":2}}]} => changed 5 a@3 - b@5
        transact {"read_revision":4,"operations":[{"op":"get","collection":"c","id":"b"},{"op":"put","collection":"c","id":"a","document":{"n":2}}]} => conflict [0] b after 4
        transact {"read_revision":6,"operations":[{"op":"get","collection":"c","id":"b"}]} => revision_ahead after 4
        delete c a                  => changed 6
        transact {"read_revision":5,"operations":[{"op":"put","collection":"c","id":"a","document":{}}]} => conflict [0] a after 4
        append                      => seq 4
        apply                       => [Effective]
        transact {"read_revision":5,"operations":[{"op":"put","collection":"c","id":"a","document":{}}]} => conflict [0] a after 4
        transact {"read_revision":6,"operations":[{"op":"put","collection":"c","id":"a","document":{}}]} => changed 7 a@7+
        mark c 6                    => unchanged 7
        append                      => seq 5
        apply                       => [Effective]
        transact {"read_revision":5,"operations":[{"op":"put","collection":"c","id":"x","document":{}}]} => compacted [0] x after 5
        transact {"read_revision":6,"operations":[{"op":"put","collection":"c","id":"x","document":{}}]} => changed 8 x@8+
        "#,
    );
}

#[test]
fn what_a_transaction_reads_and_writes_is_bounded() {
    let limits = Limits { transaction_bytes_max: 400, ..Limits::default() };
    check_with(
        limits,
        r#"
        transact {"operations":[{"op":"put","collection":"c","id":"a","document":{}},{"op":"put","collection":"c","id":"b","document":{}}]} => changed 3 a@3+ b@3+
        transact {"operations":[{"op":"get","collection":"c","id":"a"},{"op":"get","collection":"c","id":"a"},{"op":"get","collection":"c","id":"a"},{"op":"get","collection":"c","id":"a"}]} => too_large [3] after 3
        "#,
    );
}
