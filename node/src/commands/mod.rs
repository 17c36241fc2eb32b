//! The small commands: each asks a cluster one thing and shows the answer.

pub(crate) mod cluster;
pub(crate) mod collection;
pub(crate) mod explain;
pub(crate) mod index;
pub(crate) mod query;
pub(crate) mod question;
mod stats;
mod status;
pub(crate) mod transaction;
pub(crate) mod version;
mod wait_ready;

use serde_json::Value;

/// The list in an answer: the answer itself, or its member `items` (or the other name that is given).
fn items<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    let list = answer.as_array().or_else(|| answer["items"].as_array()).or_else(|| answer[name].as_array());
    list.map_or(&[], Vec::as_slice)
}

/// A key that no other request has.
pub(crate) fn random_key() -> String {
    format!("{:032x}", rand::random::<u128>())
}
