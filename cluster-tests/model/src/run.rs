//! Visits every state.

use std::fmt::{self, Display, Formatter};
use std::time::{Duration, Instant};

use stateright::{Checker, Expectation, HasDiscoveries, Model as _};

use crate::state::State;
use crate::{Action, Model};

/// A run: states, each with the step that followed.
pub type Steps = Vec<(State, Option<Action>)>;

/// What became of a check.
pub struct Report {
    /// States visited, each counted once.
    pub states: usize,
    /// Steps between them.
    pub steps: usize,
    /// States of the longest run.
    pub depth: usize,
    /// How long it took.
    pub took: Duration,
    /// Properties that do not hold, each with a run that breaks it.
    pub broken: Vec<(&'static str, Steps)>,
    /// What must happen in some run, and does in none.
    pub missing: Vec<&'static str>,
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { states, steps, depth, .. } = self;
        write!(f, "{states} states, {steps} steps, depth {depth}, {:.1} s", self.took.as_secs_f64())
    }
}

/// Visits all states until a property is broken. `shortest`: in order of their distance, so that the run that breaks
/// it is one of the shortest; this takes more memory.
#[must_use]
pub fn check(model: &Model, shortest: bool) -> Report {
    let begun = Instant::now();
    let checker = model.clone().checker().threads(1).finish_when(HasDiscoveries::AnyFailures);
    match shortest {
        true => report(&checker.spawn_bfs().join(), begun),
        false => report(&checker.spawn_dfs().join(), begun),
    }
}

fn report(checker: &impl Checker<Model>, begun: Instant) -> Report {
    let mut discoveries = checker.discoveries();
    let (mut broken, mut missing) = (Vec::new(), Vec::new());
    for property in checker.model().properties() {
        match (property.expectation, discoveries.remove(property.name)) {
            (Expectation::Sometimes, None) => missing.push(property.name),
            (Expectation::Always, Some(path)) => broken.push((property.name, path.into_vec())),
            _ => {}
        }
    }
    Report {
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        took: begun.elapsed(),
        broken,
        missing,
    }
}
