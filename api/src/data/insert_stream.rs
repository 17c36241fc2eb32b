//! An insert of many documents as NDJSON: each line is a write of its own, and each is reported. Lines go through the
//! log side by side, so two lines with one id may arrive in either order; one of them is reported as a conflict.

use std::num::NonZeroUsize;

use aerodb_engine::prepare;
use aerodb_proto as proto;
use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use http::StatusCode;
use http::request::Parts;
use proto::command::Op;
use proto::outcome;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::write::{inserting, new_id, unexpected};
use crate::auth::Caller;
use crate::body;
use crate::error::{Code, Problem};
use crate::idempotency;
use crate::negotiate::Form;
use crate::panics;
use crate::response::{Unbuffered, typed};
use crate::state::ApiState;

/// Blanks and escapes make a line longer than the document that is stored.
const LINE_SLACK: usize = 2;

/// Answers at once with a report that grows while lines come in.
pub(super) fn insert(
    state: ApiState,
    caller: Caller,
    collection: String,
    parts: &Parts,
    body: Body,
) -> Result<Response, Problem> {
    let key = idempotency::key(&parts.headers)?;
    let open = (state.admit_stream()?, state.metrics().stream());
    let (reports, report) = mpsc::channel(state.options().ndjson_reports_buffered_max.max(1));
    let work = Work { state, caller, collection, key, scope: format!("{} {} ndjson", parts.method, parts.uri.path()) };
    panics::spawn(async move {
        // A client that went away takes the receiver with it, and the rest of its lines are not read.
        if panics::caught(work.run(body, &reports)).await.is_err() {
            // The report breaks off: without its summary nobody takes it for whole.
            let _ = reports.send(Err(std::io::Error::other("a bug has cut off this report"))).await;
        }
        drop(open);
    });
    let lines = tokio_stream::wrappers::ReceiverStream::new(report);
    let mut answer = typed(StatusCode::OK, Form::NdJson.content_type(), Body::from_stream(lines));
    answer.extensions_mut().insert(Unbuffered);
    Ok(answer)
}

struct Work {
    state: ApiState,
    caller: Caller,
    collection: String,
    key: Option<String>,
    scope: String,
}

/// Where the report goes, line by line.
type Reports = mpsc::Sender<std::io::Result<Bytes>>;

/// Nobody listens any more.
struct Gone;

impl Work {
    async fn run(&self, body: Body, reports: &Reports) -> Result<(), Gone> {
        let lanes = NonZeroUsize::new(self.state.options().ndjson_lines_in_flight_max).unwrap_or(NonZeroUsize::MIN);
        let line_bytes_max = LINE_SLACK * self.state.limits().document_bytes_max;
        let lines = lines(body, line_bytes_max, self.state.options().body_timeout);
        // Once there is no point in going on no further line is taken; those under way are still awaited and reported.
        let stop = CancellationToken::new();
        let results = lines
            .take_until(stop.clone().cancelled_owned())
            .map(|(number, line)| async move { (number, self.line(number, line).await) });
        let mut results = std::pin::pin!(results.buffered(lanes.get()));
        let (mut inserted, mut failed, mut stopped) = (0_u64, 0_u64, None);
        while let Some((number, result)) = results.next().await {
            let report = match result {
                Ok((id, revision)) => {
                    inserted += 1;
                    json!({"line": number, "status": 201, "id": id, "revision": revision})
                }
                Err(problem) => {
                    failed += 1;
                    let report = failure(number, &problem);
                    // What concerns the whole request will not go better with the next line.
                    let hopeless = problem.code().status() >= 500
                        || matches!(
                            problem.code(),
                            Code::Unauthorized | Code::CollectionNotFound | Code::RequestTimeout | Code::BadRequest
                        );
                    stopped = stopped.or(hopeless.then(|| problem.code().name()));
                    report
                }
            };
            send(reports, &report).await?;
            if stopped.is_some() {
                stop.cancel();
            }
        }
        let mut summary =
            json!({"type": "summary", "inserted": inserted, "failed": failed, "complete": stopped.is_none()});
        if let Some(code) = stopped {
            summary["stopped_by"] = code.into();
        }
        send(reports, &summary).await
    }

    async fn line(&self, number: u64, line: Result<Bytes, Problem>) -> Result<(String, u64), Problem> {
        let line = line?;
        let inserts = prepare::insert(&line, &mut new_id, self.state.limits())?;
        if inserts.many {
            return Err(Problem::new(Code::NotAnObject, "a line is one object"));
        }
        let idempotency = self.key.as_ref().map(|key| proto::IdempotencyKey {
            key: format!("{key}#{number}"),
            scope: self.scope.clone(),
            body_digest: Sha256::digest(&line).to_vec().into(),
        });
        let op = Op::Insert(inserting(&self.state, self.collection.clone(), inserts));
        let outcome = self.write(idempotency, op).await?;
        match outcome.result {
            Some(outcome::Result::Documents(proto::Documents { mut documents, .. })) if documents.len() == 1 => {
                Ok((documents.remove(0).id, outcome.revision))
            }
            other => Err(unexpected(other.as_ref())),
        }
    }
}

/// How long a line waits before it is tried again while the cluster has enough to do.
const LINE_PAUSE: Duration = Duration::from_millis(50);

impl Work {
    /// A stream can wait, and slows down whoever sends it: a line is turned away only when that goes on for as long as a
    /// request may take.
    async fn write(&self, key: Option<proto::IdempotencyKey>, op: Op) -> Result<proto::Outcome, Problem> {
        let deadline = Instant::now() + self.state.options().request_timeout;
        loop {
            match self.state.write(&self.caller, key.clone(), op.clone()).await {
                Err(problem) if problem.code() == Code::Overloaded && Instant::now() < deadline => {
                    sleep(LINE_PAUSE).await
                }
                result => return result,
            }
        }
    }
}

