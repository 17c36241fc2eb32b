//! `Idempotency-Key`: a retry of the same request gets the first answer.

use aerodb_proto as proto;
use http::{HeaderMap, Method};
use sha2::{Digest, Sha256};

use crate::error::Problem;

const HEADER: &str = "idempotency-key";
/// Bytes of a key.
const BYTES_MAX: usize = 255;

/// The key that the request brings, if any.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let sound = |bytes: &[u8]| (1..=BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(|b| (0x20..0x7f).contains(b));
    match std::str::from_utf8(value.as_bytes()) {
        Ok(key) if sound(key.as_bytes()) && values.next().is_none() => Ok(Some(key.to_owned())),
        _ => Err(Problem::header("Idempotency-Key", "one key of 1 to 255 printable ASCII characters")),
    }
}

/// The key as the cluster remembers it: scoped to method and path (and the caller), bound to the body.
pub(crate) fn scoped(
    headers: &HeaderMap,
    method: &Method,
    path: &str,
    body: &[u8],
) -> Result<Option<proto::IdempotencyKey>, Problem> {
    let key = key(headers)?;
    Ok(key.map(|key| proto::IdempotencyKey {
        key,
        scope: format!("{method} {path}"),
        body_digest: Sha256::digest(body).to_vec().into(),
    }))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn with(value: &[u8]) -> HeaderMap {
        let value = HeaderValue::from_bytes(value).unwrap();
        HeaderMap::from_iter([(http::HeaderName::from_static(HEADER), value)])
    }

    #[test]
    fn keys_are_printable_and_bounded() {
        assert_eq!(key(&HeaderMap::new()).unwrap(), None);
        assert_eq!(key(&with(b"a b")).unwrap().as_deref(), Some("a b"));
        assert!(key(&with(&[b'x'; 255])).is_ok());
        for bad in [&b""[..], &[b'x'; 256], "ä".as_bytes(), b"a\tb"] {
            assert!(key(&with(bad)).is_err(), "{bad:?}");
        }
        let mut twice = with(b"a");
        twice.append(HEADER, HeaderValue::from_static("b"));
        assert!(key(&twice).is_err());
    }

    #[test]
    fn the_scope_is_method_and_path_and_the_body_is_bound() {
        let scoped = |body: &[u8]| scoped(&with(b"k"), &Method::PUT, "/api/a/b", body).unwrap().unwrap();
        assert_eq!(scoped(b"{}").scope, "PUT /api/a/b");
        assert_eq!(scoped(b"{}"), scoped(b"{}"));
        assert_ne!(scoped(b"{}").body_digest, scoped(b"{ }").body_digest);
    }
}
