//! What the leader proposes by itself: nothing expires on one node alone (A5).

use aerodb_proto as proto;
use prost::Message;
use proto::{Effect, IdempotencyRecord, effect::Kind, outcome};

use super::Decision;
use super::documents::Place;
use super::overlay::Overlay;
use crate::error::Error;
use crate::state::keys;

const DONE: outcome::Result = outcome::Result::Done(proto::Done { kept: Vec::new(), kept_because: String::new() });

/// Raises watermarks; they never fall, nor pass what is decided.
pub(super) fn advance_watermarks(
    overlay: &mut Overlay,
    marks: &proto::AdvanceWatermarks,
    place: Place,
) -> Result<Decision, Error> {
    let mut effects = Vec::new();
    for mark in &marks.watermarks {
        let known = overlay.catalog().iter().any(|collection| collection.id == mark.collection_id);
        if known && mark.revision < place.revision && overlay.raise_watermark(mark)? {
            effects.push(Effect { kind: Some(Kind::Watermark(*mark)) });
        }
    }
    Ok(Decision::Internal { effects, result: DONE })
}

/// Forgets idempotency keys that prepare found to be too old; decide looks again.
pub(super) fn collect_garbage(overlay: &mut Overlay, garbage: &proto::CollectGarbage) -> Result<Decision, Error> {
    let mut keys = Vec::new();
    for digest in &garbage.idempotency_keys {
        let Some(bytes) = overlay.get_meta(&keys::idempotency(digest))? else { continue };
        let record = IdempotencyRecord::decode(&*bytes).map_err(|e| Error::malformed("a remembered key", e))?;
        if record.time_ms < garbage.idempotency_before_ms {
            overlay.forget_idempotency(bytes.len() as u64);
            keys.push(digest.clone());
        }
    }
    let effect = Effect { kind: Some(Kind::ForgetIdempotency(proto::ForgetIdempotency { keys })) };
    Ok(Decision::Internal { effects: vec![effect], result: DONE })
}
