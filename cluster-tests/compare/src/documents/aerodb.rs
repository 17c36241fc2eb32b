//! The requests as AeroDB takes them: its REST API, JSON in and out.

use aerodb_load::Request;
use aerodb_load::http::{Api, Call, HttpTarget};
use anyhow::{Context, Result, bail};
use cluster_tests::wait_until;
use reqwest::Method;
use serde_json::{Value, json};

use super::answer::Answer;
use super::work::{Ask, PAGE, Question, TOP};
use super::{BUILT_WITHIN, INDEXED};
use crate::product::Aerodb;
use crate::product::aerodb::code;

/// Where the documents are.
const COLLECTION: &str = "/api/cities";

/// A header of inserts: they give nothing back but that they are done, as those of SQL do without `RETURNING`.
const MINIMAL: &str = "prefer: return=minimal\r\n";

/// A request to the REST API.
struct Rest {
    method: &'static str,
    path: String,
    lines: &'static str,
    body: Option<String>,
}

impl Rest {
    fn of(question: &Question) -> Self {
        let get = |rest: &str| Self { method: "GET", path: [COLLECTION, rest].concat(), lines: "", body: None };
        match question {
            Question::Get { id } => Self { method: "GET", path: [COLLECTION, "/", id].concat(), lines: "", body: None },
            Question::Range { from, to } => {
                get(&format!("?filter={}&order=population&limit={PAGE}", in_range(*from, *to)))
            }
            Question::Sort { from } => {
                let filter = encoded(&format!(r#"{{"population":{{"$lte":{from}}}}}"#));
                get(&format!("?filter={filter}&order=population.desc&limit={PAGE}"))
            }
            Question::Topk => get(&format!("?order=lat.desc&limit={TOP}")),
            Question::Count { country } => {
                let filter = encoded(&format!(r#"{{"country":"{country}"}}"#));
                get(&format!("?filter={filter}&count=exact&limit=1"))
            }
            Question::CountAll => get("?count=exact&limit=1"),
            Question::Group => {
                let figures = json!({"n": {"count": "*"}, "sum": {"sum": "population"}, "mean": {"avg": "population"}});
                let body = json!({"group_by": ["country"], "aggregates": figures, "limit": 1_000});
                let path = [COLLECTION, "/query"].concat();
                Self { method: "POST", path, lines: "", body: Some(body.to_string()) }
            }
            Question::Update { from, to, value } => {
                let path = format!("{COLLECTION}?filter={}", in_range(*from, *to));
                Self { method: "PATCH", path, lines: "", body: Some(format!(r#"{{"checked":{value}}}"#)) }
            }
            Question::Insert { documents, many } => {
                let documents: Vec<&str> = documents.iter().map(|(_, document)| &**document).collect();
                let body = if *many { format!("[{}]", documents.join(",")) } else { documents.concat() };
                Self { method: "POST", path: COLLECTION.to_owned(), lines: MINIMAL, body: Some(body) }
            }
        }
    }
}

fn in_range(from: i64, to: i64) -> String {
    encoded(&format!(r#"{{"population":{{"$gte":{from},"$lt":{to}}}}}"#))
}

/// A filter as part of a URL.
fn encoded(filter: &str) -> String {
    filter.replace('{', "%7B").replace('}', "%7D").replace('"', "%22")
}

/// Asks over the load generator's connections.
pub(super) struct Documents {
    ask: Ask,
}

impl Api for Documents {
    fn call(&self, request: &Request, call: &mut Call<'_>) {
        // The load generator draws a number; what is asked with it is the row's.
        let number = match request {
            Request::Read { number } | Request::Write { number, .. } => *number,
            Request::Insert { .. } => 0,
        };
        let Rest { method, path, lines, body } = Rest::of(&(self.ask)(number));
        call.write_with(method, &[&path], lines, body.as_deref().map(str::as_bytes));
    }

    fn refusal(&self, status: u16, body: &[u8]) -> String {
        code(status, body)
    }
}

/// What load is put on.
pub(super) fn target(aerodb: &Aerodb, ask: Ask) -> Result<HttpTarget<Documents>> {
    Ok(HttpTarget::new(aerodb.nodes()?, Documents { ask }))
}

/// Makes the collection.
pub(super) async fn create(aerodb: &Aerodb) -> Result<()> {
    aerodb.cluster.client(1).post("/admin/collections", &json!({"name": "cities"})).await?.ok()?;
    Ok(())
}

/// Makes the indexes and waits until they serve.
pub(super) async fn index(aerodb: &Aerodb) -> Result<()> {
    let client = aerodb.cluster.client(1);
    let path = "/admin/collections/cities/indexes";
    for (field, _) in INDEXED {
        client.post(path, &json!({"name": field, "fields": [field]})).await?.ok()?;
        wait_until(BUILT_WITHIN, "the index to be built", || async {
            let index = client.get(&format!("{path}/{field}")).await?.ok()?.body;
            anyhow::ensure!(index["state"] == "ready", "{index}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Asks once, and reads the answer.
pub(super) async fn answer(aerodb: &Aerodb, question: &Question) -> Result<Answer> {
    let Rest { method, path, body, .. } = Rest::of(question);
    let mut request = aerodb.cluster.client(1).request(Method::from_bytes(method.as_bytes())?, &path);
    if let Some(body) = body {
        request = request.bytes("application/json", body);
    }
    let body = request.timeout(BUILT_WITHIN).send().await?.ok()?.body;
    let number = |member: &str| body[member].as_u64().with_context(|| format!("no {member} in {body}"));
    let items = || body["items"].as_array().with_context(|| format!("no items in {body}"));
    Ok(match question {
        Question::Get { .. } => Answer::Documents(vec![own(&body)]),
        Question::Range { .. } | Question::Sort { .. } | Question::Topk => {
            Answer::Documents(items()?.iter().map(own).collect())
        }
        Question::Count { .. } | Question::CountAll => Answer::Number(number("count")?),
        Question::Update { .. } => Answer::Number(number("modified")?),
        Question::Insert { many: false, .. } => Answer::Number(1),
        Question::Insert { many: true, .. } => Answer::Number(items()?.len() as u64),
        Question::Group => {
            let group = |group: &Value| {
                let country = group["country"].as_str()?.to_owned();
                Some((country, (group["n"].as_i64()?, group["sum"].as_i64()?, group["mean"].as_f64()?)))
            };
            match items()?.iter().map(group).collect() {
                Some(groups) => Answer::Groups(groups),
                None => bail!("groups without figures: {body}"),
            }
        }
    })
}

/// The members of a document that are its own.
fn own(document: &Value) -> Value {
    let members = document.as_object().into_iter().flatten();
    members.filter(|(name, _)| !name.starts_with('_')).map(|(name, value)| (name.clone(), value.clone())).collect()
}
