//! Wall clocks that are wrong: jumps, drift, and strobes (back and forth many times a second).

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::stage::{Stage, Whom};
use crate::world::clock::Skew;

/// How long a clock is wrong.
const LASTS_MS: std::ops::Range<u64> = 1_000..10_000;
/// How long a strobe stays on one side.
const STROBE_MS: std::ops::Range<u64> = 5..200;

/// How a clock is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    Jump,
    Strobe,
    Drift,
}

pub(super) async fn strike(wrong: Wrong, stage: &mut Stage<'_>) -> Result<()> {
    let whom = stage.pick(&[Whom::One, Whom::Leader, Whom::Majority]).unwrap_or(Whom::One);
    let victims = stage.victims(whom).await?;
    let lasts = stage.draw_ms(LASTS_MS);
    // From less than a heartbeat to more than a day, each size as likely as the next.
    let size_ms = 10_i64.pow(u32::try_from(stage.draw(1..9))?) * i64::try_from(stage.draw(1..10))?;
    let ahead_ms = if stage.once_in(2) { size_ms } else { -size_ms };
    let rate = match wrong {
        Wrong::Drift => 0.5 + stage.draw(0..150) as f64 / 100.0,
        _ => 1.0,
    };
    let skew = Skew { ahead_ms: if wrong == Wrong::Drift { 0 } else { ahead_ms }, rate };
    stage.begins(
        "clock",
        json!({ "how": format!("{wrong:?}"), "nodes": victims, "ahead_ms": skew.ahead_ms, "rate": skew.rate }),
    );
    set(stage, &victims, skew)?;
    match wrong {
        Wrong::Strobe => {
            let until = tokio::time::Instant::now() + lasts;
            while tokio::time::Instant::now() < until && !stage.is_over() {
                let stays = stage.draw_ms(STROBE_MS);
                stage.hold(stays).await;
                set(stage, &victims, Skew::default())?;
                let stays = stage.draw_ms(STROBE_MS);
                stage.hold(stays).await;
                set(stage, &victims, skew)?;
                stage.count("strobes", 1);
            }
        }
        Wrong::Jump | Wrong::Drift => stage.hold(lasts).await,
    }
    if let Some(seen) = seen_skew_ms(stage, victims[0]).await
        && skew.rate == 1.0
        && (seen - skew.ahead_ms).abs() < 2_000
        && skew.ahead_ms.abs() > 4_000
    {
        stage.count("skews_seen_in_answers", 1);
    }
    set(stage, &victims, Skew::default())?;
    stage.count("clocks_set", victims.len() as u64);
    stage.ends("clock", json!({ "nodes": victims }));
    // Back to the right time is a jump too, and is looked at like one.
    stage.hold(Duration::from_millis(200)).await;
    Ok(())
}

fn set(stage: &Stage<'_>, victims: &[u64], skew: Skew) -> Result<()> {
    victims.iter().try_for_each(|victim| stage.world.set_clock(*victim, skew))
}

/// How far ahead a node's clock is, by the date on its answers.
async fn seen_skew_ms(stage: &Stage<'_>, node: u64) -> Option<i64> {
    stage.world.clock_ahead_ms(node).await.ok()
}
