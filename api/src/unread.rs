//! Answers that their clients have yet to read.

use bytes::Bytes;

/// Longer answers keep room on this node until they are sent. A connection's own buffers take about as much as what is shorter.
pub(crate) const SMALL_BYTES: usize = 64 << 10;

struct Unread<R> {
    bytes: Bytes,
    _room: R,
}

impl<R> AsRef<[u8]> for Unread<R> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// `bytes`, which keep `room` until they are sent, or given up with their connection.
pub(crate) fn unread<R: Send + 'static>(bytes: Bytes, room: R) -> Bytes {
    match bytes.len() > SMALL_BYTES {
        true => Bytes::from_owner(Unread { bytes, _room: room }),
        false => bytes,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn long_answers_keep_their_room_until_the_last_of_them_is_gone() {
        let room = Arc::new(());
        let long = unread(Bytes::from(vec![7; SMALL_BYTES + 1]), room.clone());
        let part = long.slice(SMALL_BYTES..);
        drop(long);
        assert_eq!((Arc::strong_count(&room), &part[..]), (2, &[7][..]));
        drop(part);
        assert_eq!(Arc::strong_count(&room), 1);
        let short = unread(Bytes::from(vec![7; SMALL_BYTES]), room.clone());
        assert_eq!((Arc::strong_count(&room), short.len()), (1, SMALL_BYTES));
    }
}
