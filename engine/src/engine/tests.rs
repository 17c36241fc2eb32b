//! Checkpoints, installs, and what a crash leaves of either.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::kv;
use crate::testing::{Dice, Leader, Node, copy_dir, env, put, random};

/// A leader with some history; the last writes are not flushed.
fn leader(seed: u64) -> Leader {
    let mut dice = Dice::new(seed);
    let mut leader = Leader::new();
    for n in 0..60 {
        leader.clock_ms += 1;
        let revision = leader.node.engine().meta().revision;
        leader.submit(&random(&mut dice, revision));
        if n == 40 {
            leader.node.engine().flush().unwrap();
        }
    }
    leader
}

#[test]
fn a_checkpoint_carries_the_whole_state() {
    let source = leader(1);
    let dir = TempDir::new().unwrap();
    let snapshot = dir.path().join("snapshot");
    let contents = source.node.engine().checkpoint(&snapshot).unwrap();
    let engine = source.node.engine();
    assert_eq!(contents.meta, *engine.meta());
    assert_eq!(contents.membership, engine.membership().unwrap());
    assert_eq!(contents.cluster_id, "test");
    assert_eq!(engine.durable().unwrap(), engine.meta().applied, "what a checkpoint holds is durable here too");
    assert!(engine.checkpoint(&snapshot).is_err(), "the folder exists");

    let mut target = Node::new();
    target.engine().install(&snapshot).unwrap();
    assert_eq!(target.engine().inspect(&snapshot).unwrap(), contents, "installing leaves the snapshot as it is");
    assert_eq!(target.digest(), source.node.digest());
    assert_eq!(target.engine().meta(), engine.meta());
    assert_eq!(target.engine().durable().unwrap(), engine.meta().applied);
    assert_eq!(target.view().collections(), source.node.view().collections());
    target.crash();
    assert_eq!(target.digest(), source.node.digest(), "an install is durable");
}

/// The installed state goes on where the snapshot ended, and can be replaced again.
#[test]
fn the_log_goes_on_behind_a_snapshot() {
    let mut source = leader(2);
    let dir = TempDir::new().unwrap();
    let target = Node::new();
    for round in 0..3 {
        let snapshot = dir.path().join(round.to_string());
        source.node.engine().checkpoint(&snapshot).unwrap();
        target.engine().install(&snapshot).unwrap();
        for n in 0..5 {
            source.submit(&put("c", "a", &format!(r#"{{"round":{round},"n":{n}}}"#)));
        }
        target.apply(&source.log, source.log.len() as u64);
        assert_eq!(target.digest(), source.node.digest());
    }
    assert_eq!(generations(&target), ["g-4"]);
}

/// A reader that began before an install ends on the state that it began with.
#[test]
fn readers_outlive_an_install() {
    let target = leader(3).node;
    target.engine().flush().unwrap();
    let (view, digest) = (target.view(), target.digest());
    let source = leader(4);
    let dir = TempDir::new().unwrap();
    let snapshot = dir.path().join("snapshot");
    source.node.engine().checkpoint(&snapshot).unwrap();
    target.engine().install(&snapshot).unwrap();
    // The files that no reader has opened yet must still have their names.
    assert_eq!(generations(&target), ["g-1", "g-2"]);
    assert_eq!(view.digest().unwrap(), digest);
    drop(view);
    assert_eq!(generations(&target), ["g-2"]);
    assert_eq!(target.digest(), source.node.digest());
}

fn generations(node: &Node) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(node.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("g-"))
        .collect();
    names.sort();
    names
}

/// A crash at any step of an install leaves the old state or the new one.
#[test]
fn an_install_is_atomic() {
    let (old, new) = (leader(5), leader(6));
    old.node.engine().flush().unwrap();
    let dir = TempDir::new().unwrap();
    let snapshot = dir.path().join("snapshot");
    new.node.engine().checkpoint(&snapshot).unwrap();
    let (before, after) = (old.node.digest(), new.node.digest());
    type Crash<'a> = &'a dyn Fn(&Path);
    let half_copied: Crash<'_> = &|home| {
        home::copy_store(&snapshot, &home.join("g-2")).unwrap();
        fs::remove_file(home.join("g-2/CURRENT")).unwrap();
    };
    let copied: Crash<'_> = &|home| home::copy_store(&snapshot, &home.join("g-2")).unwrap();
    let pointer_written: Crash<'_> = &|home| {
        home::copy_store(&snapshot, &home.join("g-2")).unwrap();
        fs::write(home.join("CURRENT.new"), "g-2").unwrap();
    };
    let pointer_torn: Crash<'_> = &|home| fs::write(home.join("CURRENT.new"), "").unwrap();
    let flipped: Crash<'_> = &|home| {
        home::copy_store(&snapshot, &home.join("g-2")).unwrap();
        fs::write(home.join("CURRENT"), "g-2").unwrap();
    };
    let half_removed: Crash<'_> = &|home| {
        flipped(home);
        fs::remove_file(home.join("g-1/CURRENT")).unwrap();
    };
    for (name, crash, expected) in [
        ("half copied", half_copied, &before),
        ("copied", copied, &before),
        ("pointer written", pointer_written, &before),
        ("pointer torn", pointer_torn, &before),
        ("flipped", flipped, &after),
        ("half removed", half_removed, &after),
    ] {
        let home = TempDir::new().unwrap();
        copy_dir(old.node.dir.path(), home.path());
        crash(home.path());
        let open = || Engine::open(env(), home.path(), Limits::default()).unwrap();
        assert_eq!(open().view().unwrap().digest().unwrap(), *expected, "{name}");
        // And the install can be done again.
        let engine = open();
        engine.install(&snapshot).unwrap();
        assert_eq!(engine.view().unwrap().digest().unwrap(), after, "{name}, installed again");
        drop(engine);
        assert_eq!(open().view().unwrap().digest().unwrap(), after, "{name}, installed again and opened");
    }
}

