//! Nodes that stand still for a while and do not know it: SIGSTOP.

use anyhow::Result;
use serde_json::json;

use super::stage::{Stage, Whom};

/// Short pauses, shorter than a lease and around it.
const SHORT_MS: std::ops::Range<u64> = 100..1_500;
/// Long ones: the others have moved on.
const LONG_MS: std::ops::Range<u64> = 1_500..30_000;

pub(super) async fn strike(whom: Whom, stage: &mut Stage<'_>) -> Result<()> {
    let victims = stage.victims(whom).await?;
    let time = if stage.once_in(6) { stage.draw_ms(LONG_MS) } else { stage.draw_ms(SHORT_MS) };
    stage.begins("pause", json!({ "nodes": victims, "ms": time.as_millis() as u64 }));
    for victim in &victims {
        if stage.world.pause(*victim).await? && whom == Whom::Leader {
            stage.count("leaders_struck", 1);
        }
    }
    stage.hold(time).await;
    for victim in &victims {
        stage.world.resume(*victim).await?;
    }
    stage.ends("pause", json!({ "nodes": victims }));
    Ok(())
}
