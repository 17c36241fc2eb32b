//! What can go wrong between a command and a cluster.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::exit::Exit;
use crate::units;

/// Why a request has no good answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A node answered, and the answer is no.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// No node took the request in time.
    #[error("{}", unavailable(.tried, *.waited))]
    Unavailable {
        /// The nodes that were asked, and what each one's last word was.
        tried: Vec<(String, String)>,
        /// How long it was tried.
        waited: Duration,
    },
    /// The connection broke after the request was sent, and repeating it would not be safe.
    #[error(
        "it is not known whether this was done: {why} ({url})\n  do:  look whether it was done before you repeat it"
    )]
    OutcomeUnknown {
        /// The node that was asked.
        url: String,
        /// What broke.
        why: String,
    },
    /// Something answered that does not speak as AeroDB does.
    #[error("{0}")]
    Strange(String),
}

impl Error {
    /// The exit code that belongs to it.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Unavailable { .. } => Exit::Unavailable,
            Self::Problem(_) | Self::OutcomeUnknown { .. } | Self::Strange(_) => Exit::Failed,
        }
    }

    /// What the node said, if a node said no.
    pub(crate) fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            _ => None,
        }
    }
}

fn unavailable(tried: &[(String, String)], waited: Duration) -> String {
    let mut text = format!("no node could take the request (tried for {})", units::millis(waited.as_secs_f64() * 1e3));
    for (url, why) in tried {
        text.push_str(&format!("\n  {url}: {}", why.replace('\n', "\n    ")));
    }
    text.push_str("\n  do:  see that the cluster runs (`aerodb cluster up`), and name its nodes with --url");
    text
}

/// An error answer as RFC 9457 has it, with AeroDB's own members.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Problem {
    /// The HTTP status.
    #[serde(skip)]
    pub(crate) status: u16,
    /// What kind of problem it is, for people.
    pub(crate) title: Option<String>,
    /// A stable word for it.
    pub(crate) code: Option<String>,
    /// What is wrong in this case; health routes call it the reason.
    #[serde(alias = "reason")]
    pub(crate) detail: Option<String>,
    /// The number under which the node's logs have it.
    pub(crate) request_id: Option<String>,
    /// Where in the request something is wrong.
    pub(crate) errors: Vec<FieldError>,
    /// The whole answer, for what only some problems have.
    #[serde(skip)]
    pub(crate) body: Value,
}

/// One thing that is wrong with what was sent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct FieldError {
    /// Where.
    pub(crate) path: String,
    /// What, for people.
    pub(crate) message: String,
}

impl Problem {
    /// Reads an error answer. Whatever the body is, the result says what is known.
    pub(crate) fn from_answer(status: u16, request_id: Option<String>, body: &[u8]) -> Self {
        let mut problem: Self = serde_json::from_slice(body).unwrap_or_default();
        problem.body = serde_json::from_slice(body).unwrap_or_default();
        problem.status = status;
        problem.request_id = problem.request_id.or(request_id);
        problem
    }

    /// The stable word, or the status where there is none.
    pub(crate) fn code(&self) -> String {
        self.code.clone().unwrap_or_else(|| format!("http_{}", self.status))
    }

    /// The reason in one line, without the frame around it.
    pub(crate) fn reason(&self) -> String {
        let mut text = match (&self.detail, &self.title) {
            (Some(detail), _) => detail.clone(),
            (None, Some(title)) => title.clone(),
            (None, None) => format!("HTTP {}", self.status),
        };
        for error in &self.errors {
            let place = if error.path.is_empty() { String::new() } else { format!("{}: ", error.path) };
            text.push_str(&format!("; {place}{}", error.message));
        }
        format!("{text} ({})", self.code())
    }

    fn hint(&self) -> Option<&'static str> {
        match self.status {
            401 => Some("give a token: --token, AERODB_TOKEN, AERODB_SERVICE_KEY, or --token-file"),
            403 => Some("use a token that is allowed to do this; a service key is"),
            _ => None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.title, &self.detail) {
            (Some(title), Some(detail)) => write!(f, "{title}: {detail}")?,
            (Some(text), None) | (None, Some(text)) => f.write_str(text)?,
            (None, None) => f.write_str("the node refused")?,
        }
        write!(f, " ({}, HTTP {}", self.code(), self.status)?;
        if let Some(id) = &self.request_id {
            write!(f, ", request {id}")?;
        }
        f.write_str(")")?;
        for error in &self.errors {
            let place = if error.path.is_empty() { "(whole)" } else { &error.path };
            write!(f, "\n  {place}: {}", error.message)?;
        }
        if let Some(hint) = self.hint() {
            write!(f, "\n  do:  {hint}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_well() {
        let body =
            br#"{"title":"Schema violation","status":422,"code":"schema_violation","detail":"2 fields are wrong",
            "request_id":"r-1","errors":[{"path":"/age","code":"type","message":"is not a number"}]}"#;
        let problem = Problem::from_answer(422, None, body);
        assert_eq!(
            problem.to_string(),
            "Schema violation: 2 fields are wrong (schema_violation, HTTP 422, request r-1)\n  /age: is not a number"
        );
        assert_eq!(problem.reason(), "2 fields are wrong; /age: is not a number (schema_violation)");
    }

    #[test]
    fn whatever_answers_there_is_an_error_to_show() {
        for body in [&b"<html>"[..], b"", b"[1]", b"{\"errors\":7}"] {
            let problem = Problem::from_answer(401, Some("r-2".into()), body);
            let text = problem.to_string();
            assert!(text.contains("HTTP 401") && text.contains("r-2") && text.contains("AERODB_TOKEN"), "{text}");
        }
    }
}
