//! Decisions as scenarios (see [`crate::testing::check`]). A test of one of the nine rules of "One write, end to end" says
//! which line keeps the rule: without it the test fails.

use super::*;
use crate::apply::Applied;
use crate::catalog::API_KEYS;
use crate::state::record::Document;
use crate::testing::{Dice, Leader, Node, check, check_with, outcome, put, show};
use crate::{Limits, view};

impl Decider {
    /// Notes that the key is, or is no longer, known, as a pending command would.
    pub(crate) fn note_key(&mut self, secret: &str, known: bool) {
        let (revision, created_ms) = (self.revision, self.time_ms);
        let document = Document { revision, created_ms, body: bytes::Bytes::from_static(b"{}") };
        self.overlay.stage_document(API_KEYS, &view::api_key_id(secret), None, known.then_some(document));
        self.overlay.commit(self.next_seq(), revision);
    }
}

mod bulk;
mod delays;
mod documents;
mod idempotency;
mod indexes;
mod references;
mod references_model;
mod rules;
mod schema;
mod sessions;
mod transactions;
