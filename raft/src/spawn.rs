//! Where work runs, handed in: real threads in production, plain tasks of one thread in a simulation.

use std::sync::Arc;
use std::thread::JoinHandle;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Starts work away from the asynchronous threads. Call it within a Tokio runtime.
pub trait Spawner: Send + Sync + 'static {
    /// Runs blocking work off the asynchronous threads.
    fn blocking(&self, work: Box<dyn FnOnce() + Send>);

    /// Runs a future to its end on a thread of its own, where it may block.
    fn dedicated(&self, name: &'static str, work: BoxFuture<'static, ()>);

    /// Runs a future, and with it every task that it starts, where consensus runs: beside the work for clients.
    fn consensus(&self, work: BoxFuture<'static, ()>);
}

/// Production: Tokio's blocking threads, a thread of the operating system for dedicated work, and one for all of consensus.
///
/// What Raft does for a write is a dozen short tasks, each waking the next. On threads that share their tasks every such step
/// wakes another thread, which finds nothing left to do: a fifth of the processor time of a lone write. And requests of clients
/// never stand before a heartbeat.
#[derive(Clone, Debug, Default)]
pub struct Threads {
    dedicated: Arc<Mutex<Vec<JoinHandle<()>>>>,
    consensus: Arc<Mutex<Option<Consensus>>>,
}

/// The thread of consensus. It ends with this: at [`Threads::join`], for what runs there holds the threads themselves.
#[derive(Debug)]
struct Consensus {
    runtime: Handle,
    _end: DropGuard,
}

impl Threads {
    /// Ends the thread of consensus, and waits until every dedicated thread has ended. Each ends when whoever sends it work is
    /// gone.
    pub fn join(&self) {
        drop(self.consensus.lock().take());
        let threads = std::mem::take(&mut *self.dedicated.lock());
        for thread in threads {
            // A thread that panicked has said so itself.
            drop(thread.join());
        }
    }
}

impl Spawner for Threads {
    fn blocking(&self, work: Box<dyn FnOnce() + Send>) {
        tokio::task::spawn_blocking(work);
    }

    /// # Panics
    /// When the operating system grants no thread: nothing that asks for one can do without it.
    fn dedicated(&self, name: &'static str, work: BoxFuture<'static, ()>) {
        let body = move || futures::executor::block_on(work);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body).expect("a thread can be started");
        self.dedicated.lock().push(thread);
    }

    /// # Panics
    /// When the operating system grants no thread, or nothing to wait for events with.
    fn consensus(&self, work: BoxFuture<'static, ()>) {
        let mut consensus = self.consensus.lock();
        let Consensus { runtime, .. } = consensus.get_or_insert_with(|| {
            let runtime = Builder::new_current_thread().enable_all().build().expect("events can be waited for");
            let (handle, end) = (runtime.handle().clone(), CancellationToken::new());
            let ended = end.clone();
            let body = move || runtime.block_on(ended.cancelled());
            let thread = std::thread::Builder::new().name("consensus".into()).spawn(body);
            self.dedicated.lock().push(thread.expect("a thread can be started"));
            Consensus { runtime: handle, _end: end.drop_guard() }
        });
        runtime.spawn(work);
    }
}

/// Simulation: everything is a task of the current runtime, and blocking work is done at once where it is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tasks;

impl Spawner for Tasks {
    fn blocking(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }

    fn dedicated(&self, _name: &'static str, work: BoxFuture<'static, ()>) {
        tokio::task::spawn(work);
    }

    fn consensus(&self, work: BoxFuture<'static, ()>) {
        tokio::task::spawn(work);
    }
}

/// The result of `work`, done where consensus runs.
pub(crate) async fn run_consensus<T: Send + 'static>(
    spawner: &dyn Spawner,
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    let (tx, rx) = oneshot::channel();
    spawner.consensus(Box::pin(async move { drop(tx.send(work.await)) }));
    match rx.await {
        Ok(result) => result,
        // That thread is being ended, and this task with it.
        Err(_) => std::future::pending().await,
    }
}

/// The result of blocking `work`, done off the asynchronous threads.
pub(crate) async fn run_blocking<T, F>(spawner: &dyn Spawner, work: F) -> T
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let (tx, rx) = oneshot::channel();
    // Nobody listens any more when the caller was dropped meanwhile.
    spawner.blocking(Box::new(move || drop(tx.send(work()))));
    match rx.await {
        Ok(result) => result,
        // The work was thrown away: the runtime is being shut down, and this task with it.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::{Arc, Spawner, Tasks, Threads, run_blocking, run_consensus};

    #[tokio::test]
    async fn results_come_back_from_threads_and_from_tasks() {
        let spawners: [Arc<dyn Spawner>; 2] = [Arc::new(Threads::default()), Arc::new(Tasks)];
        for spawner in spawners {
            assert_eq!(run_blocking(spawner.as_ref(), || 6 * 7).await, 42);
            let (tx, rx) = tokio::sync::oneshot::channel();
            spawner.dedicated("test", Box::pin(async move { tx.send(7).expect("someone listens") }));
            assert_eq!(rx.await, Ok(7));
            let spawned = run_consensus(spawner.as_ref(), async { tokio::spawn(async { 8 }).await });
            assert_eq!(spawned.await.ok(), Some(8));
        }
    }
}
