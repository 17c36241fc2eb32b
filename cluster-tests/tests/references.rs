//! References on three nodes: children and parents race each other while the leader is killed, and nobody ever refers to what is
//! not there; a reference over documents that are there already; and what a newcomer sees.

// Tests measure real time, and stop at the first surprise.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::ensure;
use cluster_tests::{Client, Cluster, Dice, Options, figure};
use reqwest::Method;
use serde_json::{Value, json};

const PARENTS: u64 = 40;
const SOON: Duration = Duration::from_secs(60);

/// What a load is told, and what it tells.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    written: AtomicU64,
    deleted: AtomicU64,
    refused: AtomicU64,
}

/// Writes children and deletes parents, which come back. Requests may fail while the leader changes.
async fn load(number: u64, clients: Vec<Client>, load: Arc<Load>) {
    let mut dice = Dice(number);
    while !load.stop.load(Ordering::Relaxed) {
        let client = &clients[dice.below(3) as usize];
        let parent = format!("p{:02}", dice.below(PARENTS));
        let kind = ["restricting", "cascading", "emptying"][dice.below(3) as usize];
        // So few of the first kind that most parents can go.
        let child = format!("k{:03}", dice.below(if kind == "restricting" { 12 } else { 300 }));
        let (answer, count) = match dice.below(10) {
            0..3 => (client.delete(&format!("/api/parents/{parent}")).await, &load.deleted),
            3..5 => (client.put(&format!("/api/parents/{parent}"), &json!({"n": 1})).await, &load.written),
            5 if kind == "restricting" => (client.delete(&format!("/api/{kind}/{child}")).await, &load.deleted),
            5 | 6 => {
                let both = json!({"operations": [
                    {"op": "put", "collection": kind, "id": child, "document": {"of": parent}},
                    {"op": "put", "collection": "parents", "id": parent, "document": {}},
                ]});
                (client.post("/transactions", &both).await, &load.written)
            }
            _ => {
                let other = format!("p{:02}", dice.below(PARENTS));
                let of = if dice.below(2) == 0 { json!(parent) } else { json!([parent, other]) };
                (client.put(&format!("/api/{kind}/{child}"), &json!({"of": of})).await, &load.written)
            }
        };
        // Nodes come and go.
        let Ok(answer) = answer else { continue };
        match answer.status.as_u16() {
            200..300 => count.fetch_add(1, Ordering::Relaxed),
            409 => {
                assert_eq!(answer.code(), Some("reference_violation"), "{answer}");
                load.refused.fetch_add(1, Ordering::Relaxed)
            }
            status => {
                assert!(status == 404 || status >= 500, "{answer}");
                continue;
            }
        };
    }
}

/// All documents of a collection.
async fn all(client: &Client, collection: &str) -> Vec<Value> {
    let page = client.get(&format!("/api/{collection}?limit=1000")).await.unwrap().expect_status(200).unwrap();
    assert!(page.body["next_cursor"].is_null(), "there are more than a page");
    page.body["items"].as_array().unwrap().clone()
}

fn ids(value: &Value) -> Vec<String> {
    match value {
        Value::String(id) => vec![id.clone()],
        Value::Array(items) => items.iter().flat_map(ids).collect(),
        _ => Vec::new(),
    }
}

/// How many references there are on this node; each leads to a document.
async fn whole(client: &Client) -> usize {
    let parents: BTreeSet<String> = all(client, "parents").await.iter().flat_map(|it| ids(&it["id"])).collect();
    let mut references = 0;
    for kind in ["restricting", "cascading", "emptying"] {
        for child in all(client, kind).await {
            for id in ids(&child["of"]) {
                assert!(parents.contains(&id), "{kind} {child} refers to what is not there");
                references += 1;
            }
        }
    }
    references
}

