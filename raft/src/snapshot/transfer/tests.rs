//! A sender and a receiver on two folders, without a network between them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aerodb_proto as proto;

use crate::snapshot::{SnapshotDir, manifest};
use crate::spawn::Tasks;
use crate::types::Vote;

use super::incoming::Refused;
use super::{CHUNK_BYTES_MAX, Incoming, Offered, Piece, ReadError, Reader};

const TERM: u64 = 5;

fn leader() -> Vote {
    Vote::new_committed(TERM, 1)
}

/// A snapshot on the sender's disk, with files around the sizes where pieces end.
fn snapshot(dir: &Path, index: u64) -> SnapshotDir {
    let path = dir.join(format!("snapshot-{index}"));
    fs::create_dir_all(&path).unwrap();
    let sizes = [("000012.sst", 5 * CHUNK_BYTES_MAX / 2), ("000013.sst", CHUNK_BYTES_MAX), ("000014.log", 0)];
    for (name, size) in sizes {
        let body: Vec<u8> = (0..size as u64).map(|at| (at.wrapping_mul(31) ^ (at >> 8) ^ index) as u8).collect();
        fs::write(path.join(name), body).unwrap();
    }
    fs::write(path.join("CURRENT"), b"MANIFEST-000004\n").unwrap();
    let manifest = proto::SnapshotManifest {
        last_log_id: Some(proto::LogId { term: TERM, index }),
        files: manifest::scan(&path).unwrap(),
        revision: index,
        cluster_id: "c".to_owned(),
        membership: None,
    };
    SnapshotDir::new(path, manifest)
}

fn chunk(transfer: &str, piece: Piece) -> proto::SnapshotChunk {
    proto::SnapshotChunk {
        transfer: transfer.to_owned(),
        file: piece.file,
        offset: piece.offset,
        crc32c: crc32c::crc32c(&piece.data),
        data: piece.data,
        ..Default::default()
    }
}

/// The receiver's folder and the receiver, which can be started anew.
struct Receiver {
    root: PathBuf,
    incoming: Incoming,
}

impl Receiver {
    async fn open(dir: &Path) -> Self {
        let root = dir.join("incoming");
        let incoming = Incoming::open(root.clone(), Arc::new(Tasks)).await.unwrap();
        Self { root, incoming }
    }

    async fn restart(&mut self) {
        self.incoming = Incoming::open(self.root.clone(), Arc::new(Tasks)).await.unwrap();
    }

    async fn offer(&self, snapshot: &SnapshotDir) -> Offered {
        self.incoming.offer(leader(), snapshot.manifest.clone()).await.unwrap()
    }

    /// Sends at most `pieces` pieces, and returns whether that was all.
    async fn send(&self, snapshot: &SnapshotDir, offered: &Offered, pieces: usize) -> bool {
        let mut reader = Reader::new(snapshot, offered.have_bytes.clone()).unwrap();
        for _ in 0..pieces {
            let Some(piece) = reader.next().unwrap() else {
                return true;
            };
            self.incoming.write(chunk(&offered.transfer, piece)).await.unwrap();
        }
        reader.next().unwrap().is_none()
    }

    /// Finishes, compares with what was sent, and moves it away as the installation does.
    async fn install(&self, snapshot: &SnapshotDir, offered: &Offered) {
        let received = self.incoming.finish(&offered.transfer).await.unwrap();
        assert_eq!(received.vote, leader());
        assert_eq!(received.snapshot.meta.last_log_id.unwrap().index(), snapshot.manifest.last_log_id.unwrap().index);
        let found = received.snapshot.snapshot;
        assert_eq!(found.manifest, snapshot.manifest);
        manifest::verify(found.path(), &snapshot.manifest).unwrap();
        self.incoming.installed(&offered.transfer, true).await;
        assert_eq!(self.folders(), Vec::<String>::new());
        assert_eq!(self.incoming.progress(), None);
    }

    fn folders(&self) -> Vec<String> {
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        fs::read_dir(&self.root).unwrap().map(name).collect()
    }

    fn path(&self, snapshot: &SnapshotDir, file: &str) -> PathBuf {
        self.root.join(manifest::name(&snapshot.manifest)).join(file)
    }
}

