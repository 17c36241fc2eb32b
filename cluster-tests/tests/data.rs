//! The data API from end to end, on three nodes: each of them takes each request.

// Tests measure real time, and stop at the first surprise.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use cluster_tests::{Answer, Client, Cluster, Options};
use reqwest::Method;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(10);
/// Old history is looked for every ten seconds.
const COLLECTED: Duration = Duration::from_secs(30);

/// A cluster, and the nodes in turn: no two requests in a row go to the same one.
struct Walk {
    cluster: Cluster,
    turn: Mutex<u64>,
    /// Methods and paths that were used.
    used: Mutex<BTreeSet<(String, String)>>,
}

impl Walk {
    async fn start() -> Self {
        let cluster = Cluster::start(3, Options { proxy: false, ..Options::default() }).await.unwrap();
        Self { cluster, turn: Mutex::default(), used: Mutex::default() }
    }

    fn next(&self) -> Client {
        let mut turn = self.turn.lock().unwrap();
        *turn += 1;
        self.cluster.client(*turn % 3 + 1)
    }

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Answer {
        let plain = path.split('?').next().unwrap().to_owned();
        self.used.lock().unwrap().insert((method.to_string().to_ascii_lowercase(), plain));
        let mut request = self.next().request(method, path);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        assert!(
            answer.header("aerodb-node").is_some() && answer.header("x-request-id").is_some(),
            "{path}: {:?}",
            answer.headers
        );
        assert!(answer.revision().is_some(), "{path}: {:?}", answer.headers);
        answer
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], None).await
    }

    async fn ok(&self, path: &str) -> Value {
        self.get(path).await.expect_status(200).unwrap().body
    }

    async fn write(&self, method: Method, path: &str, body: Value, status: u16) -> Answer {
        self.send(method, path, &[], Some(&body)).await.expect_status(status).unwrap()
    }
}

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

