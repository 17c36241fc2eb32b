//! RocksDB behind the [`Store`] interface. The only module that names RocksDB (A10).

mod framing;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, DBRawIteratorWithThreadMode,
    FlushOptions, Options, ReadOptions, ReadTier, SnapshotWithThreadMode, WriteOptions, checkpoint::Checkpoint,
};
use self_cell::self_cell;

use super::{Cf, Env, Error, ErrorKind, Logging, Pair, Result, Scan, Snapshot, Spec, Store, Write, WriteBatch};

/// The part of a write buffer that is a filter for its keys: ten bits a key of an index's entries.
const MEMTABLE_BLOOM_RATIO: f64 = 0.015;
/// Bytes of a block of the state's tables, before it is compressed: some fifty documents of a few hundred bytes. Whoever reads many of
/// them looks for fewer blocks than with RocksDB's 4 KiB. Whoever looks for one key that is in no memory reads four times as much:
/// documents that are asked for one by one are kept by themselves (`document_cache`).
const BLOCK_BYTES: usize = 16 << 10;
/// Keys that are gone which a scan passes over, one after the other, before it is one for who may wait.
const SKIPPED_AT_ONCE_MAX: u64 = 4_096;

/// Opens RocksDB stores that share one block cache.
pub struct RocksEnv {
    cache: Cache,
}

impl RocksEnv {
    /// An environment whose stores share a block cache of `cache_bytes`.
    pub fn new(cache_bytes: usize) -> Self {
        Self { cache: Cache::new_hyper_clock_cache(cache_bytes, 0) }
    }

    fn options(&self, spec: &Spec) -> Options {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_paranoid_checks(true);
        options.set_atomic_flush(spec.logging == Logging::None);
        // A flush and a compaction side by side; more would only compete with the log's fsync for two cores.
        options.set_max_background_jobs(2);
        options.set_keep_log_file_num(2);
        options.set_max_log_file_size(4 << 20);
        options.set_bytes_per_sync(1 << 20);
        options.set_max_open_files(512);
        options.set_wal_recovery_mode(rocksdb::DBRecoveryMode::TolerateCorruptedTailRecords);
        options.set_max_total_wal_size(256 << 20);
        options
    }

    fn family_options(&self, spec: &Spec) -> Options {
        let mut block = BlockBasedOptions::default();
        block.set_block_cache(&self.cache);
        block.set_cache_index_and_filter_blocks(true);
        block.set_pin_l0_filter_and_index_blocks_in_cache(true);
        block.set_format_version(5);
        let mut options = Options::default();
        match spec.logging {
            // A log's tables are short-lived, and looked into for what is there: neither pays.
            Logging::WriteAhead => options.set_compression_type(DBCompressionType::None),
            Logging::None => {
                block.set_block_size(BLOCK_BYTES);
                block.set_bloom_filter(10.0, false);
                // Most keys that are looked for are not among those written last: a new id, what an index has not yet.
                options.set_memtable_whole_key_filtering(true);
                options.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM_RATIO);
                // zstd makes a million documents of 250 bytes and their indexes a fifth smaller; while many are inserted it takes
                // a tenth to a sixth of all processor time, for writing every document again with each compaction of its level.
                // What was just flushed is soon read again, to be merged into the next level: it is not compressed for that while.
                options.set_compression_per_level(&[DBCompressionType::None, DBCompressionType::Lz4]);
            }
        }
        options.set_block_based_table_factory(&block);
        options.set_write_buffer_size(spec.write_buffer_bytes);
        options.set_level_compaction_dynamic_level_bytes(true);
        options
    }

    fn descriptors(&self, spec: &Spec) -> Vec<ColumnFamilyDescriptor> {
        let named = spec.families.iter().map(|name| ColumnFamilyDescriptor::new(*name, self.family_options(spec)));
        // RocksDB insists on a family of its own called `default`; it stays empty.
        named.chain([ColumnFamilyDescriptor::new("default", self.family_options(spec))]).collect()
    }

    fn wrap(db: DB, spec: &Spec) -> Arc<dyn Store> {
        Arc::new(RocksStore { db: Arc::new(db), families: spec.families, logging: spec.logging })
    }
}

impl Env for RocksEnv {
    fn open(&self, dir: &Path, spec: &Spec) -> Result<Arc<dyn Store>> {
        framing::check(dir)?;
        let db = DB::open_cf_descriptors(&self.options(spec), dir, self.descriptors(spec))
            .map_err(|e| error("opening the store", &e))?;
        Ok(Self::wrap(db, spec))
    }

    fn open_read_only(&self, dir: &Path, spec: &Spec) -> Result<Arc<dyn Store>> {
        framing::check(dir)?;
        let mut options = self.options(spec);
        options.create_if_missing(false);
        let db = DB::open_cf_descriptors_read_only(&options, dir, self.descriptors(spec), false)
            .map_err(|e| error("opening the store for reading", &e))?;
        Ok(Self::wrap(db, spec))
    }
}

