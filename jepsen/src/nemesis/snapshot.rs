//! Nodes that can come back only by a snapshot, because their data is gone or the log was purged meanwhile, and what can
//! happen to the transfer.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tokio::time::Instant;

use super::stage::Stage;
use crate::world::Party;

/// How long the log may take to be purged beyond what an absent node has.
const PURGED_WITHIN: Duration = Duration::from_secs(20);
/// How long it may take until all are ready again.
const WELL_WITHIN: Duration = Duration::from_secs(90);
/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// What happens while the snapshot is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meanwhile {
    Nothing,
    Partitions,
    Kills,
}

pub(super) async fn strike(meanwhile: Meanwhile, stage: &mut Stage<'_>) -> Result<()> {
    let Some(victim) = stage.expendable().await? else {
        stage.count("nobody_expendable", 1);
        return Ok(());
    };
    let wiped = stage.once_in(2);
    stage.begins("snapshot", json!({ "node": victim, "wiped": wiped, "meanwhile": format!("{meanwhile:?}") }));
    if wiped {
        // Until it has learned all again its data counts as lost: nobody else may lose theirs meanwhile.
        stage.world.wipe(victim).await?;
        stage.world.node(victim)?.set_damaged("its data was emptied");
        stage.count("emptied", 1);
    } else {
        let had = applied(stage, victim).await;
        stage.world.kill(&[victim]).await?;
        if wait_purged(stage, had.unwrap_or(0.0)).await {
            stage.count("purged_beyond_an_absent_node", 1);
        }
    }
    stage.world.start_node(victim).await?;
    disturb(meanwhile, victim, stage).await?;
    if stage.well_again(WELL_WITHIN).await && wiped {
        stage.world.node(victim)?.set_sound();
    }
    stage.ends("snapshot", json!({ "node": victim }));
    Ok(())
}

async fn disturb(meanwhile: Meanwhile, victim: u64, stage: &mut Stage<'_>) -> Result<()> {
    let times = if meanwhile == Meanwhile::Nothing { 0 } else { stage.draw(2..6) };
    for _ in 0..times {
        let before = stage.draw_ms(20..600);
        stage.hold(before).await;
        match meanwhile {
            Meanwhile::Nothing => {}
            Meanwhile::Partitions => {
                let others: Vec<u64> = stage.world.ids().into_iter().filter(|id| *id != victim).collect();
                let ways: Vec<_> = others
                    .iter()
                    .flat_map(|other| {
                        [(Party::Node(victim), Party::Node(*other)), (Party::Node(*other), Party::Node(victim))]
                    })
                    .collect();
                let cut = ways.clone();
                stage.world.change_network(move |faults| faults.cut.extend(cut)).await?;
                let lasts = stage.draw_ms(100..2_000);
                stage.hold(lasts).await;
                let healed = move |faults: &mut crate::world::Faults| faults.cut.retain(|way| !ways.contains(way));
                stage.world.change_network(healed).await?;
            }
            Meanwhile::Kills => {
                // Who receives, or who sends.
                let node = if stage.once_in(2) { victim } else { stage.leader().await? };
                stage.world.kill(&[node]).await?;
                let away = stage.draw_ms(20..800);
                stage.hold(away).await;
                stage.world.start_stopped(&[node]).await?;
            }
        }
        stage.count("transfers_disturbed", 1);
    }
    Ok(())
}

async fn applied(stage: &Stage<'_>, node: u64) -> Option<f64> {
    stage.world.metrics(node).await.ok()?.value("aerodb_raft_applied_index").ok()
}

/// Waits until the leader's log begins beyond `index`.
async fn wait_purged(stage: &mut Stage<'_>, index: f64) -> bool {
    let until = Instant::now() + PURGED_WITHIN;
    while Instant::now() < until && !stage.is_over() {
        if let Some(leader) = stage.world.leader().await
            && let Ok(metrics) = stage.world.metrics(leader).await
            && let (Ok(last), Ok(held)) =
                (metrics.value("aerodb_raft_commit_index"), metrics.value("aerodb_log_entries"))
            && last - held > index
        {
            return true;
        }
        stage.hold(LOOK).await;
    }
    false
}
