//! What `notes/openraft.md` demands of a log, number by number, and what this store promises beyond it.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aerodb_engine::kv::Write;
use futures::{FutureExt, StreamExt, TryStreamExt};
use openraft::RaftLogReader;
use openraft::storage::{LogState, RaftLogStorage};
use tokio::time::sleep;

use super::records::{COMMITTED, ENTRY, META, VOTE, encode_entry, entry_key, weight};
use super::testing::{Ack, Probe, Rig, entries, entry, id, open_log, open_store};
use super::{Error, LogOptions};
use crate::spawn::Tasks;
use crate::types::{Entry, Vote};

/// Long enough for the writer to have done what it must not do.
const A_WHILE: Duration = Duration::from_millis(30);

fn ids(entries: &[Entry]) -> Vec<(u64, u64)> {
    entries.iter().map(|entry| (entry.log_id.committed_leader_id().term, entry.log_id.index())).collect()
}

async fn all(rig: &Rig) -> Vec<Entry> {
    rig.log.reader().try_get_log_entries(..).await.unwrap()
}

fn small_ring() -> LogOptions {
    LogOptions { ring_bytes_max: 300, ..LogOptions::default() }
}

/// Contract 1.
#[tokio::test]
async fn contract_1_votes_and_entries_are_one_ordered_stream() {
    let mut rig = Rig::new();
    rig.probe.hold();
    let first = rig.begin_append(entries(1, 0..1)).await.unwrap();
    rig.probe.begun(1).await;
    let mut log = rig.log.clone();
    let vote = tokio::spawn(async move { log.save_vote(&Vote::new(5, 3)).await });
    sleep(A_WHILE).await;
    let second = rig.begin_append(entries(5, 1..2)).await.unwrap();
    rig.probe.release();
    vote.await.unwrap().unwrap();
    first.done().await.unwrap();
    second.done().await.unwrap();

    let written = rig.probe.written.lock();
    let keys: Vec<Vec<Vec<u8>>> =
        written.iter().map(|(batch, _)| batch.writes().iter().map(put_key).collect()).collect();
    assert_eq!(keys, [vec![entry_key(0).to_vec()], vec![VOTE.to_vec(), entry_key(1).to_vec()]]);
    assert!(written.iter().all(|(_, synced)| *synced));
}

fn put_key(write: &Write) -> Vec<u8> {
    match write {
        Write::Put { key, .. } => key.clone(),
        other => panic!("{other:?} is no put"),
    }
}

/// Contract 2, first half.
#[tokio::test]
async fn contract_2_entries_are_readable_when_append_returns() {
    let mut rig = Rig::with(small_ring());
    let mut reader = rig.log.reader();
    rig.probe.hold();
    // Far more than the ring may keep: what is not written stays.
    let mut ack = rig.begin_append(entries(1, 0..50)).await.unwrap();
    assert_eq!(reader.try_get_log_entries(0..100).await.unwrap(), entries(1, 0..50));
    assert_eq!(reader.limited_get_log_entries(20, 22).await.unwrap(), entries(1, 20..22));
    assert_eq!(rig.log.get_log_state().await.unwrap().last_log_id, Some(id(1, 49)));
    sleep(A_WHILE).await;
    assert!(!ack.is_done());
    rig.probe.release();
    ack.done().await.unwrap();
    assert!(rig.log.ring_bytes() <= 300, "what is written makes room");
    assert_eq!(all(&rig).await, entries(1, 0..50));
}

/// Contract 2, second half.
#[tokio::test]
async fn contract_2_callback_comes_after_a_synced_write() {
    let mut rig = Rig::new();
    rig.probe.hold();
    let mut ack = rig.begin_append(entries(1, 0..3)).await.unwrap();
    rig.probe.begun(1).await;
    sleep(A_WHILE).await;
    assert!(!ack.is_done());
    rig.probe.release();
    ack.done().await.unwrap();
    let written = rig.probe.written.lock();
    assert_eq!(written.len(), 1);
    assert_eq!((written[0].0.writes().len(), written[0].1), (3, true));
}

