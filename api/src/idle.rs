//! A connection's time limit for the next request, which hardly ever comes true.
//!
//! hyper makes a timer before each request and drops it once the request's headers are there. A timer of the runtime would be put
//! into its wheel and taken out again for each of them. This one stays in the wheel for as long as the connection lives: it goes
//! off once in the limit's time, and whoever waits then looks whether the time that counts is over.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use parking_lot::Mutex;

/// The timer of one connection. Clones are the same timer.
#[derive(Clone, Default)]
pub(crate) struct IdleTimer {
    armed: Arc<Mutex<Option<Pin<Box<tokio::time::Sleep>>>>>,
}

impl Timer for IdleTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Until { deadline: deadline.into(), timer: self.clone() })
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into()
    }
}

/// A deadline that the connection's timer watches.
struct Until {
    deadline: tokio::time::Instant,
    timer: IdleTimer,
}

impl Future for Until {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut armed = self.timer.armed.lock();
        let sleep = armed.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(self.deadline)));
        if sleep.deadline() > self.deadline {
            sleep.as_mut().reset(self.deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(context));
            if tokio::time::Instant::now() >= self.deadline {
                return Poll::Ready(());
            }
            // It was armed for an earlier request.
            sleep.as_mut().reset(self.deadline);
        }
    }
}

impl Sleep for Until {}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn each_deadline_is_its_own() {
        let timer = IdleTimer::default();
        let mut first = timer.sleep(2 * SECOND);
        assert!(first.as_mut().now_or_never().is_none());
        advance(SECOND).await;
        drop(first);
        let mut second = timer.sleep(2 * SECOND);
        assert!(second.as_mut().now_or_never().is_none());
        // When the first would have been over.
        advance(SECOND + SECOND / 2).await;
        assert!(second.as_mut().now_or_never().is_none(), "it began later");
        let began = tokio::time::Instant::now();
        second.await;
        assert!(began.elapsed() >= SECOND / 2, "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_deadline_is_not_missed() {
        let timer = IdleTimer::default();
        let mut late = timer.sleep(60 * SECOND);
        assert!(late.as_mut().now_or_never().is_none());
        drop(late);
        let began = tokio::time::Instant::now();
        timer.sleep(SECOND).await;
        assert!(began.elapsed() < 2 * SECOND, "{:?}", began.elapsed());
    }
}