#[tokio::test]
async fn a_transfer_resumes_after_a_break_at_each_chunk_boundary() {
    for restarted in [false, true] {
        for broken_after in 0..=5 {
            let dir = tempfile::tempdir().unwrap();
            let sent = snapshot(dir.path(), 10);
            let mut receiver = Receiver::open(dir.path()).await;
            let first = receiver.offer(&sent).await;
            assert_eq!(first.have_bytes, [0, 0, 0, 0]);
            assert_eq!(receiver.send(&sent, &first, broken_after).await, broken_after == 5);
            if restarted {
                receiver.restart().await;
            }

            let second = receiver.offer(&sent).await;
            assert!(restarted || second.transfer != first.transfer);
            let have: u64 = second.have_bytes.iter().sum();
            let total: u64 = sent.manifest.files.iter().map(|f| f.size_bytes).sum();
            assert_eq!(have == total, broken_after == 5, "{:?}", second.have_bytes);
            assert_eq!(have == 0, broken_after == 0, "{:?}", second.have_bytes);
            assert_eq!(receiver.incoming.progress(), Some((have, total)));
            assert!(receiver.send(&sent, &second, 5 - broken_after).await, "nothing was sent twice");
            assert_eq!(receiver.incoming.progress(), Some((total, total)));
            receiver.install(&sent, &second).await;
        }
    }
}

#[tokio::test]
async fn a_transfer_resumes_in_the_middle_of_a_piece() {
    let dir = tempfile::tempdir().unwrap();
    let sent = snapshot(dir.path(), 10);
    let mut receiver = Receiver::open(dir.path()).await;
    let offered = receiver.offer(&sent).await;
    receiver.send(&sent, &offered, 2).await;
    let path = receiver.path(&sent, "000012.sst");
    let torn = CHUNK_BYTES_MAX as u64 + 77;
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(torn).unwrap();
    receiver.restart().await;
    let offered = receiver.offer(&sent).await;
    assert_eq!(offered.have_bytes[0], torn);
    assert!(receiver.send(&sent, &offered, usize::MAX).await);
    receiver.install(&sent, &offered).await;
}

#[tokio::test]
async fn a_corrupt_chunk_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let sent = snapshot(dir.path(), 10);
    let receiver = Receiver::open(dir.path()).await;
    let offered = receiver.offer(&sent).await;
    let piece = Reader::new(&sent, offered.have_bytes.clone()).unwrap().next().unwrap().unwrap();
    let mut damaged = chunk(&offered.transfer, piece);
    let mut bytes = damaged.data.to_vec();
    bytes[1000] ^= 1;
    damaged.data = bytes.into();
    let refused = receiver.incoming.write(damaged).await.unwrap_err();
    assert!(matches!(refused, Refused::Broken(_)), "{refused}");
    assert!(receiver.send(&sent, &offered, usize::MAX).await);
    receiver.install(&sent, &offered).await;
}

#[tokio::test]
async fn a_corrupt_partial_file_is_noticed_by_the_whole_checksum_and_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let sent = snapshot(dir.path(), 10);
    let mut receiver = Receiver::open(dir.path()).await;
    let offered = receiver.offer(&sent).await;
    receiver.send(&sent, &offered, 2).await;
    let path = receiver.path(&sent, "000012.sst");
    let mut bytes = fs::read(&path).unwrap();
    bytes[4711] ^= 0x10;
    fs::write(&path, bytes).unwrap();
    receiver.restart().await;

    let offered = receiver.offer(&sent).await;
    assert_ne!(offered.have_bytes[0], 0);
    assert!(receiver.send(&sent, &offered, usize::MAX).await);
    let refused = receiver.incoming.finish(&offered.transfer).await.unwrap_err();
    assert!(matches!(&refused, Refused::Damaged(name) if name == "000012.sst"), "{refused}");
    assert!(!path.exists());

    let offered = receiver.offer(&sent).await;
    assert_eq!(offered.have_bytes[0], 0, "only the damaged file is sent again");
    assert_eq!(offered.have_bytes[1], sent.manifest.files[1].size_bytes);
    assert!(receiver.send(&sent, &offered, usize::MAX).await);
    receiver.install(&sent, &offered).await;
}

