//! The operator's commands against a real cluster: indexes, plans, figures and transactions from the command line.

// Tests measure real time, and stop at the first surprise.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::process::Stdio;

use cluster_tests::{Cluster, Options, SERVICE_KEY, binary};
use serde_json::{Value, json};
use tokio::process::Command;

/// A cluster, and what is asked of it by commands.
struct Operator {
    cluster: Cluster,
}

/// What a command said, and how it ended.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Operator {
    async fn start() -> Self {
        let cluster = Cluster::start(3, Options { proxy: false, ..Options::default() }).await.unwrap();
        Self { cluster }
    }

    /// The command, to any of the nodes.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary().unwrap());
        let urls: Vec<_> = self.cluster.nodes().iter().map(|node| node.url()).collect();
        command.args(args).env("AERODB_URL", urls.join(",")).env("AERODB_SERVICE_KEY", SERVICE_KEY);
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    async fn run(&self, args: &[&str]) -> Said {
        let output = self.command(args).output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Runs it, and checks how it ends and that it says all these words.
    #[track_caller]
    fn check<'a>(&'a self, args: &'a [&str], code: i32, says: &'a [&str]) -> impl Future<Output = ()> + 'a {
        let place = std::panic::Location::caller();
        async move {
            let said = self.run(args).await;
            let text = format!("{}{}", said.out, said.err);
            assert_eq!(said.code, code, "{place}: {args:?}: {text}");
            for word in says {
                assert!(text.contains(word), "{place}: {args:?}: '{word}' is missing in: {text}");
            }
        }
    }

    /// What it says as JSON.
    async fn json(&self, args: &[&str]) -> Value {
        let said = self.run(&[args, &["--output", "json"]].concat()).await;
        assert_eq!(said.code, 0, "{args:?}: {}{}", said.out, said.err);
        serde_json::from_str(&said.out).unwrap()
    }

    async fn insert(&self, documents: &[Value]) {
        let client = self.cluster.client(1);
        client.post("/api/c", &json!(documents)).await.unwrap().expect_status(201).unwrap();
    }
}

