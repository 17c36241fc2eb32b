//! Waiting for a condition, with a deadline and a message that helps.

use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// The first pause between two looks; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(2);
/// The longest pause between two looks: short enough that a measured time is off by little.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Polls `condition` until it returns `Ok`, and returns that.
///
/// An `Err` means "not yet, because …"; the last of them is part of the message when `deadline` has passed, so put in
/// it what was seen. A condition that can no longer come true returns [`give_up`] and ends the wait at once. A single
/// look that hangs is cut off at the deadline too.
pub async fn wait_until<T, F, Fut>(deadline: Duration, what: &str, mut condition: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    let started = Instant::now();
    let mut pause = PAUSE_MIN;
    let mut looks = 0_u64;
    let mut last = anyhow!("the first look did not end");
    loop {
        let left = deadline.saturating_sub(started.elapsed());
        looks += 1;
        match tokio::time::timeout(left, condition()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(error)) if error.is::<GiveUp>() => {
                return Err(error.context(format!("gave up on {what} after {:.1?}", started.elapsed())));
            }
            Ok(Err(error)) => last = error,
            // The look did not end: what the one before it saw says more than that.
            Err(_) => {}
        }
        let left = deadline.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(anyhow!("waited {deadline:.1?} in vain for {what} ({looks} looks); last seen: {last:#}"));
        }
        tokio::time::sleep(pause.min(left)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// The answer of a condition that can no longer come true: ends [`wait_until`] before its deadline.
pub fn give_up(why: impl fmt::Display) -> anyhow::Error {
    anyhow::Error::new(GiveUp(why.to_string()))
}

#[derive(Debug)]
struct GiveUp(String);

impl fmt::Display for GiveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for GiveUp {}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::ensure;

    #[tokio::test]
    async fn returns_what_was_found() {
        let mut n = 0;
        let found = wait_until(Duration::from_secs(5), "three looks", || {
            n += 1;
            let seen = n;
            async move {
                ensure!(seen == 3, "seen {seen}");
                Ok(seen)
            }
        })
        .await
        .unwrap();
        assert_eq!(found, 3);
    }

    #[tokio::test]
    async fn says_what_it_last_saw() {
        let error = wait_until(Duration::from_millis(20), "the moon", || async {
            anyhow::bail!("only clouds");
            #[allow(unreachable_code)]
            Ok(())
        })
        .await
        .unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("the moon") && text.contains("only clouds"), "{text}");
    }

    #[tokio::test]
    async fn a_look_that_hangs_is_cut_off() {
        let error = wait_until(Duration::from_millis(20), "an answer", std::future::pending::<Result<()>>);
        let error = tokio::time::timeout(Duration::from_secs(5), error).await.unwrap().unwrap_err();
        assert!(format!("{error:#}").contains("the first look did not end"), "{error:#}");
    }

    #[tokio::test]
    async fn gives_up_at_once() {
        let started = Instant::now();
        let error = wait_until(Duration::from_secs(60), "a dead node", || async { Err::<(), _>(give_up("it died")) })
            .await
            .unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(5));
        assert!(format!("{error:#}").contains("it died"), "{error:#}");
    }
}