struct RocksStore {
    db: Arc<DB>,
    families: &'static [&'static str],
    logging: Logging,
}

impl RocksStore {
    fn family(&self, cf: Cf) -> Result<&ColumnFamily> {
        family(&self.db, self.families, cf)
    }

    /// A figure of the whole store; 0 when RocksDB does not know it.
    fn property(&self, name: &str) -> u64 {
        self.db.property_int_value(name).ok().flatten().unwrap_or(0)
    }
}

fn family<'a>(db: &'a DB, families: &'static [&'static str], cf: Cf) -> Result<&'a ColumnFamily> {
    families
        .get(usize::from(cf.0))
        .and_then(|name| db.cf_handle(name))
        .ok_or_else(|| Error::new(ErrorKind::Misuse, "finding a column family", format!("{cf:?} does not exist")))
}

impl Store for RocksStore {
    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.db.get_cf(self.family(cf)?, key).map_err(|e| error("reading", &e))
    }

    fn get_durable(&self, cf: Cf, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::Persisted);
        self.db.get_cf_opt(self.family(cf)?, key, &options).map_err(|e| error("reading what is durable", &e))
    }

    fn write(&self, batch: WriteBatch, sync: bool) -> Result<()> {
        let mut native = rocksdb::WriteBatch::with_capacity_bytes(batch.bytes_max());
        for write in batch.writes() {
            match write {
                Write::Put { cf, key, value } => native.put_cf(self.family(*cf)?, key, value),
                Write::Delete { cf, key } => native.delete_cf(self.family(*cf)?, key),
                Write::DeleteRange { cf, from, to } => native.delete_range_cf(self.family(*cf)?, from, to),
            }
        }
        // Without hints where a batch's next key belongs (`memtable_insert_hint_per_batch`): while another thread writes, RocksDB follows
        // those of keys for the ranges that go, too, which are in a list of their own, and loses what it puts into the wrong one
        // (as it did with prefixes: https://github.com/facebook/rocksdb/pull/12558).
        let mut options = WriteOptions::default();
        match self.logging {
            Logging::WriteAhead => options.set_sync(sync),
            Logging::None if sync => {
                return Err(Error::new(ErrorKind::Misuse, "writing", "a store without a log cannot sync a write"));
            }
            Logging::None => options.disable_wal(true),
        }
        self.db.write_opt(native, &options).map_err(|e| error("writing", &e))
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        let view = View::new(self.db.clone(), |db| SnapshotWithThreadMode::new(db));
        Arc::new(RocksSnapshot { view: Arc::new(view), families: self.families, reads_disk: true })
    }

    fn flush(&self) -> Result<()> {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let families = (0..self.families.len()).map(|n| self.family(Cf(n as u8))).collect::<Result<Vec<_>>>()?;
        self.db.flush_cfs_opt(&families, &options).map_err(|e| error("flushing", &e))
    }

    fn checkpoint(&self, dir: &Path) -> Result<()> {
        let checkpoint = Checkpoint::new(&self.db).map_err(|e| error("beginning a checkpoint", &e))?;
        checkpoint.create_checkpoint(dir).map_err(|e| error("writing a checkpoint", &e))
    }

    fn is_stalled(&self) -> bool {
        ["rocksdb.is-write-stopped", "rocksdb.actual-delayed-write-rate"]
            .into_iter()
            .any(|sign| self.property(sign) > 0)
    }

    fn background_errors(&self) -> u64 {
        self.property("rocksdb.background-errors")
    }

    fn figures(&self) -> Vec<(&'static str, f64)> {
        let sum = |property: &str| -> f64 {
            let values = (0..self.families.len())
                .filter_map(|n| self.family(Cf(n as u8)).ok())
                .filter_map(|cf| self.db.property_int_value_cf(cf, property).ok().flatten());
            values.map(|v| v as f64).sum()
        };
        let whole = |property: &str| self.property(property) as f64;
        vec![
            ("sst_bytes", sum("rocksdb.total-sst-files-size")),
            ("live_data_bytes", sum("rocksdb.estimate-live-data-size")),
            ("memtable_bytes", sum("rocksdb.cur-size-all-mem-tables")),
            ("table_reader_bytes", sum("rocksdb.estimate-table-readers-mem")),
            ("pending_compaction_bytes", sum("rocksdb.estimate-pending-compaction-bytes")),
            ("block_cache_bytes", whole("rocksdb.block-cache-usage")),
            ("running_compactions", whole("rocksdb.num-running-compactions")),
            ("running_flushes", whole("rocksdb.num-running-flushes")),
            ("write_stopped", whole("rocksdb.is-write-stopped")),
            ("delayed_write_rate_bytes_per_second", whole("rocksdb.actual-delayed-write-rate")),
            ("background_errors", whole("rocksdb.background-errors")),
        ]
    }
}

type DbSnapshot<'a> = SnapshotWithThreadMode<'a, DB>;

self_cell!(
    /// A RocksDB snapshot together with the database that it borrows from.
    struct View {
        owner: Arc<DB>,
        #[covariant]
        dependent: DbSnapshot,
    }
);