/// A filter as it stands in a URL.
fn filter(filter: Value) -> String {
    let encoded: String = filter.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("filter={encoded}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_document_from_its_insert_to_its_end() {
    let walk = Walk::start().await;
    let made = walk
        .write(Method::POST, "/admin/collections", json!({"name": "notes", "history": {"retention_seconds": 600}}), 201)
        .await;
    assert_eq!((&made.body["name"], &made.body["history"]["retention_seconds"]), (&"notes".into(), &600.into()));
    assert_eq!(made.header("location"), Some("/admin/collections/notes"));

    // Insert, with an id of its own and without.
    let one =
        walk.write(Method::POST, "/api/notes", json!({"id": "a", "n": 1, "tags": ["x"], "in": {"b": 2}}), 201).await;
    let first = one.revision().unwrap();
    assert_eq!((one.header("etag"), one.header("location")), (Some(&*format!("\"{first}\"")), Some("/api/notes/a")));
    assert_eq!((&one.body["_revision"], &one.body["_created_at"]), (&first.into(), &one.body["_updated_at"]));
    let named = walk.write(Method::POST, "/api/notes", json!({"n": 0}), 201).await;
    assert_eq!(named.body["id"].as_str().map(str::len), Some(36), "a UUID: {named}");
    assert_eq!(named.revision(), Some(first + 1), "one revision a write");

    // All nodes read it, exactly as it was answered.
    for _ in 0..3 {
        let read = walk.get("/api/notes/a").await.expect_status(200).unwrap();
        assert_eq!((&read.body, read.header("etag")), (&one.body, one.header("etag")));
        let etag = one.header("etag").unwrap();
        let same = walk.send(Method::GET, "/api/notes/a", &[("if-none-match", etag)], None).await;
        assert_eq!((same.status.as_u16(), &same.body), (304, &Value::Null), "{same}");
        let head = walk.send(Method::HEAD, "/api/notes/a", &[], None).await;
        assert_eq!((head.status.as_u16(), &head.body, head.header("etag")), (200, &Value::Null, Some(etag)));
    }
    let selected = walk.ok("/api/notes/a?select=in.b").await;
    assert_eq!(selected, json!({"id": "a", "_revision": first, "in": {"b": 2}}));

    // Replace: what was read can be sent back; preconditions hold.
    let mut sent_back = one.body.clone();
    sent_back["n"] = 2.into();
    let etag = one.header("etag").unwrap().to_owned();
    let two = walk
        .send(Method::PUT, "/api/notes/a", &[("if-match", &etag)], Some(&sent_back))
        .await
        .expect_status(200)
        .unwrap();
    assert_eq!((&two.body["n"], &two.body["_created_at"]), (&2.into(), &one.body["_created_at"]));
    let late = walk.send(Method::PUT, "/api/notes/a", &[("if-match", &etag)], Some(&sent_back)).await;
    assert_eq!(late.code(), Some("precondition_failed"), "{late}");
    let created = walk.send(Method::PUT, "/api/notes/b", &[("if-none-match", "*")], Some(&json!({"n": 7}))).await;
    assert_eq!((created.status.as_u16(), created.header("location")), (201, Some("/api/notes/b")), "{created}");

    // Merge patch; one that changes nothing takes no revision.
    let three = walk.write(Method::PATCH, "/api/notes/a", json!({"n": 3, "tags": null, "in": {"c": [1]}}), 200).await;
    assert_eq!(
        (&three.body["n"], &three.body["in"], &three.body["tags"]),
        (&3.into(), &json!({"b": 2, "c": [1]}), &Value::Null)
    );
    let nothing = walk.write(Method::PATCH, "/api/notes/a", json!({"n": 3}), 200).await;
    assert_eq!(nothing.body, three.body);

    // The past, by revision and as a whole.
    for (revision, n) in [(first, 1), (two.revision().unwrap(), 2), (three.revision().unwrap(), 3)] {
        assert_eq!(walk.ok(&format!("/api/notes/a?as_of={revision}")).await["n"], n);
    }
    let before = walk.get(&format!("/api/notes/a?as_of={}", first - 1)).await;
    assert_eq!(before.status.as_u16(), 404, "{before}");
    let gone = walk.send(Method::DELETE, "/api/notes/a", &[], None).await.expect_status(204).unwrap();
    assert_eq!(walk.get("/api/notes/a").await.code(), Some("not_found"));
    assert_eq!(walk.ok(&format!("/api/notes/a?as_of={}", gone.revision().unwrap() - 1)).await["n"], 3);
    let history = walk.ok("/api/notes/a/_history").await;
    let versions: Vec<_> = history["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| (v["from"].as_u64(), v["to"].as_u64(), v["document"]["n"].as_u64()))
        .collect();
    let at = |answer: &Answer| answer.revision();
    assert_eq!(
        versions,
        [(Some(first), at(&two), Some(1)), (at(&two), at(&three), Some(2)), (at(&three), at(&gone), Some(3))]
    );

    // The feed, the same from every node, from any place.
    let mut feeds = Vec::new();
    for _ in 0..3 {
        let text = walk.ok(&format!("/api/notes/_changes?since={}", first - 1)).await;
        feeds.push(text.as_str().unwrap().to_owned());
    }
    assert!(feeds.iter().all(|feed| *feed == feeds[0]), "{feeds:?}");
    let events: Vec<Value> = feeds[0].lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["insert", "insert", "update", "insert", "update", "delete", "bookmark"]);
    assert_eq!((&events[2]["previous"], &events[2]["document"]), (&one.body, &two.body));
    assert_eq!(events[6]["revision"].as_u64(), at(&gone), "everything up to there was sent");
    let rest = walk.ok(&format!("/api/notes/_changes?since={}", at(&three).unwrap())).await;
    assert_eq!(rest.as_str().unwrap().lines().count(), 2, "the delete and the bookmark: {rest}");
    openapi(&walk).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_filtered_ordered_and_paged() {
    let walk = Walk::start().await;
    walk.write(Method::POST, "/admin/collections", json!({"name": "people"}), 201).await;
    let cities = ["Oslo", "Rome", "Lima"];
    let person = |n: usize| json!({"id": format!("p{n:03}"), "age": (n * 7) % 50, "city": cities[n % 3], "vip": n.is_multiple_of(10)});
    let answer = walk.write(Method::POST, "/api/people", (0..250).map(person).collect(), 201).await;
    assert_eq!(answer.body["items"].as_array().map(Vec::len), Some(250));
    let revision = answer.revision().unwrap();
    let all_one = answer.body["items"].as_array().unwrap().iter().all(|item| item["_revision"] == revision);
    assert!(all_one, "one write, one revision");

    let page = walk.ok("/api/people").await;
    assert_eq!((page["items"].as_array().map(Vec::len), page["next_cursor"].is_string()), (Some(100), true));
    assert_eq!(page["revision"], revision);
    for (query, count) in [
        (filter(json!({"city": "Oslo"})), 84),
        (filter(json!({"age": {"$gte": 21, "$lt": 30}})), 45),
        (filter(json!({"$or": [{"vip": true}, {"city": {"$in": ["Rome", "Lima"]}}]})), 175),
        (filter(json!({"city": {"$nin": ["Oslo"]}, "vip": {"$ne": true}})), 150),
        (filter(json!({"$not": {"city": "Oslo"}})), 166),
        (filter(json!({"nick": {"$exists": false}})), 250),
        (filter(json!({"id": "p007"})), 1),
    ] {
        let found = walk.ok(&format!("/api/people?count=exact&limit=1&{query}")).await;
        assert_eq!(found["count"], count, "{query}: {found}");
    }
    let ordered = walk.ok("/api/people?order=age.desc,id&limit=3&select=age").await;
    assert_eq!(ids(&ordered), ["p007", "p057", "p107"], "age 49: {ordered}");
    assert_eq!(ordered["items"][0], json!({"id": "p007", "_revision": revision, "age": 49}));
    let skipped = walk.ok("/api/people?limit=2&offset=248").await;
    assert_eq!((ids(&skipped), &skipped["next_cursor"]), (vec!["p248", "p249"], &Value::Null));
    let asked = walk
        .write(
            Method::POST,
            "/api/people/query",
            json!({"filter": {"city": "Rome"}, "order": "age", "limit": 5, "select": ["city"], "count": "exact"}),
            200,
        )
        .await;
    assert_eq!((asked.body["items"].as_array().map(Vec::len), &asked.body["count"]), (Some(5), &83.into()));

    // A walk by cursor, each page from another node, all at one revision while writes go on.
    for order in ["", "&order=city,age.desc"] {
        let whole = walk.ok(&format!("/api/people?limit=1000{order}")).await;
        let whole: Vec<String> = ids(&whole).into_iter().map(str::to_owned).collect();
        let (mut walked, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = walk.ok(&format!("/api/people?limit=60{order}{cursor}")).await;
            walked.extend(ids(&page).into_iter().map(str::to_owned));
            pages += 1;
            walk.write(
                Method::PUT,
                &format!("/api/people/p{:03}", pages * 70 % 250),
                json!({"age": 1000, "city": "Aa"}),
                200,
            )
            .await;
            walk.write(Method::PUT, &format!("/api/people/q{pages}{}", order.len()), json!({"city": "Zz"}), 201).await;
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(walked, whole, "{order}: what was there when it began, in its order, once each");
    }
    let before = walk.ok(&format!("/api/people?as_of={revision}&limit=1000&count=exact")).await;
    assert_eq!((before["items"].as_array().map(Vec::len), &before["count"]), (Some(250), &250.into()));

    let lines = walk.send(Method::GET, "/api/people", &[("accept", "application/x-ndjson")], None).await;
    let documents = walk.ok("/admin/collections/people/stats").await["documents"].as_u64();
    assert_eq!(lines.body.as_str().map(|text| text.lines().count() as u64), documents, "a stream holds them all");
    openapi(&walk).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_and_sessions_hold_on_every_node() {
    let walk = Walk::start().await;
    walk.write(Method::POST, "/admin/collections", json!({"name": "c"}), 201).await;

    // A retry gets the first answer, through whichever node, and nothing happens again.
    let requests = [
        (Method::POST, "/api/c", json!({"n": 1})),
        (Method::POST, "/api/c", json!([{"n": 1}, {"n": 2}])),
        (Method::PUT, "/api/c/x", json!({"n": 1})),
        (Method::PATCH, "/api/c/x", json!({"n": 2})),
        (Method::POST, "/admin/collections", json!({"name": "d"})),
        (Method::DELETE, "/api/c/x", Value::Null),
        (Method::DELETE, "/admin/collections/d", Value::Null),
    ];
    for (number, (method, path, body)) in requests.into_iter().enumerate() {
        let key = format!("k{number}");
        let headers = [("idempotency-key", key.as_str())];
        let body = Some(&body).filter(|body| !body.is_null());
        let first = walk.send(method.clone(), path, &headers, body).await.ok().unwrap();
        for _ in 0..3 {
            let again = walk.send(method.clone(), path, &headers, body).await;
            assert_eq!(
                (again.status, &again.body, again.revision()),
                (first.status, &first.body, first.revision()),
                "{method} {path}"
            );
        }
    }
    // Also after the document has moved on: the answer is the one that was given.
    let headers = [("idempotency-key", "moved")];
    let first = walk.send(Method::PUT, "/api/c/y", &headers, Some(&json!({"n": 1}))).await.ok().unwrap();
    walk.write(Method::PUT, "/api/c/y", json!({"n": 2}), 200).await;
    let again = walk.send(Method::PUT, "/api/c/y", &headers, Some(&json!({"n": 1}))).await.ok().unwrap();
    assert_eq!((&again.body, again.header("etag")), (&first.body, first.header("etag")));
    assert_eq!(walk.ok("/api/c/y").await["n"], 2, "and nothing was undone");
    let other = walk.send(Method::PUT, "/api/c/y", &headers, Some(&json!({"n": 3}))).await;
    assert_eq!(other.code(), Some("idempotency_key_reused"), "{other}");

    // Many at once under one key: one happens.
    let body = json!({"once": true});
    let at_once = (0..12).map(|_| walk.send(Method::POST, "/api/c", &[("idempotency-key", "once")], Some(&body)));
    let answers = futures::future::join_all(at_once).await;
    let made: BTreeSet<_> = answers.into_iter().map(|answer| answer.ok().unwrap().body["id"].to_string()).collect();
    assert_eq!(made.len(), 1, "{made:?}");
    let found = walk.ok(&format!("/api/c?count=exact&{}", filter(json!({"once": true})))).await;
    assert_eq!(found["count"], 1);

    // A session sees what it wrote, on every node; a linearizable read sees what anybody wrote.
    for n in 0..60 {
        let written = walk.write(Method::PUT, "/api/c/z", json!({"n": n}), if n == 0 { 201 } else { 200 }).await;
        let revision = written.revision().unwrap().to_string();
        for _ in 0..2 {
            let read = walk
                .send(Method::GET, "/api/c/z?consistency=session", &[("aerodb-min-revision", &revision)], None)
                .await;
            assert_eq!((read.status.as_u16(), &read.body["n"]), (200, &n.into()), "{read}");
        }
        assert_eq!(walk.ok("/api/c/z").await["n"], n);
        let stale = walk.get("/api/c/z?consistency=stale").await;
        assert!(stale.header("aerodb-age-ms").is_some_and(|age| age.parse::<u64>().is_ok()), "{:?}", stale.headers);
    }
    let session = [("aerodb-min-revision", "0")];
    walk.send(Method::GET, "/api/c?consistency=session", &session, None).await.ok().unwrap();
    let converged = walk.cluster.wait_converged(SOON).await.unwrap();
    assert!(converged.digest.is_some());
    openapi(&walk).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_array_is_inserted_as_a_whole_or_not_at_all() {
    let walk = Walk::start().await;
    walk.write(Method::POST, "/admin/collections", json!({"name": "c"}), 201).await;
    walk.write(Method::POST, "/api/c", json!({"id": "taken"}), 201).await;
    let refused = walk.write(Method::POST, "/api/c", json!([{"id": "one"}, {"id": "two"}, {"id": "taken"}]), 409).await;
    assert_eq!(
        (refused.code(), &refused.body["index"], &refused.body["document_id"]),
        (Some("already_exists"), &2.into(), &"taken".into())
    );
    assert_eq!(ids(&walk.ok("/api/c").await), ["taken"]);
    // Whoever looks while it happens sees none or all.
    let looks = async {
        let mut seen = BTreeSet::new();
        for _ in 0..200 {
            seen.insert(walk.ok("/api/c?count=exact&limit=1").await["count"].as_u64().unwrap());
        }
        seen
    };
    let inserts = async {
        for batch in 0..10 {
            let documents = (0..50).map(|n| json!({"id": format!("b{batch}-{n}")})).collect();
            walk.write(Method::POST, "/api/c", documents, 201).await;
        }
    };
    let (seen, ()) = tokio::join!(looks, inserts);
    assert!(seen.iter().all(|count| count % 50 == 1), "{seen:?}");
    assert!(seen.len() > 2, "it was watched while it happened: {seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collections_come_and_go() {
    let walk = Walk::start().await;
    assert_eq!(walk.ok("/admin/collections").await["items"], json!([]));
    for name in ["b", "a", "Zed_9-x"] {
        walk.write(Method::POST, "/admin/collections", json!({"name": name}), 201).await;
    }
    let listed = walk.ok("/admin/collections").await;
    let names: Vec<_> = listed["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Zed_9-x", "a", "b"], "by name");
    let described = walk.ok("/admin/collections/a").await;
    assert_eq!(described["history"]["retention_seconds"], 3_600, "the contract's default: {described}");

    for n in 0..10 {
        walk.write(Method::PUT, &format!("/api/a/{n}"), json!({"n": n}), 201).await;
    }
    let stats = walk.ok("/admin/collections/a/stats").await;
    assert_eq!(stats["documents"], 10);
    assert!(stats["bytes"].as_u64() > Some(500), "{stats}");
    walk.send(Method::DELETE, "/admin/collections/a", &[], None).await.expect_status(204).unwrap();
    for _ in 0..3 {
        assert_eq!(walk.get("/admin/collections/a").await.code(), Some("collection_not_found"));
        assert_eq!(walk.get("/api/a/1").await.code(), Some("collection_not_found"));
        let write = walk.send(Method::PUT, "/api/a/1", &[], Some(&json!({}))).await;
        assert_eq!(write.code(), Some("collection_not_found"), "{write}");
    }
    // One of the same name is another, and empty.
    let again = walk.write(Method::POST, "/admin/collections", json!({"name": "a"}), 201).await;
    assert_ne!(again.body["id"], described["id"]);
    for _ in 0..3 {
        let page = walk.ok("/api/a?count=exact").await;
        assert_eq!((&page["items"], &page["count"]), (&json!([]), &0.into()));
        assert_eq!(walk.get("/api/a/1/_history").await.code(), Some("not_found"));
    }
    walk.cluster.wait_converged(SOON).await.unwrap();
    openapi(&walk).await;
}

/// History goes by bytes and by revisions too, on all nodes alike, and what is kept is still whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_bounded_in_bytes_and_revisions() {
    const BYTES_MAX: u64 = 100_000;
    let walk = Walk::start().await;
    let made = json!({"name": "c", "history": {"bytes_max": BYTES_MAX}});
    let made = walk.write(Method::POST, "/admin/collections", made, 201).await;
    assert_eq!(
        made.body["history"],
        json!({"retention_seconds": 3_600, "revisions_max": null, "bytes_max": BYTES_MAX})
    );
    let text = "x".repeat(1_000);
    for n in 0..400 {
        let status = if n < 20 { 201 } else { 200 };
        walk.write(Method::PUT, &format!("/api/c/{}", n % 20), json!({"n": n, "text": text}), status).await;
    }
    let kept = || async {
        let bytes = walk.ok("/admin/collections/c/stats").await["history_bytes"].as_u64().unwrap();
        anyhow::ensure!(bytes <= BYTES_MAX, "{bytes} bytes of history are kept");
        Ok(bytes)
    };
    let kept = walk.cluster.wait_until(COLLECTED, "history within its bound", kept).await.unwrap();
    assert!(kept > BYTES_MAX / 2, "{kept} bytes of history are left");
    // What is left is as it was; what went is said to be gone.
    let gone = walk.get("/api/c/_changes?since=0").await;
    assert_eq!((gone.status.as_u16(), gone.code()), (410, Some("compacted")), "{gone}");
    let oldest = gone.body["oldest"].as_u64().unwrap_or_else(|| panic!("{gone}"));
    let before = walk.ok(&format!("/api/c?as_of={oldest}")).await;
    assert_eq!(before["items"].as_array().map(Vec::len), Some(20), "{before}");
    // A feed of some of it, on any node.
    let feed = walk.ok(&format!(r#"/api/c/_changes?since={oldest}&filter={{"n":{{"$gte":395}}}}"#)).await;
    let lines: Vec<Value> = feed.as_str().unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let updates = lines.iter().filter(|line| line["type"] == "update");
    let seen: Vec<_> = updates.map(|line| line["document"]["n"].as_u64().unwrap()).collect();
    assert_eq!(seen, [395, 396, 397, 398, 399], "{lines:?}");
    assert!(lines.iter().all(|line| line["type"] == "bookmark" || line["matches"] == true), "{lines:?}");
    // By revisions, and no longer by bytes.
    let change = json!({"history": {"revisions_max": 10, "bytes_max": null}});
    let changed = walk.write(Method::PATCH, "/admin/collections/c", change, 200).await;
    assert_eq!(changed.body["history"], json!({"retention_seconds": 3_600, "revisions_max": 10, "bytes_max": null}));
    let revision = walk.ok("/api/c?limit=1").await["revision"].as_u64().unwrap();
    let few = || async {
        let gone = walk.get(&format!("/api/c?as_of={}", revision - 15)).await;
        anyhow::ensure!(gone.code() == Some("compacted"), "{gone}");
        Ok(())
    };
    walk.cluster.wait_until(COLLECTED, "history of ten revisions", few).await.unwrap();
    walk.cluster.wait_converged(SOON).await.unwrap();
}

/// Every route that was used is in `/openapi.json`, on every node.
async fn openapi(walk: &Walk) {
    let used = walk.used.lock().unwrap().clone();
    let described = walk.next().with_token(None).get("/openapi.json").await.unwrap().expect_status(200).unwrap().body;
    let paths = described["paths"].as_object().expect("paths");
    let fits = |template: &str, path: &str| {
        let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        template.len() == path.len()
            && template.iter().zip(&path).all(|(part, given)| part.starts_with('{') || part == given)
    };
    for (method, path) in used {
        // HEAD is what GET is, without the body.
        let method = if method == "head" { "get".to_owned() } else { method };
        let found = paths.iter().any(|(template, methods)| fits(template, &path) && methods[&method].is_object());
        assert!(found, "{method} {path} is not in /openapi.json");
    }
}
