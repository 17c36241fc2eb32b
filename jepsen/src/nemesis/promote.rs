//! Storms of promotions: leadership is handed on and on, while all goes on.

use anyhow::Result;
use serde_json::json;

use super::stage::Stage;

/// How many promotions a storm has.
const PROMOTIONS: std::ops::Range<u64> = 3..20;
/// The pause between two.
const APART_MS: std::ops::Range<u64> = 0..400;

pub(super) async fn strike(stage: &mut Stage<'_>) -> Result<()> {
    let promotions = stage.draw(PROMOTIONS);
    stage.begins("promotions", json!({ "count": promotions }));
    for _ in 0..promotions {
        if stage.is_over() {
            break;
        }
        let order = stage.shuffled();
        let (at, to) = (order[0], order[order.len() - 1]);
        // Whoever is asked, two at once now and then: a promotion must be safe against another.
        let second = if stage.once_in(4) { Some(order[order.len() / 2]) } else { None };
        let (first, other) = match second {
            Some(other) => {
                let (a, b) = tokio::join!(stage.world.promote(at, to), stage.world.promote(other, other));
                (a, Some(b))
            }
            None => (stage.world.promote(at, to).await, None),
        };
        for answer in [Some(first), other].into_iter().flatten() {
            match answer {
                Ok((200, _)) => stage.count("promoted", 1),
                Ok((409, _)) => stage.count("promotions_refused", 1),
                Ok((503 | 504, _)) => stage.count("promotions_unavailable", 1),
                Ok((status, body)) => stage.violation(format!("a promotion was answered with {status}: {body}")),
                Err(_) => stage.count("promotions_unanswered", 1),
            }
        }
        let apart = stage.draw_ms(APART_MS);
        stage.hold(apart).await;
    }
    stage.ends("promotions", json!({}));
    Ok(())
}
