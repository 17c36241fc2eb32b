//! Optimistic transactions: read, decide, write, and do it all again when somebody else wrote in between.
//!
//! A transaction that was turned away because a document has changed is never sent again as it is: what it writes may
//! follow from what is no longer so. [`transact`] reads anew and decides anew. [`resend`] is for transactions that rest on
//! nothing but conditions which may come to hold by themselves.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::{Answer, Call, Client, Error, Problem};
use crate::exit::Advice;
use crate::units;

/// The first wait between two attempts is up to this long, each further one up to twice as long, to the longest.
const WAIT_FIRST: Duration = Duration::from_millis(10);
const WAIT_LONGEST: Duration = Duration::from_secs(1);

/// Where a document is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Place {
    /// The collection's name.
    pub(crate) collection: String,
    /// The document's id.
    pub(crate) id: String,
}

/// Documents as they were at one revision.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// That revision.
    pub(crate) revision: u64,
    /// In the order in which they were asked for.
    #[serde(rename(deserialize = "results"))]
    pub(crate) documents: Vec<Found>,
}

/// A document that was asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Found {
    /// The collection's name.
    pub(crate) collection: String,
    /// The document's id.
    pub(crate) id: String,
    /// The document; null when it is not there.
    pub(crate) document: Option<Box<RawValue>>,
}

/// What came of a transaction.
#[derive(Debug)]
pub(crate) struct Done {
    /// The node's answer; nothing when there was nothing to do.
    pub(crate) answer: Option<Answer>,
    /// How often it was tried.
    pub(crate) attempts: u32,
    /// How many of the results are of the caller's operations; what follows was only read.
    pub(crate) operations: usize,
}

/// Reads documents at one revision, lets `decide` say what follows from them, and writes that, provided that neither they
/// nor any other document that is written has changed since. If one has, all of it begins anew, up to `retries` times.
///
/// `decide` returns operations as `POST /transactions` has them; none to leave everything as it is.
///
/// # Errors
/// Those of `decide`; [`Error::Problem`] with an [`Advice`] around it when somebody else was quicker each time; others of
/// [`Client::send`].
pub(crate) async fn transact(
    client: &Client,
    reads: &[Place],
    retries: u32,
    mut decide: impl AsyncFnMut(&Seen) -> anyhow::Result<Vec<Box<RawValue>>>,
) -> anyhow::Result<Done> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let seen = read(client, reads).await?;
        let operations = decide(&seen).await?;
        if operations.is_empty() {
            return Ok(Done { answer: None, attempts, operations: 0 });
        }
        let error = match client.send(&validated(&seen, reads, &operations)?).await {
            Ok(answer) => return Ok(Done { answer: Some(answer), attempts, operations: operations.len() }),
            Err(error) => error,
        };
        // History that is no longer kept cannot tell whether something has changed: that too ends with a new read.
        if !error.problem().is_some_and(|problem| matches!(problem.code().as_str(), "conflict" | "compacted")) {
            return Err(error.into());
        }
        if attempts > retries {
            return Err(given_up(error, attempts));
        }
        tokio::time::sleep(wait(attempts, rand::random())).await;
    }
}

/// Sends a transaction, and while a condition of it does not hold, sends it again, up to `retries` times.
///
/// # Errors
/// [`Error::Problem`] with an [`Advice`] around it when it does not hold and, as that says, cannot come to hold by itself;
/// others of [`Client::send`].
pub(crate) async fn resend(client: &Client, body: &RawValue, key: &str, retries: u32) -> anyhow::Result<Done> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        // A node remembers its refusal under the key: what is to be decided anew needs another one.
        let key = if attempts == 1 { key.to_owned() } else { format!("{key}-{attempts}") };
        let call = Call::post("/transactions").raw_json(body.get().to_owned()).idempotency_key(key);
        let error = match client.send(&call).await {
            Ok(answer) => return Ok(Done { answer: Some(answer), attempts, operations: usize::MAX }),
            Err(error) => error,
        };
        match error.problem().filter(|problem| problem.code() == "conflict") {
            None => return Err(error.into()),
            // Nobody asked for a retry: the problem says enough.
            Some(_) if retries == 0 => return Err(error.into()),
            Some(problem) => {
                if let Err(advice) = may_hold_later(body, problem) {
                    return Err(anyhow::Error::from(error).context(advice));
                }
            }
        }
        if attempts > retries {
            return Err(given_up(error, attempts));
        }
        tokio::time::sleep(wait(attempts, rand::random())).await;
    }
}

