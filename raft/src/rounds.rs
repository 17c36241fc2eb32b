//! Shared rounds: many who need the same thing wait for one run of it. Whoever joins gets a run that began after it
//! joined, never one that was under way (a ReadIndex that began before a read arrived proves nothing for it).

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Runs at once at most; further arrivals gather for the next.
const CONCURRENT_MAX: usize = 1;

/// Shares the runs of one piece of work. Cheap to clone.
pub(crate) struct Rounds<T> {
    waiting: mpsc::UnboundedSender<oneshot::Sender<T>>,
}

impl<T> Clone for Rounds<T> {
    fn clone(&self) -> Self {
        Self { waiting: self.waiting.clone() }
    }
}

impl<T: Clone + Send + 'static> Rounds<T> {
    /// Runs `round` whenever somebody waits, until every handle is dropped.
    pub(crate) fn start(round: impl Fn() -> BoxFuture<'static, T> + Send + 'static) -> Self {
        let (waiting, mut arrivals) = mpsc::unbounded_channel::<oneshot::Sender<T>>();
        tokio::spawn(async move {
            let slots = Arc::new(Semaphore::new(CONCURRENT_MAX));
            while let Some(first) = arrivals.recv().await {
                let Ok(slot) = slots.clone().acquire_owned().await else { return };
                let mut joined = vec![first];
                while let Ok(next) = arrivals.try_recv() {
                    joined.push(next);
                }
                let run = round();
                tokio::spawn(async move {
                    let result = run.await;
                    drop(slot);
                    for reply in joined {
                        // Whoever gave up waiting is not there any more.
                        drop(reply.send(result.clone()));
                    }
                });
            }
        });
        Self { waiting }
    }

    /// The result of a run that began after this call; `None` when the rounds have ended.
    pub(crate) async fn join(&self) -> Option<T> {
        let (tx, rx) = oneshot::channel();
        self.waiting.send(tx).ok()?;
        rx.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::sync::Semaphore;

    use super::Rounds;

    #[tokio::test]
    async fn a_round_under_way_is_never_joined() {
        let begun = Arc::new(AtomicU64::new(0));
        let gate = Arc::new(Semaphore::new(0));
        let rounds = Rounds::start({
            let (begun, gate) = (begun.clone(), gate.clone());
            move || {
                let number = begun.fetch_add(1, Ordering::SeqCst) + 1;
                let gate = gate.clone();
                Box::pin(async move {
                    gate.acquire().await.expect("the gate stays").forget();
                    number
                })
            }
        });
        let join = |rounds: &Rounds<u64>| {
            tokio::spawn({
                let rounds = rounds.clone();
                async move { rounds.join().await }
            })
        };
        let first = join(&rounds);
        while begun.load(Ordering::SeqCst) < 1 {
            tokio::task::yield_now().await;
        }
        let late: Vec<_> = (0..50).map(|_| join(&rounds)).collect();
        gate.add_permits(10);
        assert_eq!(first.await.expect("no panic"), Some(1));
        for waiter in late {
            assert!(waiter.await.expect("no panic") > Some(1), "joined a round that had begun before it came");
        }
        assert!(begun.load(Ordering::SeqCst) <= 51);
    }

    #[tokio::test]
    async fn those_who_wait_share_a_round() {
        let begun = Arc::new(AtomicU64::new(0));
        let rounds = Rounds::start({
            let begun = begun.clone();
            move || {
                begun.fetch_add(1, Ordering::SeqCst);
                Box::pin(tokio::time::sleep(std::time::Duration::from_millis(20)))
            }
        });
        let waiters: Vec<_> = (0..200)
            .map(|_| {
                tokio::spawn({
                    let rounds = rounds.clone();
                    async move { rounds.join().await }
                })
            })
            .collect();
        for waiter in waiters {
            assert_eq!(waiter.await.expect("no panic"), Some(()));
        }
        assert!(begun.load(Ordering::SeqCst) < 20, "{} rounds for 200 waiters", begun.load(Ordering::SeqCst));
    }
}
