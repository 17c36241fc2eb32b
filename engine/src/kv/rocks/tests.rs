//! What the engine and the log rely on, asked of RocksDB itself.

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::RocksEnv;
use crate::kv::{Cf, Env, ErrorKind, Logging, Snapshot, Spec, Store, WriteBatch};
use crate::testing::copy_dir;

const A: Cf = Cf(0);
const B: Cf = Cf(1);

fn spec(logging: Logging) -> Spec {
    Spec { families: &["a", "b"], logging, write_buffer_bytes: 1 << 20 }
}

fn open(dir: &Path, logging: Logging) -> Arc<dyn Store> {
    RocksEnv::new(1 << 20).open(dir, &spec(logging)).unwrap()
}

/// A store without a write-ahead log, as the state is.
fn store() -> (Arc<dyn Store>, TempDir) {
    let dir = TempDir::new().unwrap();
    (open(dir.path(), Logging::None), dir)
}

/// Writes the steps as one batch: `key=value`, `-key`, or `from..to` to be deleted; `B:` in front means the second family.
fn write(store: &dyn Store, steps: &str) {
    let mut batch = WriteBatch::new();
    for step in steps.split_whitespace() {
        let (cf, step) = step.strip_prefix("B:").map_or((A, step), |step| (B, step));
        if let Some((from, to)) = step.split_once("..") {
            batch.delete_range(cf, from, to);
        } else if let Some((key, value)) = step.split_once('=') {
            batch.put(cf, key, value.to_owned());
        } else {
            batch.delete(cf, step.strip_prefix('-').expect("a step is a put or a delete"));
        }
    }
    store.write(batch, false).unwrap();
}

fn scan(snapshot: &dyn Snapshot, cf: Cf, from: &str, to: &str, reverse: bool) -> String {
    let mut scan = snapshot.scan(cf, from.as_bytes(), to.as_bytes(), reverse);
    let mut found = Vec::new();
    while let Some((key, value)) = scan.next().unwrap() {
        found.push(format!("{}={}", String::from_utf8_lossy(key), String::from_utf8_lossy(value)));
    }
    assert!(scan.next().unwrap().is_none(), "a scan that ended stays ended");
    found.join(" ")
}

fn all(store: &dyn Store, cf: Cf) -> String {
    scan(&*store.snapshot(), cf, "", "~", false)
}

#[test]
fn what_was_compressed_by_zstd_is_read() {
    let dir = TempDir::new().unwrap();
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_compression_type(rocksdb::DBCompressionType::Zstd);
    let families = ["a", "b"].map(|name| rocksdb::ColumnFamilyDescriptor::new(name, options.clone()));
    let former = rocksdb::DB::open_cf_descriptors(&options, dir.path(), families).unwrap();
    let family = former.cf_handle("a").unwrap();
    (0..2_000).for_each(|n| former.put_cf(family, format!("{n:05}"), "a text that is packed").unwrap());
    former.flush_cf(family).unwrap();
    drop(former);
    let store = open(dir.path(), Logging::None);
    let expected: Vec<String> = (0..2_000).map(|n| format!("{n:05}=a text that is packed")).collect();
    assert_eq!(all(&*store, A), expected.join(" "));
}

/// Many keys at once, in memory and in tables, deleted and overwritten: as one after the other, and as of the snapshot.
#[test]
fn many_keys_are_read_as_each_is() {
    let (store, _dir) = store();
    write(&*store, "a=1 b=2 c=3 d=4 B:a=other");
    store.flush().unwrap();
    write(&*store, "b=5 -c e=6");
    let snapshot = store.snapshot();
    write(&*store, "a=7 -b d=8 f=9");
    let keys = ["f", "e", "b", "x", "a", "c", "d", "a"].map(str::as_bytes);
    let found = snapshot.get_many(A, &keys).unwrap();
    let each: Vec<_> = keys.iter().map(|key| snapshot.get(A, key).unwrap()).collect();
    assert_eq!(found, each);
    let text = found.into_iter().map(|value| value.map_or("-".into(), |value| String::from_utf8(value).unwrap()));
    assert_eq!(text.collect::<Vec<_>>(), ["-", "6", "5", "-", "1", "-", "4", "1"]);
    assert_eq!(snapshot.get_many(B, &keys[4..5]).unwrap(), [Some(b"other".to_vec())]);
    assert_eq!(snapshot.get_many(A, &[]).unwrap(), Vec::<Option<Vec<u8>>>::new());
}

