//! Damage to the files of a minority: a flipped bit or a lost end while the node is down.
//!
//! The node may refuse to start and say why; then it is wiped, as an operator would, and must come back from the others.
//! It may repair itself. It may even serve with damage that it has not met yet. What it may not do is serve something wrong
//! or harm the others, and that is for the checkers to see.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::stage::Stage;
use crate::world::files::{self, CLASSES, Class, Damage};

/// How long the node works with its damaged files before it must be well again.
const WORKS_MS: std::ops::Range<u64> = 500..3_000;
/// How long it may take until all are ready again, a wipe and a whole snapshot included.
const WELL_WITHIN: Duration = Duration::from_secs(90);

pub(super) async fn strike(class: Option<Class>, stage: &mut Stage<'_>) -> Result<()> {
    let Some(victim) = stage.expendable().await? else {
        stage.count("nobody_expendable", 1);
        return Ok(());
    };
    let class = match class {
        Some(class) => class,
        None => stage.pick(&CLASSES).unwrap_or(Class::LogWal),
    };
    let node = stage.world.node(victim)?.clone();
    stage.world.kill(&[victim]).await?;
    let found = class.files(node.data_dir())?;
    let Some(at) = (!found.is_empty()).then(|| stage.draw(0..found.len() as u64)) else {
        // Not every node has each class at all times: a log that was never flushed has no tables.
        stage.count("no_file_of_the_class", 1);
        stage.world.start_node(victim).await?;
        return Ok(());
    };
    let path = &found[usize::try_from(at)?];
    let bytes = path.metadata()?.len();
    let damage = match stage.once_in(3) {
        true => Damage::Truncate { left: stage.draw(0..bytes) },
        false => Damage::Flip { bit: stage.draw(0..bytes * 8) },
    };
    let inside = path.strip_prefix(node.data_dir()).unwrap_or(path).display().to_string();
    let what = format!("{class:?}: {damage:?} in {inside} of {bytes} bytes");
    stage.begins("corrupt", json!({ "node": victim, "what": what }));
    node.set_damaged(&what);
    files::damage(path, damage)?;
    stage.count("files_damaged", 1);
    stage.count(&format!("damaged_{class:?}"), 1);
    stage.world.start_node(victim).await?;
    let works = stage.draw_ms(WORKS_MS);
    stage.hold(works).await;
    let outcome = match node.ended() {
        Some(ending) => {
            stage.count("refused_damaged_data", 1);
            ending.reason
        }
        None => {
            stage.count("went_on_with_damage", 1);
            "it goes on".to_owned()
        }
    };
    // The next damage may only come when this one is over: else it is no minority.
    stage.well_again(WELL_WITHIN).await;
    stage.ends("corrupt", json!({ "node": victim, "what": what, "outcome": outcome }));
    Ok(())
}
