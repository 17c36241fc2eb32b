//! The program as scripts see it: exit codes, where configuration comes from, what is said and what is not.
// A test may stop at the first surprise; clippy knows that of test functions only, not of what they call.
#![allow(clippy::unwrap_used)]

use std::net::TcpListener;
use std::process::{Command, Output};

/// Runs the program in a folder of its own, with only the environment that is given.
fn aerodb(env: &[(&str, &str)], args: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_aerodb"));
    command.current_dir(folder.path()).env_clear().env("HOME", folder.path()).envs(env.iter().copied()).args(args);
    command.output().unwrap()
}

/// Runs it and checks the exit code, and that what it says has some words in it and others not.
fn check(env: &[(&str, &str)], args: &[&str], code: i32, says: &[&str], not: &[&str]) {
    let output = aerodb(env, args);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    for word in says {
        assert!(text.contains(word), "{args:?}: '{word}' is missing in: {text}");
    }
    for word in not {
        assert!(!text.contains(word), "{args:?}: '{word}' must not be in: {text}");
    }
}

/// An address at which nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

const NODE: [&str; 5] =
    ["server", "--print-config", "--node-id=1", "--peers=1=127.0.0.1:7500", "--peer-addr=127.0.0.1:7500"];

#[test]
fn exit_codes() {
    check(&[], &["version"], 0, &["aerodb ", env!("CARGO_PKG_VERSION")], &[]);
    check(&[], &["version", "--output", "json"], 0, &["\"version\":"], &[]);
    check(&[], &["--help"], 0, &["import", "Exit codes"], &[]);
    check(&[], &["completions", "bash"], 0, &["_aerodb"], &[]);
    check(&[], &[], 2, &["Usage"], &[]);
    check(&[], &["querry"], 2, &["querry"], &[]);
    check(&[], &["version", "--log", "a=b=c"], 2, &["log filter"], &[]);
    let nobody = nobody();
    check(&[], &["cluster", "status", "--url", &nobody], 3, &[&nobody, "refused", "do:"], &[]);
    check(&[], &["cluster", "wait-ready", "--timeout", "1s", "--url", &nobody], 3, &["not ready", "refused"], &[]);
    check(&[], &["query", "c", "--filter", "{a}", "--url", &nobody], 2, &["not JSON", "single quotes"], &[]);
    check(&[], &["import", "none.csv", "-c", "x", "--url", &nobody], 2, &["none.csv", "No such file"], &[]);
    check(&[], &["import", "-", "-c", "x", "--url", &nobody], 2, &["--format"], &[]);
    check(&[], &["collection", "drop", "x", "--url", &nobody], 2, &["--yes"], &[]);
}

#[test]
fn errors_are_json_for_programs() {
    let nobody = nobody();
    let output = aerodb(&[("AERODB_OUTPUT", "json")], &["cluster", "status", "--url", &nobody]);
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["exit_code"], 3);
    assert_eq!(error["unavailable"], true);
    assert!(output.stdout.is_empty());
}

#[test]
fn a_flag_is_over_the_environment_over_the_file_over_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("aerodb.toml");
    std::fs::write(&file, "heartbeat_ms = 60\nelection_min_ms = 600\nelection_max_ms = 6000\nzone = 'file'\n").unwrap();
    let file = file.to_str().unwrap();
    let env = [("AERODB_CONFIG", file), ("AERODB_ELECTION_MIN_MS", "700"), ("AERODB_ZONE", "environment")];
    let args = [&NODE[..], &["--zone=flag"]].concat();
    let says = ["heartbeat_ms = 60", "election_min_ms = 700", "zone = \"flag\"", "http_addr = \"127.0.0.1:7400\""];
    check(&env, &args, 0, &says, &[]);
    let json = [&args[..], &["--output=json"]].concat();
    check(&env, &json, 0, &["\"election_min_ms\":700", "\"service_key\":null"], &[]);
    check(
        &[("AERODB_INSECURE", "true"), ("AERODB_LOG", "debug")],
        &NODE,
        0,
        &["insecure = true", "log = \"debug\""],
        &[],
    );
    check(
        &[("AERODB_LIMITS", "body_bytes_max=5,drain_ms_max=6")],
        &NODE,
        0,
        &["body_bytes_max = 5", "drain_ms_max = 6"],
        &[],
    );
}

#[test]
fn secrets_are_not_shown() {
    let key = "aero_sk_this_is_not_to_be_seen";
    check(&[("AERODB_SERVICE_KEY", key)], &NODE, 0, &["service_key (set, hidden)"], &[key]);
    let nobody = nobody();
    for name in ["AERODB_SERVICE_KEY", "AERODB_TOKEN"] {
        check(&[(name, key), ("AERODB_LOG", "trace")], &["cluster", "lag", "--url", &nobody], 3, &[], &[key]);
        check(&[(name, key)], &["cluster", "lag", "--help"], 0, &[], &[key]);
        check(&[(name, key)], &["server", "--help"], 0, &[], &[key]);
    }
}

#[test]
fn a_wrong_configuration_is_exit_code_2() {
    check(&[], &["server"], 2, &["--node-id", "do:"], &[]);
    check(&[], &[&NODE[..], &["--config=none.toml"]].concat(), 2, &["none.toml"], &[]);
    check(&[("AERODB_HEARTBEAT_MS", "soon")], &NODE, 2, &["soon", "heartbeat-ms"], &[]);
    check(
        &[],
        &["server", "--node-id=1", "--peer-addr=0.0.0.0:1", "--insecure", "--peers=1=0.0.0.0:1"],
        2,
        &["TLS"],
        &[],
    );
}

#[test]
fn a_local_cluster_says_which_port_is_taken_and_starts_nothing() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let peer = if taken.local_addr().unwrap().port() > 32_768 { "20000" } else { "40000" };
    check(
        &[],
        &["cluster", "up", "--nodes=1", "--http-port", &port, "--peer-port", peer],
        1,
        &[&port, "--http-port"],
        &[],
    );
    check(&[], &["cluster", "up", "--nodes=0"], 2, &["--nodes is 0"], &[]);
}
