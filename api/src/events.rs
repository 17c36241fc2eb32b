//! Streams of events: Server-Sent Events as text.

use std::fmt::Write;

/// One event. `data` is one line of JSON. With an `id` a client that reconnects says that it has come this far.
pub(crate) fn event(out: &mut String, name: &str, id: Option<u64>, data: &str) {
    debug_assert!(!data.contains(['\n', '\r']), "JSON escapes line breaks");
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    // Writing to a string does not fail.
    let _ = write!(out, "event: {name}\n{id}data: {data}\n\n");
}

/// What is sent in silence, so that neither side takes the other for dead.
pub(crate) const KEEP_ALIVE: &str = ": keep-alive\n\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_framed() {
        let mut out = String::new();
        event(&mut out, "change", None, "{}");
        event(&mut out, "bookmark", Some(7), "{\"a\":1}");
        assert_eq!(out, "event: change\ndata: {}\n\nevent: bookmark\nid: 7\ndata: {\"a\":1}\n\n");
    }
}
