//! A schema comes into force on three nodes while writes go on and the leader is killed: from then on every document fits.

// Tests measure real time, and stop at the first surprise.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::ensure;
use cluster_tests::{Client, Cluster, Options, figure};
use serde_json::{Value, json};

const DOCUMENTS: usize = 40_000;
const SOON: Duration = Duration::from_secs(60);

fn schema() -> Value {
    json!({
        "type": "object",
        "required": ["n"],
        "properties": {"n": {"type": "integer", "minimum": 0}, "mail": {"format": "email"}},
        "additionalProperties": false,
    })
}

async fn fill(client: &Client) {
    for from in (0..DOCUMENTS).step_by(1_000) {
        let document = |n: usize| match n % 10_000 {
            // Four of them, among all others.
            7_777 => json!({"id": format!("{n:05}"), "n": "not a number"}),
            _ => json!({"id": format!("{n:05}"), "n": n}),
        };
        let documents: Vec<_> = (from..from + 1_000).map(document).collect();
        client.post("/api/c", &json!(documents)).await.unwrap().expect_status(201).unwrap();
    }
}

/// What a load is told, and what it tells.
#[derive(Default)]
struct Load {
    /// The schema binds: documents that do not fit are written too, to be refused.
    bound: AtomicBool,
    stop: AtomicBool,
    taken: AtomicU64,
    refused: AtomicU64,
}

async fn load(clients: Vec<Client>, load: Arc<Load>) {
    let mut n = 0_usize;
    while !load.stop.load(Ordering::Relaxed) {
        n += 1;
        let bad = n.is_multiple_of(4) && load.bound.load(Ordering::Relaxed);
        let document = if bad { json!({"n": -1, "x": 1}) } else { json!({"n": n}) };
        // Nodes come and go.
        let path = format!("/api/c/w{:05}", n * 37 % DOCUMENTS);
        let Ok(answer) = clients[n % 3].put(&path, &document).await else { continue };
        match answer.status.as_u16() {
            200 | 201 if !bad => load.taken.fetch_add(1, Ordering::Relaxed),
            422 if bad && answer.code() == Some("schema_violation") => load.refused.fetch_add(1, Ordering::Relaxed),
            status => {
                assert!(status >= 500, "bad: {bad}: {answer}");
                continue;
            }
        };
    }
}

