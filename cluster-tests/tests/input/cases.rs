//! What must be refused, and with which word.

use serde_json::json;

/// A request that must be refused.
#[derive(Clone, Debug)]
pub struct Case {
    pub method: &'static str,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
    /// Without a length, in chunks.
    pub chunked: bool,
    pub key: Key,
    pub status: u16,
    pub code: &'static str,
}

/// What the request has to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Service,
    None,
}

impl Case {
    fn new(method: &'static str, target: impl Into<String>, status: u16, code: &'static str) -> Self {
        Self {
            method,
            target: target.into(),
            headers: Vec::new(),
            body: None,
            chunked: false,
            key: Key::Service,
            status,
            code,
        }
    }

    fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    fn without_key(mut self) -> Self {
        self.key = Key::None;
        self
    }
}

/// Percent-encodes everything: the target is to arrive as it is.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn list(query: &str, code: &'static str) -> Case {
    Case::new("GET", format!("/api/c?{query}"), 400, code)
}

fn filter(filter: &str, code: &'static str) -> Case {
    list(&format!("filter={}", encoded(filter)), code)
}

fn query(body: &str, code: &'static str) -> Case {
    Case::new("POST", "/api/c/query", 400, code).body(body)
}

fn put(body: impl Into<Vec<u8>>, status: u16, code: &'static str) -> Case {
    Case::new("PUT", "/api/c/new", status, code).body(body)
}

fn insert(body: impl Into<Vec<u8>>, status: u16, code: &'static str) -> Case {
    Case::new("POST", "/api/c", status, code).body(body)
}

/// `depth` arrays within each other, and objects.
fn deep(depth: usize) -> [String; 2] {
    let arrays = format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let objects = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    [arrays, objects]
}