/// Contract 3: a truncation that is not synced may contradict, after a power cut, what was applied meanwhile.
#[tokio::test]
async fn contract_3_truncation_is_synced_before_it_returns() {
    let mut rig = Rig::new();
    rig.append(entries(1, 0..10)).await;
    rig.probe.hold();
    let mut log = rig.log.clone();
    let mut truncation = Box::pin(async move { log.truncate_after(Some(id(1, 4))).await });
    assert!((&mut truncation).now_or_never().is_none());
    rig.probe.begun(2).await;
    sleep(A_WHILE).await;
    assert!((&mut truncation).now_or_never().is_none(), "the write is held");
    rig.probe.release();
    truncation.await.unwrap();
    assert!(rig.probe.written.lock()[1].1, "it was synced");
    let mut rig = rig.reopen().await;
    assert_eq!(all(&rig).await, entries(1, 0..5));
    assert_eq!(rig.log.get_log_state().await.unwrap().last_log_id, Some(id(1, 4)));
}

/// Contract 3: a state that is ahead of the log starts, because purging beyond the log's end closes the hole.
#[tokio::test]
async fn contract_3_purging_beyond_the_end_leaves_an_empty_log_that_goes_on_behind_it() {
    for reopened in [false, true] {
        let mut rig = Rig::new();
        rig.append(entries(1, 0..3)).await;
        rig.log.purge(id(2, 9)).await.unwrap();
        if reopened {
            rig = rig.reopen().await;
        }
        let purged = LogState { last_purged_log_id: Some(id(2, 9)), last_log_id: Some(id(2, 9)) };
        assert_eq!(rig.log.get_log_state().await.unwrap(), purged);
        assert_eq!((rig.log.first_index(), rig.log.log_bytes()), (10, 0));
        assert_eq!(all(&rig).await, []);
        rig.append(entries(2, 10..12)).await;
        let rig = rig.reopen().await;
        assert_eq!(all(&rig).await, entries(2, 10..12));
    }
}

/// Contract 3: the position of what was purged is written together with the deletion.
#[tokio::test]
async fn contract_3_purge_is_one_batch_and_does_not_wait() {
    let mut rig = Rig::new();
    rig.append(entries(1, 0..10)).await;
    rig.probe.hold();
    rig.log.purge(id(1, 3)).now_or_never().expect("it does not wait").unwrap();
    let state = LogState { last_purged_log_id: Some(id(1, 3)), last_log_id: Some(id(1, 9)) };
    assert_eq!(rig.log.get_log_state().await.unwrap(), state);
    assert_eq!(all(&rig).await, entries(1, 4..10));
    rig.probe.release();
    rig.log.sync().await.unwrap();
    let kinds: Vec<bool> = {
        let written = rig.probe.written.lock();
        written[1].0.writes().iter().map(|write| matches!(write, Write::DeleteRange { .. })).collect()
    };
    assert_eq!(kinds, [true, false]);
    let mut rig = rig.reopen().await;
    assert_eq!(rig.log.get_log_state().await.unwrap(), state);
    assert_eq!(all(&rig).await, entries(1, 4..10));
}

