//! The clients at work.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Config;
use crate::client::Client;
use crate::history::Recorder;
use crate::workload::{Worker, Workload};

/// How long a worker may take to finish what it is doing: longer than it retries.
const FINISH_WITHIN: Duration = Duration::from_secs(45);
/// How far a worker may be behind its schedule before it lets the past go.
const BEHIND_MAX: Duration = Duration::from_secs(1);

/// Workers that are at work.
pub(super) struct Load {
    workers: JoinSet<()>,
    stop: CancellationToken,
}

/// Lets all workers begin.
pub(super) fn start(config: &Config, workload: &Arc<dyn Workload>, client: &Client, recorder: &Recorder) -> Load {
    let stop = CancellationToken::new();
    let mut workers = JoinSet::new();
    // The worker that did the setup has the number behind the last one.
    let streams = config.workers + 1;
    let gap = (config.rate > 0).then(|| Duration::from_secs_f64(config.workers as f64 / config.rate as f64));
    for number in 0..config.workers {
        let mut worker = Worker::new(number, streams, client.clone(), recorder.clone(), config.seed);
        let (workload, stop) = (workload.clone(), stop.clone());
        workers.spawn(async move {
            let mut due = Instant::now();
            while !stop.is_cancelled() {
                workload.step(&mut worker).await;
                let Some(gap) = gap else { continue };
                // Gaps as of independent arrivals: often short, sometimes long.
                let drawn: f64 = worker.rng.random_range(f64::EPSILON..1.0);
                due = (due + gap.mul_f64(-drawn.ln())).max(Instant::now() - BEHIND_MAX);
                tokio::select! {
                    () = tokio::time::sleep_until(due) => {}
                    () = stop.cancelled() => {}
                }
            }
        });
    }
    Load { workers, stop }
}

impl Load {
    /// Lets everybody finish what they are doing. Whoever does not is cut off: the history then has an operation
    /// without an end, and its outcome is unknown.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        let all = async { while self.workers.join_next().await.is_some() {} };
        drop(tokio::time::timeout(FINISH_WITHIN, all).await);
        self.workers.shutdown().await;
    }
}
