//! Disks without room. A node may refuse writes or end and say why; with room again it must go on with all it had.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::stage::{Stage, Whom};

/// How long a disk is full.
const LASTS_MS: std::ops::Range<u64> = 1_000..6_000;
/// What is left free at first, so that a node runs out of room in the middle of something.
const LEFT_BYTES: std::ops::Range<u64> = 0..400_000;
/// With less than this free no file can grow by much any more.
const FULL_BYTES: u64 = 64 << 10;
/// How long it may take until all are ready again.
const WELL_WITHIN: Duration = Duration::from_secs(60);

pub(super) async fn strike(stage: &mut Stage<'_>) -> Result<()> {
    let whom = stage.pick(&[Whom::One, Whom::One, Whom::Leader, Whom::Leader, Whom::All]).unwrap_or(Whom::One);
    let victims = stage.victims(whom).await?;
    let left = if stage.once_in(2) { 0 } else { stage.draw(LEFT_BYTES) };
    let lasts = stage.draw_ms(LASTS_MS);
    // A store has its files open and reserves room ahead: it feels the want of it when it needs a new one, as at a start.
    let restarts = stage.once_in(2);
    stage.begins("disk-full", json!({ "nodes": victims, "left_bytes": left, "ms": lasts.as_millis() as u64 }));
    for victim in &victims {
        stage.world.node(*victim)?.set_excuse("its disk was full");
        stage.world.fill_disk(*victim, left).await?;
        stage.count("disks_filled", 1);
    }
    if restarts {
        stage.hold(lasts / 2).await;
        stage.world.kill(&victims).await?;
        for victim in &victims {
            stage.world.start_node(*victim).await?;
        }
        stage.count("started_on_a_full_disk", victims.len() as u64);
    }
    stage.hold(lasts).await;
    let mut ended = Vec::new();
    for victim in &victims {
        if let Some(ending) = stage.world.node(*victim)?.ended() {
            ended.push(ending.reason);
        }
        if stage.world.disk_free_bytes(*victim)? < FULL_BYTES {
            stage.count("disks_without_room", 1);
        }
        stage.world.unfill_disk(*victim).await?;
        stage.world.node(*victim)?.end_excuse();
    }
    stage.count("ended_on_a_full_disk", ended.len() as u64);
    stage.world.start_stopped(&victims).await?;
    stage.well_again(WELL_WITHIN).await;
    stage.ends("disk-full", json!({ "nodes": victims, "ended": ended }));
    Ok(())
}
