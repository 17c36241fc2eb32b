//! Nodes that end from one moment to the next: SIGKILL, and the power cut, which also takes what was not fsynced.

use anyhow::Result;
use serde_json::json;

use super::stage::{Stage, Whom};

/// How long a node stays away. Short enough to find the others in the middle of an election, long enough for the end of
/// one.
const AWAY_MS: std::ops::Range<u64> = 50..4_000;

/// How they end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Kill,
    PowerCut,
}

pub(super) async fn strike(how: How, whom: Whom, stage: &mut Stage<'_>) -> Result<()> {
    let victims = stage.victims(whom).await?;
    let name = match how {
        How::Kill => "kill",
        How::PowerCut => "power-cut",
    };
    stage.begins(name, json!({ "nodes": victims }));
    let hit = match how {
        How::Kill => stage.world.kill(&victims).await?,
        How::PowerCut => stage.world.power_cut(&victims).await?,
    };
    if whom == Whom::Leader && hit > 0 {
        stage.count("leaders_struck", 1);
    }
    if whom == Whom::All && hit == stage.world.ids().len() {
        stage.count("all_struck_at_once", 1);
    }
    let away = stage.draw_ms(AWAY_MS);
    stage.hold(away).await;
    if stage.once_in(3) {
        // Some come back earlier than others, and find less than a majority.
        for victim in &victims {
            stage.world.start_stopped(&[*victim]).await?;
            let apart = stage.draw_ms(50..800);
            stage.hold(apart).await;
        }
    }
    stage.world.start_stopped(&victims).await?;
    stage.ends(name, json!({ "nodes": victims, "away_ms": away.as_millis() as u64 }));
    Ok(())
}
