//! The load generator against a fake node.

use clap::Parser;

use super::*;
use crate::client::tests::{FakeNode, Reply};

#[derive(Parser)]
#[command(no_binary_name = true, args_override_self = true)]
struct Line {
    #[command(flatten)]
    command: BenchCommand,
}

/// Starts a node on a thread of its own and returns it with its runtime, which must outlive the benchmark.
fn node(answer: impl FnMut(&str) -> Option<Reply> + Send + 'static) -> (tokio::runtime::Runtime, FakeNode) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let node = runtime.block_on(FakeNode::answering(answer));
    (runtime, node)
}

fn run_bench(node: &FakeNode, flags: &[&str]) -> (Stats, serde_json::Value) {
    let fixed = ["--url", &node.url, "--duration", "300ms", "--warmup", "100ms", "--documents", "50", "-c", "4"];
    let command = Line::try_parse_from(fixed.iter().chain(flags)).unwrap().command;
    let settings = Settings::from_command(&command).unwrap();
    let stats = measure(&settings, Output::new(crate::output::Format::Json)).unwrap();
    let report = report::Report { settings: &settings, stats: &stats };
    assert!(!report.text().is_empty());
    let value = report.value();
    (stats, value)
}

#[test]
fn an_open_load_sends_what_was_asked_for() {
    let (_runtime, node) = node(|_| Some(Reply::Say(200, "", "{}".into())));
    let (stats, value) = run_bench(&node, &["--mode", "mixed", "--rate", "200"]);
    // 200/s over 300 ms.
    assert!((58..=62).contains(&stats.succeeded()), "{}", stats.succeeded());
    assert_eq!((stats.failed(), stats.unsent), (0, 0));
    assert_eq!(node.count(), 80, "the warm-up is sent too");
    assert_eq!(value["loop"], "open");
    assert!(value["reads"]["latency_us"]["p99"].as_u64().unwrap() > 0, "{value}");
    let requests = node.requests.lock().unwrap();
    assert!(
        requests
            .iter()
            .all(|request| request.starts_with("GET /api/bench/k") || request.starts_with("PUT /api/bench/k"))
    );
}

#[test]
fn a_pause_of_the_cluster_shows_in_all_requests_that_it_delays() {
    let mut first = true;
    let (_runtime, node) = node(move |_| {
        if std::mem::take(&mut first) {
            std::thread::sleep(Duration::from_millis(400));
        }
        Some(Reply::Say(200, "", "{}".into()))
    });
    let (stats, _) = run_bench(&node, &["--mode", "read", "--rate", "200", "--warmup", "0s"]);
    assert!(
        stats.reads.value_at_quantile(0.5) > 100_000,
        "half of them waited: {}",
        stats.reads.value_at_quantile(0.5)
    );
}

#[test]
fn a_closed_load_counts_errors_by_code() {
    let (_runtime, node) = node(|_| Some(Reply::Say(503, "", r#"{"code":"no_leader"}"#.into())));
    let (stats, value) = run_bench(&node, &["--mode", "stale-read"]);
    assert_eq!(stats.succeeded(), 0);
    assert!(stats.errors["no_leader"] > 4, "{:?}", stats.errors);
    assert!(judge(&stats).is_err());
    assert_eq!(value["reads"], serde_json::Value::Null);
    assert!(node.requests.lock().unwrap()[0].contains("?consistency=stale "));
}

#[test]
fn a_node_that_hangs_up_is_an_error_and_not_the_end() {
    let mut count = 0;
    let (_runtime, node) = node(move |_| {
        count += 1;
        (count % 5 != 0).then(|| Reply::Say(201, "", "{}".into()))
    });
    let (stats, _) = run_bench(&node, &["--mode", "insert"]);
    assert!(stats.errors["connection_lost"] > 0 && stats.succeeded() > 4, "{:?}", stats.errors);
}