#[tokio::test]
async fn hostile_manifests_and_pieces_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let sent = snapshot(dir.path(), 10);
    let receiver = Receiver::open(dir.path()).await;
    for name in ["../escaped", "/tmp/escaped", "a/b", "..", "", manifest::FILE_NAME] {
        let mut hostile = sent.manifest.clone();
        hostile.files[0].name = name.to_owned();
        let refused = receiver.incoming.offer(leader(), hostile).await.unwrap_err();
        assert!(matches!(refused, Refused::Invalid(_)), "{name}: {refused}");
    }
    let mut huge = sent.manifest.clone();
    (huge.files[0].size_bytes, huge.files[1].size_bytes) = (u64::MAX, u64::MAX);
    assert!(matches!(receiver.incoming.offer(leader(), huge).await, Err(Refused::Invalid(_))));
    assert_eq!(receiver.folders(), Vec::<String>::new());

    let not_elected = receiver.incoming.offer(Vote::new(TERM, 1), sent.manifest.clone()).await;
    assert!(matches!(not_elected, Err(Refused::Invalid(_))));
    let too_old = receiver.incoming.offer(Vote::new_committed(TERM - 1, 1), sent.manifest.clone()).await;
    assert!(matches!(too_old, Err(Refused::Invalid(_))));

    let offered = receiver.offer(&sent).await;
    let piece = |file, offset, data: Vec<u8>| chunk(&offered.transfer, Piece { file, offset, data: data.into() });
    for hostile in [
        piece(99, 0, vec![1]),
        piece(0, 1, vec![1]),
        piece(0, u64::MAX, vec![1]),
        piece(2, 0, vec![1]),
        piece(3, 0, vec![0; 17]),
        piece(0, 0, vec![0; CHUNK_BYTES_MAX + 1]),
    ] {
        let what = format!("file {} at {}", hostile.file, hostile.offset);
        let refused = receiver.incoming.write(hostile).await.unwrap_err();
        assert!(matches!(refused, Refused::Invalid(_) | Refused::Broken(_)), "{what}: {refused}");
    }
    assert!(receiver.send(&sent, &offered, usize::MAX).await);
    receiver.install(&sent, &offered).await;
}

#[tokio::test]
async fn another_snapshot_replaces_the_one_that_was_coming() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (snapshot(dir.path(), 10), snapshot(dir.path(), 20));
    let receiver = Receiver::open(dir.path()).await;
    let first = receiver.offer(&old).await;
    receiver.send(&old, &first, 2).await;
    let second = receiver.offer(&new).await;
    assert_eq!(receiver.folders(), [manifest::name(&new.manifest)]);
    assert_eq!(second.have_bytes, [0, 0, 0, 0]);

    let late = Reader::new(&old, vec![0; 4]).unwrap().next().unwrap().unwrap();
    let refused = receiver.incoming.write(chunk(&first.transfer, late)).await.unwrap_err();
    assert!(matches!(refused, Refused::Superseded(_)), "{refused}");
    assert!(matches!(receiver.incoming.finish(&first.transfer).await, Err(Refused::Superseded(_))));
    assert!(receiver.send(&new, &second, usize::MAX).await);
    receiver.install(&new, &second).await;
}

#[tokio::test]
async fn an_incomplete_transfer_is_not_installed() {
    let dir = tempfile::tempdir().unwrap();
    let sent = snapshot(dir.path(), 10);
    let receiver = Receiver::open(dir.path()).await;
    let offered = receiver.offer(&sent).await;
    assert!(!receiver.send(&sent, &offered, 4).await);
    assert!(matches!(receiver.incoming.finish(&offered.transfer).await, Err(Refused::Broken(_))));
    let offered = receiver.offer(&sent).await;
    assert!(receiver.send(&sent, &offered, 1).await, "what was there is kept");
    receiver.install(&sent, &offered).await;
}

