//! The list of planted bugs.

use super::{Bug, Trap};

const fn simulated(name: &'static str, models: &'static str, within_s: u64) -> Bug {
    Bug { name, models, caught_by: Trap::Simulation { from: 1 }, within_s }
}

const fn run(
    name: &'static str,
    models: &'static str,
    [workload, nemesis]: [&'static str; 2],
    time_s: u64,
    within_s: u64,
) -> Bug {
    Bug { name, models, caught_by: Trap::Cell { workload, nemesis, time_s, seed: 1 }, within_s }
}

/// All of them.
pub const BUGS: &[Bug] = &[
    simulated("append-without-fsync", "log entries are acknowledged before they are on disk", 300),
    simulated("vote-without-fsync", "a vote is given before it is on disk, so that a restarted node votes twice", 300),
    simulated("truncation-in-memory-only", "a truncation of the log does not reach the disk", 300),
    simulated("read-without-round", "a linearizable read by a leader that no longer is one", 300),
    simulated("read-before-applied", "a linearizable read that does not wait until it is applied", 300),
    simulated("round-used-twice", "a read that began after a round of ReadIndex uses its result (etcd, 2026)", 300),
    simulated("age-of-zero", "a stale read that says it is fresh", 300),
    simulated("age-from-arrival", "a stale read whose age counts from when a leader's word arrived", 300),
    simulated("young-age-of-a-new-leader", "a new leader says a young age before it knows what is committed", 300),
    simulated("idempotency-forgotten", "a write that was sent twice takes effect twice", 300),
    simulated("retry-under-a-new-number", "a node that repeats a command gives it another number", 300),
    simulated("session-lives-twice", "a session that ended is let in again", 300),
    simulated("refusal-without-round", "a deposed leader refuses by what it thinks the state is", 300),
    simulated("void-acknowledged", "an entry that took no effect is acknowledged", 300),
    simulated("base-seq-ignored", "an entry that was decided on another state is applied", 300),
    simulated("decide-without-overlay", "a decision that does not see those before it that are not applied yet", 300),
    simulated("if-match-ignored", "a condition on the revision is not looked at", 300),
    simulated("read-revision-ignored", "a transaction is not held against the revision at which its caller read", 300),
    simulated("unique-ignored", "values of a unique index are claimed though they are another document's", 300),
    simulated("deleted-stays-indexed", "a document that is deleted keeps its entries in indexes", 300),
    simulated("build-loses-a-document", "a step of an index's build passes over the document that it begins with", 300),
    simulated(
        "former-entries-forgotten",
        "reads of an earlier revision look at the entries that indexes have now",
        300,
    ),
    simulated("change-outside-the-batch", "the change feed is written beside the batch of its documents", 300),
    simulated("wiped-node-votes", "a node that lost its disk votes as if it had forgotten nothing", 300),
    simulated("checksum-ignored", "checksums of snapshots are looked at by nobody", 300),
    run("feed-splits-a-revision", "a page of the change feed ends within a revision", ["feed", "none"], 15, 300),
    run("cursor-at-the-latest", "the second page of a walk reads another revision", ["paging", "none"], 15, 300),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// The names that the sources ask for under this folder.
    fn asked_for(folder: &Path, names: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                asked_for(&path, names);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let uses = text.split("planted!(\"").skip(1).filter_map(|rest| rest.split('"').next());
            names.extend(uses.map(str::to_owned));
        }
    }

    #[test]
    fn every_bug_in_the_code_is_in_the_list_and_every_one_in_the_list_is_in_the_code() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut names = BTreeSet::new();
        for member in ["engine", "raft", "api", "node"] {
            asked_for(&root.join(member).join("src"), &mut names);
        }
        let listed: BTreeSet<String> = BUGS.iter().map(|bug| bug.name.to_owned()).collect();
        assert_eq!(names, listed);
        assert_eq!(listed.len(), BUGS.len(), "a name is there twice");
    }

    #[test]
    fn every_trap_exists() {
        for bug in BUGS {
            if let Trap::Cell { workload, nemesis, .. } = bug.caught_by {
                assert!(
                    crate::workload::named(workload).is_ok() && crate::nemesis::needs(nemesis).is_ok(),
                    "{}",
                    bug.name
                );
            }
        }
    }
}