/// Reads as a transaction does: of any collections, and all at one revision.
async fn read(client: &Client, reads: &[Place]) -> anyhow::Result<Seen> {
    let operations: Vec<_> = reads.iter().map(get).collect();
    Ok(client.send(&Call::ask("/transactions").json(&json!({ "operations": operations }))?).await?.json()?)
}

fn get(place: &Place) -> serde_json::Value {
    json!({"op": "get", "collection": place.collection, "id": place.id})
}

/// The transaction of these operations. It names all that was read: what is only read must not have changed either.
fn validated(seen: &Seen, reads: &[Place], operations: &[Box<RawValue>]) -> anyhow::Result<Call> {
    let named: Vec<Place> = operations.iter().filter_map(|text| serde_json::from_str(text.get()).ok()).collect();
    let only_read = reads.iter().filter(|place| !named.contains(place));
    let only_read: Vec<_> =
        only_read.map(|place| serde_json::value::to_raw_value(&get(place))).collect::<Result<_, _>>()?;
    #[derive(Serialize)]
    struct Body<'a> {
        read_revision: u64,
        operations: Vec<&'a RawValue>,
    }
    let operations = operations.iter().chain(&only_read).map(|text| &**text).collect();
    let body = Body { read_revision: seen.revision, operations };
    Ok(Call::post("/transactions").json(&body)?.idempotency_key(format!("{:032x}", rand::random::<u128>())))
}

/// Whether the condition that a conflict names can hold another time, with the transaction as it is; else why not.
fn may_hold_later(body: &RawValue, problem: &Problem) -> Result<(), Advice> {
    #[derive(Deserialize)]
    struct Body {
        read_revision: Option<u64>,
        operations: Vec<Operation>,
    }
    #[derive(Deserialize)]
    struct Operation {
        if_revision: Option<u64>,
    }
    let never = |why: String| {
        let remedy = "read again and decide anew, which --read with --build does by itself";
        Advice::failed(format!("not tried again: {why} ({remedy})"))
    };
    let index = problem.body["index"].as_u64().and_then(|index| usize::try_from(index).ok());
    let body: Body = serde_json::from_str(body.get()).map_err(|error| never(error.to_string()))?;
    if let Some(revision) = body.read_revision {
        return Err(never(format!("it rests on what was read at revision {revision}, and that is no longer so")));
    }
    // A node that does not say which operation it was may mean any of them.
    let meant: Vec<&Operation> = match index.and_then(|index| body.operations.get(index)) {
        Some(operation) => vec![operation],
        None => body.operations.iter().collect(),
    };
    match meant.into_iter().find_map(|operation| operation.if_revision) {
        Some(revision) => Err(never(format!("its document is not at revision {revision}, and will not be again"))),
        None => Ok(()),
    }
}

fn given_up(error: Error, attempts: u32) -> anyhow::Error {
    let advice =
        Advice::failed(format!("given up after {}; nothing was written", units::plural(attempts.into(), "attempt")));
    anyhow::Error::from(error).context(advice)
}

