//! Which form an answer takes: what `Accept` says, and which bodies a route takes.

use http::{HeaderMap, header};

use crate::error::{Code, Problem};

/// The forms of a list or a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    NdJson,
    Csv,
    EventStream,
}

impl Form {
    const fn names(self) -> &'static [&'static str] {
        match self {
            Form::Json => &["application/json"],
            Form::NdJson => &["application/x-ndjson", "application/ndjson", "application/jsonl"],
            Form::Csv => &["text/csv"],
            Form::EventStream => &["text/event-stream"],
        }
    }

    /// The `Content-Type` of this form.
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Form::Json => "application/json",
            Form::NdJson => "application/x-ndjson",
            Form::Csv => "text/csv; charset=utf-8; header=present",
            Form::EventStream => "text/event-stream",
        }
    }
}

/// The best of `offered` for `Accept`; the first of them when the client does not mind or asks for none of them.
pub(crate) fn accept(headers: &HeaderMap, offered: &[Form]) -> Form {
    let first = offered.first().copied().unwrap_or(Form::Json);
    let mut ranges: Vec<(String, f32)> = Vec::new();
    for value in headers.get_all(header::ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',') {
            let mut parts = range.split(';');
            let name = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
            let quality = parts.find_map(|part| part.trim().strip_prefix("q=")?.trim().parse().ok()).unwrap_or(1.0);
            ranges.push((name, quality));
        }
    }
    // The most specific range that covers a form decides about it.
    let quality = |form: Form| {
        let exact = ranges.iter().find(|(name, _)| form.names().contains(&name.as_str()));
        let kind = form.names()[0].split('/').next().unwrap_or_default();
        let class = || ranges.iter().find(|(name, _)| name.strip_suffix("/*") == Some(kind));
        let any = || ranges.iter().find(|(name, _)| name == "*/*");
        exact.or_else(class).or_else(any).map_or(0.0, |(_, quality)| *quality)
    };
    let mut best = (first, quality(first));
    for &form in offered {
        if quality(form) > best.1 {
            best = (form, quality(form));
        }
    }
    best.0
}

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyForm {
    Json,
    NdJson,
}

/// What the body claims to be; without a claim it is JSON.
pub(crate) fn body_form(headers: &HeaderMap) -> Result<BodyForm, Problem> {
    let refused = |detail: String| Problem::new(Code::UnsupportedMediaType, detail);
    let encoded = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"));
    if encoded {
        return Err(refused("a body is sent as it is, without Content-Encoding".into()));
    }
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(BodyForm::Json) };
    let text = value.to_str().unwrap_or("?").to_ascii_lowercase();
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    for charset in parts.filter_map(|part| part.strip_prefix("charset=")) {
        if !matches!(charset.trim_matches('"'), "utf-8" | "utf8" | "us-ascii") {
            return Err(refused(format!("the charset is UTF-8, not {charset}")));
        }
    }
    if name == "application/json" || (name.starts_with("application/") && name.ends_with("+json")) {
        Ok(BodyForm::Json)
    } else if Form::NdJson.names().contains(&name) {
        Ok(BodyForm::NdJson)
    } else {
        Err(refused(format!("a body is application/json, not {name}: say `Content-Type: application/json`")))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const LIST: [Form; 3] = [Form::Json, Form::NdJson, Form::Csv];

    fn with(name: http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn the_client_chooses_and_json_is_what_it_gets_otherwise() {
        let check = |value: &str| accept(&with(header::ACCEPT, value), &LIST);
        assert_eq!(accept(&HeaderMap::new(), &LIST), Form::Json);
        assert_eq!(check("*/*"), Form::Json);
        assert_eq!(check("text/html,application/xhtml+xml,*/*;q=0.8"), Form::Json);
        assert_eq!(check("text/csv"), Form::Csv);
        assert_eq!(check("text/*"), Form::Csv);
        assert_eq!(check("Application/X-NDJSON"), Form::NdJson);
        assert_eq!(check("application/jsonl; q=0.9, application/json; q=0.1"), Form::NdJson);
        assert_eq!(check("text/csv;q=0.5, application/json"), Form::Json);
        assert_eq!(check("text/csv, */*;q=0.1"), Form::Csv);
        assert_eq!(check("image/png"), Form::Json);
        assert_eq!(
            accept(&with(header::ACCEPT, "text/event-stream"), &[Form::NdJson, Form::EventStream]),
            Form::EventStream
        );
        assert_eq!(accept(&with(header::ACCEPT, "application/json"), &[Form::NdJson, Form::EventStream]), Form::NdJson);
    }

    #[test]
    fn bodies_say_what_they_are() {
        let check = |value: &str| body_form(&with(header::CONTENT_TYPE, value)).map_err(|problem| problem.code());
        assert_eq!(body_form(&HeaderMap::new()).ok(), Some(BodyForm::Json));
        assert_eq!(check("application/json; charset=UTF-8"), Ok(BodyForm::Json));
        assert_eq!(check("application/merge-patch+json"), Ok(BodyForm::Json));
        assert_eq!(check("application/x-ndjson"), Ok(BodyForm::NdJson));
        for bad in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", "+json", ""]
        {
            assert_eq!(check(bad), Err(Code::UnsupportedMediaType), "{bad}");
        }
        assert!(body_form(&with(header::CONTENT_ENCODING, "gzip")).is_err());
        assert!(body_form(&with(header::CONTENT_ENCODING, "identity")).is_ok());
    }
}
