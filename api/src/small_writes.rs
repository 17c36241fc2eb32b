//! Answers that come in two pieces and are short leave in one: what the system does for a list of pieces takes longer than to
//! put them together here.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes that are put together at most: a head and a typical document. To copy more would take as long as is saved.
const TOGETHER_BYTES_MAX: usize = 2_048;

/// A connection that writes short pieces together.
pub(crate) struct SmallWrites(TcpStream);

impl SmallWrites {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self(stream)
    }

    fn inner(self: Pin<&mut Self>) -> Pin<&mut TcpStream> {
        Pin::new(&mut self.get_mut().0)
    }
}

impl AsyncRead for SmallWrites {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_read(context, into)
    }
}

impl AsyncWrite for SmallWrites {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.inner().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if pieces.iter().map(|piece| piece.len()).sum::<usize>() > TOGETHER_BYTES_MAX {
            return self.inner().poll_write_vectored(context, pieces);
        }
        let mut space = [const { MaybeUninit::uninit() }; TOGETHER_BYTES_MAX];
        let mut together = ReadBuf::uninit(&mut space);
        pieces.iter().for_each(|piece| together.put_slice(piece));
        self.inner().poll_write(context, together.filled())
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn pieces_arrive_in_their_order_whatever_their_length() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sending = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut receiving, _) = listener.accept().await.unwrap();
        let mut sending = SmallWrites::new(sending);
        let text: Vec<u8> = (0..3 * TOGETHER_BYTES_MAX).map(|n| n as u8).collect();
        for length in [0, 1, 2, TOGETHER_BYTES_MAX - 1, TOGETHER_BYTES_MAX, TOGETHER_BYTES_MAX + 1, text.len()] {
            for cut in [0, 1, length / 2, length] {
                let (a, b) = text[..length].split_at(cut.min(length));
                let (c, d) = b.split_at(b.len() / 2);
                let sent = sending.write_vectored(&[a, c, d].map(IoSlice::new)).await.unwrap();
                assert_eq!(sent, length, "there is room for so few");
                let mut found = vec![0; length];
                receiving.read_exact(&mut found).await.unwrap();
                assert!(found == text[..length], "{length} bytes, cut at {cut}");
            }
        }
    }
}
