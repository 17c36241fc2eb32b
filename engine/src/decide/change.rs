//! A change of a document's fields: a merge patch or an update, as prepare left it.

use aerodb_proto::Refusal;

use super::refusal;
use crate::json::{Spliced, Value};
use crate::limits::Limits;
use crate::update::Update;
use crate::{body, json, patch, prepare};

pub(super) enum Change {
    Merge(Value),
    Update(Update),
}

impl Change {
    /// Reads it. The node that prepared it may have other limits: what does not fit here is no damage.
    pub(super) fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, Refusal> {
        let change = json::parse(bytes, &prepare::json_limits(limits));
        let change = change.map_err(|error| refusal(error.code(), error.to_string()))?;
        match change.as_object().filter(|change| Update::is_meant(change)) {
            None => Ok(Self::Merge(change)),
            Some(update) => match Update::parse(update) {
                Ok(update) => Ok(Self::Update(update)),
                Err(error) => Err(refusal(error.code, error.message)),
            },
        }
    }

    /// What it makes of the fields of a stored document, where that can be said without reading all of them.
    pub(super) fn splice(&self, body: &[u8]) -> Option<Spliced> {
        match self {
            Self::Merge(change) => body::splice(body, change.as_object()?),
            Self::Update(_) => None,
        }
    }

    /// What it makes of `fields`.
    pub(super) fn apply(&self, mut fields: Value, limits: &Limits) -> Result<Value, Refusal> {
        match self {
            Self::Merge(change) => patch::merge(&mut fields, change),
            Self::Update(update) => {
                update.apply(&mut fields).map_err(|unfit| refusal("update_not_applicable", unfit.to_string()))?;
                let depth_max = prepare::json_limits(limits).depth_max;
                if fields.depth() > depth_max {
                    let detail = format!("arrays and objects would lie more than {depth_max} deep");
                    return Err(refusal("nesting_too_deep", detail));
                }
            }
        }
        Ok(fields)
    }
}
