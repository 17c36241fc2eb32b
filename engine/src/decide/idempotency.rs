//! `Idempotency-Key` (rule 6): a retry of a request that succeeded gets the first answer.

use aerodb_proto as proto;
use proto::{Command, IdempotencyRecord, Outcome, Refusal};
use sha2::{Digest, Sha256};

use super::overlay::Overlay;
use super::refusal;
use crate::error::Error;
use crate::planted;

/// What is known of a command's key.
pub(super) enum Known {
    /// The command has none.
    Unused,
    /// Nobody has used it yet.
    New(Key),
    /// The same request succeeded before.
    Answered(Outcome),
    /// The key cannot be used.
    Refused(Refusal),
}

/// A key to remember.
pub(super) struct Key {
    digest: Vec<u8>,
    body_digest: bytes::Bytes,
}

impl Key {
    pub(super) fn record(self, time_ms: u64, outcome: Outcome) -> IdempotencyRecord {
        let key = self.digest.into();
        IdempotencyRecord { key, body_digest: self.body_digest, time_ms, outcome: Some(outcome) }
    }
}

pub(super) fn look_up(overlay: &Overlay, command: &Command) -> Result<Known, Error> {
    let Some(key) = &command.idempotency else { return Ok(Known::Unused) };
    let caller = command.caller.as_ref().map_or("", |caller| &caller.key_id);
    let digest = digest(&[caller, &key.scope, &key.key]);
    match overlay.idempotency(&digest)? {
        _ if planted!("idempotency-forgotten") => Ok(Known::New(Key { digest, body_digest: key.body_digest.clone() })),
        Some(record) if record.body_digest != key.body_digest => Ok(Known::Refused(refusal(
            "idempotency_key_reused",
            "this Idempotency-Key was used with another body: use a new key for a new request",
        ))),
        Some(record) => Ok(Known::Answered(record.outcome.unwrap_or_default())),
        None if !overlay.idempotency_has_room() => Ok(Known::Refused(refusal(
            "idempotency_full",
            "no more idempotency keys can be remembered: try again later, or send no key",
        ))),
        None => Ok(Known::New(Key { digest, body_digest: key.body_digest.clone() })),
    }
}

/// SHA-256 over the parts with their lengths, so that no two lists of parts look alike.
fn digest(parts: &[&str]) -> Vec<u8> {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().to_vec()
}
