//! Both are asked the same, before anything is measured, and must answer the same.

use std::sync::Arc;

use anyhow::{Context, Result};

use super::cities::Cities;
use super::side::Side;
use super::work::{Question, Work};

/// How often each kind of request is compared.
const TIMES: u64 = 25;
/// The same for requests that look at everything.
const TIMES_HEAVY: u64 = 2;

/// An error unless both answer each kind of request alike, and have the same documents behind what changes any.
pub(super) async fn verify(ours: &Side, theirs: &Side, cities: &Arc<Cities>, works: &[Work]) -> Result<()> {
    for work in works {
        let (ask_ours, ask_theirs) = (ours.ask(*work, cities), theirs.ask(*work, cities));
        let times = if work.is_heavy() { TIMES_HEAVY } else { TIMES };
        for time in 0..times {
            // Spread over all of them, the first and the last too.
            let number = time * (cities.documents - 1) / (times - 1);
            // Each has its own count of what it was given: they go on side by side.
            let (question, same) = (ask_ours(number), ask_theirs(number));
            anyhow::ensure!(question == same, "they are asked {question:?} and {same:?}");
            check(ours, theirs, &question).await?;
            match question {
                Question::Update { from, to, .. } => check(ours, theirs, &Question::Range { from, to }).await?,
                Question::Insert { documents, .. } => {
                    for (id, _) in documents.into_iter().step_by(100) {
                        check(ours, theirs, &Question::Get { id }).await?;
                    }
                }
                _ => {}
            }
        }
        eprintln!("both give the same answers: {}", work.label());
    }
    check(ours, theirs, &Question::CountAll).await
}

async fn check(ours: &Side, theirs: &Side, question: &Question) -> Result<()> {
    let what = |name: &str| format!("{name} asked {question:?}");
    let mine = ours.answer(question).await.with_context(|| what(ours.name()))?;
    let other = theirs.answer(question).await.with_context(|| what(theirs.name()))?;
    let differ = || format!("{} and {} answer {question:?} differently", ours.name(), theirs.name());
    mine.check_same(&other, question).with_context(differ)
}