/// How long to wait before the attempt that follows this one: by chance, so that those who got in each other's way do not
/// do so again. `luck` is between 0 and 1.
fn wait(attempts: u32, luck: f64) -> Duration {
    let longest = WAIT_FIRST.saturating_mul(2_u32.saturating_pow(attempts - 1)).min(WAIT_LONGEST);
    longest.mul_f64(luck)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{FakeNode, Reply, client};
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn say(status: u16, body: &str) -> Reply {
        Reply::Say(status, "", body.to_owned())
    }

    fn place(id: &str) -> Place {
        Place { collection: "c".into(), id: id.into() }
    }

    /// What a node answers to reads: document `a` with a counter.
    fn seen(revision: u64, n: u64) -> Reply {
        let found = json!({"op":"get","collection":"c","id":"a","document":{"id":"a","n":n}});
        let missing = json!({"op":"get","collection":"c","id":"b","document":null});
        say(200, &json!({"revision": revision, "results": [found, missing]}).to_string())
    }

    const CONFLICT: &str = r#"{"title":"Conflict","code":"conflict","index":0,"document_id":"a"}"#;

    /// Adds one to the counter of `a`.
    async fn count(seen: &Seen) -> anyhow::Result<Vec<Box<RawValue>>> {
        let document = seen.documents[0].document.as_ref().unwrap();
        let n = serde_json::from_str::<serde_json::Value>(document.get())?["n"].as_u64().unwrap();
        Ok(vec![raw(&format!(r#"{{"op":"put","collection":"c","id":"a","document":{{"n":{}}}}}"#, n + 1))])
    }

    #[tokio::test]
    async fn after_a_conflict_it_is_read_and_decided_anew() {
        let node = FakeNode::start(vec![seen(7, 1), say(409, CONFLICT), seen(9, 5), say(200, "{}")]).await;
        let done = transact(&client(&[&node.url]), &[place("a"), place("b")], 3, count).await.unwrap();
        assert_eq!((done.attempts, done.answer.is_some(), done.operations), (2, true, 1));
        let requests = node.requests.lock().unwrap();
        let bodies: Vec<_> = requests.iter().map(|request| request.split("\r\n\r\n").nth(1).unwrap()).collect();
        let get = |id: &str| format!(r#"{{"collection":"c","id":"{id}","op":"get"}}"#);
        assert_eq!(bodies[0], format!(r#"{{"operations":[{},{}]}}"#, get("a"), get("b")));
        let put = |n: u64| format!(r#"{{"op":"put","collection":"c","id":"a","document":{{"n":{n}}}}}"#);
        // What was only read is named too.
        assert_eq!(bodies[1], format!(r#"{{"read_revision":7,"operations":[{},{}]}}"#, put(2), get("b")));
        assert_eq!(bodies[3], format!(r#"{{"read_revision":9,"operations":[{},{}]}}"#, put(6), get("b")));
        let key = |request: &str| request.lines().find(|line| line.starts_with("idempotency-key")).map(str::to_owned);
        assert!(key(&requests[1]).is_some() && key(&requests[1]) != key(&requests[3]));
    }

    #[tokio::test]
    async fn it_gives_up_after_its_retries_and_at_once_for_other_reasons() {
        let script = vec![seen(7, 1), say(409, CONFLICT), seen(8, 1), say(409, CONFLICT), say(200, "{}")];
        let node = FakeNode::start(script).await;
        let error = transact(&client(&[&node.url]), &[place("a")], 1, count).await.unwrap_err();
        assert!(error.to_string().contains("given up after 2 attempts"), "{error}");
        assert_eq!(node.count(), 4);

        let taken = r#"{"title":"Value taken","code":"unique_violation","index":0}"#;
        let node = FakeNode::start(vec![seen(7, 1), say(409, taken)]).await;
        let error = transact(&client(&[&node.url]), &[place("a")], 5, count).await.unwrap_err();
        assert!(error.to_string().contains("unique_violation") && node.count() == 2, "{error}");

        let node = FakeNode::start(vec![seen(7, 1)]).await;
        let nothing = async |_: &Seen| Ok(Vec::new());
        let done = transact(&client(&[&node.url]), &[place("a")], 5, nothing).await.unwrap();
        assert!(done.answer.is_none() && node.count() == 1);
    }

    #[tokio::test]
    async fn what_waits_for_a_condition_is_sent_again_as_it_is() {
        let node = FakeNode::start(vec![say(409, CONFLICT), say(409, CONFLICT), say(200, "{}")]).await;
        let body = raw(r#"{"operations":[{"op":"delete","collection":"c","id":"a","if":{"free":true}}]}"#);
        let done = resend(&client(&[&node.url]), &body, "k", 5).await.unwrap();
        assert_eq!(done.attempts, 3);
        let requests = node.requests.lock().unwrap();
        assert!(requests.iter().all(|request| request.ends_with(body.get())));
        for (request, key) in requests.iter().zip(["k", "k-2", "k-3"]) {
            assert!(request.contains(&format!("idempotency-key: {key}\r\n")), "{request}");
        }
    }

    #[tokio::test]
    async fn what_cannot_hold_again_is_not_sent_again() {
        for (body, why) in [
            (r#"{"operations":[{"op":"delete","collection":"c","id":"a","if_revision":3}]}"#, "not at revision 3"),
            (r#"{"read_revision":3,"operations":[{"op":"delete","collection":"c","id":"a"}]}"#, "read at revision 3"),
        ] {
            let node = FakeNode::start(vec![say(409, CONFLICT), say(200, "{}")]).await;
            let error = resend(&client(&[&node.url]), &raw(body), "k", 5).await.unwrap_err();
            assert!(format!("{error:#}").contains(why) && node.count() == 1, "{error:#}");
        }
    }

    #[test]
    fn waits_grow_and_are_bounded() {
        assert_eq!(wait(1, 1.0), WAIT_FIRST);
        assert_eq!(wait(3, 0.5), WAIT_FIRST * 2);
        assert_eq!(wait(4_000, 1.0), WAIT_LONGEST);
        assert_eq!(wait(5, 0.0), Duration::ZERO);
    }
}
