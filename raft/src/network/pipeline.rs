//! Replication over one bidirectional stream: requests go out as they come, answers come back in their order.
//!
//! openraft's stream of requests is polled in here and nowhere else. tonic gets the other end of a channel: were it to
//! hold the requests themselves, they would outlive the answers' stream by the time that the connection needs to notice,
//! and keep what the next stream needs.

use std::collections::VecDeque;
use std::time::Duration;

use aerodb_proto as proto;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use openraft::RPCTypes;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::channels::Client;
use super::client::Link;
use super::errors::{self, RpcError};
use super::wire::{self, Append, Appended};
use crate::types::LogId;

/// Requests without entries, one after the other behind the same entry, after which a stream ends.
///
/// A stream has nothing to say now and then, when only what is committed has changed, but never for long: what is
/// committed follows the entries. It has nothing to say for ever when the log was purged under it. openraft then goes on
/// asking it for entries that are gone, and although a snapshot has brought the node beyond them meanwhile, it takes up
/// its next order only when the stream ends.
const IDLE_REQUESTS_MAX: u32 = 4;

/// Opens a stream to the node and answers `input` over it. `stall` is how long a request may stay unanswered.
pub(crate) async fn open<S>(
    link: &Link,
    mut client: Client,
    mut input: S,
    stall: Duration,
) -> Result<BoxStream<'static, Result<Appended, RpcError>>, RpcError>
where
    S: Stream<Item = Append> + Send + Unpin + 'static,
{
    // openraft waits in here when a node cannot be reached: without a request there is no reason to connect.
    let Some(first) = input.next().await else { return Ok(stream::empty().boxed()) };
    let (requests, outgoing) = mpsc::channel(link.options().append_in_flight_max);
    let opening = client.append(ReceiverStream::new(outgoing));
    let answers = match tokio::time::timeout(stall, opening).await {
        Ok(opened) => opened.map_err(|status| errors::from_status(&status))?.into_inner(),
        Err(_) => return Err(link.timeout(RPCTypes::AppendEntries, stall)),
    };
    let mut pipeline = Pipeline {
        link: link.clone(),
        input: Some(input),
        requests: Some(requests),
        answers,
        in_flight: VecDeque::new(),
        in_flight_bytes: 0,
        heard: Instant::now(),
        stall,
        idle_behind: None,
        idle_requests: 0,
    };
    pipeline.send(&first);
    Ok(stream::unfold(Some(pipeline), |pipeline| async move {
        let mut pipeline = pipeline?;
        match pipeline.next().await? {
            Ok(Ok(matched)) => Some((Ok(Ok(matched)), Some(pipeline))),
            // A refusal or a failure is the last word of this stream.
            last => Some((last, None)),
        }
    })
    .boxed())
}

/// One stream and what is under way on it.
struct Pipeline<S> {
    link: Link,
    /// None once it has ended.
    input: Option<S>,
    /// None once the input has ended: the node then ends its answers.
    requests: Option<mpsc::Sender<proto::AppendRequest>>,
    answers: Streaming<proto::AppendResponse>,
    /// Requests that are not answered yet, oldest first.
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    /// When the last answer came.
    heard: Instant,
    stall: Duration,
    /// The entry behind which the last requests carried none, and how many did so.
    idle_behind: Option<LogId>,
    idle_requests: u32,
}

/// A request that is not answered yet.
struct InFlight {
    sent: Instant,
    bytes: usize,
}

/// What happened next on a stream.
enum Event {
    Request(Option<Append>),
    Answer(Result<Option<proto::AppendResponse>, tonic::Status>),
    Stalled,
}

impl<S: Stream<Item = Append> + Send + Unpin> Pipeline<S> {
    /// The next answer; None when all of an input that ended is answered.
    async fn next(&mut self) -> Option<Result<Appended, RpcError>> {
        loop {
            match self.wait().await {
                Event::Request(Some(request)) => {
                    self.send(&request);
                    if self.is_idle(&request) {
                        (self.input, self.requests) = (None, None);
                    }
                }
                Event::Request(None) => (self.input, self.requests) = (None, None),
                Event::Answer(Ok(Some(answer))) => return Some(self.answered(&answer)),
                Event::Answer(Ok(None)) if self.input.is_none() && self.in_flight.is_empty() => return None,
                Event::Answer(Ok(None)) => return Some(Err(errors::broken("the node ended the stream"))),
                Event::Answer(Err(status)) => return Some(Err(errors::from_status(&status))),
                Event::Stalled => return Some(Err(self.link.timeout(RPCTypes::AppendEntries, self.stall))),
            }
        }
    }

    async fn wait(&mut self) -> Event {
        let (deadline, room) = (self.deadline(), self.has_room());
        let (input, answers) = (&mut self.input, &mut self.answers);
        let request = async {
            match input {
                Some(input) if room => input.next().await,
                _ => std::future::pending().await,
            }
        };
        let stalled = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            answer = answers.message() => Event::Answer(answer),
            request = request => Event::Request(request),
            () = stalled => Event::Stalled,
        }
    }

    /// Until when the oldest request must be answered, if there is one.
    fn deadline(&self) -> Option<Instant> {
        let oldest = self.in_flight.front()?;
        let rate = self.link.options().append_bytes_per_second_min.max(1);
        let carrying = Duration::from_millis(self.in_flight_bytes as u64 * 1000 / rate);
        Some(oldest.sent.max(self.heard) + self.stall + carrying)
    }

    fn has_room(&self) -> bool {
        let options = self.link.options();
        self.in_flight.is_empty()
            || (self.in_flight.len() < options.append_in_flight_max
                && self.in_flight_bytes < options.append_in_flight_bytes_max)
    }

    /// True when this request is one of too many that carry nothing.
    fn is_idle(&mut self, request: &Append) -> bool {
        if !request.entries.is_empty() || request.prev_log_id != self.idle_behind {
            self.idle_requests = 0;
        }
        self.idle_behind = request.prev_log_id;
        self.idle_requests += u32::from(request.entries.is_empty());
        self.idle_requests >= IDLE_REQUESTS_MAX
    }

    fn send(&mut self, request: &Append) {
        let message = wire::append_to_wire(request, self.link.target());
        let bytes = message.entries.iter().map(bytes::Bytes::len).sum();
        if let Some(requests) = &self.requests {
            // The channel holds as many as may be in flight, so it is never full. Closed: the stream broke, and its
            // answers say why.
            let _ = requests.try_send(message);
        }
        self.in_flight.push_back(InFlight { sent: Instant::now(), bytes });
        self.in_flight_bytes += bytes;
    }

    fn answered(&mut self, answer: &proto::AppendResponse) -> Result<Appended, RpcError> {
        let Some(request) = self.in_flight.pop_front() else {
            return Err(errors::broken("the node answered what was not asked"));
        };
        self.in_flight_bytes -= request.bytes;
        self.heard = Instant::now();
        wire::appended_from_wire(answer).map_err(|status| errors::from_status(&status))
    }
}