/// Contract 6: purging follows a snapshot at once, so the log asserts that the state is durable.
#[tokio::test]
async fn contract_6_purging_beyond_the_durable_state_ends_the_node() {
    let mut rig = Rig::new();
    rig.append(entries(1, 0..10)).await;
    rig.durable.store(4, Ordering::SeqCst);
    rig.log.purge(id(1, 4)).await.unwrap();
    rig.log.sync().await.unwrap();
    rig.log.purge(id(1, 5)).await.unwrap();
    assert_eq!(rig.log.sync().await.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(rig.fatal.lock().len(), 1);
    assert!(rig.log.get_log_state().await.is_err());
    let rig = rig.reopen().await;
    assert_eq!(all(&rig).await, entries(1, 5..10), "nothing was lost");
}

#[tokio::test]
async fn a_vote_is_synced_before_it_returns_and_before_anyone_sees_it() {
    let mut rig = Rig::new();
    let vote = Vote::new(3, 2);
    rig.probe.hold();
    let mut log = rig.log.clone();
    let saving = tokio::spawn(async move { log.save_vote(&vote).await });
    rig.probe.begun(1).await;
    sleep(A_WHILE).await;
    assert!(!saving.is_finished());
    assert_eq!(rig.log.reader().read_vote().await.unwrap(), None);
    rig.probe.release();
    saving.await.unwrap().unwrap();
    assert!(rig.probe.written.lock()[0].1);
    assert_eq!(rig.log.reader().read_vote().await.unwrap(), Some(vote));
    rig.log.save_vote(&Vote::new_committed(3, 2)).await.unwrap();
    let mut rig = rig.reopen().await;
    assert_eq!(rig.log.reader().read_vote().await.unwrap(), Some(Vote::new_committed(3, 2)));
    assert!(rig.log.save_vote(&Vote::new(3, 1)).await.is_err(), "a second vote in one term");
}

/// Group commit: the time of the fsync is the batching window.
#[tokio::test]
async fn appends_that_queue_up_behind_an_fsync_share_the_next_one() {
    let mut rig = Rig::new();
    rig.probe.hold();
    let mut acks: Vec<Ack> = vec![rig.begin_append(entries(1, 0..1)).await.unwrap()];
    rig.probe.begun(1).await;
    for index in 1..100 {
        acks.push(rig.begin_append(entries(1, index..index + 1)).await.unwrap());
    }
    rig.probe.release();
    for ack in acks {
        ack.done().await.unwrap();
    }
    let sizes: Vec<usize> = rig.probe.written.lock().iter().map(|(batch, _)| batch.writes().len()).collect();
    assert_eq!(sizes, [1, 99]);
}

#[tokio::test]
async fn one_write_holds_no_more_than_its_bounds() {
    let options = LogOptions { write_batch_jobs_max: 10, write_batch_bytes_max: 1 << 20, ..LogOptions::default() };
    let mut rig = Rig::with(options);
    rig.probe.hold();
    let mut acks = vec![rig.begin_append(entries(1, 0..1)).await.unwrap()];
    rig.probe.begun(1).await;
    for index in 1..21 {
        acks.push(rig.begin_append(entries(1, index..index + 1)).await.unwrap());
    }
    for index in 21..24 {
        acks.push(rig.begin_append(vec![entry(1, index, 600_000)]).await.unwrap());
    }
    rig.probe.release();
    for ack in acks {
        ack.done().await.unwrap();
    }
    let sizes: Vec<usize> = rig.probe.written.lock().iter().map(|(batch, _)| batch.writes().len()).collect();
    assert_eq!(sizes, [1, 10, 10, 2, 1]);
}

#[tokio::test]
async fn a_truncation_and_what_replaces_it_come_out_right_in_one_write() {
    let mut rig = Rig::with(small_ring());
    rig.append(entries(1, 0..10)).await;
    rig.probe.hold();
    let blocker = rig.begin_append(entries(1, 10..11)).await.unwrap();
    rig.probe.begun(2).await;
    let mut log = rig.log.clone();
    let truncation = tokio::spawn(async move { log.truncate_after(Some(id(1, 5))).await });
    sleep(A_WHILE).await;
    let ack = rig.begin_append(entries(2, 6..9)).await.unwrap();
    let expected = [entries(1, 0..6), entries(2, 6..9)].concat();
    assert_eq!(all(&rig).await, expected);
    rig.probe.release();
    blocker.done().await.unwrap();
    truncation.await.unwrap().unwrap();
    ack.done().await.unwrap();
    assert_eq!(rig.probe.written.lock().len(), 3);
    assert_eq!(all(&rig).await, expected);
    let rig = rig.reopen().await;
    assert_eq!(all(&rig).await, expected);
}

/// Hazard 1: what is committed is kept, but costs no write of its own, and is never ahead of the durable log.
#[tokio::test]
async fn hazard_1_committed_travels_with_the_next_job() {
    let mut rig = Rig::new();
    rig.append(entries(1, 0..5)).await;
    rig.log.save_committed(Some(id(1, 1))).await.unwrap();
    rig.log.save_committed(Some(id(1, 2))).await.unwrap();
    rig.probe.hold();
    let ack = rig.begin_append(entries(1, 5..6)).await.unwrap();
    rig.probe.begun(2).await;
    rig.log.save_committed(Some(id(1, 3))).await.unwrap();
    let second = rig.begin_append(entries(1, 6..7)).await.unwrap();
    rig.log.save_committed(Some(id(1, 5))).await.unwrap();
    let third = rig.begin_append(entries(1, 7..8)).await.unwrap();
    rig.log.save_committed(Some(id(1, 7))).await.unwrap();
    rig.probe.release();
    for ack in [ack, second, third] {
        ack.done().await.unwrap();
    }
    let shapes: Vec<(usize, bool)> =
        rig.probe.written.lock().iter().map(|(batch, sync)| (batch.writes().len(), *sync)).collect();
    // With entries comes the newest word on what was committed before them.
    assert_eq!(shapes, [(5, true), (2, true), (3, true)]);
    assert_eq!(rig.log.read_committed().await.unwrap(), Some(id(1, 7)));
    let mut rig = rig.reopen().await;
    assert_eq!(rig.log.read_committed().await.unwrap(), Some(id(1, 5)), "nothing came after the last word");
    assert!(rig.log.save_committed(Some(id(1, 8))).await.is_err(), "the log does not hold it");
}

#[tokio::test]
async fn sync_writes_down_what_is_committed() {
    let mut rig = Rig::new();
    rig.append(entries(1, 0..5)).await;
    rig.log.save_committed(Some(id(1, 2))).await.unwrap();
    rig.log.sync().await.unwrap();
    rig.log.sync().await.unwrap();
    let syncs: Vec<bool> = rig.probe.written.lock().iter().map(|(_, sync)| *sync).collect();
    assert_eq!(syncs, [true, true], "the second had nothing to do");
    assert_eq!(rig.reopen().await.log.read_committed().await.unwrap(), Some(id(1, 2)));
}

/// A7: a storage error is the last word.
#[tokio::test]
async fn a_failed_write_poisons_tells_and_is_never_retried() {
    let mut rig = Rig::new();
    rig.append(entries(1, 0..2)).await;
    rig.probe.hold();
    let first = rig.begin_append(entries(1, 2..3)).await.unwrap();
    rig.probe.begun(2).await;
    let second = rig.begin_append(entries(1, 3..4)).await.unwrap();
    rig.probe.broken.store(true, Ordering::SeqCst);
    rig.probe.release();
    assert!(first.done().await.is_err());
    assert!(second.done().await.is_err());
    // The disk would work again; this store does not.
    rig.probe.broken.store(false, Ordering::SeqCst);
    let errors = [
        rig.begin_append(entries(1, 4..5)).await.map(drop).unwrap_err(),
        rig.log.save_vote(&Vote::new(9, 1)).await.unwrap_err(),
        rig.log.truncate_after(None).await.unwrap_err(),
        rig.log.purge(id(1, 0)).await.unwrap_err(),
        rig.log.save_committed(Some(id(1, 0))).await.unwrap_err(),
        rig.log.get_log_state().await.unwrap_err(),
        rig.log.reader().try_get_log_entries(0..1).await.unwrap_err(),
        rig.log.reader().read_vote().await.unwrap_err(),
        rig.log.sync().await.unwrap_err(),
    ];
    for error in errors {
        assert!(error.to_string().contains("the disk is gone"), "{error}");
    }
    assert_eq!(rig.fatal.lock().len(), 1);
    assert_eq!(rig.probe.begun.load(Ordering::SeqCst), 2, "no write after the failed one");
}

#[tokio::test]
async fn damage_is_noticed_and_never_skipped() {
    let damaged_value = |byte: usize| {
        let mut value = encode_entry(&entry(1, 4, 10), 740).to_vec();
        value[byte] ^= 0x40;
        value
    };
    // In the checksum, the position, the log id and the payload.
    for byte in [0, 6, 15, damaged_value(0).len() - 1] {
        let rig = Rig::with(small_ring()).filled(10).await;
        rig.tamper(|batch| batch.put(ENTRY, entry_key(4), damaged_value(byte)));
        check_damage(&rig).await;
    }
    let rig = Rig::with(small_ring()).filled(10).await;
    rig.tamper(|batch| batch.delete(ENTRY, entry_key(4)));
    check_damage(&rig).await;
    // A read that ends before it would run out of entries must see the hole as well.
    let options = LogOptions { replication_read_bytes_max: 1, ring_bytes_max: 0, ..LogOptions::default() };
    let rig = Rig::with(options).filled(10).await;
    rig.tamper(|batch| batch.delete(ENTRY, entry_key(4)));
    assert_eq!(rig.log.reader().limited_get_log_entries(4, 10).await.unwrap_err().kind(), ErrorKind::InvalidData);
    let rig = Rig::with(small_ring()).filled(10).await;
    rig.tamper(|batch| batch.put(ENTRY, entry_key(4), encode_entry(&entry(1, 3, 10), 740)));
    check_damage(&rig).await;
}

async fn check_damage(rig: &Rig) {
    let mut reader = rig.log.reader();
    assert_eq!(reader.try_get_log_entries(0..4).await.unwrap().len(), 4, "what is whole is read");
    let streamed: Result<Vec<Entry>, _> = reader.clone().entries_stream(0..10).await.try_collect().await;
    assert_eq!(streamed.unwrap_err().kind(), ErrorKind::InvalidData);
    assert_eq!(reader.try_get_log_entries(0..10).await.unwrap_err().kind(), ErrorKind::InvalidData);
    assert_eq!(rig.fatal.lock().len(), 1);
}

#[tokio::test]
async fn a_damaged_log_does_not_open() {
    let whole = || async { Rig::new().filled(10).await };
    check_refused(whole().await, |batch| batch.put(META, VOTE, b"12345".to_vec())).await;
    check_refused(whole().await, |batch| batch.put(META, COMMITTED, b"1".to_vec())).await;
    check_refused(whole().await, |batch| batch.put(ENTRY, entry_key(9), b"no entry".to_vec())).await;
    check_refused(whole().await, |batch| batch.put(ENTRY, b"x".to_vec(), b"no entry".to_vec())).await;
    // A hole behind what was purged, and a log that ends before what is committed.
    let mut rig = whole().await;
    rig.log.purge(id(1, 3)).await.unwrap();
    rig.log.sync().await.unwrap();
    check_refused(rig, |batch| batch.delete(ENTRY, entry_key(4))).await;
    let mut rig = whole().await;
    rig.log.save_committed(Some(id(1, 9))).await.unwrap();
    rig.log.sync().await.unwrap();
    check_refused(rig, |batch| batch.delete(ENTRY, entry_key(9))).await;
}

async fn check_refused(rig: Rig, damage: impl FnOnce(&mut aerodb_engine::kv::WriteBatch)) {
    rig.tamper(damage);
    let opened = open_log(rig.probe.clone(), Arc::new(Tasks), &rig.options, &rig.fatal, &rig.durable);
    assert!(matches!(opened.map(drop), Err(Error::Damaged(_))));
}

#[tokio::test]
async fn calls_that_would_break_the_log_end_it() {
    let rig = || async { Rig::new().filled(5).await };
    let mut hole = rig().await;
    assert!(hole.begin_append(entries(1, 6..7)).await.is_err());
    assert_eq!(hole.fatal.lock().len(), 1);
    let mut twice = rig().await;
    assert!(twice.begin_append(entries(1, 4..5)).await.is_err());
    let mut older = rig().await;
    assert!(older.begin_append(entries(0, 5..6)).await.is_err());
    let mut gap = rig().await;
    assert!(gap.begin_append(vec![entry(1, 5, 1), entry(1, 7, 1)]).await.is_err());
    let mut committed = rig().await;
    committed.log.save_committed(Some(id(1, 3))).await.unwrap();
    assert!(committed.log.truncate_after(Some(id(1, 2))).await.is_err());
    let mut other = rig().await;
    assert!(other.log.truncate_after(Some(id(7, 2))).await.is_err(), "the log has 1-2");
}

#[tokio::test]
async fn reads_for_replication_are_bounded_and_return_at_least_one() {
    let bytes = weight(&entry(1, 0, 100));
    for ring_bytes_max in [0, 5 * bytes, 1 << 20] {
        let options = LogOptions { ring_bytes_max, replication_read_bytes_max: 3 * bytes, ..LogOptions::default() };
        let mut rig = Rig::with(options);
        rig.append((0..20).map(|index| entry(1, index, 100)).collect()).await;
        rig.append(vec![entry(1, 20, 5000)]).await;
        rig.log.purge(id(1, 1)).await.unwrap();
        let mut reader = rig.log.reader();
        for start in 2..20 {
            let read = reader.limited_get_log_entries(start, 21).await.unwrap();
            let expected: Vec<(u64, u64)> = (start..20.min(start + 3)).map(|index| (1, index)).collect();
            assert_eq!(ids(&read), expected, "ring of {ring_bytes_max} bytes");
        }
        assert_eq!(ids(&reader.limited_get_log_entries(20, 30).await.unwrap()), [(1, 20)]);
        // Entries that begin later than asked would leave a hole in the follower's log.
        assert_eq!(reader.limited_get_log_entries(1, 9).await.unwrap(), []);
        assert_eq!(reader.limited_get_log_entries(7, 7).await.unwrap(), []);
        assert_eq!(reader.limited_get_log_entries(21, 30).await.unwrap(), []);
        assert_eq!(all(&rig).await.len(), 19, "unbounded reads are");
    }
}

/// What a read finds missing because it is being removed is not damage, and two histories are never mixed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_meets_a_truncation_or_a_purge_begins_anew() {
    for limited in [false, true] {
        let mut rig = Rig::with(small_ring()).filled(20).await;
        let mut log = rig.log.clone();
        let truncate = async move {
            log.truncate_after(Some(id(1, 7))).await.unwrap();
            openraft::storage::RaftLogStorageExt::blocking_append(&mut log, entries(2, 8..30)).await.unwrap();
        };
        *rig.probe.before_scan.lock() = Some(Box::new(|| futures::executor::block_on(truncate)));
        let read = read_all(&rig, 3, limited).await;
        assert_eq!(read, [entries(1, 3..8), entries(2, 8..30)].concat());

        let mut log = rig.log.clone();
        let purge = async move {
            log.purge(id(2, 9)).await.unwrap();
            log.sync().await.unwrap();
        };
        *rig.probe.before_scan.lock() = Some(Box::new(|| futures::executor::block_on(purge)));
        let read = read_all(&rig, 3, limited).await;
        assert_eq!(read, if limited { vec![] } else { entries(2, 10..30) });
        assert_eq!(*rig.fatal.lock(), Vec::<String>::new());
        rig = rig.reopen().await;
        assert_eq!(all(&rig).await, entries(2, 10..30));
    }
}

