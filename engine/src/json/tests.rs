//! Tests of reading, writing, ordering and walking values; helpers for the tests of other modules.

use std::cmp::Ordering;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// The value that `text` stands for.
#[track_caller]
pub(crate) fn value(text: &str) -> Value {
    parse(text.as_bytes(), &Limits::default()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Any number, those at the edges of their ranges more often than chance would have it.
fn number() -> impl Strategy<Value = Value> {
    let float = prop_oneof![
        any::<f64>().prop_filter("finite", |float| float.is_finite()),
        (-4i32..4).prop_map(|n| f64::from(n) / 2.0),
        any::<i64>().prop_map(|int| int as f64),
        Just(-0.0),
        Just(f64::MAX),
        Just(5e-324),
    ];
    prop_oneof![
        (-3i64..4).prop_map(Value::Int),
        any::<i64>().prop_map(Value::Int),
        any::<u64>().prop_map(Value::from),
        float.prop_map(Value::Float),
    ]
}

/// Any value, at most `depth` deep, with few different keys and scalars so that equal ones meet.
pub(crate) fn value_of(depth: u32) -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        number(),
        "[ab]{0,2}".prop_map(Value::String),
        any::<String>().prop_map(Value::String),
    ];
    scalar.prop_recursive(depth, 48, 4, |inner| {
        let key = prop_oneof!["[abc0]", any::<String>()];
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::btree_map(key, inner, 0..4)
                .prop_map(|entries| entries.into_iter().collect::<Vec<_>>())
                .prop_shuffle()
                .prop_map(Value::Object),
        ]
    })
}

#[track_caller]
fn refused(text: impl AsRef<[u8]>, code: &str, offset: usize) {
    let text = text.as_ref();
    let error = parse(text, &Limits::default()).expect_err(&String::from_utf8_lossy(text));
    assert_eq!((error.code(), error.offset), (code, offset), "{}: {error}", String::from_utf8_lossy(text));
}

