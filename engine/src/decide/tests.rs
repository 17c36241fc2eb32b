//! Decisions as scenarios (see [`crate::testing::check`]). A test of one of the nine rules of "One write, end to end" says
//! which line keeps the rule: without it the test fails.

use super::*;
use crate::apply::Applied;
use crate::testing::{Dice, Leader, Node, check, check_with, outcome, put, show};
use crate::{Limits, view};

mod delays;
mod documents;
mod idempotency;
mod rules;
mod sessions;
