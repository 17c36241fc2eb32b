//! The id that ties a request, its answer and its log lines together, and the trace that it belongs to.

use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, HeaderName};
use uuid::{Builder, Uuid};

/// `X-Request-Id`.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Bytes of an id that a client brings, at most.
const BYTES_MAX: usize = 128;

/// The request's id: the client's own, or a new one.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) Arc<str>);

impl RequestId {
    /// The id that `headers` bring, if it is printable and not too long; else a new one.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let sent = headers.get(HEADER).map(|value| value.as_bytes()).filter(|id| is_acceptable(id));
        match sent.and_then(|id| std::str::from_utf8(id).ok()) {
            Some(id) => Self(id.into()),
            None => Self((&*fresh().hyphenated().encode_lower(&mut Uuid::encode_buffer())).into()),
        }
    }
}

/// A UUID of version 7. `Uuid::now_v7` asks the system for randomness with each call, and for an order that nobody needs here.
fn fresh() -> Uuid {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Builder::from_unix_timestamp_millis(since_1970.as_millis() as u64, &rand::random()).into_uuid()
}

fn is_acceptable(id: &[u8]) -> bool {
    (1..=BYTES_MAX).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

/// The trace id of a W3C `traceparent`, if there is a valid one.
pub(crate) fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let mut parts = headers.get("traceparent")?.to_str().ok()?.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, len| text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let known = match version {
        // Version 0 has exactly four parts; later ones may have more.
        "00" => parts.next().is_none(),
        "ff" => false,
        other => hex(other, 2),
    };
    let zero = |text: &str| text.bytes().all(|b| b == b'0');
    (known && hex(trace, 32) && hex(parent, 16) && hex(flags, 2) && !zero(trace) && !zero(parent)).then_some(trace)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn with(name: &'static str, value: &[u8]) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap())])
    }

    #[test]
    fn a_sound_id_is_kept_and_any_other_replaced() {
        let id = |value: &[u8]| RequestId::from_headers(&with("x-request-id", value)).0.to_string();
        assert_eq!(id(b"abc-1"), "abc-1");
        assert_eq!(id("x".repeat(128).as_bytes()), "x".repeat(128));
        for bad in ["".as_bytes(), "x".repeat(129).as_bytes(), b"a b", b"a\tb", "ä".as_bytes()] {
            assert_eq!(id(bad).len(), 36, "{bad:?}");
        }
    }

    #[test]
    fn trace_ids_are_taken_from_valid_parents_only() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let parse = |value: &str| trace_id(&with("traceparent", value.as_bytes())).map(str::to_owned);
        assert_eq!(parse(&format!("00-{trace}-b7ad6b7169203331-01")).as_deref(), Some(trace));
        assert_eq!(parse(&format!("01-{trace}-b7ad6b7169203331-01-more")).as_deref(), Some(trace));
        for bad in [
            format!("00-{trace}-b7ad6b7169203331-01-more"),
            format!("ff-{trace}-b7ad6b7169203331-01"),
            format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            format!("00-{}-b7ad6b7169203331-01", trace.to_uppercase()),
            format!("00-{trace}-b7ad6b7169203331"),
            "nonsense".to_owned(),
        ] {
            assert_eq!(parse(&bad), None, "{bad}");
        }
    }
}