async fn read_all(rig: &Rig, from: u64, limited: bool) -> Vec<Entry> {
    let mut reader = rig.log.reader();
    match limited {
        true => reader.limited_get_log_entries(from, 100).await.unwrap(),
        false => reader.try_get_log_entries(from..).await.unwrap(),
    }
}

#[tokio::test]
async fn a_stream_reads_in_steps_across_disk_and_memory() {
    for (ring_bytes_max, read_bytes_max, step) in [(0, 1 << 20, 7), (2000, 200, 1024), (1 << 20, 1 << 20, 7)] {
        let options = LogOptions {
            ring_bytes_max,
            replication_read_bytes_max: read_bytes_max,
            stream_step_entries_max: step,
            ..LogOptions::default()
        };
        let mut rig = Rig::with(options);
        for start in (0..100).step_by(10) {
            rig.append(entries(1, start..start + 10)).await;
        }
        let mut reader = rig.log.reader();
        let mut stream = Box::pin(reader.entries_stream(3..).await);
        let mut read = vec![stream.next().await.unwrap().unwrap()];
        // Neither a purge of what was read nor an append disturbs it.
        rig.log.purge(id(1, 2)).await.unwrap();
        rig.append(entries(1, 100..101)).await;
        while let Some(entry) = stream.next().await {
            read.push(entry.unwrap());
        }
        assert_eq!(read, entries(1, 3..100));
    }
}

