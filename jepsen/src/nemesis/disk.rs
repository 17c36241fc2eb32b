//! Disks that fail: fsync that fails or takes long, EIO, ENOSPC in the middle of things.
//!
//! A node may refuse, or end and say why; a failed fsync must end it. Once the disk is well it must start again with all
//! that it ever promised.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::stage::{Stage, Whom};
use crate::world::{DiskFaults, DiskToll};

/// How long a disk fails.
const LASTS_MS: std::ops::Range<u64> = 500..6_000;
/// How long it may take until all are ready again.
const WELL_WITHIN: Duration = Duration::from_secs(60);

/// How a disk fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    SyncFails,
    SyncSlow,
    ReadFails,
    WriteFails,
    NoRoom,
}

pub(super) async fn strike(failure: Failure, stage: &mut Stage<'_>) -> Result<()> {
    let slow = failure == Failure::SyncSlow;
    let whom = match slow {
        true => stage.pick(&[Whom::One, Whom::Leader, Whom::Majority, Whom::All]),
        false => stage.pick(&[Whom::One, Whom::Leader]),
    };
    let victims = stage.victims(whom.unwrap_or(Whom::One)).await?;
    let lasts = stage.draw_ms(LASTS_MS);
    // Now and then each call, else one of many.
    let permille = if stage.once_in(2) { 1_000 } else { u32::try_from(stage.draw(20..400))? };
    let faults = match failure {
        Failure::SyncFails => DiskFaults { sync_fails_permille: permille, ..DiskFaults::default() },
        Failure::SyncSlow => DiskFaults { sync_delay: stage.draw_ms(10..1_500), ..DiskFaults::default() },
        Failure::ReadFails => DiskFaults { read_fails_permille: permille, ..DiskFaults::default() },
        Failure::WriteFails => DiskFaults { write_fails_permille: permille, ..DiskFaults::default() },
        Failure::NoRoom => DiskFaults { full: true, ..DiskFaults::default() },
    };
    stage.begins("disk", json!({ "nodes": victims, "faults": format!("{faults:?}"), "ms": lasts.as_millis() as u64 }));
    let mut before = Vec::new();
    for victim in &victims {
        if !slow {
            stage.world.node(*victim)?.set_excuse(format!("its disk failed: {failure:?}"));
        }
        before.push(stage.world.disk_toll(*victim)?);
        stage.world.set_disk(*victim, faults)?;
    }
    if failure == Failure::ReadFails && stage.once_in(2) {
        // A node reads little once it has started.
        stage.world.kill(&victims).await?;
        stage.world.start_stopped(&victims).await?;
    }
    stage.hold(lasts).await;
    let mut ended = Vec::new();
    for (victim, before) in victims.iter().zip(before) {
        stage.world.set_disk(*victim, DiskFaults::default())?;
        stage.world.node(*victim)?.end_excuse();
        let toll = stage.world.disk_toll(*victim)?;
        let syncs_failed = toll.syncs_failed - before.syncs_failed;
        count(stage, before, toll);
        let ending = stage.world.node(*victim)?.ended();
        if let Some(ending) = &ending {
            ended.push(ending.reason.clone());
        }
        if syncs_failed > 0 {
            match ending {
                Some(_) => stage.count("ended_after_a_failed_fsync", 1),
                None => stage.count("went_on_after_a_failed_fsync", 1),
            }
        }
    }
    stage.count("ended_on_a_failing_disk", ended.len() as u64);
    stage.world.start_stopped(&victims).await?;
    stage.well_again(WELL_WITHIN).await;
    stage.ends("disk", json!({ "nodes": victims, "ended": ended }));
    Ok(())
}

fn count(stage: &mut Stage<'_>, before: DiskToll, now: DiskToll) {
    stage.count("fsyncs_failed", now.syncs_failed - before.syncs_failed);
    stage.count("fsyncs_slowed", now.syncs_slowed - before.syncs_slowed);
    stage.count("reads_failed", now.reads_failed - before.reads_failed);
    stage.count("writes_failed", now.writes_failed - before.writes_failed);
    stage.count("calls_without_room", now.no_room - before.no_room);
}
