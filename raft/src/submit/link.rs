//! The stream of commands to a leader on another node, and of their answers back.

use std::collections::BTreeMap;
use std::sync::Arc;

use aerodb_proto::{ForwardRequest, ForwardedCommand};
use futures::stream::{self, Stream};
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::StreamExt;

use crate::network::Lane;
use crate::peers::Peers;
use crate::propose::{Answer, Place};

/// Commands written to the stream ahead of the network.
const AHEAD_MAX: usize = 1_024;
/// Bytes that one message gathers. A command may be bigger and goes in a message that ends with it.
const MESSAGE_BYTES: usize = 64 << 10;

type Key = (u64, u64, u32);
/// In the order of their keys: who is told first when the stream breaks must not be a matter of chance.
type Waiting = Arc<Mutex<BTreeMap<Key, oneshot::Sender<Answer>>>>;

/// A stream to one leader. When it breaks, everything on it has an unknown fate.
pub(super) struct Link {
    leader: u64,
    commands: mpsc::Sender<ForwardedCommand>,
    waiting: Waiting,
}

impl Link {
    /// Opens a stream; `None` when the leader's address is not known.
    pub(super) fn open(peers: &Peers, leader: u64) -> Option<Self> {
        let mut client = peers.client(leader, Lane::Forward)?;
        let (commands, queued) = mpsc::channel(AHEAD_MAX);
        let requests = gathered(queued, peers.clone(), leader);
        let waiting = Waiting::default();
        let answers = waiting.clone();
        tokio::spawn(async move {
            match client.forward(requests).await {
                Ok(response) => {
                    let mut responses = response.into_inner();
                    while let Some(Ok(response)) = responses.next().await {
                        let mut waiting = answers.lock();
                        for answer in response.answers {
                            let key = (answer.session, answer.number, answer.attempt);
                            if let Some(reply) = waiting.remove(&key) {
                                drop(reply.send(Answer::from_wire(answer.result)));
                            }
                        }
                    }
                }
                Err(error) => {
                    tracing::debug!(leader, %error, "no stream to the leader");
                    if never_connected(&error) {
                        for reply in std::mem::take(&mut *answers.lock()).into_values() {
                            drop(reply.send(Answer::NotTaken { overloaded: false }));
                        }
                    }
                }
            }
            // Dropping the senders tells everybody who waits.
            answers.lock().clear();
        });
        Some(Self { leader, commands, waiting })
    }

    /// True while the stream to `leader` can be used.
    pub(super) fn serves(&self, leader: u64) -> bool {
        self.leader == leader && !self.commands.is_closed()
    }

    /// Sends a command; the answer comes on the receiver, or its sender is dropped when the stream breaks.
    pub(super) fn send(&self, place: Place, command: ForwardedCommand) -> Sent {
        let (tx, rx) = oneshot::channel();
        let key = (place.session, place.number, place.attempt);
        self.waiting.lock().insert(key, tx);
        match self.commands.try_send(command) {
            Ok(()) => Sent::Waiting(rx),
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.waiting.lock().remove(&key);
                Sent::Full
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                self.waiting.lock().remove(&key);
                Sent::Broken
            }
        }
    }
}

/// What has queued up goes together: a message costs as much as the command in it.
fn gathered(queued: mpsc::Receiver<ForwardedCommand>, peers: Peers, leader: u64) -> impl Stream<Item = ForwardRequest> {
    stream::unfold(queued, move |mut queued| {
        let target = Some(peers.target(leader));
        async move {
            let first = queued.recv().await?;
            let mut bytes = first.encoded_len();
            let mut commands = vec![first];
            while bytes < MESSAGE_BYTES
                && let Ok(next) = queued.try_recv()
            {
                bytes += next.encoded_len();
                commands.push(next);
            }
            Some((ForwardRequest { target, commands }, queued))
        }
    })
}

/// What became of sending.
pub(super) enum Sent {
    Waiting(oneshot::Receiver<Answer>),
    /// Not sent: the stream is full.
    Full,
    /// Not sent: the stream has ended.
    Broken,
}

/// Whether there was no connection at all: nothing can have been handed over then.
fn never_connected(status: &tonic::Status) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}
