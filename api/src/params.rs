//! The query of a URL, read strictly: what is unknown, comes twice or cannot be decoded is an error, never ignored.

use crate::error::{Code, Problem};

/// The parameters of a request that nobody has taken yet.
#[derive(Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads `a=1&b=%C3%A4+c`.
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, Problem> {
        let mut params: Vec<(String, String)> = Vec::new();
        for part in query.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = decode(name).map_err(|what| Problem::new(what, "the query of the URL cannot be decoded"))?;
            let value = decode(value).map_err(|what| {
                Problem::new(what, format!("{name}: the value cannot be decoded"))
                    .with_mistake(&name, "percent-encode it as UTF-8")
            })?;
            if params.iter().any(|(other, _)| *other == name) {
                return Err(Problem::parameter(&name, "it comes twice"));
            }
            params.push((name, value));
        }
        Ok(Self(params))
    }

    /// Takes the parameter `name`, if it was given.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(given, _)| given == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Takes a whole number from 0 to `max`.
    pub(crate) fn take_number(&mut self, name: &str, min: u64, max: u64) -> Result<Option<u64>, Problem> {
        let Some(text) = self.take(name) else { return Ok(None) };
        number(&text, min, max).map(Some).map_err(|message| Problem::parameter(name, message))
    }

    /// Takes `true` or `false`.
    pub(crate) fn take_bool(&mut self, name: &str) -> Result<Option<bool>, Problem> {
        match self.take(name).as_deref() {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(Problem::parameter(name, "`true` or `false`")),
        }
    }

    /// Refuses what nobody has taken.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => {
                let shown: String = name.chars().take(64).collect();
                let problem = Problem::new(Code::UnknownParameter, format!("this route has no parameter {shown:?}"));
                Err(problem.with_mistake(shown, "unknown here"))
            }
        }
    }
}

/// A whole number from `min` to `max`, or what it would have to be.
pub(crate) fn number(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u64>().ok().filter(|number| digits && (min..=max).contains(number)) {
        Some(number) => Ok(number),
        None if max == u64::MAX => Err(format!("a whole number of at least {min}")),
        None => Err(format!("a whole number from {min} to {max}")),
    }
}

/// Undoes percent encoding; `+` is a blank.
fn decode(text: &str) -> Result<String, Code> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'+' => out.push(b' '),
            b'%' => {
                let hex = text.get(at + 1..at + 3).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
                out.push(hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).ok_or(Code::InvalidParameter)?);
                at += 2;
            }
            other => out.push(other),
        }
        at += 1;
    }
    String::from_utf8(out).map_err(|_| Code::InvalidUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T>(result: Result<T, Problem>) -> Option<Code> {
        result.err().map(|problem| problem.code())
    }

    #[test]
    fn values_are_decoded() {
        let mut params = Params::parse(Some("filter=%7B%22a%22%3A1%7D&b=x+y&c&&d=%C3%A4")).unwrap();
        assert_eq!(params.take("filter").as_deref(), Some(r#"{"a":1}"#));
        assert_eq!(params.take("b").as_deref(), Some("x y"));
        assert_eq!(params.take("c").as_deref(), Some(""));
        assert_eq!(params.take("d").as_deref(), Some("ä"));
        assert_eq!(params.take("d"), None);
        params.finish().unwrap();
    }

    #[test]
    fn what_cannot_be_understood_is_an_error() {
        assert_eq!(code(Params::parse(Some("a=%ff"))), Some(Code::InvalidUtf8));
        assert_eq!(code(Params::parse(Some("a=%f"))), Some(Code::InvalidParameter));
        assert_eq!(code(Params::parse(Some("a=%zz"))), Some(Code::InvalidParameter));
        assert_eq!(code(Params::parse(Some("a=%+1"))), Some(Code::InvalidParameter));
        assert_eq!(code(Params::parse(Some("a=1&a=2"))), Some(Code::InvalidParameter));
        let unknown = Params::parse(Some("limt=3")).unwrap().finish().unwrap_err();
        assert_eq!((unknown.code(), unknown.mistakes()[0].path.as_str()), (Code::UnknownParameter, "limt"));
    }

    #[test]
    fn numbers_are_whole_and_within_bounds() {
        for bad in ["-1", "+1", "1.0", "", " 1", "1e3", "0", "1001", "18446744073709551616", "١"] {
            assert!(number(bad, 1, 1_000).is_err(), "{bad}");
        }
        assert_eq!(number("1000", 1, 1_000), Ok(1_000));
        assert_eq!(number("18446744073709551615", 0, u64::MAX), Ok(u64::MAX));
    }
}
