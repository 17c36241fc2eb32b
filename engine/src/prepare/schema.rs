//! The schema in the body of `POST` and `PATCH /admin/collections`.

use bytes::Bytes;

use super::{Error, ErrorKind};
use crate::json::{self, Value};
use crate::limits::Limits;
use crate::schema::{self, SCHEMA_BYTES_MAX};

/// A schema as it is kept: canonical JSON.
///
/// # Errors
/// When it is none, or longer than [`SCHEMA_BYTES_MAX`].
pub fn schema(bytes: &[u8], limits: &Limits) -> Result<Bytes, Error> {
    let value = json::parse(bytes, &super::json_limits(limits))
        .map_err(|error| Error::new(ErrorKind::Malformed, error.code(), "/schema", error.to_string()))?;
    let Value::Object(_) = value else {
        return Err(Error::new(ErrorKind::Malformed, "invalid_schema", "/schema", "a schema is a JSON object"));
    };
    let json = value.to_bytes();
    if json.len() > SCHEMA_BYTES_MAX {
        let message = format!("{} bytes; a schema has at most {SCHEMA_BYTES_MAX}", json.len());
        return Err(Error::new(ErrorKind::TooLarge, "schema_too_large", "/schema", message));
    }
    schema::check(&json).map_err(|malformed| {
        Error::new(ErrorKind::Malformed, "invalid_schema", format!("/schema{}", malformed.path), malformed.message)
    })?;
    Ok(json.into())
}