#[tokio::test]
async fn while_one_is_installed_no_other_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (snapshot(dir.path(), 10), snapshot(dir.path(), 20));
    let receiver = Receiver::open(dir.path()).await;
    let offered = receiver.offer(&old).await;
    receiver.send(&old, &offered, usize::MAX).await;
    let received = receiver.incoming.finish(&offered.transfer).await.unwrap();
    assert!(matches!(receiver.incoming.offer(leader(), new.manifest.clone()).await, Err(Refused::Busy)));
    assert!(received.snapshot.snapshot.path().exists());
    receiver.incoming.installed(&offered.transfer, true).await;
    receiver.offer(&new).await;
}

#[tokio::test]
async fn a_start_keeps_what_can_be_resumed_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (snapshot(dir.path(), 10), snapshot(dir.path(), 20));
    let mut receiver = Receiver::open(dir.path()).await;
    let offered = receiver.offer(&new).await;
    receiver.send(&new, &offered, 2).await;
    // Another one, as if it had not been deleted; one without a manifest; a stray file; a manifest under a wrong name.
    let other = receiver.root.join(manifest::name(&old.manifest));
    fs::create_dir(&other).unwrap();
    manifest::write(&other, &old.manifest).unwrap();
    fs::create_dir(receiver.root.join("99999999999999999999-x")).unwrap();
    fs::write(receiver.root.join("stray"), b"x").unwrap();
    let misnamed = receiver.root.join("99999999999999999999-y");
    fs::create_dir(&misnamed).unwrap();
    manifest::write(&misnamed, &new.manifest).unwrap();
    fs::write(receiver.path(&new, "stray"), b"x").unwrap();

    receiver.restart().await;
    assert_eq!(receiver.folders(), [manifest::name(&new.manifest)]);
    let offered = receiver.offer(&new).await;
    assert_eq!(offered.have_bytes[0], 2 * CHUNK_BYTES_MAX as u64);
    assert!(!receiver.path(&new, "stray").exists());
    assert!(receiver.send(&new, &offered, usize::MAX).await);
    receiver.install(&new, &offered).await;
}

#[tokio::test]
async fn the_folder_may_be_deleted_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let sent = snapshot(dir.path(), 10);
    for pieces in 0..=5 {
        let receiver = Receiver::open(dir.path()).await;
        let offered = receiver.offer(&sent).await;
        receiver.send(&sent, &offered, pieces).await;
        fs::remove_dir_all(&receiver.root).unwrap();
        // Whatever goes on now fails or is lost; nothing that is not whole is ever handed over.
        let mut reader = Reader::new(&sent, offered.have_bytes.clone()).unwrap();
        for _ in 0..pieces {
            reader.next().unwrap();
        }
        while let Some(piece) = reader.next().unwrap() {
            if receiver.incoming.write(chunk(&offered.transfer, piece)).await.is_err() {
                break;
            }
        }
        assert!(receiver.incoming.finish(&offered.transfer).await.is_err(), "{pieces}");
        let offered = receiver.offer(&sent).await;
        assert_eq!(offered.have_bytes, [0, 0, 0, 0]);
        assert!(receiver.send(&sent, &offered, usize::MAX).await);
        receiver.install(&sent, &offered).await;
    }
}

#[test]
fn a_sender_notices_that_its_own_files_are_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let sent = snapshot(dir.path(), 10);
    let read = |have: Vec<u64>| -> Result<(), ReadError> {
        let mut reader = Reader::new(&sent, have)?;
        while reader.next()?.is_some() {}
        Ok(())
    };
    read(vec![0; 4]).unwrap();
    assert!(matches!(read(vec![0; 3]), Err(ReadError::Offer(_))));
    assert!(matches!(read(vec![u64::MAX; 4]), Err(ReadError::Offer(_))));

    let path = sent.path().join("000013.sst");
    let whole = fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    damaged[5] ^= 1;
    fs::write(&path, &damaged).unwrap();
    assert!(matches!(read(vec![0; 4]), Err(ReadError::Damaged(_))));
    fs::write(&path, &whole[..100]).unwrap();
    assert!(matches!(read(vec![0; 4]), Err(ReadError::Damaged(_))));
    fs::remove_file(&path).unwrap();
    assert!(matches!(read(vec![0; 4]), Err(ReadError::Gone(_))));
}
