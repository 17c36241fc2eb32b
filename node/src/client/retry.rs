//! When a request is tried again, and how long to wait before.

use std::time::Duration;

use reqwest::{Response, StatusCode};

use super::{Answer, Problem};

/// The first wait after all nodes were tried; it doubles up to the longest.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_LONGEST: Duration = Duration::from_secs(1);
/// The longest wait that a node can ask for. A node that asks for more is asked again before.
const RETRY_AFTER_LONGEST: Duration = Duration::from_secs(10);
/// The largest answer that is taken as an error's description.
const PROBLEM_BYTES_MAX: usize = 1 << 20;

/// What came of asking one node once.
pub(super) enum Attempt {
    /// It was done.
    Done(Answer),
    /// It was not done, and asking again would not help.
    Refused(Box<Problem>),
    /// It was not done: this node cannot now, and says when to come back.
    Busy { problem: Box<Problem>, retry_after: Option<Duration> },
    /// It never left this machine.
    NotSent(String),
    /// It was sent, and what became of it is not known.
    Unknown(String),
}

/// Sorts what came back by what may be concluded from it.
pub(super) async fn classify(result: reqwest::Result<Response>) -> Attempt {
    let response = match result {
        Ok(response) => response,
        Err(error) if error.is_connect() || error.is_builder() => return Attempt::NotSent(root_cause(&error)),
        Err(error) => return Attempt::Unknown(root_cause(&error)),
    };
    let status = response.status();
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let revision = header("aerodb-revision").and_then(|text| text.parse().ok());
    let request_id = header("x-request-id");
    let retry_after = header("retry-after").and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    let body = match response.bytes().await {
        Ok(body) => body,
        Err(error) => return Attempt::Unknown(root_cause(&error)),
    };
    if status.is_success() {
        return Attempt::Done(Answer { revision, body });
    }
    let shown = &body[..body.len().min(PROBLEM_BYTES_MAX)];
    let problem = Box::new(Problem::from_answer(status.as_u16(), request_id, shown));
    match status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Attempt::Busy { problem, retry_after },
        StatusCode::GATEWAY_TIMEOUT => Attempt::Unknown(problem.to_string()),
        _ => Attempt::Refused(problem),
    }
}

/// The innermost reason: "connection refused" says more than "error sending request".
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// How long to wait between attempts: not at all while there are nodes left that were not asked, then longer and longer.
pub(super) struct Pause {
    nodes: usize,
    failures: usize,
    backoff: Duration,
    asked_for: Duration,
}

impl Pause {
    /// Nothing has failed yet.
    pub(super) fn new(nodes: usize) -> Self {
        Self { nodes, failures: 0, backoff: BACKOFF_FIRST, asked_for: Duration::ZERO }
    }

    /// The wait after another failure. `stay` means that the same node is asked again.
    pub(super) fn after_failure(&mut self, retry_after: Option<Duration>, stay: bool) -> Duration {
        self.failures += 1;
        self.asked_for = self.asked_for.max(retry_after.unwrap_or_default()).min(RETRY_AFTER_LONGEST);
        if !stay && !self.failures.is_multiple_of(self.nodes) {
            return Duration::ZERO;
        }
        let wait = self.backoff.max(std::mem::take(&mut self.asked_for));
        self.backoff = (self.backoff * 2).min(BACKOFF_LONGEST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_nodes_are_asked_at_once_and_then_there_is_a_pause() {
        let mut pause = Pause::new(3);
        assert_eq!(pause.after_failure(None, false), Duration::ZERO);
        assert_eq!(pause.after_failure(Some(Duration::from_secs(2)), false), Duration::ZERO);
        assert_eq!(pause.after_failure(None, false), Duration::from_secs(2), "the longest wait that a node asked for");
        assert_eq!(pause.after_failure(None, false), Duration::ZERO);
        assert_eq!(pause.after_failure(None, true), Duration::from_millis(100));
        assert_eq!(pause.after_failure(Some(Duration::from_secs(900)), true), RETRY_AFTER_LONGEST);
    }
}
