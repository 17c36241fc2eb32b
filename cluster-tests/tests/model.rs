//! Sequences of random operations on three nodes, each through another one, beside the naive model: the same answers, the same
//! documents, and in the end one state on all nodes. A sequence that shows a difference shrinks.

// Tests measure real time, and stop at the first surprise.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::cell::Cell;
use std::time::Duration;

use aerodb_model::{Answer, Condition, Done, FILTERS, Model, Op, Step, What, pieces, sequence};
use cluster_tests::{Answer as Told, Client, Cluster, Options, figure, rounds};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use reqwest::Method;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

/// Operations of a sequence at most.
const LONGEST: usize = 20;

/// A cluster and how many sequences it has seen: each is in collections of its own.
struct Stage {
    cluster: Cluster,
    clients: Vec<Client>,
    sequences: Cell<usize>,
    operations: Cell<usize>,
}

#[test]
fn three_nodes_do_what_the_model_does() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let cluster = runtime.block_on(Cluster::start(3, Options { proxy: false, ..Options::default() })).unwrap();
    let clients = cluster.ids().map(|id| cluster.client(id)).collect();
    let stage = Stage { cluster, clients, sequences: Cell::new(0), operations: Cell::new(0) };
    let cases = rounds(60, 3_000) as u32;
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[3; 32]));
    let played = runner.run(&sequence(LONGEST), |ops| runtime.block_on(stage.play(&ops)));
    played.unwrap_or_else(|problem| panic!("{problem}"));
    let converged = runtime.block_on(stage.cluster.wait_converged(SOON)).unwrap();
    assert!(converged.digest.is_some(), "{converged:?}");
    figure("model", json!({"sequences": stage.sequences.get(), "operations": stage.operations.get()}));
    // The cluster ends its nodes within a runtime.
    let _inside = runtime.enter();
    drop(stage);
}

impl Stage {
    async fn play(&self, ops: &[Op]) -> Result<(), TestCaseError> {
        self.sequences.set(self.sequences.get() + 1);
        let prefix = format!("x{}", self.sequences.get());
        let before = self.client(0).get("/admin/collections").await.unwrap().revision().unwrap();
        let mut model = Model::new(before);
        for (turn, op) in ops.iter().enumerate() {
            self.operations.set(self.operations.get() + 1);
            let (told, done) = (self.ask(turn, op, &prefix, model.revision()).await, model.play(op));
            if done.changed || matches!(done.answer, Answer::Refused(_)) {
                // Whoever waits for an index or a schema is told of its end.
                let at = [Some(done.revision), done.settles.as_ref().map(|_| model.revision())];
                prop_assert!(
                    at.contains(&told.revision()) || told.revision().is_none(),
                    "{:?}: {} {:?}",
                    op,
                    told,
                    done
                );
            }
            if !matches!(op, Op::CreateIndex(..) | Op::SetSchema(..)) || done.settles.is_none() {
                prop_assert_eq!(answer(op, &told), done.answer.clone(), "{:?}: {}", op, told);
            }
            self.settle(&done, &prefix, model.revision()).await;
        }
        self.look(&model, &prefix).await?;
        for name in model.collections() {
            self.client(0).delete(&format!("/admin/collections/{prefix}{name}")).await.unwrap().ok().unwrap();
        }
        Ok(())
    }

    fn client(&self, turn: usize) -> &Client {
        &self.clients[(self.sequences.get() + turn) % self.clients.len()]
    }

    async fn ask(&self, turn: usize, op: &Op, prefix: &str, revision: u64) -> Told {
        let client = self.client(turn);
        let admin = |name: &str| format!("/admin/collections/{prefix}{name}");
        let told = match op {
            Op::Create(name) => client.post("/admin/collections", &json!({"name": format!("{prefix}{name}")})).await,
            Op::Drop(name) => client.delete(&admin(name)).await,
            Op::CreateIndex(name, index) => client.post(&format!("{}/indexes", admin(name)), &index.body()).await,
            Op::DropIndex(name, index) => client.delete(&format!("{}/indexes/{index}", admin(name))).await,
            Op::SetSchema(name, None, _) => client.patch(&admin(name), &json!({"schema": null})).await,
            Op::SetSchema(name, Some(schema), validation) => {
                client.patch(&admin(name), &json!({"schema": schema, "validation": validation})).await
            }
            Op::Insert(name, documents) => {
                let documents: Vec<_> = documents.iter().map(|(id, fields)| pieces::document(id, fields)).collect();
                client.post(&format!("/api/{prefix}{name}"), &json!(documents)).await
            }
            Op::One(step) => one(client, step, prefix, revision).await,
            Op::Bulk(name, filter, change, max) => {
                let method = if change.is_some() { Method::PATCH } else { Method::DELETE };
                let (filter, max) = (filter.to_string(), max.map(|max| max.to_string()));
                let mut parameters = vec![("filter", filter.as_str())];
                parameters.extend(max.as_deref().map(|max| ("max_affected", max)));
                let request = client.request(method, &format!("/api/{prefix}{name}")).query(&parameters);
                match change {
                    Some(change) => request.json(change).send().await,
                    None => request.send().await,
                }
            }
            Op::Transact(steps, read_back) => {
                client.post("/transactions", &pieces::transaction(steps, *read_back, prefix, revision)).await
            }
        };
        told.unwrap()
    }

