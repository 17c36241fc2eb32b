//! Values that must never be shown: service keys and access tokens.

use std::fmt;
use std::path::Path;

use serde::Deserialize;

use crate::exit::Advice;

/// The longest key or token that is read from a file. Anything longer is the wrong file.
const SECRET_BYTES_MAX: usize = 64 * 1024;

/// A text that is never printed, neither by `Debug` nor by accident: there is no `Display`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(String);

impl Secret {
    /// Takes a text that is to be kept secret, without the white space around it.
    pub(crate) fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// The text itself. Whoever calls this answers for where it goes.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Reads a secret from a file that holds nothing else.
    pub(crate) fn from_file(path: &Path) -> Result<Self, Advice> {
        let wrong = |why: String| {
            Advice::usage(format!("cannot read a key from {}", path.display()))
                .why(why)
                .remedy("name a file that holds the key and nothing else")
        };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let secret = Self::new(&text);
        if secret.0.is_empty() {
            return Err(wrong("the file is empty".into()));
        }
        if secret.0.len() > SECRET_BYTES_MAX || !is_header_safe(&secret.0) {
            return Err(wrong("what it holds is not one line of printable characters".into()));
        }
        Ok(secret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Whether a text can travel in an HTTP header: printable ASCII without spaces.
pub(crate) fn is_header_safe(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_text() {
        assert_eq!(format!("{:?}", Secret::new("s3cret")), "(hidden)");
    }

    #[test]
    fn a_file_must_hold_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "  abc\n").unwrap();
        assert_eq!(Secret::from_file(&path).unwrap().expose(), "abc");
        std::fs::write(&path, "abc\ndef\n").unwrap();
        let error = Secret::from_file(&path).unwrap_err().to_string();
        assert!(error.contains("one line") && !error.contains("abc"), "{error}");
    }
}