fn failure(number: u64, problem: &Problem) -> serde_json::Value {
    if let Some(cause) = problem.cause() {
        tracing::warn!(line = number, code = problem.code().name(), cause, "a line of an insert failed");
    }
    let mut report = problem.to_json(None);
    report["line"] = number.into();
    report
}

async fn send(reports: &Reports, report: &serde_json::Value) -> Result<(), Gone> {
    reports.send(Ok(Bytes::from(format!("{report}\n")))).await.map_err(|_| Gone)
}

/// The lines of `body`, numbered from 1, without empty ones. A line that is too long is an error and the next one goes
/// on; a body that breaks off or stalls is an error and the end.
fn lines(
    body: Body,
    line_bytes_max: usize,
    part_timeout: std::time::Duration,
) -> impl Stream<Item = (u64, Result<Bytes, Problem>)> {
    let splitter =
        Splitter { part: Bytes::new(), pending: BytesMut::new(), too_long: false, number: 0, line_bytes_max };
    let state = Some((body.into_data_stream(), splitter));
    futures::stream::unfold(state, move |state| async move {
        let (mut parts, mut splitter) = state?;
        loop {
            if let Some(line) = splitter.next() {
                return Some((line, Some((parts, splitter))));
            }
            let problem = match timeout(part_timeout, parts.next()).await {
                Ok(Some(Ok(part))) => {
                    splitter.part = part;
                    continue;
                }
                Ok(None) => return splitter.last().map(|line| (line, None)),
                Ok(Some(Err(_))) => body::broken(),
                Err(_) => body::slow(),
            };
            return Some(((splitter.number + 1, Err(problem)), None));
        }
    })
}

/// Cuts parts of a body into lines.
struct Splitter {
    /// What has arrived and was not looked at.
    part: Bytes,
    /// The beginning of a line that goes on in the next part.
    pending: BytesMut,
    /// The line under way has passed its bound; the rest of it is skipped.
    too_long: bool,
    number: u64,
    line_bytes_max: usize,
}

impl Splitter {
    fn next(&mut self) -> Option<(u64, Result<Bytes, Problem>)> {
        while !self.part.is_empty() {
            let Some(end) = self.part.iter().position(|&byte| byte == b'\n') else {
                let rest = std::mem::take(&mut self.part);
                self.keep(&rest);
                return None;
            };
            let piece = self.part.split_to(end + 1);
            self.keep(&piece[..end]);
            if let Some(line) = self.finish() {
                return Some(line);
            }
        }
        None
    }

    /// The line that no line break ended.
    fn last(&mut self) -> Option<(u64, Result<Bytes, Problem>)> {
        self.finish()
    }

    fn keep(&mut self, piece: &[u8]) {
        if self.too_long || self.pending.len() + piece.len() > self.line_bytes_max {
            self.too_long = true;
            self.pending.clear();
        } else {
            self.pending.extend_from_slice(piece);
        }
    }

    fn finish(&mut self) -> Option<(u64, Result<Bytes, Problem>)> {
        self.number += 1;
        let line = self.pending.split().freeze();
        if std::mem::take(&mut self.too_long) {
            let detail = format!("a line has at most {} bytes", self.line_bytes_max);
            return Some((self.number, Err(Problem::new(Code::DocumentTooLarge, detail))));
        }
        let empty = line.iter().all(u8::is_ascii_whitespace);
        (!empty).then_some((self.number, Ok(line)))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use super::*;

    async fn check(parts: &[&'static str]) -> Vec<(u64, Result<String, Code>)> {
        let parts: Vec<_> = parts.iter().map(|part| Ok::<_, Infallible>(Bytes::from_static(part.as_bytes()))).collect();
        let body = Body::from_stream(futures::stream::iter(parts));
        let lines = lines(body, 8, Duration::from_secs(5));
        let text = |line: Bytes| String::from_utf8(line.to_vec()).unwrap();
        lines.map(|(number, line)| (number, line.map(text).map_err(|problem| problem.code()))).collect().await
    }

    fn line(number: u64, text: &str) -> (u64, Result<String, Code>) {
        (number, Ok(text.to_owned()))
    }

    #[tokio::test]
    async fn lines_are_cut_wherever_parts_end() {
        let expected = vec![line(1, "{1}"), line(3, "{2}\r"), line(4, "{3}")];
        assert_eq!(check(&["{1}\n\n{2}\r\n{3}"]).await, expected);
        assert_eq!(check(&["{", "1", "}\n", "\n{2", "}\r\n{3", "}\n"]).await, expected);
        assert_eq!(check(&[]).await, []);
        assert_eq!(check(&["\n \n"]).await, []);
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_reported_and_skipped() {
        let long = (1, Err(Code::DocumentTooLarge));
        assert_eq!(check(&["123456789\n{2}\n"]).await, [long.clone(), line(2, "{2}")]);
        assert_eq!(check(&["12345", "67", "89", "0\n{2}"]).await, [long.clone(), line(2, "{2}")]);
        assert_eq!(check(&["123456789"]).await, [long]);
        assert_eq!(check(&["12345678\n"]).await, [line(1, "12345678")]);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_reported() {
        let parts = [Ok(Bytes::from_static(b"{1}\n{2")), Err(std::io::Error::other("gone"))];
        let lines = lines(Body::from_stream(futures::stream::iter(parts)), 8, Duration::from_secs(5));
        let found: Vec<_> =
            lines.map(|(number, line)| (number, line.map_err(|problem| problem.code()))).collect().await;
        assert_eq!(found, [(1, Ok(Bytes::from_static(b"{1}"))), (2, Err(Code::BadRequest))]);
    }
}
