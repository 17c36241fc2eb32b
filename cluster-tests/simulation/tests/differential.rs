//! The simulated store is RocksDB as far as anybody can see: random operations on both give the same answers, and after
//! a crash the simulated one keeps nothing that RocksDB may not keep, and all that it must.

// Tests stop at the first surprise.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aerodb_engine::kv::rocks::RocksEnv;
use aerodb_engine::kv::{Cf, Env, Logging, Snapshot, Spec, Store, WriteBatch};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use simulation::store::{Disk, Faults, Nobody, SimEnv};
use tempfile::TempDir;

/// Families of the state's names, so that nothing depends on what a family is called.
const FAMILIES: &[&str] = &["doc", "meta"];
const KEYS: u32 = 40;

fn spec(logging: Logging) -> Spec {
    Spec { families: FAMILIES, logging, write_buffer_bytes: 1 << 20 }
}

fn key(rng: &mut SmallRng) -> Vec<u8> {
    format!("k{:02}", rng.random_range(0..KEYS)).into_bytes()
}

fn cf(rng: &mut SmallRng) -> Cf {
    Cf(rng.random_range(0..2))
}

fn batch(rng: &mut SmallRng) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for _ in 0..rng.random_range(0..6) {
        match rng.random_range(0..10) {
            0..6 => batch.put(cf(rng), key(rng), rng.random::<u64>().to_string()),
            6..9 => batch.delete(cf(rng), key(rng)),
            _ => {
                let (one, other) = (key(rng), key(rng));
                batch.delete_range(cf(rng), one.clone().min(other.clone()), one.max(other));
            }
        }
    }
    batch
}

fn scan(view: &dyn Snapshot, cf: Cf, from: &[u8], to: &[u8], reverse: bool) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut scan = view.scan(cf, from, to, reverse);
    let mut found = Vec::new();
    while let Some((key, value)) = scan.next().unwrap() {
        found.push((key.to_vec(), value.to_vec()));
    }
    assert!(scan.next().unwrap().is_none(), "a scan that ended stays ended");
    found
}

fn all(store: &dyn Store) -> Vec<Vec<(Vec<u8>, Vec<u8>)>> {
    let view = store.snapshot();
    (0..2).map(|n| scan(&*view, Cf(n), b"", b"~", false)).collect()
}

/// Two stores that are asked the same.
struct Pair {
    logging: Logging,
    dir: TempDir,
    disk: Disk,
    real: Arc<dyn Store>,
    simulated: Arc<dyn Store>,
}

impl Pair {
    fn open(logging: Logging, seed: u64) -> Self {
        let dir = TempDir::new().unwrap();
        let disk = Disk::new(seed, Arc::new(Nobody));
        // Background flushes would make more durable than RocksDB's big buffers do here.
        disk.set_faults(Faults::default());
        let real = RocksEnv::new(1 << 20).open(&dir.path().join("real"), &spec(logging)).unwrap();
        let simulated = SimEnv::new(disk.clone()).open(&dir.path().join("simulated"), &spec(logging)).unwrap();
        Self { logging, dir, disk, real, simulated }
    }

    fn reopen(self) -> Self {
        let Self { logging, dir, disk, real, simulated } = self;
        drop((real, simulated));
        let real = RocksEnv::new(1 << 20).open(&dir.path().join("real"), &spec(logging)).unwrap();
        let simulated = SimEnv::new(disk.clone()).open(&dir.path().join("simulated"), &spec(logging)).unwrap();
        Self { logging, dir, disk, real, simulated }
    }

    fn same(&self) {
        assert_eq!(all(&*self.real), all(&*self.simulated));
    }
}

#[test]
fn random_operations_give_the_same_answers() {
    for (seed, logging) in (0..6).flat_map(|seed| [(seed, Logging::WriteAhead), (seed, Logging::None)]) {
        let rng = &mut SmallRng::seed_from_u64(seed);
        let mut pair = Pair::open(logging, seed);
        let mut views: Vec<(Arc<dyn Snapshot>, Arc<dyn Snapshot>)> = Vec::new();
        for step in 0..400 {
            match rng.random_range(0..100) {
                0..60 => {
                    let (batch, sync) = (batch(rng), logging == Logging::WriteAhead && rng.random_bool(0.3));
                    let results = (pair.real.write(batch.clone(), sync), pair.simulated.write(batch, sync));
                    assert_eq!(results.0.is_ok(), results.1.is_ok());
                }
                60..70 => {
                    let (cf, key) = (cf(rng), key(rng));
                    assert_eq!(pair.real.get(cf, &key).unwrap(), pair.simulated.get(cf, &key).unwrap());
                    let durable = (pair.real.get_durable(cf, &key), pair.simulated.get_durable(cf, &key));
                    assert_eq!(durable.0.unwrap(), durable.1.unwrap(), "seed {seed}, step {step}, {logging:?}");
                }
                70..80 => views.push((pair.real.snapshot(), pair.simulated.snapshot())),
                80..90 => {
                    let Some((real, simulated)) = views.last() else { continue };
                    let (cf, from, to, reverse) = (cf(rng), key(rng), key(rng), rng.random_bool(0.5));
                    let found = (scan(&**real, cf, &from, &to, reverse), scan(&**simulated, cf, &from, &to, reverse));
                    assert_eq!(found.0, found.1, "seed {seed}, step {step}");
                    assert_eq!(real.get(cf, &from).unwrap(), simulated.get(cf, &from).unwrap());
                }
                90..95 => {
                    pair.real.flush().unwrap();
                    pair.simulated.flush().unwrap();
                }
                // Closing RocksDB in order flushes nothing of a store without a log: a restart is a crash to it.
                95..97 if logging == Logging::WriteAhead => {
                    views.clear();
                    pair = pair.reopen();
                    pair.same();
                }
                _ => pair.same(),
            }
        }
        views.clear();
        pair.same();
    }
}