async fn operator() -> Operator {
    let operator = Operator::start().await;
    operator.check(&["collection", "create", "c"], 0, &["created collection c"]).await;
    operator
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexes_plans_and_figures() {
    let operator = operator().await;
    let city = |n: u64| if n.is_multiple_of(2) { "Oslo" } else { "Bergen" };
    let document = |n: u64| json!({"id": format!("{n:04}"), "n": n, "city": city(n)});
    operator.insert(&(0..900).map(document).collect::<Vec<_>>()).await;

    let create = ["index", "create", "c", "--field", "n:desc"];
    let made = operator.json(&[&create[..], &["--wait"]].concat()).await;
    assert_eq!((&made["name"], &made["state"], &made["entries"]), (&"n_desc".into(), &"ready".into(), &900.into()));
    operator.check(&create, 1, &["index_exists", "--if-not-exists"]).await;
    operator.check(&[&create[..], &["--if-not-exists"]].concat(), 0, &["n_desc is ready"]).await;
    operator.check(&[&create[..], &["--if-not-exists", "--unique"]].concat(), 1, &["its unique is false"]).await;
    operator
        .check(&["index", "create", "c", "-F", "city", "--unique", "--wait"], 1, &["the same values", "failed"])
        .await;
    operator.check(&["index", "create", "c", "-F", "a", "-f", "{a}"], 2, &["not JSON"]).await;
    operator.check(&["index", "create", "x", "-F", "a"], 1, &["collection_not_found"]).await;
    operator.check(&["index", "list", "c"], 0, &["n_desc", "n.desc", "ready", "900", "unique", "failed"]).await;
    operator.check(&["collection", "stats", "c"], 0, &["900 documents", "n_desc", "failed: "]).await;
    let stats = operator.json(&["collection", "stats", "c"]).await;
    assert_eq!((&stats["documents"], &stats["indexes"][0]["name"]), (&900.into(), &"n_desc".into()));

    let referring = ["collection", "create", "notes", "--reference", "of:c:cascade", "--reference", "parent:notes"];
    operator.check(&referring, 0, &["created collection notes"]).await;
    operator.check(&["index", "list", "notes"], 0, &["_ref_of", "_ref_parent", "reference", "ready"]).await;
    operator.check(&["index", "drop", "notes", "_ref_of", "--yes"], 1, &["index_of_reference"]).await;
    operator.check(&["collection", "drop", "c", "--yes"], 1, &["collection_referenced", "notes"]).await;
    operator.check(&["collection", "create", "x", "--reference", "of"], 2, &["author_id:users"]).await;

    operator.check(&["collection", "create", "large", "--no-full-scans"], 0, &["created collection large"]).await;
    operator.check(&["query", "large", "-f", r#"{"n":1}"#], 1, &["full_scan_forbidden", "make an index"]).await;
    operator.check(&["query", "large"], 0, &["0 documents"]).await;
    operator.check(&["explain", "large", "-f", r#"{"n":1}"#], 0, &["forbids"]).await;

    let few = r#"{"n":{"$lt":9},"city":"Oslo"}"#;
    let says = [
        "1. go through the index n_desc where {\"n\":{\"$lt\":9}}",
        "chosen",
        "every document",
        "city",
        "not possible",
    ];
    operator.check(&["explain", "c", "--filter", few, "--order", "n.desc", "--limit", "3"], 0, &says).await;
    operator
        .check(&["explain", "c", "--filter", few, "--analyze"], 0, &["it took: 9 documents looked at", "5 matched"])
        .await;
    let plan = operator.json(&["explain", "c", "--filter", few]).await;
    assert_eq!((&plan["plan"]["index"], &plan["bounds"]), (&"n_desc".into(), &json!([{"n":{"$lt":9}}])), "{plan}");
    operator.check(&["explain", "c", "--filter", r#"{"n":{"$near":1}}"#], 1, &["unknown_operator"]).await;

    let groups = ["query", "c", "--group-by", "city", "-a", "n=count", "-a", "top=max:n", "--order", "n,city"];
    operator.check(&groups, 0, &["CITY      N  TOP\nBergen  450  899\nOslo    450  898\n\n2 groups"]).await;
    operator.check(&["query", "c", "--distinct", "city", "--count"], 0, &["2 groups of 2"]).await;
    operator.check(&["query", "c", "-f", few, "--count", "-l", "2"], 0, &["2 documents of 5", "--cursor"]).await;

    operator.check(&["index", "drop", "c", "n_desc"], 2, &["--yes"]).await;
    operator.check(&["index", "drop", "c", "n_desc", "--yes"], 0, &["dropped index n_desc of c"]).await;
    operator.check(&["index", "drop", "c", "n_desc", "--yes"], 1, &["index_not_found"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions() {
    let operator = operator().await;
    operator.insert(&[json!({"id": "a", "n": 10}), json!({"id": "b", "n": 0}), json!({"id": "count", "n": 0})]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("move.json");
    let file = path.to_str().unwrap();
    let write = |text: &str| std::fs::write(file, text).unwrap();
    let patch = |id: &str, by: i64, more: &str| {
        format!(r#"{{"op":"patch","collection":"c","id":"{id}","patch":{{"$inc":{{"n":{by}}}}}{more}}}"#)
    };
    write(&format!("[{},{}]", patch("a", -3, r#","if":{"n":{"$gte":3}}"#), patch("b", 3, "")));
    operator.check(&["transaction", file], 0, &["2 operations at revision", r#"{"n":7}"#, r#"{"n":3}"#]).await;
    // The same key is the same transaction: it is done once.
    for _ in 0..2 {
        operator.check(&["transaction", file, "--idempotency-key", "k1"], 0, &[r#"{"n":4}"#, r#"{"n":6}"#]).await;
    }
    operator.check(&["transaction", file], 0, &[r#"{"n":1}"#]).await;
    operator.check(&["transaction", file, "--retries", "2"], 1, &["given up after 3 attempts", "conflict"]).await;

    // A condition that comes to hold while it is tried again.
    let mut waits = operator.command(&["transaction", file, "--retries", "1000"]).spawn().unwrap();
    let other = folder.path().join("other.json");
    std::fs::write(&other, format!("[{}]", patch("a", 5, ""))).unwrap();
    operator.check(&["transaction", other.to_str().unwrap()], 0, &[]).await;
    assert!(waits.wait().await.unwrap().success());

    write(&format!("[{}]", patch("a", 1, r#","if_revision":1"#)));
    operator.check(&["transaction", file, "--retries", "9"], 1, &["not tried again", "not at revision 1"]).await;
    operator.check(&["transaction", "no-such-file"], 2, &["cannot read no-such-file"]).await;
    operator.check(&["transaction"], 2, &["FILE"]).await;
    write("{");
    operator.check(&["transaction", file], 2, &["holds no transaction"]).await;
    write("[]");
    operator.check(&["transaction", file], 1, &["at least one operation"]).await;

    // Everyone reads, and writes what follows from it; nobody's count is lost.
    let build = r#"n=$(sed 's/.*"n":\([0-9]*\).*/\1/'); echo '[{"op":"put","collection":"c","id":"count","document":{"n":'$((n+1))'}}]'"#;
    let count = ["transaction", "--read", "c/count", "--build", build, "--retries", "100"];
    let all: Vec<_> = (0..6).map(|_| operator.command(&count).spawn().unwrap()).collect();
    for mut one in all {
        assert!(one.wait().await.unwrap().success());
    }
    operator.check(&["query", "c", "--filter", r#"{"id":"count"}"#], 0, &["count  6"]).await;
    operator
        .check(&["transaction", "--read", "c/none", "--build", "cat >&2"], 0, &[r#""document":null"#, "nothing to do"])
        .await;
    operator
        .check(&["transaction", "--read", "c/a", "--build", "exit 4"], 1, &["exit status: 4", "nothing was written"])
        .await;
    operator.check(&["transaction", "--read", "c/a", "--build", "cat"], 1, &["are no operations"]).await;
    operator.check(&["transaction", "--read", "c/a"], 2, &["--build"]).await;
}
