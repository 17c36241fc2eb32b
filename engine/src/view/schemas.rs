//! The check of a new schema: which of the documents that are there do not fit.

use aerodb_proto::{CheckSchema, Collection, SeenDocument, WalkProgress};

use super::{ReadError, View};
use crate::error::Error;
use crate::state::keys::{self, SCHEMA_WALK};

/// Documents that do not fit and are proposed in one step, to be looked at again.
const OFFENDERS_PER_STEP: usize = 500;

impl View {
    /// How far the check of a collection's new schema has come.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn schema_progress(&self, collection: &Collection) -> Result<WalkProgress, ReadError> {
        self.walk_progress(collection.id, SCHEMA_WALK)
    }

    /// The next step of the check of a new schema: up to `documents_max` documents and about `bytes_max` bytes; `None` when
    /// there is nothing to check.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn schema_step(&self, documents_max: u64, bytes_max: usize) -> Result<Option<CheckSchema>, ReadError> {
        let Some((collection_id, schemas, schema)) = self.catalog.unchecked() else { return Ok(None) };
        if self.catalog.by_id(collection_id).is_none() {
            return Ok(None);
        }
        let after = self.walk_progress(collection_id, SCHEMA_WALK)?.after;
        let mut step = CheckSchema {
            collection_id,
            schema_version: schemas.version,
            up_to: after.clone(),
            after,
            ..CheckSchema::default()
        };
        let after = Some(step.after.as_str()).filter(|after| !after.is_empty());
        let stretch = keys::ids_behind(after);
        let (mut found, mut bytes) = (self.documents_at(collection_id, self.revision(), &stretch, false), 0);
        while let Some(document) = found.next()? {
            if step.documents == documents_max || bytes > bytes_max || step.offenders.len() == OFFENDERS_PER_STEP {
                return Ok(Some(step));
            }
            let id = String::from_utf8(document.id.to_vec()).map_err(|e| Error::malformed("an id", e))?;
            bytes += document.body.len();
            step.documents += 1;
            step.up_to.clone_from(&id);
            // Whatever was written later had to fit.
            let old = document.revision < schema.definition.created_revision;
            if old && !matches!(schema.first_violation_of(document.body), Ok(None)) {
                step.offenders.push(SeenDocument { id, revision: document.revision });
            }
        }
        step.last = true;
        Ok(Some(step))
    }
}