/// Bodies that are no document.
pub fn bodies() -> Vec<Case> {
    let mut cases = Vec::new();
    let texts: [(&[u8], &str); 22] = [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b"{\"a\":1", "invalid_json"),
        (b"{\"a\":1}x", "invalid_json"),
        (b"{\"a\":1}{}", "invalid_json"),
        (b"{'a':1}", "invalid_json"),
        (b"{\"a\":NaN}", "invalid_json"),
        (b"{\"a\":Infinity}", "invalid_json"),
        (b"{\"a\":01}", "invalid_json"),
        (b"{\"a\":1,}", "invalid_json"),
        (b"{\"a\":\"\x00\"}", "invalid_json"),
        (b"{\"a\":\"x\ny\"}", "invalid_json"),
        (b"\x00{\"a\":1}", "invalid_json"),
        (b"{\"a\":\"\\ud800\"}", "invalid_json"),
        (b"{\"a\":\"\xff\"}", "invalid_utf8"),
        (b"{\"\xc3\x28\":1}", "invalid_utf8"),
        (b"{\"a\":18446744073709551616}", "number_out_of_range"),
        (b"{\"a\":-9223372036854775809}", "number_out_of_range"),
        (b"{\"a\":1e400}", "number_out_of_range"),
        (b"{\"a\":[-1e400]}", "number_out_of_range"),
        (b"{\"a\":1,\"a\":2}", "duplicate_key"),
        (b"{\"a\":{\"b\":1,\"c\":2,\"b\":1}}", "duplicate_key"),
    ];
    for (text, code) in texts {
        cases.extend([put(text, 400, code), insert(text, 400, code)]);
        cases.push(Case::new("PATCH", "/api/c/a", 400, code).body(text));
    }
    for text in ["[1]", "3", "\"x\"", "null", "true"] {
        cases.push(put(text, 400, "not_an_object"));
        cases.push(Case::new("PATCH", "/api/c/a", 400, "not_an_object").body(text));
    }
    cases.push(put("[{}]", 400, "not_an_object"));
    cases.push(insert("[{\"id\":\"n1\"},3]", 400, "not_an_object"));
    cases.push(insert("[[{}]]", 400, "not_an_object"));
    for text in deep(65).into_iter().chain(deep(10_000)).chain(deep(300_000)) {
        cases.extend([put(text.clone(), 400, "nesting_too_deep"), insert(text, 400, "nesting_too_deep")]);
    }
    for (text, code) in [
        (r#"{"_x":1}"#, "reserved_field"),
        (r#"{"_id":1}"#, "reserved_field"),
        (r#"{"a.b":1}"#, "invalid_field_name"),
        (r#"{"$a":1}"#, "invalid_field_name"),
        (r#"{"a":[{"$b":1}]}"#, "invalid_field_name"),
    ] {
        cases.extend([put(text, 422, code), insert(text, 422, code)]);
        cases.push(insert(format!("[{{\"id\":\"n1\"}},{text}]"), 422, code));
        cases.push(Case::new("PATCH", "/api/c/a", 422, code).body(text));
    }
    cases
}

/// Bodies that are too large, with their length announced and without.
pub fn sizes() -> Vec<Case> {
    let padded = |bytes: usize| format!("{{\"pad\":\"{}\"}}", "x".repeat(bytes));
    let many = |count: usize| json!((0..count).map(|n| json!({"id": format!("m{n}")})).collect::<Vec<_>>()).to_string();
    vec![
        put(padded(1 << 20), 413, "document_too_large"),
        insert(padded((1 << 20) + 1), 413, "document_too_large"),
        insert(format!("[{{\"id\":\"n1\"}},{}]", padded(1 << 20)), 413, "document_too_large"),
        put(padded(1 << 20), 413, "document_too_large").chunked(),
        // More than any body of that route.
        put(padded(3 << 20), 413, "body_too_large"),
        put(padded(3 << 20), 413, "body_too_large").chunked(),
        insert(padded(9 << 20), 413, "body_too_large"),
        insert(padded(9 << 20), 413, "body_too_large").chunked(),
        Case::new("PATCH", "/api/c/a", 413, "body_too_large").body(padded(3 << 20)),
        query(&format!("{{\"filter\":{{\"a\":\"{}\"}}}}", "x".repeat(2 << 20)), "").but(413, "body_too_large"),
        Case::new("POST", "/admin/collections", 413, "body_too_large").body(padded(2 << 20)),
        // Only the leader can see that a patch makes a document too large: `big` has 600 KiB.
        Case::new("PATCH", "/api/c/big", 413, "document_too_large")
            .body(padded(0).replace("pad", "more").replace("\"\"", &format!("\"{}\"", "y".repeat(600 << 10)))),
        insert(many(1_001), 413, "too_many_documents"),
        put("{}", 413, "body_too_large").header("x-note", "announced only").announced(1 << 40),
    ]
}

impl Case {
    fn but(self, status: u16, code: &'static str) -> Self {
        Self { status, code, ..self }
    }

    /// Says that the body has so many bytes, whatever it has.
    fn announced(self, bytes: u64) -> Self {
        self.header("content-length", bytes.to_string())
    }
}

/// Ids that none may have, in paths and in bodies.
pub fn ids() -> Vec<Case> {
    let long = "x".repeat(129);
    let wide = "ä".repeat(65);
    let bad = ["", ".", "..", "_x", "__", "a\u{0}b", "\u{0}", "a\nb", "\u{7f}", "\u{85}", &long, &wide];
    let mut cases = Vec::new();
    for id in bad {
        for method in ["GET", "PUT", "PATCH", "DELETE"] {
            cases.push(Case::new(method, format!("/api/c/{}", encoded(id)), 400, "invalid_id").body("{}"));
        }
        let body = json!({"id": id, "n": 1}).to_string();
        cases.push(insert(body.clone(), 400, "invalid_id"));
        cases.push(insert(format!("[{{\"id\":\"n1\"}},{body}]"), 400, "invalid_id"));
    }
    for id in ["7", "null", "[]", "{}", "true"] {
        cases.push(insert(format!("{{\"id\":{id}}}"), 400, "invalid_id"));
        cases.push(put(format!("{{\"id\":{id}}}"), 400, "invalid_id"));
    }
    cases.push(put(r#"{"id":"other"}"#, 422, "id_mismatch"));
    cases.push(Case::new("PATCH", "/api/c/a", 422, "id_mismatch").body(r#"{"id":"b"}"#));
    cases.push(Case::new("PUT", "/api/c/a%FFb", 400, "invalid_utf8").body("{}"));
    cases.push(Case::new("GET", format!("/api/c/{}/_history", encoded("_x")), 400, "invalid_id"));
    cases
}

/// Lists that cannot be made.
pub fn lists() -> Vec<Case> {
    let mut cases = Vec::new();
    for bad in ["-1", "0", "1001", "abc", "", "1.5", "1e2", "%2B5", "99999999999999999999"] {
        cases.push(list(&format!("limit={bad}"), "invalid_parameter"));
    }
    for bad in ["-1", "100001", "x"] {
        cases.push(list(&format!("offset={bad}"), "invalid_parameter"));
    }
    for (what, code) in [
        ("page=2", "unknown_parameter"),
        ("Limit=2", "unknown_parameter"),
        ("limit=1&limit=2", "invalid_parameter"),
        ("count=maybe", "invalid_parameter"),
        ("order=n,,k", "invalid_order"),
        ("order=n.desc,n", "invalid_order"),
        ("order=asc", "invalid_order"),
        ("order=rows.x", "invalid_order"),
        ("order=a,b,c,d,e,f,g,h,i", "invalid_order"),
        ("select=", "invalid_select"),
        ("select=a..b", "invalid_select"),
        ("cursor=nonsense", "invalid_cursor"),
        ("cursor=", "invalid_cursor"),
        ("cursor=%00", "invalid_cursor"),
        ("offset=5&cursor=x", "invalid_parameter"),
        ("as_of=-1", "invalid_parameter"),
        ("as_of=latest", "invalid_parameter"),
        ("as_of=4000000000", "revision_ahead"),
        ("as_of=18446744073709551615", "revision_ahead"),
        ("consistency=eventual", "invalid_parameter"),
        ("consistency=", "invalid_parameter"),
        ("max_staleness_ms=5", "invalid_parameter"),
        ("consistency=stale&max_staleness_ms=-1", "invalid_parameter"),
        ("filter=%FF", "invalid_utf8"),
        ("filter=%7", "invalid_parameter"),
    ] {
        cases.push(list(what, code));
    }
    cases.push(Case::new("GET", "/api/c/a?as_of=4000000000", 400, "revision_ahead"));
    cases.push(Case::new("GET", "/api/c/a?limit=5", 400, "unknown_parameter"));
    cases.push(Case::new("PUT", "/api/c/a?upsert=true", 400, "unknown_parameter").body("{}"));
    cases.push(Case::new("POST", "/api/c?limit=5", 400, "unknown_parameter").body("{}"));
    cases.push(Case::new("GET", "/api/c/_changes?since=4000000000", 400, "revision_ahead"));
    cases.push(Case::new("GET", "/api/c/_changes?since=-1", 400, "invalid_parameter"));
    cases.push(Case::new("GET", "/api/c/_changes?limit=0", 400, "invalid_parameter"));
    cases.push(list("consistency=session", "invalid_header").header("aerodb-min-revision", "x"));
    cases.push(list("consistency=stale", "invalid_header").header("aerodb-min-revision", "5"));
    cases
}

/// Filters that are none.
pub fn filters() -> Vec<Case> {
    let nested = |depth: usize| format!("{}{{\"n\":1}}{}", "{\"$not\":".repeat(depth), "}".repeat(depth));
    let texts = [
        ("{", "invalid_json"),
        ("", "invalid_json"),
        (r#"{"n":1,"n":2}"#, "duplicate_key"),
        (r#"{"n":1e999}"#, "number_out_of_range"),
        (r#"{"n":18446744073709551616}"#, "number_out_of_range"),
        ("[]", "invalid_filter"),
        ("3", "invalid_filter"),
        ("null", "invalid_filter"),
        (r#"{"n":{"$near":1}}"#, "unknown_operator"),
        (r#"{"$where":"1"}"#, "unknown_operator"),
        (r#"{"n":{"$gt":1,"x":2}}"#, "invalid_filter"),
        (r#"{"n":{"$in":1}}"#, "invalid_filter"),
        (r#"{"n":{"$nin":{}}}"#, "invalid_filter"),
        (r#"{"n":{"$exists":1}}"#, "invalid_filter"),
        (r#"{"n":{"$not":1}}"#, "invalid_filter"),
        (r#"{"$and":{}}"#, "invalid_filter"),
        (r#"{"$and":[]}"#, "invalid_filter"),
        (r#"{"$or":[1]}"#, "invalid_filter"),
        (r#"{"$not":3}"#, "invalid_filter"),
        (r#"{"$gt":3}"#, "invalid_filter"),
        (r#"{"a..b":1}"#, "invalid_path"),
        (r#"{"":1}"#, "invalid_path"),
    ];
    let mut cases: Vec<Case> = texts.iter().map(|(text, code)| filter(text, code)).collect();
    // As a body too, where `null` means that there is none.
    for (text, code) in texts.iter().filter(|(text, _)| !matches!(*text, "" | "null" | "{")) {
        cases.push(query(&format!("{{\"filter\":{text}}}"), code));
    }
    let list = (0..1_001).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let long = format!(r#"{{"n":{{"$in":[{list}]}}}}"#);
    let wide = format!(r#"{{"$or":[{}]}}"#, vec![r#"{"n":1}"#; 257].join(","));
    for (text, code) in [
        (nested(17), "filter_too_deep"),
        (nested(10_000), "nesting_too_deep"),
        (long, "filter_too_large"),
        (wide, "filter_too_large"),
    ] {
        cases.push(query(&format!("{{\"filter\":{text}}}"), code));
    }
    cases.push(filter(&nested(17), "filter_too_deep"));
    for (body, code) in [
        ("[]", "invalid_parameter"),
        ("{", "invalid_json"),
        (r#"{"limit":"5"}"#, "invalid_parameter"),
        (r#"{"limit":5.0}"#, "invalid_parameter"),
        (r#"{"limit":-1}"#, "invalid_parameter"),
        (r#"{"limit":1001}"#, "invalid_parameter"),
        (r#"{"order":["n"]}"#, "invalid_parameter"),
        (r#"{"order":"n,n"}"#, "invalid_order"),
        (r#"{"select":[1]}"#, "invalid_select"),
        (r#"{"select":7}"#, "invalid_select"),
        (r#"{"count":true}"#, "invalid_parameter"),
        (r#"{"cursor":7}"#, "invalid_parameter"),
        (r#"{"as_of":"7"}"#, "invalid_parameter"),
        (r#"{"as_of":4000000000}"#, "revision_ahead"),
        (r#"{"unknown":1}"#, "unknown_parameter"),
    ] {
        cases.push(query(body, code));
    }
    cases
}

/// What the state stands against: there is `a`, at some revision, and the key `used` was used.
pub fn conflicts() -> Vec<Case> {
    let one = |method, status, code| Case::new(method, "/api/c/a", status, code).body("{\"n\":5}");
    let gone = |method| Case::new(method, "/api/c/missing", 404, "not_found").body("{\"n\":5}");
    vec![
        one("PUT", 412, "precondition_failed").header("if-match", "\"4000000000\""),
        one("PATCH", 412, "precondition_failed").header("if-match", "\"4000000000\""),
        one("DELETE", 412, "precondition_failed").header("if-match", "\"4000000000\""),
        one("PUT", 412, "precondition_failed").header("if-match", "W/\"1\""),
        one("PUT", 412, "precondition_failed").header("if-match", "\"other\""),
        one("PUT", 412, "precondition_failed").header("if-none-match", "*"),
        Case::new("PUT", "/api/c/missing", 412, "precondition_failed").body("{}").header("if-match", "*"),
        Case::new("PUT", "/api/c/missing", 412, "precondition_failed").body("{}").header("if-match", "\"1\""),
        one("PUT", 400, "invalid_header").header("if-match", "1"),
        one("PUT", 400, "invalid_header").header("if-none-match", "\"1\""),
        insert("{\"n\":1}", 400, "invalid_header").header("if-match", "*"),
        one("PUT", 422, "idempotency_key_reused").header("idempotency-key", "used"),
        one("PUT", 400, "invalid_header").header("idempotency-key", "x".repeat(256)),
        one("PUT", 400, "invalid_header").header("idempotency-key", ""),
        insert("{\"id\":\"a\",\"n\":1}", 409, "already_exists"),
        insert("[{\"id\":\"n1\"},{\"id\":\"a\"}]", 409, "already_exists"),
        insert("[{\"id\":\"n1\"},{\"id\":\"n1\"}]", 409, "already_exists"),
        gone("GET"),
        gone("PATCH"),
        gone("DELETE"),
        Case::new("GET", "/api/c/missing/_history", 404, "not_found"),
    ]
}

/// Places that do not exist, and ways that are not open.
pub fn routes() -> Vec<Case> {
    let mut cases = Vec::new();
    for name in ["nowhere", "_api_keys", "1abc", "a%2Fb", "a%00b", &"x".repeat(65)] {
        for (method, rest) in [
            ("GET", ""),
            ("POST", ""),
            ("GET", "/a"),
            ("PUT", "/a"),
            ("PATCH", "/a"),
            ("DELETE", "/a"),
            ("POST", "/query"),
            ("GET", "/_changes"),
            ("GET", "/a/_history"),
        ] {
            cases.push(Case::new(method, format!("/api/{name}{rest}"), 404, "collection_not_found").body("{}"));
        }
        cases.push(Case::new("GET", format!("/admin/collections/{name}"), 404, "collection_not_found"));
        cases.push(Case::new("DELETE", format!("/admin/collections/{name}"), 404, "collection_not_found"));
    }
    for path in ["/", "/nope", "/api", "/api/c/a/b/c", "/admin/nope", "/cluster/nope", "/API/c"] {
        cases.push(Case::new("GET", path, 404, "route_not_found"));
    }
    for (method, path) in [
        ("PUT", "/api/c"),
        ("POST", "/api/c/a"),
        ("PUT", "/cluster"),
        ("POST", "/health/live"),
        ("DELETE", "/metrics"),
        ("BREW", "/api/c/a"),
    ] {
        cases.push(Case::new(method, path, 405, "method_not_allowed").body("{}"));
    }
    for method in ["DELETE", "PATCH"] {
        // Without a filter it would be all documents.
        cases.push(Case::new(method, "/api/c", 400, "invalid_parameter").body("{}"));
        cases.push(Case::new(method, "/api/c?filter=%7B", 400, "invalid_json").body("{}"));
        cases.push(Case::new(method, "/api/c?filter=%7B%7D&max_affected=0", 400, "invalid_parameter").body("{}"));
    }
    cases.push(Case::new("GET", "/cluster/nodes/abc", 400, "invalid_parameter"));
    cases.push(Case::new("GET", "/cluster/nodes/0", 400, "invalid_parameter"));
    cases.push(Case::new("GET", "/cluster/nodes/7", 404, "node_not_found"));
    cases.push(Case::new("POST", "/cluster/nodes/7/promote", 404, "node_not_found"));
    cases.push(Case::new("GET", "/cluster?x=1", 400, "unknown_parameter"));
    for (body, status, code) in [
        ("", 400, "invalid_json"),
        ("[]", 400, "invalid_parameter"),
        ("{}", 400, "invalid_parameter"),
        (r#"{"name":7}"#, 400, "invalid_parameter"),
        (r#"{"name":"d","name":"e"}"#, 400, "duplicate_key"),
        (r#"{"name":"d","shards":4}"#, 400, "invalid_parameter"),
        (r#"{"name":"d","history":{"retention_seconds":-1}}"#, 400, "invalid_parameter"),
        (r#"{"name":"d","history":{"retention_seconds":0}}"#, 400, "invalid_parameter"),
        (r#"{"name":"d","history":{"bytes_max":0}}"#, 400, "invalid_parameter"),
        (r#"{"name":"d","history":{"revisions_max":"all"}}"#, 400, "invalid_parameter"),
        (r#"{"name":""}"#, 400, "invalid_collection_name"),
        (r#"{"name":"_d"}"#, 400, "invalid_collection_name"),
        (r#"{"name":"1d"}"#, 400, "invalid_collection_name"),
        (r#"{"name":"d/e"}"#, 400, "invalid_collection_name"),
        (r#"{"name":"c"}"#, 409, "collection_exists"),
    ] {
        cases.push(Case::new("POST", "/admin/collections", status, code).body(body));
    }
    cases
}

/// Who may not ask, and in which form nobody may.
pub fn callers() -> Vec<Case> {
    let mut cases = Vec::new();
    for (method, path) in [
        ("GET", "/api/c/a"),
        ("PUT", "/api/c/a"),
        ("POST", "/api/c"),
        ("GET", "/api/nowhere"),
        ("GET", "/cluster"),
        ("POST", "/cluster/nodes/1/promote"),
        ("GET", "/admin/digest"),
        ("DELETE", "/admin/collections/c"),
    ] {
        let case = |headers: &[(&str, &str)]| {
            let case = Case::new(method, path, 401, "unauthorized").without_key().body("{}");
            headers.iter().fold(case, |case, (name, value)| case.header(name, *value))
        };
        cases.push(case(&[]));
        cases.push(case(&[("authorization", "Bearer wrong")]));
        cases.push(case(&[("authorization", "Bearer ")]));
        cases.push(case(&[("authorization", "Basic YTpi")]));
        cases.push(case(&[("apikey", "wrong")]));
    }
    let form =
        |content_type: &str| put("{\"n\":1}", 415, "unsupported_media_type").header("content-type", content_type);
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/xml",
        "application/json; charset=latin1",
        "application/x-ndjson",
    ] {
        cases.push(form(content_type));
    }
    cases.push(put("{\"n\":1}", 415, "unsupported_media_type").header("content-encoding", "gzip"));
    cases.push(
        Case::new("POST", "/api/c/query", 415, "unsupported_media_type")
            .body("{}")
            .header("content-type", "text/plain"),
    );
    cases
}
