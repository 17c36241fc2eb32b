//! Sending a snapshot: it is offered, then what the node does not have yet is sent, and the answer comes once it is
//! installed there.

use std::sync::Arc;
use std::time::Duration;

use aerodb_proto as proto;
use bytes::Bytes;
use openraft::errors::{ErrorSource, StreamingError};
use openraft::{RPCTypes, StorageError};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::convert;
use crate::snapshot::SnapshotDir;
use crate::snapshot::transfer::{Piece, ReadError, Reader, TransferProgress, Transfers};
use crate::spawn::{Spawner, run_blocking};
use crate::types::{TypeConfig, Vote};

use super::channels::Lane;
use super::client::Link;
use super::errors::{self, RpcError};
use super::identity::GROUP;

/// Pieces that are read ahead of the connection.
const READ_AHEAD: usize = 2;

type Failure = StreamingError<TypeConfig>;

/// Sends `snapshot` to the node and has it installed there, which may take `install_timeout` after the last byte.
/// Returns the node's vote: a higher one than `vote` means that this node leads no longer.
pub(super) async fn send(
    link: &Link,
    transfers: &Transfers,
    spawner: &Arc<dyn Spawner>,
    vote: Vote,
    snapshot: &SnapshotDir,
    install_timeout: Duration,
) -> Result<Vote, Failure> {
    let offer = match offer(link, vote, snapshot).await? {
        Offer::Refused(higher) => return Ok(higher),
        Offer::Taken(offer) => offer,
    };
    let total = snapshot.manifest.files.iter().map(|file| file.size_bytes).sum();
    let progress = transfers.begin(link.to(), total, offer.have_bytes.iter().sum());
    let reader = Reader::new(snapshot, offer.have_bytes)?;

    let (pieces, outgoing) = mpsc::channel(READ_AHEAD);
    let feed = Feed { link, spawner, progress: &progress, transfer: offer.transfer, pieces };
    let mut client = link.client(Lane::Snapshot);
    let call = client.send_snapshot(ReceiverStream::new(outgoing));
    let sending = async {
        feed.run(reader).await?;
        tokio::time::sleep(install_timeout).await;
        Err(link.timeout(RPCTypes::InstallSnapshot, install_timeout).into())
    };
    let answer = tokio::select! {
        biased;
        // It may come early: the node refuses what it is sent.
        answer = call => answer.map_err(|status| errors::from_status(&status))?,
        failure = sending => return failure,
    };
    let found = convert::required_vote(answer.into_inner().vote.as_ref());
    found.map_err(|malformed| errors::broken(malformed).into())
}

/// What the node said to an offer.
enum Offer {
    Taken(proto::OfferSnapshotResponse),
    /// It knows a higher vote.
    Refused(Vote),
}

async fn offer(link: &Link, vote: Vote, snapshot: &SnapshotDir) -> Result<Offer, RpcError> {
    let request = proto::OfferSnapshotRequest {
        target: Some(link.target()),
        vote: Some(convert::vote_proto(&vote)),
        manifest: Some(snapshot.manifest.clone()),
    };
    let mut client = link.client(Lane::Snapshot);
    let limit = link.options().snapshot_idle_timeout;
    let answer = link.within(RPCTypes::InstallSnapshot, limit, client.offer_snapshot(request)).await?;
    Ok(match &answer.higher_vote {
        Some(higher) => Offer::Refused(convert::vote(higher)),
        None => Offer::Taken(answer),
    })
}

/// Reads a snapshot and hands it to the connection.
struct Feed<'a> {
    link: &'a Link,
    spawner: &'a Arc<dyn Spawner>,
    progress: &'a TransferProgress,
    transfer: String,
    pieces: mpsc::Sender<proto::SnapshotChunk>,
}

impl Feed<'_> {
    /// Hands over everything, then ends the stream. Fails when the connection takes nothing for the idle timeout.
    async fn run(self, mut reader: Reader) -> Result<(), Failure> {
        let idle = self.link.options().snapshot_idle_timeout;
        // Names the transfer even when nothing of it is missing.
        self.hand_over(self.chunk(Piece { file: 0, offset: 0, data: Bytes::new() }), idle).await?;
        loop {
            let read;
            (reader, read) = run_blocking(self.spawner.as_ref(), move || {
                let read = reader.next();
                (reader, read)
            })
            .await;
            let Some(piece) = read? else { return Ok(()) };
            let bytes = piece.data.len() as u64;
            self.hand_over(self.chunk(piece), idle).await?;
            self.progress.add(bytes);
        }
    }

    async fn hand_over(&self, chunk: proto::SnapshotChunk, idle: Duration) -> Result<(), Failure> {
        match tokio::time::timeout(idle, self.pieces.send(chunk)).await {
            Ok(Ok(())) => Ok(()),
            // The call has ended, and its answer says why.
            Ok(Err(_)) => std::future::pending().await,
            Err(_) => Err(self.link.timeout(RPCTypes::InstallSnapshot, idle).into()),
        }
    }

    fn chunk(&self, piece: Piece) -> proto::SnapshotChunk {
        proto::SnapshotChunk {
            group: GROUP,
            transfer: self.transfer.clone(),
            file: piece.file,
            offset: piece.offset,
            crc32c: crc32c::crc32c(&piece.data),
            data: piece.data,
            target: Some(self.link.target()),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            // A newer snapshot has replaced it, or the node asked for the impossible: openraft asks for the current one.
            ReadError::Gone(_) | ReadError::Offer(_) => errors::broken(error).into(),
            // This node's own storage is damaged: it must stop rather than lead (A7).
            ReadError::Damaged(_) | ReadError::Io(_) => {
                StorageError::read_snapshot(None, ErrorSource::from_string(&error)).into()
            }
        }
    }
}