#[test]
fn a_crash_leaves_what_rocksdb_leaves() {
    for seed in 0..20 {
        for logging in [Logging::WriteAhead, Logging::None] {
            let rng = &mut SmallRng::seed_from_u64(seed);
            let pair = Pair::open(logging, seed);
            // What each number of batches amounts to.
            let mut states = vec![all(&*pair.real)];
            let mut durable = 0;
            for _ in 0..rng.random_range(1..30) {
                let sync = logging == Logging::WriteAhead && rng.random_bool(0.3);
                let batch = batch(rng);
                pair.real.write(batch.clone(), sync).unwrap();
                pair.simulated.write(batch, sync).unwrap();
                states.push(all(&*pair.real));
                let flush = rng.random_bool(0.1);
                if flush {
                    pair.real.flush().unwrap();
                    pair.simulated.flush().unwrap();
                }
                if sync || flush {
                    durable = states.len() - 1;
                }
            }
            // RocksDB killed now: the folder as it lies there.
            let copy = TempDir::new().unwrap();
            copy_dir(&pair.dir.path().join("real"), copy.path());
            let left = RocksEnv::new(1 << 20).open(copy.path(), &spec(logging)).unwrap();
            let real = all(&*left);
            pair.disk.crash();
            let simulated = SimEnv::new(pair.disk.clone());
            let simulated = simulated.open(&pair.dir.path().join("simulated"), &spec(logging)).unwrap();
            let simulated = all(&*simulated);
            let possible = match logging {
                Logging::WriteAhead => &states[durable..],
                Logging::None => &states[durable..=durable],
            };
            assert!(
                possible.contains(&simulated),
                "seed {seed}: the simulated store keeps what it may not, or too little"
            );
            assert!(possible.contains(&real), "seed {seed}: the model of what RocksDB keeps is wrong");
        }
    }
}

#[test]
fn a_checkpoint_is_a_store_of_its_own() {
    for logging in [Logging::WriteAhead, Logging::None] {
        let rng = &mut SmallRng::seed_from_u64(7);
        let pair = Pair::open(logging, 7);
        for _ in 0..20 {
            let batch = batch(rng);
            pair.real.write(batch.clone(), false).unwrap();
            pair.simulated.write(batch, false).unwrap();
        }
        let (real, simulated) = (pair.dir.path().join("real copy"), pair.dir.path().join("simulated copy"));
        pair.real.checkpoint(&real).unwrap();
        pair.simulated.checkpoint(&simulated).unwrap();
        assert!(pair.simulated.checkpoint(&simulated).is_err(), "the folder exists");
        let expected = all(&*pair.real);
        pair.simulated.write(batch(rng), false).unwrap();
        let env = SimEnv::new(pair.disk.clone());
        let read = env.open_read_only(&simulated, &spec(logging)).unwrap();
        assert_eq!(all(&*read), expected);
        assert!(read.write(WriteBatch::new(), false).is_err());
        assert_eq!(all(&*RocksEnv::new(1 << 20).open_read_only(&real, &spec(logging)).unwrap()), expected);
        // Opened to be written, it is a store that the former one knows nothing of.
        let own = env.open(&simulated, &spec(logging)).unwrap();
        own.write(batch(rng), false).unwrap();
        assert_eq!(all(&*read), expected);
    }
}

#[test]
fn damage_is_found_where_it_is_read() {
    let pair = Pair::open(Logging::None, 3);
    let mut batch = WriteBatch::new();
    for n in 0..KEYS {
        batch.put(Cf(0), format!("k{n:02}"), "v");
    }
    pair.simulated.write(batch, false).unwrap();
    pair.simulated.flush().unwrap();
    let hit = pair.disk.flip(simulation::store::Role::State).expect("there is something to hit");
    let found = (0..KEYS).filter(|n| pair.simulated.get(Cf(0), format!("k{n:02}").as_bytes()).is_err()).count();
    assert!(found > 0, "{hit}");
    let view = pair.simulated.snapshot();
    let mut scan = view.scan(Cf(0), b"", b"~", false);
    let ended = loop {
        match scan.next() {
            Ok(Some(_)) => {}
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    assert!(!ended, "a scan over damage never looks like one that ended");
}

/// Copies a folder that RocksDB is still working in, as of one moment: again until nothing has changed meanwhile.
fn copy_dir(from: &Path, to: &Path) {
    for _ in 0..100 {
        let before = listing(from);
        for (path, _) in listing(to) {
            std::fs::remove_file(path).unwrap();
        }
        let copied = before.iter().all(|(path, _)| {
            let name = path.file_name().unwrap_or_default();
            std::fs::copy(path, to.join(name)).is_ok()
        });
        if copied && listing(from) == before {
            return;
        }
    }
    panic!("the folder never stood still");
}

/// The files of a folder and their sizes, but for RocksDB's own diary.
fn listing(dir: &Path) -> Vec<(PathBuf, u64)> {
    let files = std::fs::read_dir(dir).unwrap().filter_map(Result::ok);
    let mut found: Vec<_> = files
        .filter(|file| file.file_name() != "LOG")
        .filter_map(|file| Some((file.path(), file.metadata().ok()?.len())))
        .collect();
    found.sort();
    found
}
