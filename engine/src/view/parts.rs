//! Very many documents, looked at by several threads: each goes through a part of them by itself. Only for what does not depend
//! on the order in which documents are met.

use std::sync::atomic::{AtomicBool, Ordering};

use aerodb_proto::Collection;
use parking_lot::Mutex;

use super::plan::{Access, ById};
use super::run::{Read, Run};
use super::source::Met;
use super::{ReadError, View};
use crate::helpers::Helping;
use crate::index::Stretch;
use crate::json::Value;
use crate::state::{DOC, keys};

/// A collection with fewer documents is gone through by one thread.
const DOCUMENTS_MIN: u64 = if cfg!(test) { 1_000 } else { 50_000 };
/// The same of one that takes fewer bytes on disk.
const BYTES_MIN: f64 = if cfg!(test) { 1.0 } else { 1_048_576.0 };
/// Threads of one query at most.
const THREADS_MAX: usize = 8;
/// Bytes of an id, behind what all of the collection begin with, by which parts are told.
const ID_BYTES: usize = 16;
/// How near to equal parts need to be: a fraction of one.
const NEAR: f64 = 0.02;

/// What a query may keep, all its threads together.
pub(super) struct Memory<B> {
    /// What a state takes, bytes.
    pub(super) bytes: B,
    pub(super) bytes_max: usize,
    /// What is said when it is more.
    pub(super) problem: &'static str,
}

/// Why a part ended early.
enum Failure {
    Error(ReadError),
    /// Its state takes more than its share: one thread alone may take as much as all of them.
    Crowded,
}

impl Run<'_> {
    /// Calls `visit` with each document that matches and what was read of it. Several threads may do so at one time, each with a
    /// state of its own, which are returned in the order of their parts. Whether it can be done does not depend on how many
    /// threads are free: where their shares of the memory are too small, one does it alone.
    pub(super) fn each_in_parts<T: Send>(
        &self,
        access: &Access,
        memory: Memory<impl Fn(&T) -> usize + Sync>,
        new: impl Fn() -> T + Sync,
        visit: impl Fn(&mut T, &Met<'_>, &Value) -> Result<(), ReadError> + Sync,
    ) -> Result<Vec<T>, ReadError> {
        let Memory { bytes, bytes_max, problem } = memory;
        let alone = || {
            let mut state = new();
            self.each(access, None, Read::Always, |met, value| {
                visit(&mut state, met, value)?;
                match bytes(&state) > bytes_max {
                    true => Err(ReadError::TooExpensive(problem.into())),
                    false => Ok(true),
                }
            })?;
            Ok(vec![state])
        };
        let (parts, _helping) = self.view.parts(self.collection, access)?;
        let Some((first, others)) = parts.split_first() else { return alone() };
        // What went wrong first: then the others need not go on, and that they ended early says nothing.
        let (failure, failed) = (Mutex::new(None), AtomicBool::new(false));
        let fail = |found: Failure| {
            failure.lock().get_or_insert(found);
            failed.store(true, Ordering::Relaxed);
        };
        let over = || failed.load(Ordering::Relaxed) || (self.expired)();
        let actual = Mutex::default();
        let one = |part: &Access| -> Option<T> {
            let members = self.members.clone();
            let run = Run { expired: &over, start: None, members, actual: &actual, ..*self };
            let mut state = new();
            let mut crowded = false;
            let done = run.each(part, None, Read::Always, |met, value| {
                visit(&mut state, met, value)?;
                crowded = bytes(&state) > bytes_max / parts.len();
                Ok(!crowded)
            });
            match done {
                Ok(()) if !crowded => return Some(state),
                Ok(()) => fail(Failure::Crowded),
                Err(error) => fail(Failure::Error(error)),
            }
            None
        };
        let states: Option<Vec<T>> = std::thread::scope(|scope| {
            let help = |part| std::thread::Builder::new().spawn_scoped(scope, move || one(part)).map_err(|_| part);
            let one = &one;
            let others: Vec<_> = others.iter().map(help).collect();
            let mut states = vec![one(first)];
            for other in others {
                states.push(match other {
                    Ok(helping) => helping.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                    // The system has no thread to give.
                    Err(part) => one(part),
                });
            }
            states.into_iter().collect()
        });
        match (failure.into_inner(), states) {
            (Some(Failure::Error(error)), _) => Err(error),
            (None, Some(states)) => {
                self.actual.lock().add(&actual.into_inner());
                Ok(states)
            }
            _ => alone(),
        }
    }
}