#[tokio::test]
async fn a_stream_that_loses_what_it_was_to_read_says_so() {
    let options = LogOptions { stream_step_entries_max: 2, ..LogOptions::default() };
    let mut rig = Rig::with(options).filled(10).await;
    let mut reader = rig.log.reader();
    let mut stream = Box::pin(reader.entries_stream(0..10).await);
    assert_eq!(stream.next().await.unwrap().unwrap().log_id, id(1, 0));
    rig.log.purge(id(1, 6)).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().log_id, id(1, 1));
    assert!(stream.next().await.unwrap().is_err());
}

#[tokio::test]
async fn bytes_are_counted_across_purges_truncations_and_restarts() {
    for ring_bytes_max in [0, 1 << 20] {
        let mut rig = Rig::with(LogOptions { ring_bytes_max, ..LogOptions::default() });
        rig.append((0..20).map(|index| entry(1, index, 100 + index as usize)).collect()).await;
        check_bytes(&rig).await;
        rig.log.purge(id(1, 4)).await.unwrap();
        rig.log.sync().await.unwrap();
        check_bytes(&rig).await;
        rig.log.truncate_after(Some(id(1, 15))).await.unwrap();
        check_bytes(&rig).await;
        rig.append((16..30).map(|index| entry(2, index, 500)).collect()).await;
        let mut rig = rig.reopen().await;
        check_bytes(&rig).await;
        rig.log.purge(id(2, 20)).await.unwrap();
        rig.log.sync().await.unwrap();
        rig.append((30..31).map(|index| entry(2, index, 500)).collect()).await;
        check_bytes(&rig).await;
    }
}

