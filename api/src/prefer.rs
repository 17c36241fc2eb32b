//! `Prefer: return=minimal` (RFC 7240): a write that is not to be answered with what was written.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

const HEADER: &str = "prefer";
/// Which preference was followed.
pub(crate) const APPLIED: HeaderName = HeaderName::from_static("preference-applied");
const MINIMAL: &str = "return=minimal";

/// Whether the client does without the documents that it wrote. Of preferences that contradict each other the first counts;
/// others are not known here, and ignored, as the RFC wants it.
pub(crate) fn minimal(headers: &HeaderMap) -> bool {
    let values = headers.get_all(HEADER).into_iter().filter_map(|value| value.to_str().ok());
    // What comes behind a semicolon are a preference's parameters; `return` has none. A comma in a quoted value is taken for
    // the end of it: no preference that is known here has one.
    let mut names = values.flat_map(|value| value.split(',')).filter_map(|preference| preference.split(';').next());
    let wanted = names.find_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        name.trim().eq_ignore_ascii_case("return").then(|| value.trim().trim_matches('"'))
    });
    wanted.is_some_and(|value| value.eq_ignore_ascii_case("minimal"))
}

/// The answer of a write that gives nothing back, instead of one with `status`.
pub(crate) fn nothing(status: StatusCode) -> Response {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = if status == StatusCode::OK { StatusCode::NO_CONTENT } else { status };
    answer.headers_mut().insert(APPLIED, HeaderValue::from_static(MINIMAL));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_preference_is_known() {
        let check = |lines: &[&str]| {
            let line = |text: &&str| (HeaderName::from_static(HEADER), HeaderValue::from_str(text).unwrap());
            minimal(&HeaderMap::from_iter(lines.iter().map(line)))
        };
        for yes in [
            "return=minimal",
            "Return = \"Minimal\"",
            "respond-async, return=minimal; x=1",
            "return=minimal, return=representation",
        ] {
            assert!(check(&[yes]), "{yes}");
        }
        assert!(check(&["wait=10", "return=minimal"]));
        for no in [
            "",
            "return",
            "return=representation",
            "return=representation, return=minimal",
            "return=minimalist",
            "minimal",
        ] {
            assert!(!check(&[no]), "{no}");
        }
        assert!(!check(&[]));
    }
}
