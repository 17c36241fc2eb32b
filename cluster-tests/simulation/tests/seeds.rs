//! A bounded slice of the simulation: a range of seeds, seeds that found something, and proof that seeds replay and that
//! the checkers bite. `simulation run` does the rest.

// Tests stop at the first surprise.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::process::Command;

use simulation::soak::{self, Soak, Summary};

/// The program itself: each seed runs in a process of its own.
fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_simulation"))
}

fn replay(seed: u64, arguments: &[&str]) -> (bool, String) {
    let output = program().args(["replay", &seed.to_string()]).args(arguments).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn run(from: u64, seeds: u64, arguments: &[&str]) -> Summary {
    let soak = Soak {
        program: env!("CARGO_BIN_EXE_simulation").into(),
        from,
        seeds,
        jobs: 2,
        arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
        resume: None,
        fail_fast: false,
    };
    soak::run(&soak, &|line| eprintln!("{line}")).unwrap()
}

/// The slice of every change. What it went through is checked as well: a run that breaks nothing proves nothing.
#[test]
fn a_range_of_seeds_holds() {
    let summary = run(1, 60, &[]);
    assert!(summary.is_clean(), "{}\n{:#?}", summary.text(), (&summary.failed, &summary.unknown));
    let places = ["crashes", "partitions", "terms", "snapshots_installed", "purges", "truncations", "wipes", "fences"];
    for what in places.into_iter().chain(["ages", "echoes", "denied", "reused", "compared"]) {
        assert!(summary.seen[what] > 0, "no {what}: {}", summary.text());
    }
    assert!(summary.seen["acknowledged"] > 60 * 20, "too little was written: {}", summary.text());
}

/// Each workload, and what it must go through to be worth anything.
#[test]
fn each_workload_holds() {
    let workloads: [(&str, &[(&str, u64)]); 4] = [
        ("append", &[("appends", 500), ("conflicts", 10)]),
        ("unique", &[("unique_refused", 100)]),
        ("indexes", &[("indexes_ready", 20), ("indexes_failed", 1), ("by_index", 50), ("indexes_verified", 500)]),
        ("queries", &[("queries", 300), ("by_index", 100)]),
    ];
    for (workload, places) in workloads {
        let summary = run(1_041, 12, &[&format!("--workload={workload}")]);
        assert!(summary.is_clean(), "{workload}: {}\n{:#?}", summary.text(), (&summary.failed, &summary.unknown));
        for (what, least) in places {
            assert!(summary.seen[*what] >= *least, "{workload}: fewer than {least} {what}: {}", summary.text());
        }
    }
}

/// The same seed is the same run, down to the last event, in a fresh process. One thing of the real world is left in a run
/// (README.md), and a busy machine shows it: then another replay must be the same as one before.
#[test]
fn a_seed_replays_in_a_fresh_process() {
    const REPLAYS_MAX: usize = 6;
    for seed in [2, 3, 5, 8] {
        let mut traces = BTreeSet::new();
        let again = (0..REPLAYS_MAX).any(|_| {
            let text = replay(seed, &[]).1;
            let trace = text.lines().find(|line| line.starts_with("seed ") && line.contains("trace"));
            !traces.insert(trace.unwrap_or_else(|| panic!("no trace: {text}")).to_owned())
        });
        assert!(again, "no two replays are the same: {traces:#?}");
    }
    assert_ne!(replay(2, &[]).1, replay(3, &[]).1);
}

/// A seed that is named for a place that it goes through. They were found before there were workloads, and have none.
fn holds(seed: u64) -> Summary {
    let summary = run(seed, 1, &["--workload=documents"]);
    assert!(summary.is_clean(), "{}\n{:#?}", summary.text(), (&summary.failed, &summary.unknown));
    summary
}

/// Replication of a node ended by itself while the node was still catching up: it asked whether it had caught up in a
/// loop without a pause, in which simulated time stood still and a real processor would have been busy to no end.
#[test]
fn a_node_that_catches_up_ends_in_peace() {
    holds(4);
    holds(6);
}

/// Replication of a leader ended by itself while entries of it were under way: its deciding task waited for their results
/// in a loop without a pause.
#[test]
fn a_leader_that_ended_lets_go() {
    holds(405);
}

/// The log was purged under the stream to a follower. A snapshot brought the follower beyond that, and nothing more was
/// ever sent to it: the stream went on asking for entries that are gone.
#[test]
fn a_follower_behind_a_purge_is_fed_again() {
    holds(242);
}

/// A leader that had not applied yet what followers showed already said that its data was as young as its last heartbeat.
#[test]
fn a_leader_that_applies_slowly_says_so() {
    holds(54);
    holds(88);
}

/// A truncation failed, and the node ended as it must. It had reached the disk all the same: nothing was lost by that.
#[test]
fn a_write_that_failed_is_in_doubt() {
    holds(10813);
    holds(10993);
}

/// A number that was given up while it was being decided is acknowledged in the same batch, behind what that decided.
#[test]
fn a_number_given_up_while_it_is_decided_takes_effect() {
    holds(10109);
}

/// A client drew, as another request for a key that was used up, the very request that had used it: a retry.
#[test]
fn the_same_request_under_a_used_key_is_a_retry() {
    holds(20835);
    holds(20903);
}

/// A leader whose lease has expired is refused an entry, and takes the one behind it: that is void on all nodes, and both
/// are decided again.
#[test]
fn a_void_entry_is_decided_again() {
    let voids: u64 = [41, 52, 99].map(|seed| holds(seed).seen["voids"]).into_iter().sum();
    assert!(voids > 0, "the seeds go elsewhere now: look for others that have voids");
}

/// What cannot be run is refused with a reason, and is no success.
#[test]
fn a_run_of_nothing_is_refused() {
    for arguments in [
        ["--seeds", "0"].as_slice(),
        &["--nodes", "0"],
        &["--nodes", "1"],
        &["--from", "18446744073709551615", "--seeds", "5"],
        &["--seeds", "1", "--resume", "/nonexistent/folder/file"],
    ] {
        let output = program().arg("run").args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.starts_with("error: ") && !said.contains("backtrace"), "{arguments:?}: {said}");
    }
}

/// Disks that acknowledge before anything is durable are found out within a few seeds.
#[test]
fn lying_disks_are_found_out() {
    let summary = run(1, 12, &["--lying-disks"]);
    assert!(summary.failed.len() >= 3, "{}\n{:#?}", summary.text(), summary.failed);
}