    /// Waits until the system has done what it does by itself.
    async fn settle(&self, done: &Done, prefix: &str, revision: u64) {
        let Some((name, _)) = &done.settles else { return };
        let reached = || async {
            let path = format!("/api/{prefix}{name}?limit=1");
            let now = self.client(0).get(&path).await?.revision();
            anyhow::ensure!(now == Some(revision), "{now:?}, not {revision}");
            Ok(())
        };
        self.cluster.wait_until(SOON, "an index or a schema to come into force, or not", reached).await.unwrap();
    }

    /// All documents, by each filter, from each node.
    async fn look(&self, model: &Model, prefix: &str) -> Result<(), TestCaseError> {
        for name in model.collections() {
            for (turn, filter) in FILTERS.iter().enumerate() {
                let expected = model.list(name, &serde_json::from_str(filter).unwrap());
                let path = format!("/api/{prefix}{name}");
                let request = self.client(turn).request(Method::GET, &path).query(&[("filter", filter)]);
                let told = request.send().await.unwrap().expect_status(200).unwrap();
                let found: Vec<Value> = told.body["items"].as_array().unwrap().iter().map(without_times).collect();
                prop_assert_eq!(found, expected, "{} of {}", filter, name);
            }
        }
        Ok(())
    }
}

async fn one(client: &Client, step: &Step, prefix: &str, revision: u64) -> anyhow::Result<Told> {
    let path = format!("/api/{prefix}{}/{}", step.collection, step.id.replace('!', "%21").replace('ü', "%C3%BC"));
    let (method, body) = match &step.what {
        What::Put(fields) => (Method::PUT, Some(fields)),
        What::Patch(change) => (Method::PATCH, Some(change)),
        What::Delete => (Method::DELETE, None),
        other => panic!("{other:?} is no operation by itself"),
    };
    let mut request = client.request(method, &path);
    request = match &step.condition {
        None => request,
        Some(Condition::Exists) => request.header("if-match", "*"),
        Some(Condition::Absent) => request.header("if-none-match", "*"),
        Some(Condition::Revision(back)) => {
            request.header("if-match", format!("\"{}\"", pieces::before(revision, *back)))
        }
        Some(Condition::Matches(_)) => panic!("only a transaction has a filter as a condition"),
    };
    match body {
        Some(body) => request.json(body).send().await,
        None => request.send().await,
    }
}

fn without_times(shown: &Value) -> Value {
    let mut shown = shown.clone();
    if let Some(fields) = shown.as_object_mut() {
        fields.remove("_created_at");
        fields.remove("_updated_at");
    }
    shown
}

/// What a client is told, as the model says it.
fn answer(op: &Op, told: &Told) -> Answer {
    if !told.status.is_success() {
        let code = told.code().unwrap_or_else(|| panic!("{told}"));
        return Answer::Refused(Box::leak(code.to_owned().into_boxed_str()));
    }
    let shown = |document: &Value| Some(document).filter(|document| !document.is_null()).map(without_times);
    let each = |items: &Value| items.as_array().unwrap().iter().map(shown).collect();
    match op {
        Op::Insert(..) => Answer::Documents(each(&told.body["items"])),
        Op::One(step) if step.what != What::Delete => Answer::Documents(vec![shown(&told.body)]),
        Op::Transact(..) => {
            let results = told.body["results"].as_array().unwrap().iter();
            Answer::Documents(results.map(|result| shown(&result["document"])).collect())
        }
        Op::Bulk(..) => {
            let number = |name: &str| told.body[name].as_u64().unwrap_or_else(|| panic!("{told}"));
            Answer::Affected(number("matched"), number("modified"))
        }
        _ => Answer::Done,
    }
}