impl View {
    /// Parts that are about as large as each other, and the threads that may help with all but the first; none where it is not
    /// worth it.
    fn parts(&self, collection: &Collection, access: &Access) -> Result<(Vec<Access>, Option<Helping>), ReadError> {
        let Access::Ids(by_id @ ById { bounded: false, .. }) = access else { return Ok((Vec::new(), None)) };
        if self.counts(collection)?.documents < DOCUMENTS_MIN {
            return Ok((Vec::new(), None));
        }
        let helping = self.helpers.take(THREADS_MAX - 1);
        if helping.threads() == 0 {
            return Ok((Vec::new(), None));
        }
        let mut cuts = self.cuts(collection.id, helping.threads() + 1)?;
        if cuts.is_empty() {
            return Ok((Vec::new(), None));
        }
        let (from, end) = keys::ids_behind(None);
        cuts.insert(0, from);
        cuts.push(end);
        let part = |stretch: Stretch| Access::Ids(ById { stretches: vec![stretch], ..by_id.clone() });
        Ok((cuts.windows(2).map(|cut| part((cut[0].clone(), cut[1].clone()))).collect(), Some(helping)))
    }

    /// Places among the ids of a collection, in order, between which lie about as many bytes each; fewer than `parts - 1` where
    /// they cannot be told apart.
    pub(super) fn cuts(&self, collection: u32, parts: usize) -> Result<Vec<Vec<u8>>, ReadError> {
        let (prefix, end) = (keys::collection_prefix(collection), keys::collection_end(collection));
        let outermost = |reverse| -> Result<Vec<u8>, ReadError> {
            let mut scan = self.snapshot.scan(DOC, &prefix, &end, reverse);
            Ok(scan.next()?.map(|(key, _)| keys::doc_id(key).to_vec()).unwrap_or_default())
        };
        let (first, last) = (outermost(false)?, outermost(true)?);
        let common = first.iter().zip(&last).take_while(|(a, b)| a == b).count();
        let number = |id: &[u8]| {
            let mut bytes = [0; ID_BYTES];
            let rest = &id[common..id.len().min(common + ID_BYTES)];
            bytes[..rest.len()].copy_from_slice(rest);
            u128::from_be_bytes(bytes)
        };
        let id = |number: u128| {
            // No id has a smaller byte: it would come between an id and its former versions.
            let bytes = number.to_be_bytes().map(|byte| byte.max(b' '));
            [&first[..common], &bytes].concat()
        };
        let until = |number: u128| -> Result<f64, ReadError> {
            Ok(self.snapshot.bytes_between(DOC, &prefix, &keys::doc(collection, &id(number)))? as f64)
        };
        let all = self.snapshot.bytes_between(DOC, &prefix, &end)? as f64;
        if all < BYTES_MIN {
            // What is only in memory has no size that could be told.
            return Ok(Vec::new());
        }
        let mut cuts: Vec<Vec<u8>> = Vec::new();
        for part in 1..parts {
            let wanted = all * part as f64 / parts as f64;
            let (mut low, mut high) = (number(&first), number(&last));
            while high - low > 1 {
                let middle = low + (high - low) / 2;
                let found = until(middle)?;
                if found < wanted {
                    low = middle
                } else {
                    high = middle
                }
                if (found - wanted).abs() < all * NEAR {
                    (low, high) = (middle, middle);
                }
            }
            let cut = id(high);
            if cuts.last().is_none_or(|last| *last < cut) {
                cuts.push(cut);
            }
        }
        Ok(cuts)
    }
}