/// Batches of several threads at one time, each with puts and a range that goes: RocksDB puts them into memory side by side.
#[test]
fn ranges_go_whoever_writes_beside_them() {
    const THREADS: usize = 4;
    const BATCHES: usize = 400;
    let (store, _dir) = store();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = &*store;
            scope.spawn(move || {
                for n in 0..BATCHES {
                    let (kept, gone) = (format!("{thread}k{n:03}"), format!("{thread}g{n:03}"));
                    write(store, &format!("{kept}=1 {gone}a=1 {gone}b=1 {gone}..{gone}z {kept}x=2"));
                }
            });
        }
    });
    let key = |thread, n| format!("{thread}k{n:03}=1 {thread}k{n:03}x=2");
    let expected: Vec<_> = (0..THREADS).flat_map(|thread| (0..BATCHES).map(move |n| key(thread, n))).collect();
    assert!(all(&*store, A) == expected.join(" "), "a key is lost, or one that went is there");
    store.flush().unwrap();
    assert!(all(&*store, A) == expected.join(" "), "the same, in a table");
}

#[test]
fn later_writes_of_a_batch_win() {
    for (steps, left) in [
        ("a=1 a=2", "a=2"),
        ("a=1 -a", ""),
        ("-a a=1", "a=1"),
        ("a..c a=1", "a=1"),
        ("a=1 b=1 c=1 a..c", "c=1"),
        ("a=1 a..c b=2", "b=2"),
        ("a=1 B:a..c", "a=1"),
    ] {
        let (store, _dir) = store();
        write(&*store, "a=0 b=0");
        store.flush().unwrap();
        write(&*store, "-a -b");
        write(&*store, steps);
        assert_eq!(all(&*store, A), left, "{steps}");
        store.flush().unwrap();
        assert_eq!(all(&*store, A), left, "{steps}, flushed");
    }
}

#[test]
fn a_snapshot_does_not_move() {
    let (store, _dir) = store();
    write(&*store, "a=1 b=1 B:x=1");
    let before = store.snapshot();
    write(&*store, "a=2 -b c=2 B:x..z");
    store.flush().unwrap();
    assert_eq!(scan(&*before, A, "", "~", false), "a=1 b=1");
    assert_eq!(before.get(B, b"x").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(all(&*store, A), "a=2 c=2");
    assert_eq!(store.get(B, b"x").unwrap(), None);
    // A snapshot keeps the store open.
    drop(store);
    assert_eq!(scan(&*before, A, "", "~", true), "b=1 a=1");
}

#[test]
fn scans_keep_to_their_bounds() {
    let (store, _dir) = store();
    write(&*store, "a=1 b=2 ba=3 c=4 B:b=9");
    for (from, to, forward) in [
        ("", "~", "a=1 b=2 ba=3 c=4"),
        ("a", "c", "a=1 b=2 ba=3"),
        ("b", "b", ""),
        ("b", "b\0", "b=2"),
        ("c", "a", ""),
        ("aa", "bb", "b=2 ba=3"),
        ("d", "~", ""),
        ("", "a", ""),
    ] {
        let snapshot = store.snapshot();
        assert_eq!(scan(&*snapshot, A, from, to, false), forward, "{from:?}..{to:?}");
        let backward: Vec<&str> = forward.split_whitespace().rev().collect();
        assert_eq!(scan(&*snapshot, A, from, to, true), backward.join(" "), "{from:?}..{to:?} backward");
    }
}

/// What is durable is what a kill leaves: nothing before a flush, all column families at once after it.
#[test]
fn without_a_log_only_a_flush_is_durable() {
    let (store, dir) = store();
    let durable = || store.get_durable(A, b"a").unwrap().map(|value| String::from_utf8(value).unwrap());
    let survives = || {
        let copy = TempDir::new().unwrap();
        copy_dir(dir.path(), copy.path());
        let copy = open(copy.path(), Logging::None);
        (all(&*copy, A), all(&*copy, B))
    };
    write(&*store, "a=1 B:b=1");
    assert_eq!((durable(), survives()), (None, (String::new(), String::new())));
    store.flush().unwrap();
    assert_eq!((durable(), survives()), (Some("1".into()), ("a=1".into(), "b=1".into())));
    write(&*store, "a=2 B:b=2");
    assert_eq!((durable(), survives()), (Some("1".into()), ("a=1".into(), "b=1".into())));
    assert_eq!(store.get(A, b"a").unwrap().as_deref(), Some(&b"2"[..]));
    store.flush().unwrap();
    assert_eq!((durable(), survives()), (Some("2".into()), ("a=2".into(), "b=2".into())));
    assert_eq!(store.write(WriteBatch::new(), true).unwrap_err().kind, ErrorKind::Misuse);
}

/// A full write buffer of one family flushes all of them: otherwise the counters could be durable ahead of the documents.
#[test]
fn a_full_buffer_flushes_all_families_at_once() {
    let (store, dir) = store();
    let mut batch = WriteBatch::new();
    batch.put(B, "last", "0");
    store.write(batch, false).unwrap();
    for n in 0..400u64 {
        let mut batch = WriteBatch::new();
        batch.put(A, n.to_be_bytes(), vec![n as u8; 16 << 10]);
        batch.put(B, "last", n.to_string());
        store.write(batch, false).unwrap();
    }
    let deadline = std::time::Duration::from_secs(20);
    for _ in 0..deadline.as_millis() / 20 {
        if store.get_durable(B, b"last").unwrap().is_some() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let durable: u64 = String::from_utf8(store.get_durable(B, b"last").unwrap().unwrap()).unwrap().parse().unwrap();
    let copy = TempDir::new().unwrap();
    copy_dir(dir.path(), copy.path());
    let copy = open(copy.path(), Logging::None);
    let last: u64 = String::from_utf8(copy.get(B, b"last").unwrap().unwrap()).unwrap().parse().unwrap();
    assert!(durable <= last, "{durable} was called durable and {last} survived");
    let mut held = 0;
    let snapshot = copy.snapshot();
    let mut scan = snapshot.scan(A, b"", &[255; 9], false);
    while scan.next().unwrap().is_some() {
        held += 1;
    }
    assert_eq!(held, last + 1, "both families end at the same batch");
}

#[test]
fn with_a_log_a_synced_write_survives() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path(), Logging::WriteAhead);
    let mut batch = WriteBatch::new();
    batch.put(A, "a", "1");
    batch.put(B, "b", "1");
    store.write(batch, true).unwrap();
    let copy = TempDir::new().unwrap();
    copy_dir(dir.path(), copy.path());
    let copy = open(copy.path(), Logging::WriteAhead);
    assert_eq!((all(&*copy, A), all(&*copy, B)), ("a=1".into(), "b=1".into()));
}

