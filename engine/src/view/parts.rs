//! Very many documents, looked at by several threads: each goes through a part of them by itself. Only for what does not depend
//! on the order in which documents are met.

use std::sync::atomic::{AtomicBool, Ordering};

use aerodb_proto::Collection;

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
/// Threads of one query at most.
const THREADS_MAX: usize = 8;
/// Bytes of an id, behind what all of the collection begin with, by which parts are told.
const ID_BYTES: usize = 16;
/// How near to equal parts need to be: a fraction of one.
const NEAR: f64 = 0.02;

impl Run<'_> {
    /// Calls `visit` with each document that matches and what was read of it. Several threads may do so at one time, each with a
    /// state of its own, which are returned in the order of their parts.
    pub(super) fn each_in_parts<T: Send>(
        &self,
        access: &Access,
        new: impl Fn() -> T + Sync,
        visit: impl Fn(&mut T, &Met<'_>, &Value) -> Result<(), ReadError> + Sync,
    ) -> Result<Vec<T>, ReadError> {
        let (parts, _helping) = self.view.parts(self.collection, access)?;
        // Where one fails the others need not go on.
        let failed = AtomicBool::new(false);
        let over = || failed.load(Ordering::Relaxed) || (self.expired)();
        let one = |part: &Access| {
            let members = self.members.clone();
            let run = Run { expired: &over, start: None, members, ..*self };
            let mut state = new();
            let done = run.each(part, None, Read::Always, |met, value| visit(&mut state, met, value).map(|()| true));
            failed.fetch_or(done.is_err(), Ordering::Relaxed);
            done.map(|()| state)
        };
        let Some((first, others)) = parts.split_first() else { return Ok(vec![one(access)?]) };
        let states = std::thread::scope(|scope| {
            let others: Vec<_> = others.iter().map(|part| scope.spawn(|| one(part))).collect();
            let mut states = vec![one(first)];
            for other in others {
                states.push(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            states
        });
        // What went wrong, rather than that the others ended for it.
        let wrong =
            |state: &Result<T, ReadError>| matches!(state, Err(error) if !matches!(error, ReadError::TooExpensive(_)));
        let (mut wrong, others): (Vec<_>, Vec<_>) = states.into_iter().partition(wrong);
        if let Some(Err(error)) = wrong.pop() {
            return Err(error);
        }
        others.into_iter().collect()
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
