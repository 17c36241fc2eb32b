//! The rules of deciding ahead of the log ("The nine rules" in ARCHITECTURE.md), as a model of which every state is
//! visited. It is the specification: the code's names are its names. README.md beside it says what is left out.
//!
//! `action` lists what may happen next and lets it happen, `properties` says what must hold, [`rules`] what can be
//! left out.

// Nothing here runs in a simulation: the clock says how long a check took.
#![allow(clippy::disallowed_methods)]

mod action;
pub mod command;
pub mod config;
mod decide;
pub mod machine;
pub mod print;
mod properties;
mod propose;
pub mod raft;
mod read;
pub mod rules;
pub mod run;
pub mod state;
mod submit;

pub use action::Action;
use config::Config;
use rules::Break;
use state::{State, Wrong};

/// How many nodes there are.
pub const NODES: usize = 3;

/// A node, from 0.
pub type NodeId = u8;
/// A term of leadership.
pub type Term = u8;
/// The number of application entries that were not void.
pub type Seq = u8;
/// A session: the `seq` of the entry that made it.
pub type Session = u8;
/// A command's number in its session.
pub type Number = u8;
/// An attempt at a command.
pub type Attempt = u8;

/// The model: bounds, and the rule that is left out.
#[derive(Clone, Debug)]
pub struct Model {
    /// The bounds.
    pub config: Config,
    /// The rule that is left out.
    pub broken: Option<Break>,
}

impl Model {
    /// The rules within some bounds.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, broken: None }
    }

    /// The rules without one, within the bounds that show what it is for.
    ///
    /// # Panics
    /// When a rule names bounds that are not there.
    #[must_use]
    pub fn without(rule: Break) -> Self {
        let config = config::named(rule.config()).expect("every rule names bounds that are there");
        Self { config, broken: Some(rule) }
    }

    /// Notes that a property is broken. Without a rule only the one that is looked for counts: others may break sooner.
    fn flag(&self, state: &mut State, wrong: Wrong) {
        if self.broken.is_none_or(|rule| rule.wrong().is_none_or(|looked_for| looked_for == wrong)) {
            state.wrong.get_or_insert(wrong);
        }
    }

    /// Whether this rule is left out.
    #[must_use]
    pub fn broken(&self, rule: Break) -> bool {
        self.broken == Some(rule)
    }
}
