//! Cursors: where a page ended, sealed to the query and the caller, so that the next page goes on exactly there and at
//! the same revision. A cursor of another query, another caller or another life of the cluster is refused.

use aerodb_proto as proto;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use prost::Message;
use sha2::Sha256;

use super::{ReadError, View};
use crate::error::Error;
use crate::json::{self, Value};
use crate::state::keys;

const SEAL_BYTES: usize = 16;

/// Where a page ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Position {
    /// The revision that all pages are read at.
    pub(super) revision: u64,
    /// The sort key of the last item.
    pub(super) key: Vec<Value>,
    /// The id of the last item.
    pub(super) id: String,
}

impl View {
    /// Seals `position` to the query that `fingerprint` describes.
    pub(super) fn seal_cursor(&self, position: &Position, fingerprint: &[u8]) -> Result<String, ReadError> {
        let key = Value::Array(position.key.clone()).to_bytes();
        let cursor = proto::Cursor {
            epoch: self.epoch(),
            revision: position.revision,
            sort_key: key.into(),
            id: position.id.clone(),
        };
        let bytes = cursor.encode_to_vec();
        let seal = self.sealer(&bytes, fingerprint)?.finalize().into_bytes();
        Ok(URL_SAFE_NO_PAD.encode([&seal[..SEAL_BYTES], &bytes].concat()))
    }

    /// The position in `cursor`, if it was sealed to this query.
    pub(super) fn open_cursor(&self, cursor: &str, fingerprint: &[u8]) -> Result<Position, ReadError> {
        let invalid = || {
            let problem = "the cursor does not belong to this query: send it with the filter, order, select and \
                           credential that it came from, or begin without one";
            ReadError::InvalidCursor(problem.into())
        };
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| invalid())?;
        let (seal, bytes) = bytes.split_at_checked(SEAL_BYTES).ok_or_else(invalid)?;
        // In constant time, so that a seal cannot be guessed byte by byte.
        self.sealer(bytes, fingerprint)?.verify_truncated_left(seal).map_err(|_| invalid())?;
        let cursor = proto::Cursor::decode(bytes).map_err(|_| invalid())?;
        if cursor.epoch != self.epoch() {
            return Err(invalid());
        }
        match json::parse(&cursor.sort_key, &json::STORED) {
            Ok(Value::Array(key)) => Ok(Position { revision: cursor.revision, key, id: cursor.id }),
            _ => Err(invalid()),
        }
    }

    fn sealer(&self, bytes: &[u8], fingerprint: &[u8]) -> Result<Hmac<Sha256>, ReadError> {
        let identity = self.figure(keys::IDENTITY).map_err(Error::from)?.unwrap_or_default();
        let identity = proto::Identity::decode(&*identity).map_err(|e| Error::malformed("the identity", e))?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&identity.secret)
            .map_err(|e| Error::malformed("the identity's secret", e))?;
        mac.update(&(fingerprint.len() as u64).to_be_bytes());
        mac.update(fingerprint);
        mac.update(bytes);
        Ok(mac)
    }
}