struct RocksSnapshot {
    view: Arc<View>,
    families: &'static [&'static str],
    reads_disk: bool,
}

impl RocksSnapshot {
    fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        if !self.reads_disk {
            options.set_read_tier(ReadTier::BlockCache);
            options.set_max_skippable_internal_keys(SKIPPED_AT_ONCE_MAX);
        }
        options
    }

    /// What went wrong while reading it.
    fn error(&self, what: &'static str, error: &rocksdb::Error) -> Error {
        read_error(self.reads_disk, what, error)
    }
}

impl Snapshot for RocksSnapshot {
    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let family = family(self.view.borrow_owner(), self.families, cf)?;
        let found = self.view.borrow_dependent().get_cf_opt(family, key, self.options());
        found.map_err(|e| self.error("reading a snapshot", &e))
    }

    fn get_many(&self, cf: Cf, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        if !self.reads_disk {
            // RocksDB's own does read the disk, and where it does not, takes a key whose block is not there for an empty value.
            return keys.iter().map(|key| self.get(cf, key)).collect();
        }
        let db = self.view.borrow_owner();
        let family = family(db, self.families, cf)?;
        let mut options = self.options();
        options.set_snapshot(self.view.borrow_dependent());
        let found = db.batched_multi_get_cf_opt(&family, keys, false, &options).into_iter();
        let value = |value: rocksdb::DBPinnableSlice<'_>| value.to_vec();
        found.map(|found| Ok(found.map_err(|e| error("reading a snapshot", &e))?.map(value))).collect()
    }

    fn bytes_between(&self, cf: Cf, from: &[u8], to: &[u8]) -> Result<u64> {
        let db = self.view.borrow_owner();
        let sizes = db.get_approximate_sizes_cf(family(db, self.families, cf)?, &[rocksdb::Range::new(from, to)]);
        Ok(sizes.into_iter().sum())
    }

    fn scan<'a>(&'a self, cf: Cf, from: &[u8], to: &[u8], reverse: bool) -> Box<dyn Scan + 'a> {
        let mut options = self.options();
        options.set_iterate_lower_bound(from);
        options.set_iterate_upper_bound(to);
        let family = match family(self.view.borrow_owner(), self.families, cf) {
            Ok(family) => family,
            Err(error) => return Box::new(Failed(error)),
        };
        if from >= to {
            return Box::new(Empty);
        }
        let mut iterator = self.view.borrow_dependent().raw_iterator_cf_opt(family, options);
        if reverse {
            iterator.seek_to_last();
        } else {
            iterator.seek_to_first();
        }
        Box::new(RocksScan { iterator, reverse, fresh: true, reads_disk: self.reads_disk })
    }

    fn in_memory(&self) -> Arc<dyn Snapshot> {
        Arc::new(Self { view: self.view.clone(), families: self.families, reads_disk: false })
    }
}

struct RocksScan<'a> {
    iterator: DBRawIteratorWithThreadMode<'a, DB>,
    reverse: bool,
    /// True until the first pair was handed out.
    fresh: bool,
    reads_disk: bool,
}

impl Scan for RocksScan<'_> {
    fn next(&mut self) -> Result<Option<Pair<'_>>> {
        if self.fresh {
            self.fresh = false;
        } else if self.iterator.valid() {
            if self.reverse { self.iterator.prev() } else { self.iterator.next() }
        }
        if !self.iterator.valid() {
            let reads_disk = self.reads_disk;
            return self.iterator.status().map(|()| None).map_err(|e| read_error(reads_disk, "scanning", &e));
        }
        Ok(self.iterator.item())
    }
}

struct Empty;

impl Scan for Empty {
    fn next(&mut self) -> Result<Option<Pair<'_>>> {
        Ok(None)
    }
}

struct Failed(Error);

impl Scan for Failed {
    fn next(&mut self) -> Result<Option<Pair<'_>>> {
        Err(self.0.clone())
    }
}

/// An error of a read. That something is missing in memory is one of those only that want nothing else.
fn read_error(reads_disk: bool, what: &'static str, native: &rocksdb::Error) -> Error {
    match native.kind() {
        rocksdb::ErrorKind::Incomplete if !reads_disk => {
            Error::new(ErrorKind::NotInMemory, what, "it is not in memory, or behind very many keys that are gone")
        }
        _ => error(what, native),
    }
}

fn error(what: &'static str, error: &rocksdb::Error) -> Error {
    let detail = error.to_string();
    let kind = match error.kind() {
        rocksdb::ErrorKind::Corruption => ErrorKind::Corruption,
        rocksdb::ErrorKind::Busy => ErrorKind::Busy,
        _ if detail.contains("No space left") => ErrorKind::NoSpace,
        // By another process, or by this one.
        _ if detail.contains("While lock file") || detail.contains("lock hold by current process") => ErrorKind::Busy,
        _ => ErrorKind::Io,
    };
    Error::new(kind, what, detail)
}
