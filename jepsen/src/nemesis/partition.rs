//! Networks that fall apart, in every shape.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::stage::Stage;
use crate::world::{Faults, Party};

/// How long a partition lasts: from less than an election to several.
const LASTS_MS: std::ops::Range<u64> = 200..8_000;
/// How long a flapping one is closed or open.
const FLAP_MS: std::ops::Range<u64> = 20..700;
/// How often a flapping one opens and closes.
const FLAPS: std::ops::Range<u64> = 4..20;

/// The shape of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One node is alone.
    One,
    /// The leader is alone.
    Leader,
    /// A majority, and the rest.
    Halves,
    /// Each node sees a majority, and no two see the same one.
    Ring,
    /// One node is heard and hears nothing, or hears all and is not heard.
    OneWay,
    /// One node serves its cluster and no client reaches it.
    Clients,
    /// The leader comes and goes.
    Flapping,
}

pub(super) async fn strike(shape: Shape, stage: &mut Stage<'_>) -> Result<()> {
    let lasts = stage.draw_ms(LASTS_MS);
    let (faults, detail) = draw(shape, stage).await?;
    stage.begins("partition", json!({ "shape": format!("{shape:?}"), "cut": detail, "ms": lasts.as_millis() as u64 }));
    let before = stage.world.toll().await?.cut;
    if shape == Shape::Flapping {
        let flaps = stage.draw(FLAPS);
        for _ in 0..flaps {
            set(stage, &faults, true).await?;
            let closed = stage.draw_ms(FLAP_MS);
            stage.hold(closed).await;
            set(stage, &faults, false).await?;
            let open = stage.draw_ms(FLAP_MS);
            stage.hold(open).await;
            stage.count("flaps", 1);
        }
    } else {
        set(stage, &faults, true).await?;
        hold(stage, lasts).await;
        set(stage, &faults, false).await?;
    }
    if stage.world.toll().await?.cut > before {
        stage.count("partitions_that_met_traffic", 1);
        if matches!(shape, Shape::Leader | Shape::Flapping) {
            stage.count("leaders_cut_off", 1);
        }
    }
    stage.ends("partition", json!({ "shape": format!("{shape:?}") }));
    Ok(())
}

async fn hold(stage: &mut Stage<'_>, time: Duration) {
    stage.hold(time).await;
}

/// Adds these cuts, or takes them away.
async fn set(stage: &Stage<'_>, faults: &Faults, cut: bool) -> Result<()> {
    let ways = faults.cut.clone();
    stage
        .world
        .change_network(move |all| {
            for way in ways {
                if cut {
                    all.cut.insert(way)
                } else {
                    all.cut.remove(&way)
                };
            }
        })
        .await
}

async fn draw(shape: Shape, stage: &mut Stage<'_>) -> Result<(Faults, String)> {
    let order = stage.shuffled();
    let mut faults = Faults::default();
    let detail = match shape {
        Shape::One => alone(&mut faults, &order, order[0]),
        Shape::Leader | Shape::Flapping => {
            let leader = stage.leader().await?;
            alone(&mut faults, &order, leader)
        }
        Shape::Halves => {
            // The leader is on either side, as it happens.
            let (many, few) = order.split_at(order.len() / 2 + 1);
            faults.split(many, few);
            format!("{many:?} | {few:?}")
        }
        Shape::Ring => {
            ring(&mut faults, &order);
            format!("ring {order:?}")
        }
        Shape::OneWay => {
            let (node, deaf) = (if stage.once_in(2) { stage.leader().await? } else { order[0] }, stage.once_in(2));
            for other in order.iter().filter(|other| **other != node) {
                let (from, to) = if deaf { (*other, node) } else { (node, *other) };
                faults.cut.insert((Party::Node(from), Party::Node(to)));
            }
            format!("{node} {}", if deaf { "hears nothing" } else { "is not heard" })
        }
        Shape::Clients => {
            let node = if stage.once_in(2) { stage.leader().await? } else { order[0] };
            faults.cut.extend([(Party::Clients, Party::Node(node)), (Party::Node(node), Party::Clients)]);
            format!("clients | {node}")
        }
    };
    Ok((faults, detail))
}

fn alone(faults: &mut Faults, all: &[u64], node: u64) -> String {
    let others: Vec<u64> = all.iter().copied().filter(|other| *other != node).collect();
    faults.split(&[node], &others);
    format!("{node} | {others:?}")
}

/// Puts the nodes in a ring and lets each see only as many neighbours on both sides as make a majority with it.
fn ring(faults: &mut Faults, order: &[u64]) {
    let all = order.len();
    let reach = (all / 2).div_ceil(2).max(1);
    for (place, &node) in order.iter().enumerate() {
        for (other_place, &other) in order.iter().enumerate() {
            let apart = place.abs_diff(other_place);
            if node != other && apart.min(all - apart) > reach {
                faults.cut.insert((Party::Node(node), Party::Node(other)));
            }
        }
    }
    // Three nodes in a ring all see each other: there the ring is open, and only the one in the middle sees both.
    if faults.cut.is_empty()
        && let [first, .., last] = order
        && first != last
    {
        faults.split(&[*first], &[*last]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sees(faults: &Faults, node: u64, all: u64) -> usize {
        (1..=all).filter(|other| !faults.cut.contains(&(Party::Node(*other), Party::Node(node)))).count()
    }

    #[test]
    fn in_a_ring_each_sees_a_majority_and_none_sees_all() {
        for all in [5, 7, 9] {
            let mut faults = Faults::default();
            ring(&mut faults, &(1..=all).collect::<Vec<_>>());
            for node in 1..=all {
                let seen = sees(&faults, node, all);
                assert!(seen > all as usize / 2 && seen < all as usize, "node {node} of {all} sees {seen}");
            }
        }
    }

    #[test]
    fn a_ring_of_three_is_a_bridge() {
        let mut faults = Faults::default();
        ring(&mut faults, &[3, 1, 2]);
        assert_eq!([sees(&faults, 3, 3), sees(&faults, 1, 3), sees(&faults, 2, 3)], [2, 3, 2]);
    }
}
