//! How long this machine left the harness itself without a turn. A cluster that seems silent on a machine that stands
//! still is not the cluster's fault; whoever judges should know.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often the watch asks for a turn.
const TICK: Duration = Duration::from_millis(20);
/// A turn that comes so late is a stall: as long as an election takes to begin.
const STALL: Duration = Duration::from_millis(200);

/// A watch.
pub(super) struct Stalls {
    stop: CancellationToken,
    watch: JoinHandle<(Duration, Duration)>,
}

impl Stalls {
    /// Begins to watch.
    pub(super) fn watch() -> Self {
        let stop = CancellationToken::new();
        let watching = stop.clone();
        let watch = tokio::spawn(async move {
            let (mut longest, mut all) = (Duration::ZERO, Duration::ZERO);
            while !watching.is_cancelled() {
                let began = Instant::now();
                tokio::time::sleep(TICK).await;
                let late = began.elapsed().saturating_sub(TICK);
                if late >= STALL {
                    longest = longest.max(late);
                    all += late;
                }
            }
            (longest, all)
        });
        Self { stop, watch }
    }

    /// What was seen, for the history.
    pub(super) async fn finish(self) -> Value {
        self.stop.cancel();
        let (longest, all) = self.watch.await.unwrap_or_default();
        json!({ "longest_ms": longest.as_millis() as u64, "all_ms": all.as_millis() as u64 })
    }
}
