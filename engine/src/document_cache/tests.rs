use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;

use super::*;
use crate::testing::Dice;

fn key(number: usize) -> Vec<u8> {
    format!("key {number}").into_bytes()
}

fn update(cache: &DocumentCache, documents: impl IntoIterator<Item = (usize, Option<Vec<u8>>)>, revision: u64) {
    let written: Vec<_> = documents.into_iter().map(|(number, document)| (key(number), document)).collect();
    cache.update(written.iter().map(|(key, document)| (&**key, document.as_deref())), revision);
}

/// Whatever is found is what was taken in last, and what was just taken in is found.
#[test]
fn what_is_found_was_taken_in_last() {
    for (bytes_max, hits_min) in [(0, 0), (100, 0), (1_500, 300), (20_000, 5_000), (3 << 20, 50_000)] {
        let (cache, mut dice) = (DocumentCache::new(bytes_max), Dice::new(bytes_max as u64));
        let mut model: HashMap<usize, Vec<u8>> = HashMap::new();
        let mut hits = 0;
        for revision in 1..60_000 {
            let number = dice.below(300) as usize;
            match dice.below(5) {
                0 | 1 => {
                    let document =
                        vec![revision as u8; dice.below(if bytes_max > 10_000 { 600 } else { 100 }) as usize];
                    update(&cache, [(number, Some(document.clone()))], revision);
                    let found = cache.get(&key(number));
                    assert!(found.is_none_or(|found| found == document), "{number} at {revision}");
                    assert!(bytes_max < 20_000 || cache.get(&key(number)).is_some(), "{number} at {revision}");
                    model.insert(number, document);
                }
                2 if dice.below(4) == 0 => {
                    update(&cache, [(number, None)], revision);
                    assert_eq!(cache.get(&key(number)), None);
                    model.remove(&number);
                }
                2 => {
                    if let Some(document) = model.get(&number) {
                        cache.fill(&key(number), document, revision);
                    }
                }
                3 => {
                    let found = cache.get(&key(number));
                    hits += usize::from(found.is_some());
                    assert!(found.is_none() || found.as_deref() == model.get(&number).map(Vec::as_slice));
                }
                _ => {
                    let numbers: Vec<usize> = (0..dice.below(70)).map(|_| dice.below(300) as usize).collect();
                    let keys: Vec<Vec<u8>> = numbers.iter().map(|number| key(*number)).collect();
                    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
                    for (number, found) in numbers.iter().zip(cache.get_many(&keys)) {
                        hits += usize::from(found.is_some());
                        assert!(found.is_none() || found.as_deref() == model.get(number).map(Vec::as_slice));
                    }
                }
            }
        }
        assert!(hits >= hits_min, "{hits} with {bytes_max} bytes");
    }
}

#[test]
fn what_is_older_than_the_last_write_is_not_taken_in() {
    let cache = DocumentCache::new(1 << 20);
    update(&cache, [(1, Some(b"new".to_vec()))], 5);
    cache.fill(&key(1), b"old", 4);
    assert_eq!(cache.get(&key(1)).as_deref(), Some(&b"new"[..]));
    update(&cache, [(1, None)], 6);
    cache.fill(&key(1), b"old", 5);
    assert_eq!(cache.get(&key(1)), None);
}

#[test]
fn what_is_asked_for_outlives_what_is_not() {
    let cache = DocumentCache::new(1 << 20);
    for number in 0..100_000 {
        cache.fill(&key(number), &[1; 200], 1);
        for hot in 0..number.min(100) {
            if (number + hot) % 100 == 0 {
                assert!(cache.get(&key(hot)).is_some(), "{hot} after {number}");
            }
        }
    }
    let found = (0..100_000).filter(|number| cache.get(&key(*number)).is_some()).count();
    assert!((2_500..5_000).contains(&found), "{found} documents of 240 bytes in a MiB");
}

/// Who writes the same documents again and again needs no more memory for it.
#[test]
fn memory_follows_what_there_is() {
    let cache = DocumentCache::new(64 << 20);
    for revision in 1..=200_000 {
        update(&cache, [((revision % 500) as usize, Some(vec![7; 400]))], revision);
    }
    let spanned: usize = cache.shards.iter().map(Shard::spanned_bytes).sum();
    assert!(spanned <= 16 * 2 * (128 << 10), "{spanned} bytes for 500 documents");
    assert!((0..500).all(|number| cache.get(&key(number)).is_some()));
}

#[test]
fn many_small_documents_find_slots() {
    let cache = DocumentCache::new(1 << 20);
    for number in 0..50_000 {
        cache.fill(&key(number), b"x", 1);
        assert!(cache.get(&key(number)).is_some());
    }
}

/// Documents that say which key and which revision they are of, all through, read while they are driven out.
#[test]
fn readers_see_whole_documents_or_none() {
    const KEYS: usize = 40;
    let document = |number: usize, revision: u64| {
        let word = (number as u64) << 48 | revision;
        let words = 1 + (number * 7 + revision as usize) % 60;
        word.to_le_bytes().repeat(words)
    };
    for bytes_max in [6_000, 20_000] {
        let (cache, done) = (DocumentCache::new(bytes_max), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let read = || {
                let (mut hits, mut latest) = (0, BTreeMap::new());
                let keys: Vec<Vec<u8>> = (0..KEYS).map(key).collect();
                let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
                while !done.load(Ordering::Relaxed) {
                    for (number, found) in cache.get_many(&keys).into_iter().enumerate() {
                        let Some(found) = found else { continue };
                        let word = u64::from_le_bytes(*found.first_chunk().unwrap());
                        assert_eq!(word >> 48, number as u64);
                        let revision = word & 0xffff_ffff_ffff;
                        assert_eq!(found, document(number, revision));
                        assert!(latest.insert(number, revision).is_none_or(|former| former <= revision));
                        hits += 1;
                    }
                }
                hits
            };
            let readers = [scope.spawn(read), scope.spawn(read)];
            let mut dice = Dice::new(3);
            for revision in 1..300_000 {
                let number = dice.below(KEYS as u64) as usize;
                update(&cache, [(number, Some(document(number, revision)))], revision);
            }
            done.store(true, Ordering::Relaxed);
            for reader in readers {
                let hits = reader.join().unwrap();
                assert!(hits > 1_000, "{hits}");
            }
        });
    }
}

#[test]
fn figures_say_what_is_here_and_what_was_not() {
    let cache = DocumentCache::new(1 << 20);
    let figures = || cache.figures().map(|(_, figure)| figure as u64);
    assert_eq!(figures(), [0, 0, 0]);
    update(&cache, (0..3).map(|number| (number, Some(vec![1; 100]))), 1);
    assert!(cache.get(&key(1)).is_some() && cache.get(&key(7)).is_none());
    let keys: Vec<Vec<u8>> = [2, 8, 9].map(key).into();
    assert_eq!(cache.get_many(&keys.iter().map(Vec::as_slice).collect::<Vec<_>>()).iter().flatten().count(), 1);
    let [documents, bytes, misses] = figures();
    assert!(documents == 3 && misses == 3 && (300..400).contains(&bytes), "{documents} {bytes} {misses}");
    update(&cache, [(1, None)], 2);
    assert_eq!(figures()[0], 2);
}