async fn check_bytes(rig: &Rig) {
    let held = all(rig).await;
    let sum = |entries: &[Entry]| entries.iter().map(weight).sum::<u64>();
    assert_eq!(rig.log.first_index(), held[0].log_id.index());
    assert_eq!(rig.log.log_bytes(), sum(&held));
    assert_eq!(rig.log.bytes_between(0, 1000).await.unwrap(), sum(&held));
    let from = rig.log.first_index() + 2;
    assert_eq!(rig.log.bytes_between(from, from + 4).await.unwrap(), sum(&held[2..6]));
    assert_eq!(rig.log.bytes_between(from, from).await.unwrap(), 0);
}

/// Simulation: one thread, and blocking work inline.
#[tokio::test]
async fn it_runs_as_tasks_of_one_thread() {
    let dir = tempfile::TempDir::new().unwrap();
    let store = Probe::new(open_store(dir.path().join("log")));
    let log = open_log(store, Arc::new(Tasks), &small_ring(), &Arc::default(), &Arc::default()).unwrap();
    let mut writer = log.clone();
    openraft::storage::RaftLogStorageExt::blocking_append(&mut writer, entries(1, 0..50)).await.unwrap();
    assert_eq!(log.reader().try_get_log_entries(..).await.unwrap(), entries(1, 0..50));
}

impl Rig {
    /// With `count` entries of term 1, most of which are on disk only if the ring is small.
    async fn filled(mut self, count: u64) -> Self {
        self.append(entries(1, 0..count)).await;
        self
    }
}
