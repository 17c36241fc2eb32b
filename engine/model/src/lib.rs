//! What AeroDB must do with a sequence of writes, said a second time, and naively: documents in maps, every filter by a look
//! at every document, every index and schema by a look at all of them. Beside it, sequences of random operations that
//! shrink. It knows neither the engine nor HTTP; the tests of both hold what they find against it.

mod filter;
mod generate;
mod model;
mod op;
mod schema;
mod update;
mod value;

pub use filter::matches;
pub use generate::{FILTERS, IDS, sequence};
pub use model::{Answer, Done, Model, Shown};
pub use op::{Condition, Index, Op, Step, What, pieces};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Revisions count what changed, and a refusal leaves no trace.
        #[test]
        fn a_refusal_changes_nothing(ops in sequence(40)) {
            let mut model = Model::new(7);
            for op in &ops {
                let before = (model.revision(), format!("{model:?}"));
                let done = model.play(op);
                let settled = u64::from(done.changed) + u64::from(done.settles.is_some());
                prop_assert_eq!(model.revision(), before.0 + settled);
                if matches!(done.answer, Answer::Refused(_)) {
                    prop_assert_eq!(format!("{model:?}"), before.1);
                }
            }
        }
    }
}
