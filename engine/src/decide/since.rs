//! What has changed since a command's leader looked: commands are prepared beside the log, and decided later.

use std::collections::BTreeSet;

use super::documents::Stop;
use super::overlay::Overlay;
use super::refusal;
use crate::error::Error;
use crate::state::{self, CHANGE, keys, record};

/// The documents of a collection that changed after `revision`, as far as that is applied (see [`Overlay::pending_since`] for the
/// rest).
///
/// # Errors
/// A refusal when there are more than `events_max` events, or some are no longer kept: the look has to be taken anew.
pub(super) fn changed(
    overlay: &Overlay,
    collection: u32,
    revision: u64,
    events_max: usize,
) -> Result<BTreeSet<String>, Stop> {
    check_kept(overlay, collection, revision)?;
    let snapshot = overlay.snapshot();
    let (from, end) = (keys::change(collection, revision.saturating_add(1), 0), keys::collection_end(collection));
    let mut scan = snapshot.scan(CHANGE, &from, &end, false);
    let (mut ids, mut events) = (BTreeSet::new(), 0);
    while let Some((_, value)) = scan.next().map_err(Error::from)? {
        events += 1;
        if events > events_max {
            return Err(refusal("prepared_too_early", "too much has changed since").into());
        }
        let id = String::from_utf8(record::Change::decode(value).map_err(Error::from)?.id.into());
        ids.insert(id.map_err(|e| Error::malformed("a change", e))?);
    }
    // What a watermark lets go may go at once, from under the scan as well.
    check_kept(overlay, collection, revision)?;
    Ok(ids)
}

fn check_kept(overlay: &Overlay, collection: u32, revision: u64) -> Result<(), Stop> {
    if revision < state::watermark(&*overlay.snapshot(), collection)? {
        return Err(refusal("prepared_too_early", "what has changed since is no longer kept").into());
    }
    Ok(())
}
