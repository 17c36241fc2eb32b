//! The bounds of a node that an operator may change, each with its unit in its name.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::exit::Advice;

/// Bounds on what a node takes. Past a bound there is a clear error, and nothing is lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// The largest body of a request, whatever it is for; lines of NDJSON streams count for themselves. Larger: 413.
    pub(crate) body_bytes_max: u64,
    /// The largest document. Larger: 413.
    pub(crate) document_bytes_max: u64,
    /// The largest command that the log takes: one request, with all that it changes. Larger: 413.
    pub(crate) command_bytes_max: u64,
    /// The longest that a request is worked on before it is answered with 503 or 504.
    pub(crate) request_ms_max: u64,
    /// Requests that are worked on at one time. More: 503 `overloaded`.
    pub(crate) requests_in_flight_max: u64,
    /// How long requests in flight may take to finish once the node was told to stop.
    pub(crate) drain_ms_max: u64,
    /// Memory for what was read or written last, taken as it is used: half of it for documents, half for blocks of files.
    /// From a MiB to a TiB.
    pub(crate) cache_bytes_max: u64,
    /// What idempotency keys and their answers may take. Past it new keys get 503.
    pub(crate) idempotency_bytes_max: u64,
    /// How long earlier versions of documents are kept.
    pub(crate) history_seconds: u64,
    /// Bytes that the log may grow before a snapshot lets it be cut.
    pub(crate) snapshot_log_bytes: u64,
    /// Entries that the log may grow before a snapshot lets it be cut.
    pub(crate) snapshot_log_entries: u64,
    /// Entries kept behind a snapshot, so that a node that was away for a moment needs none.
    pub(crate) log_keep_entries: u64,
    /// Bytes of such entries at most; fewer are kept then.
    pub(crate) log_keep_bytes: u64,
}

/// What `cache_bytes_max` may be: RocksDB's cache ends the process where it cannot be.
const CACHE_BYTES: RangeInclusive<u64> = 1 << 20..=1 << 40;

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 8 << 20,
            document_bytes_max: 1 << 20,
            command_bytes_max: 8 << 20,
            request_ms_max: 10_000,
            requests_in_flight_max: 4_096,
            drain_ms_max: 10_000,
            cache_bytes_max: 512 << 20,
            idempotency_bytes_max: 256 << 20,
            history_seconds: 3_600,
            snapshot_log_bytes: 256 << 20,
            snapshot_log_entries: 200_000,
            log_keep_entries: 20_000,
            log_keep_bytes: 256 << 20,
        }
    }
}

impl Limits {
    /// The defaults, with the named ones changed.
    pub(crate) fn with(named: &BTreeMap<String, u64>) -> Result<Self, Advice> {
        let known = Self::default().by_name()?;
        if let Some(name) = named.keys().find(|name| !known.contains_key(*name)) {
            let names: Vec<&str> = known.keys().map(String::as_str).collect();
            return Err(Advice::usage(format!("there is no limit named '{name}'"))
                .remedy(format!("use one of: {}", names.join(", "))));
        }
        if let Some((name, _)) = named.iter().find(|(_, value)| **value == 0) {
            return Err(Advice::usage(format!("the limit '{name}' is 0"))
                .why("a bound of nothing lets nothing through")
                .remedy("leave it out to have the default"));
        }
        if let Some(bytes) = named.get("cache_bytes_max").filter(|bytes| !CACHE_BYTES.contains(bytes)) {
            return Err(Advice::usage(format!("the limit 'cache_bytes_max' is {bytes}"))
                .why("its memory is laid out at once, if not taken")
                .remedy(format!("choose {} to {}", CACHE_BYTES.start(), CACHE_BYTES.end())));
        }
        let merged: BTreeMap<String, u64> = known.into_iter().chain(named.clone()).collect();
        let value = serde_json::to_value(merged).and_then(serde_json::from_value);
        value.map_err(|error| Advice::usage("the limits cannot be read").why(error.to_string()))
    }

    /// Reads `name=value`.
    pub(crate) fn parse_pair(text: &str) -> Result<(String, u64), Advice> {
        let pair = text.split_once('=').and_then(|(name, value)| Some((name.trim(), value.trim().parse().ok()?)));
        pair.map(|(name, value)| (name.to_owned(), value)).ok_or_else(|| {
            Advice::usage(format!("'{text}' is not a limit"))
                .remedy("write NAME=VALUE with a whole number: body_bytes_max=16777216")
        })
    }

    fn by_name(&self) -> Result<BTreeMap<String, u64>, Advice> {
        let value = serde_json::to_value(self).and_then(serde_json::from_value);
        value.map_err(|error| Advice::failed("the limits cannot be listed").why(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_limits_replace_defaults() {
        let limits = Limits::with(&BTreeMap::from([("body_bytes_max".to_owned(), 5)])).unwrap();
        assert_eq!(limits, Limits { body_bytes_max: 5, ..Limits::default() });
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = Limits::with(&BTreeMap::from([("body_max".to_owned(), 5)])).unwrap_err().to_string();
        assert!(error.contains("'body_max'") && error.contains("body_bytes_max"), "{error}");
        assert!(Limits::with(&BTreeMap::from([("body_bytes_max".to_owned(), 0)])).is_err());
        for bytes in [1, u64::MAX] {
            assert!(Limits::with(&BTreeMap::from([("cache_bytes_max".to_owned(), bytes)])).is_err());
        }
        assert!(Limits::parse_pair("body_bytes_max").is_err());
        assert_eq!(Limits::parse_pair("a = 7").unwrap(), ("a".to_owned(), 7));
    }
}