#[test]
fn a_checkpoint_holds_everything_written_before() {
    for logging in [Logging::None, Logging::WriteAhead] {
        let dir = TempDir::new().unwrap();
        let store = open(dir.path(), logging);
        write(&*store, "a=1 B:b=1");
        store.flush().unwrap();
        write(&*store, "a=2 c=2 B:b..c");
        let copy = dir.path().join("copy");
        store.checkpoint(&copy).unwrap();
        write(&*store, "a=3");
        assert!(store.checkpoint(&copy).is_err(), "the folder exists");
        let read = RocksEnv::new(1 << 20).open_read_only(&copy, &spec(logging)).unwrap();
        assert_eq!((all(&*read, A), all(&*read, B)), ("a=2 c=2".into(), String::new()));
        if logging == Logging::None {
            assert_eq!(store.get_durable(A, b"a").unwrap().as_deref(), Some(&b"2"[..]), "a checkpoint flushes");
        }
        assert_eq!(all(&*store, A), "a=3 c=2", "the store is unharmed");
    }
}

#[test]
fn what_cannot_be_opened_says_why() {
    let (store, dir) = store();
    let env = RocksEnv::new(1 << 20);
    let kind = |result: crate::kv::Result<Arc<dyn Store>>| result.map(|_| ()).unwrap_err().kind;
    assert_eq!(kind(env.open(dir.path(), &spec(Logging::None))), ErrorKind::Busy, "it is open already");
    assert_eq!(store.get(Cf(9), b"a").unwrap_err().kind, ErrorKind::Misuse);
    assert_eq!(store.snapshot().scan(Cf(9), b"a", b"b", false).next().unwrap_err().kind, ErrorKind::Misuse);
    let nowhere = dir.path().join("nowhere");
    assert!(env.open_read_only(&nowhere, &spec(Logging::None)).is_err(), "reading makes no store");
    assert!(!nowhere.join("CURRENT").exists());
    drop(store);
    env.open(dir.path(), &spec(Logging::None)).unwrap();
}

/// Found by the fault harness, model × corrupt, seed 301: RocksDB reads such a record for ever.
#[test]
fn a_log_with_a_record_of_a_recycled_file_is_refused_and_not_read_for_ever() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path(), Logging::WriteAhead);
    write(&*store, "one=1");
    write(&*store, "two=2");
    let files = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let logs: Vec<String> = files.filter(|name| name.starts_with("MANIFEST-") || name.ends_with(".log")).collect();
    assert!(logs.len() >= 2, "{logs:?}");
    for name in logs {
        let copy = TempDir::new().unwrap();
        copy_dir(dir.path(), copy.path());
        let path = copy.path().join(&name);
        let mut bytes = std::fs::read(&path).unwrap();
        // The second record: the first one's length is in its fifth and sixth byte.
        let second = 7 + usize::from(u16::from_le_bytes([bytes[4], bytes[5]]));
        bytes[second + 6] ^= 4;
        std::fs::write(&path, bytes).unwrap();
        for opened in [
            RocksEnv::new(1 << 20).open(copy.path(), &spec(Logging::WriteAhead)),
            RocksEnv::new(1 << 20).open_read_only(copy.path(), &spec(Logging::WriteAhead)),
        ] {
            let error = opened.err().unwrap_or_else(|| panic!("{name} was opened"));
            assert_eq!(error.kind, ErrorKind::Corruption, "{name}: {error}");
        }
    }
}