#[test]
fn reads_what_the_grammar_allows() {
    let object = |entries: &[(&str, Value)]| {
        Value::Object(entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect())
    };
    for (text, expected) in [
        ("null", Value::Null),
        (" \t\r\n true ", Value::Bool(true)),
        ("false", Value::Bool(false)),
        ("0", Value::Int(0)),
        ("-1", Value::Int(-1)),
        ("9223372036854775807", Value::Int(i64::MAX)),
        ("-9223372036854775808", Value::Int(i64::MIN)),
        ("9223372036854775808", Value::UInt(1 << 63)),
        ("18446744073709551615", Value::UInt(u64::MAX)),
        ("1.0", Value::Float(1.0)),
        ("1e2", Value::Float(100.0)),
        ("1E+2", Value::Float(100.0)),
        ("0.1", Value::Float(0.1)),
        ("0e9999", Value::Float(0.0)),
        ("0.000e-9999", Value::Float(0.0)),
        ("1.7976931348623157e308", Value::Float(f64::MAX)),
        ("5e-324", Value::Float(5e-324)),
        ("9007199254740993.0", Value::Float(9_007_199_254_740_992.0)),
        (r#""""#, Value::from("")),
        (r#""a\"\\\/\b\f\n\r\t\u0041\uD83D\uDE00é😀""#, Value::from("a\"\\/\u{8}\u{c}\n\r\tA😀é😀")),
        ("\"\u{7f}\u{2028}\"", Value::from("\u{7f}\u{2028}")),
        ("[]", Value::Array(vec![])),
        ("[ 1 , [ ] , {} ]", Value::Array(vec![Value::Int(1), Value::Array(vec![]), Value::empty_object()])),
        ("{\"b\":1, \"a\":{\"b\":2} }", object(&[("b", Value::Int(1)), ("a", object(&[("b", Value::Int(2))]))])),
    ] {
        assert_eq!(value(text), expected, "{text}");
    }
}

#[test]
fn negative_zero_keeps_its_sign_and_equals_zero() {
    for text in ["-0", "-0.0", "-0e5"] {
        let Value::Float(float) = value(text) else { panic!("{text} is a float") };
        assert!(float == 0.0 && float.is_sign_negative());
        assert_eq!(value(text).to_bytes(), b"-0.0");
        assert!(value(text).equals(&Value::Int(0)));
    }
}

#[test]
fn refuses_what_is_not_json() {
    for (text, offset) in [
        ("", 0),
        ("  ", 2),
        ("nul", 3),
        ("nulL", 3),
        ("True", 0),
        ("NaN", 0),
        ("Infinity", 0),
        ("-Infinity", 1),
        ("+1", 0),
        (".5", 0),
        ("1.", 2),
        ("1.e5", 2),
        ("1e", 2),
        ("1e+", 3),
        ("01", 1),
        ("-", 1),
        ("-01", 2),
        ("0x10", 1),
        ("1 2", 2),
        ("{} x", 3),
        ("[1,]", 3),
        ("[,1]", 1),
        ("[1 2]", 3),
        ("[1", 2),
        ("[", 1),
        ("]", 0),
        ("{", 1),
        ("{\"a\"}", 4),
        ("{\"a\":}", 5),
        ("{\"a\":1,}", 7),
        ("{\"a\" 1}", 5),
        ("{a:1}", 1),
        ("{1:1}", 1),
        ("[1}", 2),
        ("{\"a\":1]", 6),
        ("'a'", 0),
        ("\"a", 2),
        ("\"\u{1}\"", 1),
        ("\"\n\"", 1),
        ("\u{feff}1", 0),
        ("// c\n1", 0),
    ] {
        refused(text, "invalid_json", offset);
    }
    for text in [r#""\x""#, r#""\u12""#, r#""\uZZZZ""#, r#""\"#, "\"a\0b\""] {
        assert_eq!(parse(text.as_bytes(), &Limits::default()).unwrap_err().code(), "invalid_json", "{text}");
    }
}

#[test]
fn refuses_half_a_surrogate_pair() {
    for text in [r#""\uD800""#, r#""\uDC00""#, r#""\uD800\uD800""#, r#""\uD800x""#, r#""\uD800\n""#, r#"{"\uDFFF":1}"#]
    {
        assert_eq!(parse(text.as_bytes(), &Limits::default()).unwrap_err().code(), "invalid_json", "{text}");
    }
}

#[test]
fn refuses_what_is_not_utf8() {
    refused(b"\"a\xff\"", "invalid_utf8", 2);
    refused(b"\"\\n\xc3\"", "invalid_utf8", 3);
    refused(b"{\"\xed\xa0\x80\":1}", "invalid_utf8", 2);
    refused(b"[1,\xff]", "invalid_utf8", 3);
    refused(b"1\xff", "invalid_utf8", 1);
    refused(b"\"\xc0\x80\"", "invalid_utf8", 1);
    refused(b"[}\xff", "invalid_json", 1);
}

#[test]
fn refuses_numbers_that_do_not_fit() {
    for text in ["9223372036854775809e0", "18446744073709551616.0"] {
        assert!(matches!(value(text), Value::Float(_)), "{text} is a float as written");
    }
    for text in [
        "18446744073709551616",
        "-9223372036854775809",
        "1e309",
        "-1e309",
        "1.7976931348623159e308",
        "1e-400",
        "-1e-400",
        "2e-324",
        "1e99999999999999999999",
        "1e-99999999999999999999",
    ] {
        refused(text, "number_out_of_range", 0);
    }
    let long = "1".repeat(100_000);
    assert_eq!(parse(long.as_bytes(), &Limits::default()).unwrap_err().code(), "number_out_of_range");
}

#[test]
fn refuses_a_key_that_comes_twice() {
    refused(r#"{"a":1,"a":2}"#, "duplicate_key", 7);
    refused(r#"{"a":1 , "\u0061":2}"#, "duplicate_key", 9);
    refused(r#"[{"b":{"a":1,"c":2,"a":3}}]"#, "duplicate_key", 19);
    refused(r#"{"":1,"":1}"#, "duplicate_key", 6);
    let keys = |count: usize| (0..count).map(|n| format!("\"k{n}\":0")).collect::<Vec<_>>().join(",");
    for count in [15, 16, 17, 18, 1_000] {
        let all = format!("{{{}}}", keys(count));
        assert_eq!(value(&all).as_object().unwrap().len(), count);
        for again in [0, count / 2, count - 1] {
            let twice = format!("{{{},\"k{again}\":1}}", keys(count));
            refused(&twice, "duplicate_key", all.len());
        }
    }
}

#[test]
fn says_where() {
    let error = parse(b"{\n  \"a\": 1,\n  \"a\": 2\n}", &Limits::default()).unwrap_err();
    assert_eq!((error.line, error.column, error.offset), (3, 3, 14));
    assert_eq!(error.to_string(), "the key \"a\" comes twice at line 3, column 3");
}

#[test]
fn depth_is_bounded_without_using_the_stack() {
    let nested = |open: &str, close: &str, depth: usize| open.repeat(depth) + &close.repeat(depth);
    let limits = Limits { depth_max: 3 };
    assert!(parse(nested("[", "]", 3).as_bytes(), &limits).is_ok());
    assert_eq!(parse(nested("[", "]", 4).as_bytes(), &limits).unwrap_err().code(), "nesting_too_deep");
    assert_eq!(parse(br#"{"a":{"b":{"c":{}}}}"#, &limits).unwrap_err().offset, 15);
    assert!(parse(br#"{"a":{"b":{"c":1}}}"#, &limits).is_ok());
    assert!(parse(b"1", &Limits { depth_max: 0 }).is_ok());
    assert!(parse(b"[]", &Limits { depth_max: 0 }).is_err());
    assert_eq!(value(&nested("[", "]", 64)).depth(), 64);
    for hostile in ["[".repeat(1_000_000), "{\"a\":".repeat(1_000_000), nested("[", "]", 1_000_000)] {
        for depth_max in [64, usize::MAX] {
            let error = parse(hostile.as_bytes(), &Limits { depth_max }).unwrap_err();
            assert_eq!(error.code(), "nesting_too_deep");
        }
    }
}

#[test]
fn writes_compact_canonical_text() {
    for text in [
        r#"{"b":[1,1.0,-0.0,1e300,1e-7,0.1,1e16,-5,18446744073709551615],"a":null,"t":[true,false]}"#,
        r#""\"\\\b\f\n\r\t\u0000\u001f/é😀""#,
        "[[],{}]",
    ] {
        assert_eq!(String::from_utf8(value(text).to_bytes()).unwrap(), text);
    }
    assert_eq!(value("[ 1.50, 100E0 ]").to_string(), "[1.5,100.0]");
}

#[test]
fn sorts_kinds_and_within_kinds() {
    let ascending = [
        "null",
        "false",
        "true",
        "-1e300",
        "-9223372036854775808",
        "-0.5",
        "0",
        "5e-324",
        "0.5",
        "1",
        "9007199254740992.0",
        "9007199254740993",
        "9223372036854775807",
        "9223372036854775808.0",
        "9223372036854775809",
        "18446744073709551615",
        "18446744073709551616.0",
        "1e300",
        r#""""#,
        r#""A""#,
        r#""a""#,
        r#""aa""#,
        r#""é""#,
        "\"\u{ffff}\"",
        "\"\u{10000}\"",
        "[]",
        "[null]",
        "[1]",
        "[1,0]",
        "[2]",
        r#"["a"]"#,
        "[[]]",
        "[{}]",
        "{}",
        r#"{"a":1}"#,
        r#"{"b":0,"a":1}"#,
        r#"{"a":1,"c":0}"#,
        r#"{"a":2}"#,
        r#"{"b":0}"#,
    ];
    for (i, a) in ascending.iter().enumerate() {
        for (j, b) in ascending.iter().enumerate() {
            assert_eq!(value(a).compare(&value(b)), i.cmp(&j), "{a} and {b}");
        }
    }
}

#[test]
fn equal_values() {
    for (a, b) in [
        ("1", "1.0"),
        ("0", "-0"),
        ("9223372036854775808", "9223372036854775808.0"),
        ("9007199254740992", "9007199254740992.0"),
        ("[1,2.0]", "[1.0,2]"),
        (r#"{"a":1,"b":2}"#, r#"{"b":2.0,"a":1}"#),
    ] {
        assert!(value(a).equals(&value(b)), "{a} and {b}");
        assert_ne!(value(a), value(b), "structurally they differ");
    }
}

#[test]
fn reads_paths() {
    for text in ["a", "a.b", "a.0.b", "_revision", "é. ", &vec!["a"; PATH_SEGMENTS_MAX].join(".")] {
        assert_eq!(Path::parse(text).unwrap().to_string(), text);
    }
    assert_eq!(Path::parse(""), Err(PathError::EmptySegment));
    assert_eq!(Path::parse("a."), Err(PathError::EmptySegment));
    assert_eq!(Path::parse(".a"), Err(PathError::EmptySegment));
    assert_eq!(Path::parse("a..b"), Err(PathError::EmptySegment));
    assert_eq!(Path::parse("a.$b"), Err(PathError::Dollar));
    assert_eq!(Path::parse(&vec!["a"; PATH_SEGMENTS_MAX + 1].join(".")), Err(PathError::TooManySegments));
    assert_eq!(Path::parse(&"a".repeat(PATH_BYTES_MAX + 1)), Err(PathError::TooLong));
    let index = |text: &str| Path::parse(text).unwrap().segments()[0].index();
    assert_eq!(index("0"), Some(0));
    assert_eq!(index("17"), Some(17));
    assert_eq!(index("01"), None);
    assert_eq!(index("-1"), None);
    assert_eq!(index("+1"), None);
    assert_eq!(index("99999999999999999999999"), None);
}

#[test]
fn walks_paths() {
    let document = value(
        r#"{"a":{"b":1},"l":[{"b":2},3,{"c":0},{"b":[4,5]},[{"b":6}]],"e":[],"n":null,"o":{"0":7},"d":[{"x":[{"y":8},{"y":9}]}]}"#,
    );
    let reached = |path: &str| {
        let mut all = Vec::new();
        Path::parse(path).unwrap().any(&document, &mut |value| {
            all.push(value.clone());
            false
        });
        Value::Array(all)
    };
    for (path, expected) in [
        ("a", r#"[{"b":1}]"#),
        ("a.b", "[1]"),
        ("a.b.c", "[]"),
        ("l.b", "[2,[4,5]]"),
        ("l.0", r#"[{"b":2}]"#),
        ("l.0.b", "[2]"),
        ("l.3.b.1", "[5]"),
        ("l.b.1", "[5]"),
        ("l.4.b", "[6]"),
        ("l.9", "[]"),
        ("e", "[[]]"),
        ("e.b", "[]"),
        ("e.0", "[]"),
        ("n", "[null]"),
        ("n.x", "[]"),
        ("o.0", "[7]"),
        ("d.x.y", "[8,9]"),
        ("zz", "[]"),
    ] {
        assert_eq!(reached(path), value(expected), "{path}");
    }
}

/// `a` and `b * 2^exponent`, compared by integers alone.
fn model(a: i128, b: i64, exponent: i32) -> Ordering {
    match exponent {
        0.. => a.cmp(&(i128::from(b) << exponent)),
        _ => (a << -exponent).cmp(&i128::from(b)),
    }
}

fn integer() -> impl Strategy<Value = i128> {
    let any = prop_oneof![any::<i64>().prop_map(i128::from), any::<u64>().prop_map(i128::from), (-20i128..20).boxed(),];
    let edges =
        (prop::sample::select(vec![52u32, 53, 54, 60, 62, 63]), -3i128..4).prop_map(|(bits, by)| (1i128 << bits) + by);
    prop_oneof![any, edges]
}

fn integer_value(int: i128) -> Value {
    i64::try_from(int).map_or_else(|_| Value::UInt(u64::try_from(int).unwrap()), Value::Int)
}

proptest! {
    #[test]
    fn what_is_written_reads_back(value in value_of(6)) {
        let bytes = value.to_bytes();
        let back = parse(&bytes, &Limits::default()).unwrap();
        prop_assert_eq!(&back, &value);
        prop_assert_eq!(back.to_bytes(), bytes, "zeros keep their sign too");
        prop_assert!(back.equals(&value));
    }

    #[test]
    fn every_float_reads_back_as_a_float(bits in any::<u64>()) {
        let float = f64::from_bits(bits);
        prop_assume!(float.is_finite());
        let back = parse(&Value::Float(float).to_bytes(), &Limits::default()).unwrap();
        prop_assert!(matches!(back, Value::Float(back) if back.to_bits() == bits));
    }

    #[test]
    fn the_order_is_total(a in value_of(3), b in value_of(3), c in value_of(3)) {
        prop_assert_eq!(a.compare(&a), Ordering::Equal);
        prop_assert_eq!(a.compare(&b), b.compare(&a).reverse());
        let mut sorted = [&a, &b, &c];
        sorted.sort_by(|a, b| a.compare(b));
        prop_assert!(sorted[0].compare(sorted[2]).is_le());
        if a.equals(&b) {
            prop_assert_eq!(a.compare(&c), b.compare(&c));
        }
    }

    #[test]
    fn numbers_compare_exactly(a in integer(), mantissa in -(1i64 << 53)..=(1i64 << 53), exponent in -11i32..12) {
        let float = mantissa as f64 * f64::from(exponent).exp2();
        let (int, float) = (integer_value(a), Value::Float(float));
        prop_assert_eq!(int.compare(&float), model(a, mantissa, exponent));
        prop_assert_eq!(float.compare(&int), model(a, mantissa, exponent).reverse());
    }

    #[test]
    fn numbers_compare_exactly_next_to_each_other(a in integer(), steps in -2i32..3) {
        let near = (0..steps.abs()).fold(a as f64, |float, _| if steps < 0 { float.next_down() } else { float.next_up() });
        // The float is a whole number of 2^-20ths at this size, or so small that the sign of the difference is plain.
        let scaled = near * 1_048_576.0;
        prop_assume!(scaled.fract() == 0.0);
        prop_assert_eq!(integer_value(a).compare(&Value::Float(near)), (a << 20).cmp(&(scaled as i128)));
    }

    #[test]
    fn reads_what_another_reader_reads(text in r#"[\[\]{}:,"0-9a\\ueE.+\- \n]{0,24}|(\{|\[)("a"|"b"|:|,|1|-0|[0-9.eE+-]{1,6}|\[|\]|\{|\}|true|null| ){0,16}"#) {
        let ours = parse(text.as_bytes(), &Limits::default());
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) => {
                let again: serde_json::Value = serde_json::from_slice(&ours.to_bytes()).unwrap();
                prop_assert_eq!(&again, theirs);
            }
            (Err(error), Ok(_)) => {
                prop_assert!(matches!(error.kind, ErrorKind::DuplicateKey | ErrorKind::NumberOutOfRange), "{}", error);
            }
            (Err(_), Err(_)) => {}
            (Ok(_), Err(theirs)) => prop_assert!(false, "{} is not JSON: {}", text, theirs),
        }
    }

    #[test]
    fn never_panics(bytes in vec(any::<u8>(), 0..64), text in "[\"\\\\uDd8Cc0-9{}:,\u{80}-\u{900}]{0,32}") {
        let _ = parse(&bytes, &Limits::default());
        let _ = parse(text.as_bytes(), &Limits::default());
        let _ = Path::parse(&text);
    }
}

proptest! {
    /// What is read of a document in part is what the whole shows of it, whatever was read before.
    #[test]
    fn members_are_read_as_in_the_whole(documents in vec(value_of(4), 1..6), names in vec("[a-d]", 0..4)) {
        let mut members = Members::default();
        names.iter().for_each(|name| members.add_name(name));
        let mut reader = MembersReader::new(members.clone());
        for document in documents {
            let all = match document {
                Value::Object(all) => all,
                other => vec![("a".into(), other)],
            };
            let expected = all.iter().filter(|(name, _)| names.contains(name)).cloned().collect();
            let (expected, bytes) = (Value::Object(expected), Value::Object(all).to_bytes());
            prop_assert_eq!(reader.read(&bytes, 0).unwrap(), &expected);
            prop_assert_eq!(parse_members(&bytes, 0, &members).unwrap(), expected);
        }
    }

    /// The same of text with blanks, escaped names, or an end that is missing: the quick way leaves it to the parser.
    #[test]
    fn members_of_other_text_are_read_as_in_the_whole(document in value_of(4), blank in "[ \n\t]", cut in any::<Index>(), names in vec("[a-d]", 1..4)) {
        let mut members = Members::default();
        names.iter().for_each(|name| members.add_name(name));
        let text = Value::Object(vec![("a".into(), document)]).to_bytes();
        let text = String::from_utf8(text).unwrap().replace("{\"a\":", &format!("{{{blank}\"\\u0061\"{blank}:"));
        let whole = parse(text.as_bytes(), &STORED).unwrap();
        let expected = whole.as_object().unwrap().iter().filter(|(name, _)| names.contains(name)).cloned().collect();
        prop_assert_eq!(parse_members(text.as_bytes(), 0, &members), Ok(Value::Object(expected)));
        let cut = &text.as_bytes()[..cut.index(text.len())];
        if let Ok(Value::Object(found)) = parse_members(cut, 0, &members) {
            prop_assert_eq!(found.len(), members.names().count(), "an object that does not end has not been seen in full");
        }
    }
}
