//! Bodies: read whole, within bounds of size, time and memory.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderMap, header};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Duration, Instant, timeout, timeout_at};

use crate::error::{Code, Problem};
use crate::state::ApiState;

/// What is still read of a body that is refused for its size, so that the client, which is still sending, gets to see
/// the answer instead of a broken connection.
const DRAIN_BYTES_MAX: usize = 32 << 20;
/// How long that may take.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(2);

/// A body in memory; its room is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) bytes: Bytes,
    room: OwnedSemaphorePermit,
}

impl Whole {
    /// Lets the body go and keeps its room, for an answer that is about as long.
    pub(crate) fn into_room(self) -> OwnedSemaphorePermit {
        self.room
    }
}

/// Reads a body of at most `bytes_max`, which is the route's own bound; no body is longer than the node's.
pub(crate) async fn whole(
    state: &ApiState,
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
) -> Result<Whole, Problem> {
    let bytes_max = bytes_max.min(state.options().body_bytes_max);
    let announced = announced(headers);
    if announced.is_some_and(|bytes| bytes > bytes_max) {
        if !headers.contains_key(header::EXPECT) {
            drain(body).await;
        }
        return Err(too_large(bytes_max));
    }
    let room = state.admit_body(announced.unwrap_or(bytes_max))?;
    let bytes = read(body, announced.unwrap_or(0), bytes_max, state.options().body_timeout).await?;
    Ok(Whole { bytes, room })
}

fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn read(body: Body, announced: usize, bytes_max: usize, time_max: Duration) -> Result<Bytes, Problem> {
    let deadline = Instant::now() + time_max;
    let mut stream = body.into_data_stream();
    let mut whole = BytesMut::with_capacity(announced.min(bytes_max));
    loop {
        match timeout_at(deadline, stream.next()).await {
            Err(_) => return Err(slow()),
            Ok(None) => return Ok(whole.freeze()),
            Ok(Some(Err(_))) => return Err(broken()),
            Ok(Some(Ok(part))) if whole.len() + part.len() > bytes_max => {
                drop(whole);
                drain(Body::from_stream(stream)).await;
                return Err(too_large(bytes_max));
            }
            Ok(Some(Ok(part))) => whole.extend_from_slice(&part),
        }
    }
}

/// Reads and forgets a bounded part of `body`.
async fn drain(body: Body) {
    let mut stream = body.into_data_stream();
    let reading = async {
        let mut left = DRAIN_BYTES_MAX;
        while let Some(Ok(part)) = stream.next().await {
            left = left.saturating_sub(part.len());
            if left == 0 {
                break;
            }
        }
    };
    let _ = timeout(DRAIN_TIME_MAX, reading).await;
}

fn too_large(bytes_max: usize) -> Problem {
    Problem::new(Code::BodyTooLarge, format!("this route takes bodies of at most {bytes_max} bytes"))
}

pub(crate) fn slow() -> Problem {
    Problem::new(Code::RequestTimeout, "the body did not arrive in time")
}

pub(crate) fn broken() -> Problem {
    Problem::new(Code::BadRequest, "the body broke off")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn parts(parts: &'static [&'static str]) -> Body {
        Body::from_stream(futures::stream::iter(
            parts.iter().map(|part| Ok::<_, Infallible>(Bytes::from_static(part.as_bytes()))),
        ))
    }

    #[tokio::test]
    async fn a_body_has_a_bound_also_when_it_does_not_say_its_length() {
        let time = Duration::from_secs(5);
        assert_eq!(read(parts(&["ab", "cd"]), 0, 4, time).await.unwrap(), "abcd");
        let refused = read(parts(&["ab", "cd", "e"]), 0, 4, time).await.unwrap_err();
        assert_eq!(refused.code(), Code::BodyTooLarge);
    }

    #[tokio::test]
    async fn a_body_has_to_arrive() {
        let never = Body::from_stream(futures::stream::pending::<Result<Bytes, Infallible>>());
        let refused = read(never, 0, 4, Duration::from_millis(1)).await.unwrap_err();
        assert_eq!(refused.code(), Code::RequestTimeout);
        let broken = Body::from_stream(futures::stream::iter([Err::<Bytes, _>(std::io::Error::other("x"))]));
        assert_eq!(read(broken, 0, 4, Duration::from_secs(5)).await.unwrap_err().code(), Code::BadRequest);
    }
}
