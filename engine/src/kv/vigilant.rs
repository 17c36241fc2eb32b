//! Stores whose errors are heard of at once, whoever meets them: a read on behalf of a client as much as apply (A7).

use std::path::Path;
use std::sync::Arc;

use super::{Cf, Env, Error, ErrorKind, Pair, Result, Scan, Snapshot, Spec, Store, WriteBatch};

/// Told of an error, before whoever met it is.
pub type OnError = Arc<dyn Fn(&Error) + Send + Sync>;

/// An environment that tells of every error that one of its stores meets. Stores that are opened for reading only are left
/// out: whoever looks into something that may be no sound store deals with that alone.
pub struct Vigilant {
    env: Arc<dyn Env>,
    on_error: OnError,
}

impl Vigilant {
    /// Stores of `env`, whose errors are told to `on_error`.
    pub fn new(env: Arc<dyn Env>, on_error: OnError) -> Self {
        Self { env, on_error }
    }
}

impl Env for Vigilant {
    fn open(&self, dir: &Path, spec: &Spec) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(Watched { inner: self.env.open(dir, spec)?, on_error: self.on_error.clone() }))
    }

    fn open_read_only(&self, dir: &Path, spec: &Spec) -> Result<Arc<dyn Store>> {
        self.env.open_read_only(dir, spec)
    }
}

/// Something whose errors are told.
struct Watched<T> {
    inner: T,
    on_error: OnError,
}

fn told<T>(result: Result<T>, on_error: &OnError) -> Result<T> {
    let is_bad = |error: &&Error| error.kind != ErrorKind::NotInMemory;
    if let Some(error) = result.as_ref().err().filter(is_bad) {
        on_error(error);
    }
    result
}

impl Store for Watched<Arc<dyn Store>> {
    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Vec<u8>>> {
        told(self.inner.get(cf, key), &self.on_error)
    }

    fn get_durable(&self, cf: Cf, key: &[u8]) -> Result<Option<Vec<u8>>> {
        told(self.inner.get_durable(cf, key), &self.on_error)
    }

    fn write(&self, batch: WriteBatch, sync: bool) -> Result<()> {
        told(self.inner.write(batch, sync), &self.on_error)
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        Arc::new(Watched { inner: self.inner.snapshot(), on_error: self.on_error.clone() })
    }

    fn flush(&self) -> Result<()> {
        told(self.inner.flush(), &self.on_error)
    }

    fn checkpoint(&self, dir: &Path) -> Result<()> {
        told(self.inner.checkpoint(dir), &self.on_error)
    }

    fn is_stalled(&self) -> bool {
        self.inner.is_stalled()
    }

    fn background_errors(&self) -> u64 {
        self.inner.background_errors()
    }

    fn figures(&self) -> Vec<(&'static str, f64)> {
        self.inner.figures()
    }
}

impl Snapshot for Watched<Arc<dyn Snapshot>> {
    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Vec<u8>>> {
        told(self.inner.get(cf, key), &self.on_error)
    }

    fn get_many(&self, cf: Cf, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        told(self.inner.get_many(cf, keys), &self.on_error)
    }

    fn bytes_between(&self, cf: Cf, from: &[u8], to: &[u8]) -> Result<u64> {
        told(self.inner.bytes_between(cf, from, to), &self.on_error)
    }

    fn scan<'a>(&'a self, cf: Cf, from: &[u8], to: &[u8], reverse: bool) -> Box<dyn Scan + 'a> {
        Box::new(Watched { inner: self.inner.scan(cf, from, to, reverse), on_error: self.on_error.clone() })
    }

    fn in_memory(&self) -> Arc<dyn Snapshot> {
        Arc::new(Watched { inner: self.inner.in_memory(), on_error: self.on_error.clone() })
    }
}

impl Scan for Watched<Box<dyn Scan + '_>> {
    fn next(&mut self) -> Result<Option<Pair<'_>>> {
        told(self.inner.next(), &self.on_error)
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::kv::Logging;
    use crate::kv::rocks::RocksEnv;

    const A: Cf = Cf(0);
    const SPEC: Spec = Spec { families: &["a"], logging: Logging::WriteAhead, write_buffer_bytes: 1 << 20 };

    /// Damages every block of every table in `dir`.
    fn damage(dir: &Path) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "sst") {
                let mut bytes = std::fs::read(&path).unwrap();
                bytes[10] ^= 0x40;
                std::fs::write(&path, bytes).unwrap();
            }
        }
    }

    #[test]
    fn a_damaged_block_is_heard_of_whoever_reads_it() {
        let reads: [fn(&dyn Store) -> Option<Error>; 3] = [
            |store| store.get(A, b"k").err(),
            |store| store.snapshot().get(A, b"k").err(),
            |store| store.snapshot().scan(A, b"", b"z", false).next().err(),
        ];
        for read in reads {
            let (dir, heard) = (tempfile::tempdir().unwrap(), Arc::new(Mutex::new(Vec::new())));
            let open = || {
                let heard = heard.clone();
                let on_error: OnError = Arc::new(move |error| heard.lock().push(error.kind));
                Vigilant::new(Arc::new(RocksEnv::new(1 << 20)), on_error).open(dir.path(), &SPEC).unwrap()
            };
            let store = open();
            let mut batch = WriteBatch::new();
            batch.put(A, "k", "v");
            store.write(batch, true).unwrap();
            store.flush().unwrap();
            drop(store);
            damage(dir.path());
            let unread = open().snapshot().in_memory().get(A, b"k").map_err(|error| error.kind);
            assert_eq!((unread, heard.lock().len()), (Err(ErrorKind::NotInMemory), 0), "nothing to be told of");
            let met = read(&*open()).expect("the damage is met");
            assert_eq!((met.kind, &heard.lock()[..]), (ErrorKind::Corruption, &[ErrorKind::Corruption][..]));
        }
    }
}
