//! Networks that work, but badly: loss, little bandwidth, delay with jitter, connections that are dead without anybody
//! being told, answers that get lost.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::stage::Stage;
use crate::world::{Faults, Party, Treatment};

/// How long the network is bad.
const LASTS_MS: std::ops::Range<u64> = 1_000..8_000;

/// What is bad about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Loss,
    Rate,
    Delay,
    HalfOpen,
    AnswersLost,
}

impl Trouble {
    fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Rate => "rate",
            Self::Delay => "delay",
            Self::HalfOpen => "half-open",
            Self::AnswersLost => "answers-lost",
        }
    }
}

pub(super) async fn strike(trouble: Trouble, stage: &mut Stage<'_>) -> Result<()> {
    let lasts = stage.draw_ms(LASTS_MS);
    let ids = stage.world.ids();
    let one = if stage.once_in(2) { stage.leader().await? } else { stage.shuffled()[0] };
    match trouble {
        Trouble::HalfOpen => {
            stage.begins(trouble.name(), json!({ "node": one, "ms": lasts.as_millis() as u64 }));
            let dead = stage.world.deaden_connections(one).await?;
            stage.count("connections_deadened", dead as u64);
        }
        _ => {
            // Of one node, or of all.
            let concerned: Vec<u64> = if stage.once_in(2) { ids.clone() } else { vec![one] };
            let figure = match trouble {
                Trouble::Loss => stage.draw(20..300),
                Trouble::Rate => stage.draw(200..4_000),
                Trouble::Delay => stage.draw(5..400),
                _ => stage.draw(5..100),
            };
            let detail = json!({ "nodes": concerned, "figure": figure, "ms": lasts.as_millis() as u64 });
            stage.begins(trouble.name(), detail);
            stage.world.change_network(move |faults| worsen(faults, trouble, &ids, &concerned, figure)).await?;
        }
    }
    stage.hold(lasts).await;
    stage
        .world
        .change_network(move |faults| match trouble {
            Trouble::Loss => faults.loss_permille.clear(),
            Trouble::Rate => faults.rate_kbit.clear(),
            Trouble::HalfOpen => faults.dead_connections.clear(),
            Trouble::Delay | Trouble::AnswersLost => faults.treatment.clear(),
        })
        .await?;
    stage.ends(trouble.name(), json!({}));
    Ok(())
}

fn worsen(faults: &mut Faults, trouble: Trouble, all: &[u64], concerned: &[u64], figure: u64) {
    let pairs = all.iter().flat_map(|a| all.iter().map(move |b| (*a, *b)));
    let pairs = pairs.filter(|(a, b)| a != b && (concerned.contains(a) || concerned.contains(b)));
    let small = u32::try_from(figure).unwrap_or(u32::MAX);
    match trouble {
        Trouble::Loss => {
            for (a, b) in pairs {
                faults.loss_permille.insert((Party::Node(a), Party::Node(b)), small);
            }
        }
        Trouble::Rate => faults.rate_kbit.extend(concerned.iter().map(|node| (*node, small))),
        Trouble::Delay => {
            let delay = Duration::from_millis(figure / 4);
            let treatment = Treatment { delay, jitter: Duration::from_millis(figure), ..Treatment::default() };
            faults.treatment.extend(pairs.map(|pair| (pair, treatment)));
        }
        Trouble::AnswersLost => {
            let treatment = Treatment { answers_lost_permille: small, ..Treatment::default() };
            faults.treatment.extend(pairs.map(|pair| (pair, treatment)));
        }
        // Which connections are dead is seen at the moment, not drawn.
        Trouble::HalfOpen => {}
    }
}
