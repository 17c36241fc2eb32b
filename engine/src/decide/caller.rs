//! The caller's credential, checked as it is at the command's place in the order of all writes.

use aerodb_proto as proto;
use proto::command::Op;
use proto::{Command, Refusal};

use super::overlay::Overlay;
use super::refusal;
use crate::catalog::API_KEYS;
use crate::error::Error;

/// A refusal when the caller may not do this.
pub(super) fn check(overlay: &Overlay, command: &Command) -> Result<Option<Refusal>, Error> {
    let internal = matches!(
        command.op,
        Some(
            Op::Bootstrap(_)
                | Op::OpenSession(_)
                | Op::AdvanceWatermarks(_)
                | Op::CollectGarbage(_)
                | Op::BuildIndex(_)
                | Op::Expire(_)
                | Op::CheckSchema(_)
        )
    );
    if internal {
        return Ok(None);
    }
    let key = command.caller.as_ref().map_or("", |caller| &caller.key_id);
    if !key.is_empty() && overlay.document(API_KEYS, key)?.is_some() {
        return Ok(None);
    }
    Ok(Some(refusal("unauthorized", "the API key is not, or no longer, valid")))
}
