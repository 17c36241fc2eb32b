//! Documents with an end: in an index with `ttl_seconds`, its field holds the time from which these seconds count.
//!
//! A time is a string in the form that documents show their own times in: RFC 3339 in UTC, ending in `Z`, with fractions
//! or without. Of such strings the order of the index is that of the times, but for what lies within one second, so that
//! what has expired is one stretch at the index's beginning. A document whose field holds anything else never expires.

use super::{Index, bounds};
use crate::json::Value;
use crate::time::{rfc3339, unix_ms};

/// Where a text in that form has its seconds' end.
const UP_TO_SECONDS: usize = "2026-01-02T03:04:05".len();

impl Index {
    /// True when its documents have an end and it is ready to find them.
    pub(crate) fn expires(&self) -> bool {
        self.definition.ttl_seconds.is_some() && self.definition.state() == aerodb_proto::IndexState::Ready
    }

    /// When `document` is to go, in milliseconds since the epoch: the earliest of its times counts. `None`: never.
    pub(crate) fn expires_ms(&self, document: &Value) -> Option<u64> {
        let (ttl_seconds, field) = (self.definition.ttl_seconds?, self.fields.first()?);
        if self.filter.as_ref().is_some_and(|filter| !filter.matches(document)) {
            return None;
        }
        let mut earliest: Option<u64> = None;
        field.path.any(document, &mut |value| {
            for value in std::iter::once(value).chain(value.as_array().into_iter().flatten()) {
                let time = value.as_str().and_then(unix_ms);
                earliest = earliest.into_iter().chain(time).min();
            }
            false
        });
        earliest.map(|time| time.saturating_add(ttl_seconds.saturating_mul(1_000)))
    }

    /// Where the entries are of documents that may have come to their end by `now_ms`: keys without what all keys of the
    /// index begin with, from the first one up to, not including, the other.
    pub(crate) fn expired_stretch(&self, now_ms: u64) -> Option<(Vec<u8>, Vec<u8>)> {
        let (ttl_seconds, field) = (self.definition.ttl_seconds?, self.fields.first()?);
        let last_ms = now_ms.checked_sub(ttl_seconds.saturating_mul(1_000))?;
        // Fractions of this second sort before its `Z`.
        let last = format!("{}Z", &rfc3339(last_ms)[..UP_TO_SECONDS]);
        let interval = bounds::strings_until(&last);
        Some(if field.is_descending() { interval.inverted().keys(&[]) } else { interval.keys(&[]) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::tests::value;

    fn index(descending: bool, ttl_seconds: u64) -> Index {
        let field = aerodb_proto::IndexField { path: "at".into(), descending };
        let definition = aerodb_proto::Index {
            fields: vec![field],
            ttl_seconds: Some(ttl_seconds),
            filter: br#"{"keep":{"$ne":true}}"#.to_vec().into(),
            ..aerodb_proto::Index::default()
        };
        Index::compile(definition).unwrap()
    }

    #[test]
    fn the_end_counts_from_the_earliest_time() {
        let index = index(false, 10);
        for (document, expected) in [
            (r#"{"at":"1970-01-01T00:00:05Z"}"#, Some(15_000)),
            (r#"{"at":"1970-01-01T00:00:05.250Z"}"#, Some(15_250)),
            (r#"{"at":["1970-01-01T00:00:09Z","1970-01-01T00:00:05Z",3]}"#, Some(15_000)),
            (r#"{"at":"1970-01-01T00:00:05Z","keep":true}"#, None),
            (r#"{"at":"1970-01-01T00:00:05+00:00"}"#, None),
            (r#"{"at":5}"#, None),
            ("{}", None),
        ] {
            assert_eq!(index.expires_ms(&value(document)), expected, "{document}");
        }
    }

    /// Whatever has expired lies within the stretch, in either direction.
    #[test]
    fn what_has_expired_is_found() {
        let now_ms = 1_700_000_000_500;
        for (index, ttl) in [(index(false, 60), 60), (index(true, 60), 60), (index(false, 0), 0)] {
            let (from, to) = index.expired_stretch(now_ms).unwrap();
            for behind_ms in [0, 1, 499, 500, 501, 999, 1_000, 86_400_000] {
                let time = rfc3339(now_ms - ttl * 1_000 - behind_ms);
                let document = value(&format!(r#"{{"at":"{time}"}}"#));
                assert!(index.expires_ms(&document).unwrap() <= now_ms);
                for key in index.entries(&document).unwrap().keys() {
                    assert!(from <= *key && *key < to, "{time}");
                }
            }
            let later = value(&format!(r#"{{"at":"{}"}}"#, rfc3339(now_ms + 1_000)));
            assert!(index.entries(&later).unwrap().keys().all(|key| *key < from || *key >= to));
        }
        assert_eq!(index(false, 2).expired_stretch(1_999), None, "nothing is older than the epoch");
    }
}