async fn described(client: &Client) -> anyhow::Result<Value> {
    Ok(client.get("/admin/collections/c").await?.expect_status(200)?.body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_comes_into_force_under_load_though_the_leader_is_killed() {
    let cluster = Cluster::start(3, Options { proxy: false, ..Options::default() }).await.unwrap();
    let clients: Vec<_> = cluster.ids().map(|id| cluster.client(id)).collect();
    clients[0].post("/admin/collections", &json!({"name": "c"})).await.unwrap().expect_status(201).unwrap();
    fill(&clients[0]).await;

    // Documents stand against it: it does not come into force, and says which.
    let set = || async { clients[1].patch("/admin/collections/c", &json!({"schema": schema()})).await };
    let answer = set().await.unwrap();
    let over = |name: &'static str| {
        let client = &clients[1];
        move || async move {
            let collection = described(client).await?;
            ensure!(collection["schema_change"]["state"] != "checking", "{name}: {collection}");
            Ok(collection)
        }
    };
    let collection = cluster.wait_until(SOON, "the end of the first check", over("first")).await.unwrap();
    assert!([202, 409].contains(&answer.status.as_u16()), "{answer}");
    let change = &collection["schema_change"];
    assert_eq!((&change["state"], &change["offending_documents"]), (&json!("failed"), &json!(4)), "{collection}");
    assert_eq!(change["offenders"][0]["id"], "07777", "{collection}");
    assert_eq!((&change["offenders"][0]["path"], &change["offenders"][0]["keyword"]), (&json!("/n"), &json!("type")));
    assert!(collection["schema"].is_null());
    for n in (7_777..DOCUMENTS).step_by(10_000) {
        let fixed = clients[0].put(&format!("/api/c/{n:05}"), &json!({"n": n})).await.unwrap();
        fixed.expect_status(200).unwrap();
    }

    // Now they fit. Writes go on, and the leader goes away as soon as the check is seen to run.
    let told = Arc::new(Load::default());
    let loads: Vec<_> = (0..3).map(|_| tokio::spawn(load(clients.clone(), told.clone()))).collect();
    let leader = cluster.wait_leader(SOON).await.unwrap();
    let other = &clients[leader.id as usize % 3];
    let body = json!({"schema": schema()});
    let set = other.patch("/admin/collections/c", &body);
    let killed = async {
        let bound = || async {
            let collection = described(other).await?;
            ensure!(collection["schema_change"]["state"] == "checking" || !collection["schema"].is_null());
            Ok(collection["schema"].is_null())
        };
        let checking = cluster.wait_until(SOON, "a schema that binds", bound).await.unwrap();
        told.bound.store(true, Ordering::Relaxed);
        cluster.node(leader.id).kill().unwrap();
        checking
    };
    let (answer, checking) = tokio::join!(set, killed);
    assert!(answer.is_ok_and(|answer| [200, 202].contains(&answer.status.as_u16())));
    cluster.wait_leader(SOON).await.unwrap();
    let in_force = || async {
        let collection = described(other).await?;
        ensure!(collection["schema"] == schema(), "{collection}");
        Ok(())
    };
    cluster.wait_until(SOON, "the schema to be in force", in_force).await.unwrap();
    let refusals = || async {
        ensure!(told.refused.load(Ordering::Relaxed) > 0 && told.taken.load(Ordering::Relaxed) > 0);
        Ok(())
    };
    cluster.wait_until(SOON, "writes that are taken, and refused", refusals).await.unwrap();
    cluster.node(leader.id).start().unwrap();
    cluster.wait_ready(SOON).await.unwrap();
    told.stop.store(true, Ordering::Relaxed);
    for load in loads {
        load.await.unwrap();
    }
    figure("schema_check", json!({"killed_while_checking": checking, "taken": told.taken.load(Ordering::Relaxed)}));
    cluster.wait_converged(SOON).await.unwrap();
    for client in &clients {
        let filter = r#"{"$or":[{"n":{"$lt":0}},{"n":{"$not":{"$type":"number"}}},{"x":{"$exists":true}}]}"#;
        let found = client.request(reqwest::Method::GET, "/api/c").query(&[("filter", filter), ("count", "exact")]);
        let found = found.send().await.unwrap().expect_status(200).unwrap();
        assert_eq!(found.body["count"], 0, "{found}");
    }
}

/// What a newcomer sees: places, words, headers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemas_say_what_is_wrong() {
    let cluster = Cluster::start(1, Options { proxy: false, ..Options::default() }).await.unwrap();
    let client = cluster.client(1);
    for (body, status, code) in [
        (json!({"name": "c", "schema": {"type": "objec"}}), 400, "invalid_schema"),
        (json!({"name": "c", "schema": 7}), 400, "invalid_schema"),
        (json!({"name": "c", "schema": {"$ref": "http://127.0.0.1:1/x"}}), 400, "invalid_schema"),
        (json!({"name": "c", "validation": "warn"}), 400, "invalid_parameter"),
        (json!({"name": "c", "schema": {}, "validation": "maybe"}), 400, "invalid_parameter"),
    ] {
        let answer = client.post("/admin/collections", &body).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.code()), (status, Some(code)), "{body}: {answer}");
    }
    let made = client.post("/admin/collections", &json!({"name": "c", "schema": schema()})).await.unwrap();
    assert_eq!((&made.body["schema"], &made.body["validation"]), (&schema(), &json!("strict")), "{made}");

    let bad = client.post("/api/c", &json!([{"n": 1}, {"n": -1, "mail": "x"}])).await.unwrap();
    assert_eq!(
        (bad.status.as_u16(), bad.code(), &bad.body["index"]),
        (422, Some("schema_violation"), &json!(1)),
        "{bad}"
    );
    let mut places: Vec<_> =
        bad.body["errors"].as_array().unwrap().iter().map(|e| e["path"].as_str().unwrap()).collect();
    places.sort_unstable();
    assert_eq!(places, ["/1/mail", "/1/n"], "{bad}");
    let good = client.put("/api/c/a", &json!({"n": 1})).await.unwrap().expect_status(201).unwrap();
    assert_eq!(good.header("aerodb-schema-warning"), None);
    // What was read can be sent back: system fields are not the schema's business.
    client.put("/api/c/a", &good.body).await.unwrap().expect_status(200).unwrap();
    let bad = client.patch("/api/c/a", &json!({"$inc": {"n": -5}})).await.unwrap();
    assert_eq!((bad.status.as_u16(), &bad.body["errors"][0]["path"]), (422, &json!("/n")), "{bad}");

    let warn = client.patch("/admin/collections/c", &json!({"validation": "warn"})).await.unwrap();
    assert_eq!((warn.status.as_u16(), &warn.body["validation"]), (200, &json!("warn")), "{warn}");
    let taken = client.put("/api/c/b", &json!({"n": -1})).await.unwrap().expect_status(201).unwrap();
    assert!(
        taken.header("aerodb-schema-warning").is_some_and(|text| text.starts_with("1 documents do not fit; /n: ")),
        "{taken}"
    );
    // Back to strict: a document does not fit any more.
    let failed = client.patch("/admin/collections/c", &json!({"validation": "strict"})).await.unwrap();
    assert_eq!((failed.status.as_u16(), failed.code()), (409, Some("schema_check_failed")), "{failed}");
    assert_eq!(failed.body["errors"][0]["path"], "b#/n", "{failed}");
    client.delete("/api/c/b").await.unwrap().expect_status(204).unwrap();
    let strict = client.patch("/admin/collections/c", &json!({"validation": "strict"})).await.unwrap();
    assert_eq!((strict.status.as_u16(), &strict.body["validation"]), (200, &json!("strict")), "{strict}");

    let none =
        client.patch("/admin/collections/c", &json!({"schema": null, "history": {"retention_seconds": 60}})).await;
    let none = none.unwrap().expect_status(200).unwrap();
    assert!(none.body["schema"].is_null() && none.body["history"]["retention_seconds"] == 60, "{none}");
    client.put("/api/c/b", &json!({"n": -1})).await.unwrap().expect_status(201).unwrap();
    let nothing = client.patch("/admin/collections/c", &json!({"validation": "off"})).await.unwrap();
    assert_eq!((nothing.status.as_u16(), nothing.code()), (404, Some("schema_not_found")), "{nothing}");
    let unknown = client.patch("/admin/collections/c", &json!({"name": "d"})).await.unwrap();
    assert_eq!((unknown.status.as_u16(), unknown.code()), (400, Some("invalid_parameter")), "{unknown}");
}
