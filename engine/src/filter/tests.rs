//! Tests of the filter language.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::json::tests::{value, value_of};
use crate::json::{Limits, parse as parse_json};

#[track_caller]
fn filter(text: &str) -> Filter {
    Filter::parse(&value(text)).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Checks a filter against documents that it matches and documents that it does not; and, on the way, that it prints
/// as itself and that `$not` and `$nor` turn it around.
#[track_caller]
fn check(text: &str, matching: &[&str], others: &[&str]) {
    let filter = filter(text);
    let not = self::filter(&format!(r#"{{"$not":{text}}}"#));
    let nor = self::filter(&format!(r#"{{"$nor":[{text}]}}"#));
    assert_eq!(self::filter(&filter.to_string()), filter, "{text} prints as {filter}");
    let all = matching.iter().map(|document| (document, true));
    for (document, expected) in all.chain(others.iter().map(|document| (document, false))) {
        assert_eq!(filter.matches(&value(document)), expected, "{text} and {document}");
        assert_eq!(not.matches(&value(document)), !expected, "{not} and {document}");
        assert_eq!(nor.matches(&value(document)), !expected, "{nor} and {document}");
    }
}

#[track_caller]
fn refused(text: &str, code: &str, path: &str) -> Error {
    let error = Filter::parse(&value(text)).expect_err(text);
    assert_eq!((error.code(), error.path.as_str()), (code, path), "{text}: {error}");
    error
}

#[test]
fn everything_and_nothing() {
    check("{}", &["{}", r#"{"a":1}"#], &[]);
    check(r#"{"id":{"$in":[]}}"#, &[], &["{}", r#"{"id":"a"}"#, r#"{"id":null}"#, r#"{"id":[]}"#]);
    check(r#"{"id":{"$nin":[]}}"#, &["{}", r#"{"id":"a"}"#], &[]);
}

#[test]
fn equality() {
    check(
        r#"{"a":1}"#,
        &[r#"{"a":1}"#, r#"{"a":1.0}"#, r#"{"a":[3,1]}"#],
        &["{}", r#"{"a":2}"#, r#"{"a":"1"}"#, r#"{"a":true}"#, r#"{"a":null}"#, r#"{"a":[[1]]}"#, r#"{"a":{"b":1}}"#],
    );
    check(r#"{"a":{"$eq":0}}"#, &[r#"{"a":-0}"#, r#"{"a":0.0}"#], &[r#"{"a":false}"#, r#"{"a":""}"#]);
    check(r#"{"a":9007199254740993}"#, &[r#"{"a":9007199254740993}"#], &[r#"{"a":9007199254740992.0}"#]);
    check(r#"{"a":18446744073709551615}"#, &[r#"{"a":18446744073709551615}"#], &[r#"{"a":18446744073709551616.0}"#]);
    check(r#"{"a":[1,2]}"#, &[r#"{"a":[1,2]}"#, r#"{"a":[[1,2],3]}"#], &[r#"{"a":[2,1]}"#, r#"{"a":[1,2,3]}"#]);
    check(r#"{"a":[]}"#, &[r#"{"a":[]}"#, r#"{"a":[[]]}"#], &["{}", r#"{"a":null}"#, r#"{"a":[1]}"#]);
    check(
        r#"{"a":{"b":1,"c":2}}"#,
        &[r#"{"a":{"b":1,"c":2}}"#, r#"{"a":{"c":2.0,"b":1}}"#, r#"{"a":[{"c":2,"b":1}]}"#],
        &[r#"{"a":{"b":1}}"#, r#"{"a":{"b":1,"c":2,"d":3}}"#],
    );
    check(r#"{"a":{}}"#, &[r#"{"a":{}}"#], &["{}", r#"{"a":{"b":1}}"#]);
}

#[test]
fn null_and_missing() {
    let null_or_missing = [r#"{"a":null}"#, "{}", r#"{"a":[null]}"#];
    let others = [r#"{"a":0}"#, r#"{"a":false}"#, r#"{"a":[]}"#, r#"{"a":{}}"#];
    check(r#"{"a":null}"#, &null_or_missing, &others);
    check(r#"{"a":{"$in":[5,null]}}"#, &null_or_missing, &others);
    check(r#"{"a":{"$ne":null}}"#, &others, &null_or_missing);
    check(r#"{"a":{"$nin":[null]}}"#, &others, &null_or_missing);
    check(r#"{"a":{"$exists":true}}"#, &[r#"{"a":null}"#, r#"{"a":[]}"#], &["{}", r#"{"b":1}"#]);
    check(r#"{"a":{"$exists":false}}"#, &["{}"], &[r#"{"a":null}"#]);
    check(r#"{"a":{"$exists":true,"$eq":null}}"#, &[r#"{"a":null}"#], &["{}"]);
    for operator in ["$gte", "$lte"] {
        let others = ["{}", r#"{"a":0}"#, r#"{"a":[]}"#, r#"{"a":false}"#];
        check(&format!(r#"{{"a":{{"{operator}":null}}}}"#), &[r#"{"a":null}"#, r#"{"a":[1,null]}"#], &others);
    }
    for operator in ["$gt", "$lt"] {
        check(&format!(r#"{{"a":{{"{operator}":null}}}}"#), &[], &["{}", r#"{"a":null}"#, r#"{"a":1}"#]);
    }
}

#[test]
fn ordering_stays_within_a_type() {
    check(
        r#"{"a":{"$gt":5}}"#,
        &[r#"{"a":6}"#, r#"{"a":5.5}"#, r#"{"a":[1,10]}"#, r#"{"a":18446744073709551615}"#],
        &["{}", r#"{"a":5}"#, r#"{"a":5.0}"#, r#"{"a":"6"}"#, r#"{"a":true}"#, r#"{"a":[]}"#, r#"{"a":{}}"#],
    );
    check(r#"{"a":{"$gte":5}}"#, &[r#"{"a":5.0}"#, r#"{"a":6}"#], &["{}", r#"{"a":4.9}"#, r#"{"a":null}"#]);
    check(
        r#"{"a":{"$lt":5}}"#,
        &[r#"{"a":4}"#, r#"{"a":-1e300}"#],
        &["{}", r#"{"a":5}"#, r#"{"a":null}"#, r#"{"a":false}"#],
    );
    check(r#"{"a":{"$lte":5}}"#, &[r#"{"a":5}"#], &["{}", r#"{"a":5.1}"#]);
    check(r#"{"a":{"$gt":9007199254740992}}"#, &[r#"{"a":9007199254740993}"#], &[r#"{"a":9007199254740992.0}"#]);
    check(r#"{"a":{"$lt":9007199254740993}}"#, &[r#"{"a":9007199254740992.0}"#], &[r#"{"a":9007199254740993}"#]);
    check(r#"{"a":{"$gt":"b"}}"#, &[r#"{"a":"ba"}"#, r#"{"a":"é"}"#], &[r#"{"a":"b"}"#, r#"{"a":"B"}"#, r#"{"a":1}"#]);
    check(r#"{"a":{"$gt":false}}"#, &[r#"{"a":true}"#], &[r#"{"a":false}"#, r#"{"a":1}"#]);
    check(
        r#"{"a":{"$gt":[1]}}"#,
        &[r#"{"a":[1,0]}"#, r#"{"a":[2]}"#, r#"{"a":[[2]]}"#],
        &[r#"{"a":[1]}"#, r#"{"a":2}"#],
    );
    check(r#"{"a":{"$gt":{"x":1}}}"#, &[r#"{"a":{"x":2}}"#], &[r#"{"a":{"x":1}}"#, r#"{"a":[1]}"#]);
}

#[test]
fn lists() {
    check(
        r#"{"a":{"$in":[1,"x",[2]]}}"#,
        &[r#"{"a":1.0}"#, r#"{"a":"x"}"#, r#"{"a":[2]}"#, r#"{"a":[0,1]}"#],
        &["{}", r#"{"a":2}"#],
    );
    check(r#"{"a":{"$nin":[1,"x"]}}"#, &["{}", r#"{"a":2}"#, r#"{"a":null}"#], &[r#"{"a":1}"#, r#"{"a":[0,"x"]}"#]);
    assert_eq!(filter(r#"{"a":{"$in":[3,1,2,1.0,null]}}"#).to_string(), r#"{"a":{"$in":[null,1,2,3]}}"#);
}

#[test]
fn several_operators_are_several_conditions() {
    check(
        r#"{"a":{"$gte":1,"$lt":5}}"#,
        &[r#"{"a":1}"#, r#"{"a":[0,9]}"#],
        &[r#"{"a":0}"#, r#"{"a":5}"#, r#"{"a":[0]}"#],
    );
    check(r#"{"a":1,"b":2}"#, &[r#"{"a":1,"b":2}"#], &[r#"{"a":1}"#, r#"{"b":2}"#]);
    check(
        r#"{"a":{"$not":{"$gte":1,"$lt":5}}}"#,
        &["{}", r#"{"a":0}"#, r#"{"a":"x"}"#],
        &[r#"{"a":1}"#, r#"{"a":[0,9]}"#],
    );
}

#[test]
fn negations_are_exact() {
    check(
        r#"{"a":{"$ne":1}}"#,
        &["{}", r#"{"a":2}"#, r#"{"a":[2,3]}"#, r#"{"a":[]}"#],
        &[r#"{"a":1}"#, r#"{"a":[2,1]}"#],
    );
    check(
        r#"{"a":{"$not":{"$gt":5}}}"#,
        &["{}", r#"{"a":5}"#, r#"{"a":"x"}"#, r#"{"a":null}"#],
        &[r#"{"a":6}"#, r#"{"a":[1,6]}"#],
    );
    check(r#"{"a":{"$not":{"$not":{"$eq":1}}}}"#, &[r#"{"a":1}"#], &["{}"]);
    check(r#"{"$not":{"a":1,"b":2}}"#, &[r#"{"a":1}"#, "{}"], &[r#"{"a":1,"b":2}"#]);
    check(r#"{"$nor":[{"a":1},{"b":2}]}"#, &["{}", r#"{"a":2}"#], &[r#"{"a":1}"#, r#"{"b":2}"#]);
    check(r#"{"a.b":{"$ne":1}}"#, &["{}", r#"{"a":[]}"#, r#"{"a":[{"b":2},{}]}"#], &[r#"{"a":[{"b":2},{"b":1}]}"#]);
}

#[test]
fn logical_operators() {
    check(r#"{"$or":[{"a":1},{"b":2}]}"#, &[r#"{"a":1}"#, r#"{"b":2}"#], &["{}", r#"{"a":2,"b":1}"#]);
    check(
        r#"{"$and":[{"a":{"$gt":1}},{"a":{"$lt":5}}],"b":1}"#,
        &[r#"{"a":3,"b":1}"#],
        &[r#"{"a":3}"#, r#"{"a":9,"b":1}"#],
    );
}

#[test]
fn dotted_paths() {
    check(
        r#"{"a.b":1}"#,
        &[r#"{"a":{"b":1}}"#, r#"{"a":[{"b":1}]}"#, r#"{"a":[{"b":[2,1]},5]}"#],
        &[r#"{"a":{"b":2}}"#, r#"{"a":[[{"b":1}]]}"#],
    );
    check(
        r#"{"a.0":1}"#,
        &[r#"{"a":[1,2]}"#, r#"{"a":{"0":1}}"#, r#"{"a":[[1]]}"#],
        &[r#"{"a":[2,1]}"#, r#"{"a":[]}"#, r#"{"a":1}"#],
    );
    check(r#"{"a.1.b":1}"#, &[r#"{"a":[0,{"b":1}]}"#], &[r#"{"a":[{"b":1}]}"#]);
    let missing =
        ["{}", r#"{"a":1}"#, r#"{"a":[]}"#, r#"{"a":[1,2]}"#, r#"{"a":[{}]}"#, r#"{"a":{}}"#, r#"{"a":null}"#];
    let not_null = [r#"{"a":{"b":0}}"#, r#"{"a":[{"b":0},{}]}"#, r#"{"a":{"b":[]}}"#];
    check(r#"{"a.b":null}"#, &missing, &not_null);
    check(r#"{"a.b":{"$exists":false}}"#, &missing, &not_null);
    check(r#"{"a.b":{"$exists":false}}"#, &[], &[r#"{"a":[{"b":null}]}"#]);
}

#[test]
fn system_fields_are_fields() {
    let document =
        r#"{"id":"x","_revision":7,"_created_at":"2025-01-01T00:00:00Z","_updated_at":"2025-01-02T00:00:00Z"}"#;
    check(r#"{"_revision":{"$gte":7},"id":"x"}"#, &[document], &[]);
    check(r#"{"_updated_at":{"$gt":"2025-01-01T12:00:00Z"},"_created_at":{"$exists":true}}"#, &[document], &["{}"]);
}

#[test]
fn types() {
    check(
        r#"{"a":{"$type":"number"}}"#,
        &[r#"{"a":1}"#, r#"{"a":1.5}"#, r#"{"a":["x",1]}"#],
        &["{}", r#"{"a":"1"}"#, r#"{"a":[]}"#],
    );
    check(r#"{"a":{"$type":["string","null"]}}"#, &[r#"{"a":""}"#, r#"{"a":null}"#], &["{}", r#"{"a":true}"#]);
    check(r#"{"a":{"$type":"array"}}"#, &[r#"{"a":[]}"#], &[r#"{"a":{}}"#]);
    check(r#"{"a":{"$type":"boolean"}}"#, &[r#"{"a":false}"#], &[r#"{"a":0}"#]);
    check(r#"{"a":{"$type":"object"}}"#, &[r#"{"a":{}}"#, r#"{"a":[{}]}"#], &[r#"{"a":[]}"#]);
}

#[test]
fn all_of_several_values() {
    check(
        r#"{"a":{"$all":[1,2]}}"#,
        &[r#"{"a":[2,3,1.0]}"#],
        &["{}", r#"{"a":1}"#, r#"{"a":[1]}"#, r#"{"a":[[1,2]]}"#],
    );
    check(r#"{"a":{"$all":[null]}}"#, &["{}", r#"{"a":null}"#, r#"{"a":[1,null]}"#], &[r#"{"a":[1]}"#]);
    check(r#"{"a":{"$all":[null,1]}}"#, &[r#"{"a":[1,null]}"#], &["{}", r#"{"a":[1]}"#, r#"{"a":[1,1]}"#]);
    check(r#"{"a":{"$all":[1]}}"#, &[r#"{"a":1}"#], &["{}"]);
    check(r#"{"a":{"$all":[[1,2]]}}"#, &[r#"{"a":[1,2]}"#, r#"{"a":[[1,2]]}"#], &[r#"{"a":[1]}"#]);
    check(r#"{"a.b":{"$all":[1,2]}}"#, &[r#"{"a":[{"b":1},{"b":2}]}"#], &[r#"{"a":[{"b":1}]}"#]);
}

#[test]
fn one_element_for_several_conditions() {
    check(
        r#"{"a":{"$elemMatch":{"$gte":1,"$lt":5}}}"#,
        &[r#"{"a":[0,3]}"#],
        &["{}", r#"{"a":[0,9]}"#, r#"{"a":3}"#, r#"{"a":[[0,9]]}"#],
    );
    check(
        r#"{"a":{"$elemMatch":{"x":1,"y":2}}}"#,
        &[r#"{"a":[{"x":1,"y":2}]}"#, r#"{"a":[5,{"x":[1],"y":2}]}"#],
        &[r#"{"a":[{"x":1},{"y":2}]}"#, r#"{"a":{"x":1,"y":2}}"#],
    );
    check(r#"{"a":{"$elemMatch":{"x":null}}}"#, &[r#"{"a":[{}]}"#], &[r#"{"a":[]}"#, r#"{"a":[1]}"#]);
    check(r#"{"a":{"$elemMatch":{"$or":[{"x":1},{"y":1}]}}}"#, &[r#"{"a":[{"y":1}]}"#], &[r#"{"a":[{"z":1}]}"#]);
    check(r#"{"a":{"$elemMatch":{"$eq":null}}}"#, &[r#"{"a":[null]}"#], &[r#"{"a":[]}"#, "{}"]);
    check(
        r#"{"a":{"$elemMatch":{"$not":{"$gt":1}}}}"#,
        &[r#"{"a":[5,0]}"#, r#"{"a":["x"]}"#],
        &[r#"{"a":[5]}"#, r#"{"a":[]}"#],
    );
    check(r#"{"a":{"$elemMatch":{"$not":{"x":1}}}}"#, &[r#"{"a":[{}]}"#], &[r#"{"a":[{"x":1}]}"#, r#"{"a":[5]}"#]);
    check(r#"{"a":{"$elemMatch":{"$elemMatch":{"$eq":1}}}}"#, &[r#"{"a":[[1]]}"#], &[r#"{"a":[1]}"#]);
    check(r#"{"a.b":{"$elemMatch":{"$eq":1}}}"#, &[r#"{"a":[{"b":[1]}]}"#], &[r#"{"a":[{"b":1}]}"#]);
}

#[test]
fn sizes() {
    check(
        r#"{"a":{"$size":2}}"#,
        &[r#"{"a":[1,2]}"#, r#"{"a":[[1,2]]}"#],
        &["{}", r#"{"a":[1]}"#, r#"{"a":"ab"}"#, r#"{"a":2}"#],
    );
    check(r#"{"a":{"$size":0}}"#, &[r#"{"a":[]}"#], &["{}", r#"{"a":null}"#, r#"{"a":{}}"#]);
}

#[test]
fn parts_of_strings() {
    check(
        r#"{"a":{"$contains":"bc"}}"#,
        &[r#"{"a":"abcd"}"#, r#"{"a":["x","bc"]}"#],
        &["{}", r#"{"a":"BC"}"#, r#"{"a":1}"#],
    );
    check(
        r#"{"a":{"$startsWith":"ab"}}"#,
        &[r#"{"a":"abc"}"#, r#"{"a":["ab"]}"#],
        &["{}", r#"{"a":"cab"}"#, r#"{"a":null}"#],
    );
    check(r#"{"a":{"$contains":""}}"#, &[r#"{"a":""}"#], &["{}", r#"{"a":5}"#]);
}

#[test]
fn patterns() {
    check(
        r#"{"a":{"$regex":"^O(s|t)lo?$"}}"#,
        &[r#"{"a":"Oslo"}"#, r#"{"a":"Otl"}"#, r#"{"a":["x","Oslo"]}"#],
        &["{}", r#"{"a":"oslo"}"#, r#"{"a":"Oslo "}"#, r#"{"a":5}"#, r#"{"a":null}"#, r#"{"a":{"b":"Oslo"}}"#],
    );
    check(r#"{"a":{"$regex":"(?i)sl\\p{L}"}}"#, &[r#"{"a":"OSLØ"}"#], &[r#"{"a":"OSL"}"#]);
    check(r#"{"a":{"$regex":"b","$not":{"$regex":"c"}}}"#, &[r#"{"a":"ab"}"#], &[r#"{"a":"abc"}"#, "{}"]);
    check(r#"{"a":{"$regex":""}}"#, &[r#"{"a":""}"#, r#"{"a":"x"}"#], &["{}", r#"{"a":5}"#]);

    let error = refused(r#"{"a":{"$regex":"a(b"}}"#, "invalid_filter", "/a/$regex");
    assert_eq!(error.message, "the pattern cannot be used: unclosed group");
    refused(r#"{"a":{"$regex":"(a)\\1"}}"#, "invalid_filter", "/a/$regex");
    refused(r#"{"a":{"$regex":7}}"#, "invalid_filter", "/a/$regex");
    let error = refused(r#"{"a":{"$regex":"a","$options":"i"}}"#, "invalid_filter", "/a/$options");
    assert!(error.message.contains("(?i)"), "{error}");
    let error = refused(r#"{"a":{"$regex":"(\\w{99}){99}"}}"#, "invalid_filter", "/a/$regex");
    assert!(error.message.contains("too large"), "{error}");
    filter(r#"{"a":{"$regex":"^[\\w.+-]+@[\\w-]+(\\.[\\w-]+)+$"}}"#);
    assert!(filter(r#"{"$nor":[{"a":{"$elemMatch":{"$not":{"$regex":"a"}}}}]}"#).has_pattern());
    assert!(!filter(r#"{"$or":[{"a":{"$startsWith":"a"}}]}"#).has_pattern());
    let many = |count: usize| format!(r#"{{"$or":[{}]}}"#, vec![r#"{"a":{"$regex":"a"}}"#; count].join(","));
    filter(&many(REGEXES_PER_FILTER_MAX));
    refused(&many(REGEXES_PER_FILTER_MAX + 1), "filter_too_large", "/$or/16/a/$regex");
    let long = |bytes: usize| format!(r#"{{"a":{{"$regex":"{}"}}}}"#, "a".repeat(bytes));
    filter(&long(REGEX_PATTERN_BYTES_MAX));
    refused(&long(REGEX_PATTERN_BYTES_MAX + 1), "filter_too_large", "/a/$regex");
}

/// A pattern that takes exponential time where it is tried way after way would not come to an end here.
#[test]
fn the_time_of_a_pattern_is_linear() {
    let filter = filter(r#"{"a":{"$regex":"^(a|a)*(a|aa)+$"}}"#);
    let document = value(&format!(r#"{{"a":"{}b"}}"#, "a".repeat(1 << 20)));
    assert!(!filter.matches(&document));
}

#[test]
fn what_a_pattern_says_of_the_start() {
    let start = |pattern: &str| Regex::compile(pattern).unwrap().start();
    assert_eq!(start("^Os[lt]").as_deref(), Some("Os"));
    assert_eq!(start("^Oslo?").as_deref(), Some("Osl"));
    assert_eq!(start("^é").as_deref(), Some("é"));
    assert_eq!(start(r"\A\.x").as_deref(), Some(".x"));
    for none in ["Os", "^", "(?m)^Os", "(?i)^Os", "^(Os|Be)", "^Os|Be", "x*^Os", "^[O]?s"] {
        assert_eq!(start(none), None, "{none}");
    }
}

#[test]
fn unknown_operators_are_named() {
    let error = refused(r#"{"a":{"$foo":1}}"#, "unknown_operator", "/a/$foo");
    assert!(
        error.message.contains("`$foo`") && error.message.contains("$gte") && error.message.contains("$nor"),
        "{error}"
    );
    refused(r#"{"$foo":1}"#, "unknown_operator", "/$foo");
    refused(r#"{"$or":[{},{"a/b~c":{"$not":{"$x":1}}}]}"#, "unknown_operator", "/$or/1/a~1b~0c/$not/$x");
    refused(r#"{"a":{"$GT":1}}"#, "unknown_operator", "/a/$GT");
    refused(r#"{"a":{"$":1}}"#, "unknown_operator", "/a/$");
    refused(r#"{"a":{"$elemMatch":{"$x":1}}}"#, "unknown_operator", "/a/$elemMatch/$x");
}

#[test]
fn every_operator_that_an_error_lists_is_read() {
    let message = refused(r#"{"$foo":1}"#, "unknown_operator", "/$foo").message;
    let listed = message.rsplit_once("there are ").unwrap().1.split(' ');
    let operands = ["1", "[1]", "true", r#""number""#, r#"{"$eq":1}"#, "[{}]"];
    for operator in listed {
        let on_field = operands.iter().map(|operand| format!(r#"{{"a":{{"{operator}":{operand}}}}}"#));
        let at_top = operands.iter().map(|operand| format!(r#"{{"{operator}":{operand}}}"#));
        assert!(on_field.chain(at_top).any(|text| Filter::parse(&value(&text)).is_ok()), "{operator}");
    }
}

#[test]
fn shapes_are_checked() {
    for text in ["1", "null", "[]", r#""a""#] {
        refused(text, "invalid_filter", "");
    }
    for (text, path) in [
        (r#"{"$and":{}}"#, "/$and"),
        (r#"{"$or":[]}"#, "/$or"),
        (r#"{"$nor":[1]}"#, "/$nor/0"),
        (r#"{"$not":1}"#, "/$not"),
        (r#"{"$gt":1}"#, "/$gt"),
        (r#"{"a":{"$and":[{}]}}"#, "/a/$and"),
        (r#"{"a":{"$gt":1,"b":2}}"#, "/a/b"),
        (r#"{"a":{"b":2,"$gt":1}}"#, "/a/b"),
        (r#"{"a":{"$in":1}}"#, "/a/$in"),
        (r#"{"a":{"$exists":1}}"#, "/a/$exists"),
        (r#"{"a":{"$not":1}}"#, "/a/$not"),
        (r#"{"a":{"$not":{}}}"#, "/a/$not"),
        (r#"{"a":{"$not":{"b":1}}}"#, "/a/$not/b"),
        (r#"{"a":{"$all":[]}}"#, "/a/$all"),
        (r#"{"a":{"$elemMatch":{}}}"#, "/a/$elemMatch"),
        (r#"{"a":{"$elemMatch":5}}"#, "/a/$elemMatch"),
        (r#"{"a":{"$elemMatch":{"b":1,"$gt":2}}}"#, "/a/$elemMatch/$gt"),
        (r#"{"a":{"$size":-1}}"#, "/a/$size"),
        (r#"{"a":{"$size":1.5}}"#, "/a/$size"),
        (r#"{"a":{"$type":"int"}}"#, "/a/$type"),
        (r#"{"a":{"$type":[]}}"#, "/a/$type"),
        (r#"{"a":{"$contains":1}}"#, "/a/$contains"),
    ] {
        refused(text, "invalid_filter", path);
    }
    refused(r#"{"a..b":1}"#, "invalid_path", "/a..b");
    refused(r#"{"":1}"#, "invalid_path", "/");
    refused(r#"{"a.$gt":1}"#, "invalid_path", "/a.$gt");
}

#[test]
fn bounds() {
    let nested = |operator: &str, depth: usize| match operator {
        "$not" => r#"{"$not":"#.repeat(depth) + r#"{"a":1}"# + &"}".repeat(depth),
        _ => format!(r#"{{"{operator}":["#).repeat(depth) + r#"{"a":1}"# + &"]}".repeat(depth),
    };
    for operator in ["$and", "$or", "$nor", "$not"] {
        filter(&nested(operator, FILTER_DEPTH_MAX));
        let error = Filter::parse(&value(&nested(operator, FILTER_DEPTH_MAX + 1))).unwrap_err();
        assert_eq!(error.code(), "filter_too_deep");
    }
    let field_not =
        |depth: usize| format!(r#"{{"a":{}{{"$eq":1}}{}}}"#, r#"{"$not":"#.repeat(depth), "}".repeat(depth));
    filter(&field_not(FILTER_DEPTH_MAX));
    assert!(Filter::parse(&value(&field_not(FILTER_DEPTH_MAX + 1))).is_err());

    let or = |count: usize| format!(r#"{{"$or":[{}]}}"#, vec![r#"{"a":1}"#; count].join(","));
    filter(&or(FILTER_NODES_MAX - 1));
    refused(&or(FILTER_NODES_MAX), "filter_too_large", &format!("/$or/{}/a", FILTER_NODES_MAX - 1));
    let empties = format!(r#"{{"$or":[{}]}}"#, vec!["{}"; FILTER_NODES_MAX].join(","));
    assert_eq!(Filter::parse(&value(&empties)).unwrap_err().code(), "filter_too_large");

    let list = |count: usize| format!(r#"{{"a":{{"$in":[{}]}}}}"#, vec!["1"; count].join(","));
    filter(&list(FILTER_LIST_LEN_MAX));
    refused(&list(FILTER_LIST_LEN_MAX + 1), "filter_too_large", "/a/$in");

    let deep = |depth: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    filter(&deep(FILTER_OPERAND_DEPTH_MAX));
    refused(&deep(FILTER_OPERAND_DEPTH_MAX + 1), "filter_too_deep", "/a");
}

#[test]
fn the_deepest_filter_prints_within_the_depth_of_json() {
    let operand = "[".repeat(FILTER_OPERAND_DEPTH_MAX) + &"]".repeat(FILTER_OPERAND_DEPTH_MAX);
    for (open, close) in [(r#"{"$and":["#, "]}"), (r#"{"a":{"$elemMatch":"#, "}}")] {
        let leaf = format!(r#"{{"a":{{"$in":[{operand}]}}}}"#);
        let text = open.repeat(FILTER_DEPTH_MAX) + &leaf + &close.repeat(FILTER_DEPTH_MAX);
        assert_eq!(filter(&filter(&text).to_string()), filter(&text));
    }
}

#[test]
fn prints_every_operator_spelled_out() {
    for (text, printed) in [
        (r#"{"a":1,"b.c":{"$lt":2,"$gt":1}}"#, r#"{"a":{"$eq":1},"b.c":{"$lt":2,"$gt":1}}"#),
        (r#"{"a":{"$type":["string"]}}"#, r#"{"a":{"$type":"string"}}"#),
        ("{}", "{}"),
    ] {
        assert_eq!(filter(text).to_string(), printed);
    }
}

fn test() -> impl Strategy<Value = Test> {
    let values = || vec(value_of(2), 0..4).prop_map(ValueSet::new);
    let kinds = prop::sample::subsequence(Kind::ALL.to_vec(), 1..=6);
    let leaf = prop_oneof![
        value_of(2).prop_map(Test::Eq),
        value_of(2).prop_map(Test::Ne),
        value_of(2).prop_map(Test::Gt),
        value_of(2).prop_map(Test::Gte),
        value_of(2).prop_map(Test::Lt),
        value_of(2).prop_map(Test::Lte),
        values().prop_map(Test::In),
        values().prop_map(Test::Nin),
        any::<bool>().prop_map(Test::Exists),
        kinds.prop_map(Test::Type),
        vec(value_of(1), 1..3).prop_map(|values| Test::All(ValueSet::new(values))),
        (0u64..4).prop_map(Test::Size),
        "[ab]{0,2}".prop_map(Test::Contains),
        "[ab]{0,2}".prop_map(Test::StartsWith),
        r"\^?[ab.]{0,2}[*+]?".prop_filter_map("a pattern", |text| Regex::compile(&text).ok().map(Test::Regex)),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            tests(inner.clone()).prop_map(Test::Not),
            tests(inner).prop_map(|tests| Test::ElemMatch(ElemMatch::Value(tests))),
        ]
    })
}

/// One or two tests with different operators.
fn tests(test: impl Strategy<Value = Test>) -> impl Strategy<Value = Vec<Test>> {
    vec(test, 1..3).prop_map(|mut tests| {
        if tests.len() == 2 && std::mem::discriminant(&tests[0]) == std::mem::discriminant(&tests[1]) {
            tests.pop();
        }
        tests
    })
}

fn path() -> impl Strategy<Value = Path> {
    prop::sample::select(vec!["a", "b", "c", "a.b", "a.0", "b.a.c", "0", "a.b.0", "c.1"])
        .prop_map(|text| Path::parse(text).unwrap())
}

/// Any filter. Depth is kept low: the printer must not have to care about the bounds of the parser.
fn any_filter() -> impl Strategy<Value = Filter> {
    let field = (path(), tests(test())).prop_map(|(path, tests)| Condition::Field { path, tests });
    let filter = vec(field, 0..3).prop_map(distinct);
    filter.prop_recursive(3, 12, 3, |inner| {
        let element = inner.clone().prop_filter("not empty", |filter| !filter.conditions.is_empty());
        let condition = prop_oneof![
            vec(inner.clone(), 1..3).prop_map(Condition::And),
            vec(inner.clone(), 1..3).prop_map(Condition::Or),
            vec(inner.clone(), 1..3).prop_map(Condition::Nor),
            inner.prop_map(Condition::Not),
            (path(), element).prop_map(|(path, filter)| Condition::Field {
                path,
                tests: vec![Test::ElemMatch(ElemMatch::Object(filter))],
            }),
        ];
        vec(condition, 0..3).prop_map(distinct)
    })
}

/// A filter with each field and each logical operator at most once, as an object has its keys.
fn distinct(conditions: Vec<Condition>) -> Filter {
    let mut kept: Vec<Condition> = Vec::new();
    for condition in conditions {
        let is_taken = |other: &Condition| match (other, &condition) {
            (Condition::Field { path: a, .. }, Condition::Field { path: b, .. }) => a == b,
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        };
        if !kept.iter().any(is_taken) {
            kept.push(condition);
        }
    }
    Filter { conditions: kept }
}

proptest! {
    #[test]
    fn prints_as_itself(filter in any_filter()) {
        let text = filter.to_string();
        let back = Filter::parse(&parse_json(text.as_bytes(), &Limits::default()).unwrap());
        prop_assert_eq!(back.as_ref(), Ok(&filter), "{}", text);
        prop_assert_eq!(back.unwrap().to_string(), text);
    }

    #[test]
    fn laws_of_logic(a in any_filter(), b in any_filter(), document in value_of(4)) {
        let (left, right) = (a.matches(&document), b.matches(&document));
        let matches = |condition: Condition| Filter { conditions: vec![condition] }.matches(&document);
        let both = || vec![a.clone(), b.clone()];
        prop_assert_eq!(matches(Condition::And(both())), left && right);
        prop_assert_eq!(matches(Condition::Or(both())), left || right);
        prop_assert_eq!(matches(Condition::Nor(both())), !(left || right));
        prop_assert_eq!(matches(Condition::Not(a.clone())), !left);
    }

    #[test]
    fn laws_of_fields(path in path(), operand in value_of(2), list in vec(value_of(2), 0..4), document in value_of(4)) {
        let holds = |tests: Vec<Test>| Condition::Field { path: path.clone(), tests }.matches(&document);
        let eq = holds(vec![Test::Eq(operand.clone())]);
        let gt = holds(vec![Test::Gt(operand.clone())]);
        prop_assert_eq!(holds(vec![Test::Ne(operand.clone())]), !eq);
        prop_assert_eq!(holds(vec![Test::Not(vec![Test::Gt(operand.clone())])]), !gt);
        prop_assert_eq!(holds(vec![Test::Eq(operand.clone()), Test::Gt(operand.clone())]), eq && gt);
        prop_assert_eq!(holds(vec![Test::In(ValueSet::new(vec![operand.clone()]))]), eq);
        let any = list.iter().any(|value| holds(vec![Test::Eq(value.clone())]));
        prop_assert_eq!(holds(vec![Test::In(ValueSet::new(list.clone()))]), any);
        prop_assert_eq!(holds(vec![Test::Nin(ValueSet::new(list.clone()))]), !any);
        let every = list.iter().all(|value| holds(vec![Test::Eq(value.clone())]));
        prop_assert_eq!(holds(vec![Test::All(ValueSet::new(list))]), every);
        let exists = holds(vec![Test::Exists(true)]);
        prop_assert_eq!(holds(vec![Test::Exists(false)]), !exists);
        if !exists {
            prop_assert_eq!(eq, operand.is_null());
            prop_assert!(!gt && !holds(vec![Test::Lte(operand.clone())]) && !holds(vec![Test::Type(Kind::ALL.to_vec())]));
        }
        let gte = holds(vec![Test::Gte(operand.clone())]);
        prop_assert_eq!(gte, gt || (exists && eq));
    }

    #[test]
    fn reading_never_panics(value in value_of(4)) {
        let _ = Filter::parse(&value);
    }
}
