//! Waiting a little for work in the background whose end most callers want to see.

use std::time::Duration;

use aerodb_engine::View;
use tokio::time::{Instant, timeout_at};

use crate::error::Problem;
use crate::state::ApiState;

/// How long an answer waits for such work: nearly all is done by then, and the client need not ask again.
const PATIENCE: Duration = Duration::from_secs(1);

/// What `look` finds in this node's state at `revision` or later: as soon as it says that the work is over, or what it finds
/// when patience ends.
///
/// # Errors
/// When `look` fails.
pub(super) async fn settled<T>(
    state: &ApiState,
    revision: u64,
    look: impl Fn(&View) -> Result<Option<(T, bool)>, Problem>,
) -> Result<Option<T>, Problem> {
    let deadline = Instant::now() + PATIENCE;
    let (mut changed, mut ended) = (state.changed(), false);
    loop {
        let view = state.local()?;
        let found = if view.revision() >= revision { look(&view)? } else { None };
        let patience_is_over = ended || Instant::now() >= deadline;
        match found {
            Some((found, over)) if over || patience_is_over => return Ok(Some(found)),
            None if patience_is_over => return Ok(None),
            _ => {}
        }
        // An error within is the end of the node: one more look, as at the end of the time.
        ended = matches!(timeout_at(deadline, changed.changed()).await, Ok(Err(_)));
    }
}
