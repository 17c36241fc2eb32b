//! What the fuzzer found, and examples of each target's input, given to the targets once more.

// A test may stop at the first surprise, and may talk.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::Path;

use aerodb_fuzz::TARGETS;

/// Runs a target on every file of its corpus. A panic names the file: it is the last one that was said.
fn check(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    let target = aerodb_fuzz::target(name).unwrap();
    for file in files {
        println!("{}", file.display());
        target(&std::fs::read(&file).unwrap());
    }
}

#[test]
fn command() {
    check("command");
}

#[test]
fn filter() {
    check("filter");
}

#[test]
fn import() {
    check("import");
}

#[test]
fn keys() {
    check("keys");
}

#[test]
fn path() {
    check("path");
}

#[test]
fn update() {
    check("update");
}

#[test]
fn every_target_is_checked_and_every_corpus_has_a_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut folders: Vec<_> =
        std::fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    folders.sort();
    assert_eq!(folders, TARGETS.map(|(name, _)| name));
}