/// An install that fails changes nothing.
#[test]
fn a_damaged_snapshot_is_not_installed() {
    let (target, source) = (leader(7).node, leader(8));
    let before = target.digest();
    let dir = TempDir::new().unwrap();
    assert!(target.engine().install(&dir.path().join("nowhere")).is_err());
    let snapshot = dir.path().join("snapshot");
    source.node.engine().checkpoint(&snapshot).unwrap();
    for entry in fs::read_dir(&snapshot).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("MANIFEST") {
            fs::write(path, "damaged").unwrap();
        }
    }
    assert!(target.engine().inspect(&snapshot).is_err());
    assert!(target.engine().install(&snapshot).is_err());
    assert_eq!(target.digest(), before);
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert!(target.engine().install(&empty).is_err(), "a folder without a store is no snapshot");
    assert_eq!(target.digest(), before);
}

/// A node that cannot be sure which state is its own says so (A7): it neither begins an empty one nor removes anything.
#[test]
fn a_state_that_cannot_be_found_is_no_empty_state() {
    let old = leader(9);
    old.node.engine().flush().unwrap();
    for (name, pointer) in
        [("none", None), ("empty", Some("")), ("elsewhere", Some("..")), ("of a state that is not there", Some("g-7"))]
    {
        let home = TempDir::new().unwrap();
        copy_dir(old.node.dir.path(), home.path());
        match pointer {
            Some(pointer) => fs::write(home.path().join("CURRENT"), pointer).unwrap(),
            None => fs::remove_file(home.path().join("CURRENT")).unwrap(),
        }
        for _ in 0..2 {
            let opened = Engine::open(env(), home.path(), Limits::default()).map(|_| ());
            assert!(matches!(opened, Err(Error::Files { .. })), "{name}: {opened:?}");
        }
        assert!(home.path().join("g-1/CURRENT").exists(), "{name}: nothing is removed");
    }
}

/// A second process is turned away, and does no harm before.
#[test]
fn a_state_in_use_is_left_alone() {
    let node = leader(10).node;
    let next = node.dir.path().join("g-2");
    fs::create_dir(&next).unwrap();
    let opened = Engine::open(env(), node.dir.path(), Limits::default()).map(|_| ());
    assert!(matches!(opened, Err(Error::Storage(kv::Error { kind: kv::ErrorKind::Busy, .. }))), "{opened:?}");
    assert!(next.exists(), "the state that the first process is about to install");
}

/// What is called durable is found again after a kill: the log is purged up to there.
#[test]
fn durable_is_what_survives() {
    for seed in 0..6 {
        let mut dice = Dice::new(seed);
        let mut leader = Leader::new();
        let mut flushed = None;
        for n in 0..40u64 {
            let body = format!(r#"{{"n":{n},"s":"{}"}}"#, "x".repeat(dice.below(2_000) as usize));
            leader.submit(&put("c", &dice.below(9).to_string(), &body));
            if dice.once_in(8) {
                leader.node.engine().flush().unwrap();
                flushed = leader.node.engine().meta().applied;
            }
            if dice.once_in(8) {
                let durable = leader.node.engine().durable().unwrap();
                assert_eq!(durable, flushed);
                let copy = TempDir::new().unwrap();
                copy_dir(leader.node.dir.path(), copy.path());
                let engine = Engine::open(env(), copy.path(), Limits::default()).unwrap();
                assert_eq!(engine.meta().applied, durable);
                assert_eq!(engine.durable().unwrap(), durable);
            }
        }
    }
}

/// Wherever a byte of a file of documents is flipped: an error or the right answer, never a wrong one.
#[test]
fn a_flipped_byte_is_noticed() {
    let mut leader = Leader::new();
    for n in 0..200 {
        leader.decide(&put("c", &format!("{n:03}"), &format!(r#"{{"n":{n},"text":"number {n} of two hundred"}}"#)));
    }
    leader.append();
    leader.apply();
    leader.node.engine().flush().unwrap();
    let expected = leader.node.digest();
    let still = TempDir::new().unwrap();
    copy_dir(leader.node.dir.path(), still.path());
    let home = still.path();
    let mut noticed = 0;
    let mut dice = Dice::new(1);
    for file in ssts(&home.join("g-1")) {
        let size = fs::metadata(&file).unwrap().len();
        let positions = (0..12).map(|_| dice.below(size)).chain([0, size / 2, size - 1]).collect::<Vec<_>>();
        for position in positions {
            let copy = TempDir::new().unwrap();
            copy_dir(home, copy.path());
            let file = copy.path().join(file.strip_prefix(home).unwrap());
            let mut bytes = fs::read(&file).unwrap();
            bytes[position as usize] ^= 0x20;
            fs::write(&file, bytes).unwrap();
            let digest = Engine::open(env(), copy.path(), Limits::default())
                .and_then(|engine| engine.view())
                .map_err(crate::view::ReadError::from)
                .and_then(|view| view.digest());
            match digest {
                Ok(digest) => assert_eq!(digest, expected, "{file:?} at {position} of {size}"),
                Err(crate::view::ReadError::Storage(Error::Storage(_))) => noticed += 1,
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(noticed > 20, "only {noticed} were noticed");
}

fn ssts(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "sst")).collect()
}