async fn create(client: &Client, body: Value) {
    client.post("/admin/collections", &body).await.unwrap().expect_status(201).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_refers_to_what_is_gone_though_the_leader_is_killed() {
    let cluster = Cluster::start(3, Options { proxy: false, ..Options::default() }).await.unwrap();
    let clients: Vec<_> = cluster.ids().map(|id| cluster.client(id)).collect();
    create(&clients[0], json!({"name": "parents"})).await;
    for (name, on_delete) in [("restricting", "restrict"), ("cascading", "cascade"), ("emptying", "set_null")] {
        let references = json!([{"field": "of", "collection": "parents", "on_delete": on_delete}]);
        create(&clients[1], json!({"name": name, "references": references})).await;
    }
    let told = Arc::new(Load::default());
    let loads: Vec<_> = (0..6).map(|n| tokio::spawn(load(n, clients.clone(), told.clone()))).collect();
    let figures = || [&told.written, &told.deleted, &told.refused].map(|figure| figure.load(Ordering::Relaxed));
    for _ in 0..2 {
        let before = figures();
        let under_way = || async {
            let now = figures();
            ensure!(now.iter().zip(before).all(|(now, before)| *now > before + 100), "{now:?}");
            Ok(())
        };
        cluster.wait_until(SOON, "writes, deletes and refusals", under_way).await.unwrap();
        let leader = cluster.wait_leader(SOON).await.unwrap();
        cluster.node(leader.id).kill().unwrap();
        let before = figures();
        let goes_on = || async {
            let now = figures();
            ensure!(now.iter().zip(before).all(|(now, before)| *now > before + 20), "{now:?}");
            Ok(())
        };
        cluster.wait_until(SOON, "another leader's answers", goes_on).await.unwrap();
        cluster.node(leader.id).start().unwrap();
        cluster.wait_ready(SOON).await.unwrap();
    }
    told.stop.store(true, Ordering::Relaxed);
    for load in loads {
        load.await.unwrap();
    }
    cluster.wait_converged(SOON).await.unwrap();
    let mut references = BTreeSet::new();
    for client in &clients {
        references.insert(whole(client).await);
    }
    let [written, deleted, refused] = figures();
    figure("references", json!({"left": references, "written": written, "deleted": deleted, "refused": refused}));
    assert_eq!(references.len(), 1, "the nodes differ");
}

async fn described(client: &Client) -> anyhow::Result<Value> {
    Ok(client.get("/admin/collections/children").await?.expect_status(200)?.body)
}

/// The references of `children`, once none of them is being built.
async fn settled(cluster: &Cluster, client: &Client) -> Value {
    let look = || async {
        let references = described(client).await?["references"].clone();
        let building = references.as_array().into_iter().flatten().any(|reference| reference["state"] == "building");
        ensure!(!building, "{references}");
        Ok(references)
    };
    cluster.wait_until(SOON, "the end of the build", look).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reference_is_built_over_what_is_there_though_the_leader_is_killed() {
    const CHILDREN: usize = 30_000;
    let cluster = Cluster::start(3, Options { proxy: false, ..Options::default() }).await.unwrap();
    let clients: Vec<_> = cluster.ids().map(|id| cluster.client(id)).collect();
    let leader = cluster.wait_leader(SOON).await.unwrap();
    let other = &clients[leader.id as usize % 3];
    create(other, json!({"name": "parents"})).await;
    create(other, json!({"name": "children"})).await;
    let parents: Vec<_> = (0..PARENTS).map(|n| json!({"id": format!("p{n:02}")})).collect();
    other.post("/api/parents", &json!(parents)).await.unwrap().expect_status(201).unwrap();
    for from in (0..CHILDREN).step_by(1_000) {
        let child = |n: usize| {
            let of = if n == 20_000 { "p99".to_owned() } else { format!("p{:02}", n % 40) };
            json!({"id": format!("k{n:05}"), "of": of})
        };
        let children: Vec<_> = (from..from + 1_000).map(child).collect();
        other.post("/api/children", &json!(children)).await.unwrap().expect_status(201).unwrap();
    }
    // One document stands against it.
    let body = json!({"references": [{"field": "of", "collection": "parents", "on_delete": "set_null"}]});
    let set = other.patch("/admin/collections/children", &body).await.unwrap();
    assert!([202, 409].contains(&set.status.as_u16()), "{set}");
    let failed = settled(&cluster, other).await;
    assert_eq!(failed[0]["state"], "failed", "{failed}");
    let failure = failed[0]["failure"].as_str().unwrap();
    assert!(["k20000", "p99", "of"].iter().all(|word| failure.contains(word)), "{failed}");
    // It binds nothing.
    other.put("/api/children/x", &json!({"of": "p99"})).await.unwrap().expect_status(201).unwrap();
    other.delete("/api/children/x").await.unwrap().expect_status(204).unwrap();
    other.delete("/api/children/k20000").await.unwrap().expect_status(204).unwrap();

    let set = other.patch("/admin/collections/children", &body);
    let killed = async {
        let begun = || async {
            let references = described(other).await?["references"].clone();
            ensure!(references[0]["state"] != "failed", "{references}");
            Ok(references[0]["state"] == "building")
        };
        let building = cluster.wait_until(SOON, "a build that has begun", begun).await.unwrap();
        cluster.node(leader.id).kill().unwrap();
        building
    };
    let (set, building) = tokio::join!(set, killed);
    let set = set.unwrap();
    assert!([200, 202].contains(&set.status.as_u16()), "{set}");
    cluster.wait_leader(SOON).await.unwrap();
    let bad = other.put("/api/children/x", &json!({"of": "p99"})).await.unwrap();
    assert_eq!((bad.status.as_u16(), bad.code()), (409, Some("reference_violation")), "{bad}");
    let ready = settled(&cluster, other).await;
    assert_eq!(ready[0]["state"], "ready", "{ready}");
    figure("reference_build", json!({"killed_while_building": building}));
    cluster.node(leader.id).start().unwrap();
    cluster.wait_ready(SOON).await.unwrap();
    // Each parent has 750 children: they lose it at the revision at which it goes.
    let gone = other.delete("/api/parents/p07").await.unwrap().expect_status(204).unwrap();
    cluster.wait_converged(SOON).await.unwrap();
    for client in &clients {
        let request = client.request(Method::GET, "/api/children");
        let filter = format!(r#"{{"of":null,"_revision":{}}}"#, gone.header("aerodb-revision").unwrap());
        let found = request.query(&[("filter", filter.as_str()), ("count", "exact"), ("limit", "1")]).send().await;
        let found = found.unwrap().expect_status(200).unwrap();
        assert_eq!(found.body["count"], 750, "{found}");
    }
}

/// A document that others refer to stays though its time is over, and goes once they are gone; all others go meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_refer_to_ends_after_them() {
    const EXPIRED: usize = 3_000;
    let cluster = Cluster::start(1, Options { proxy: false, ..Options::default() }).await.unwrap();
    let client = cluster.client(1);
    create(&client, json!({"name": "parents"})).await;
    let references = json!([{"field": "of", "collection": "parents"}]);
    create(&client, json!({"name": "children", "references": references})).await;
    for from in (0..EXPIRED).step_by(1_000) {
        let parent = |n: usize| json!({"id": format!("p{n:04}"), "at": "2020-01-01T00:00:00Z"});
        let parents: Vec<_> = (from..from + 1_000).map(parent).collect();
        client.post("/api/parents", &json!(parents)).await.unwrap().expect_status(201).unwrap();
    }
    // A thousand of them, so that many steps meet some, and some meet nothing else.
    for of in 0..1_000 {
        let child = json!({"id": format!("k{of:04}"), "of": format!("p{:04}", if of < 600 { of } else { of * 3 })});
        client.post("/api/children", &child).await.unwrap().expect_status(201).unwrap();
    }
    let kept = (0..600).chain((600..1_000).map(|of| of * 3)).collect::<BTreeSet<_>>().len();
    let index = json!({"name": "end", "fields": ["at"], "ttl_seconds": 60});
    let made = client.post("/admin/collections/parents/indexes", &index).await.unwrap();
    assert!([201, 202].contains(&made.status.as_u16()), "{made}");
    let left = |expected: usize| {
        let client = &client;
        move || async move {
            let page = client.get("/api/parents?limit=1&count=exact").await?.expect_status(200)?;
            ensure!(page.body["count"] == expected, "{page}");
            Ok(())
        }
    };
    cluster.wait_until(SOON, "all others to go", left(kept)).await.unwrap();
    let gone = client.request(Method::DELETE, "/api/children").query(&[("filter", "{}")]).send().await.unwrap();
    gone.expect_status(200).unwrap();
    cluster.wait_until(SOON, "the rest to go", left(0)).await.unwrap();
}

/// What a newcomer sees: shapes, words, the feed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn references_say_what_is_wrong() {
    let cluster = Cluster::start(1, Options { proxy: false, ..Options::default() }).await.unwrap();
    let client = cluster.client(1);
    for (references, status, code) in [
        (json!([{"field": "by", "collection": "users"}]), 404, "collection_not_found"),
        (json!([{"field": "by", "collection": "posts", "on_delete": "maybe"}]), 400, "invalid_reference"),
        (json!([{"field": "by", "collection": "posts", "also": 1}]), 400, "unknown_parameter"),
        (json!([{"field": "by..x", "collection": "posts"}]), 400, "invalid_path"),
        (json!([{"field": "by"}]), 400, "invalid_reference"),
        (json!({"field": "by"}), 400, "invalid_reference"),
        (
            json!([{"field": "by", "collection": "posts"}, {"field": "by", "collection": "posts"}]),
            400,
            "invalid_reference",
        ),
    ] {
        let body = json!({"name": "posts", "references": references});
        let answer = client.post("/admin/collections", &body).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.code()), (status, Some(code)), "{body}: {answer}");
    }
    create(&client, json!({"name": "users"})).await;
    let references = json!([
        {"field": "author_id", "collection": "users"},
        {"field": "parent", "collection": "posts", "on_delete": "cascade"},
    ]);
    let body = json!({"name": "posts", "references": references});
    let made = client.post("/admin/collections", &body).await.unwrap().expect_status(201).unwrap();
    let expected = json!([
        {"field": "author_id", "collection": "users", "on_delete": "restrict", "state": "ready", "index": "_ref_author_id"},
        {"field": "parent", "collection": "posts", "on_delete": "cascade", "state": "ready", "index": "_ref_parent"},
    ]);
    assert_eq!(made.body["references"], expected, "{made}");
    let seen = client.get("/admin/collections/posts").await.unwrap().expect_status(200).unwrap();
    assert_eq!(seen.body["references"], expected, "{seen}");

    let bad = client.post("/api/posts", &json!([{"id": "a"}, {"id": "b", "author_id": "u1"}])).await.unwrap();
    assert_eq!((bad.status.as_u16(), bad.code()), (409, Some("reference_violation")), "{bad}");
    assert_eq!((&bad.body["document_id"], &bad.body["index"]), (&json!("b"), &json!(1)), "{bad}");
    assert_eq!(bad.body["errors"][0]["path"], "/1/author_id", "{bad}");
    assert!(bad.body["detail"].as_str().unwrap().contains("\"u1\" in \"users\""), "{bad}");
    client.put("/api/users/u1", &json!({})).await.unwrap().expect_status(201).unwrap();
    let posts = json!([{"id": "a", "author_id": "u1"}, {"id": "b", "parent": "a"}, {"id": "c", "parent": ["b"]}]);
    client.post("/api/posts", &posts).await.unwrap().expect_status(201).unwrap();
    let bad = client.delete("/api/users/u1").await.unwrap();
    assert_eq!((bad.status.as_u16(), bad.code()), (409, Some("reference_violation")), "{bad}");
    assert!(bad.body["detail"].as_str().unwrap().contains("\"a\" of \"posts\""), "{bad}");
    let bad = client.delete("/admin/collections/users").await.unwrap();
    assert_eq!((bad.status.as_u16(), bad.code()), (409, Some("collection_referenced")), "{bad}");
    let bad = client.delete("/admin/collections/posts/indexes/_ref_parent").await.unwrap();
    assert_eq!((bad.status.as_u16(), bad.code()), (409, Some("index_of_reference")), "{bad}");

    // All go at one revision, as the feed and history say.
    let gone = client.delete("/api/posts/a").await.unwrap().expect_status(204).unwrap();
    let revision: u64 = gone.header("aerodb-revision").unwrap().parse().unwrap();
    let feed = client.get(&format!("/api/posts/_changes?since={}", revision - 1)).await.unwrap();
    let events: Vec<Value> = feed.body.as_str().unwrap().lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    let deleted = events.iter().filter(|event| event["type"] == "delete" && event["revision"] == revision);
    assert_eq!(deleted.count(), 3, "{events:?}");
    let history = client.get("/api/posts/c/_history").await.unwrap().expect_status(200).unwrap();
    assert_eq!(history.body["items"][0]["to"], revision, "{history}");

    // Another set of references: one stays, one goes with its index, one comes.
    let references = json!([
        {"field": "author_id", "collection": "users", "on_delete": "set_null"},
        {"field": "editors", "collection": "users"},
    ]);
    let set = client.patch("/admin/collections/posts", &json!({"references": references})).await.unwrap();
    assert!([200, 202].contains(&set.status.as_u16()), "{set}");
    let indexes = client.get("/admin/collections/posts/indexes").await.unwrap().expect_status(200).unwrap();
    let names: Vec<_> = indexes.body["items"].as_array().unwrap().iter().map(|index| &index["name"]).collect();
    assert_eq!(names, ["_ref_author_id", "_ref_editors"], "{indexes}");
    assert_eq!(
        indexes.body["items"][0]["reference"],
        json!({"collection": "users", "on_delete": "set_null"}),
        "{indexes}"
    );
    let none = client.patch("/admin/collections/posts", &json!({"references": null})).await.unwrap();
    assert!(none.expect_status(200).unwrap().body["references"].is_null());
    client.delete("/admin/collections/users").await.unwrap().expect_status(204).unwrap();
}
