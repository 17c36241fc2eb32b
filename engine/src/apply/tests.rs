//! A1: apply is dumb, so that all replicas come to the same state, however the log is cut into batches and whatever
//! crashes in between.

use proto::{Batch, Effect, Effects, LogId, effect::Kind};

use super::*;
use crate::testing::{Dice, Leader, Node, ack, command, keyed, put, random, replay};

mod refuses;
mod replicas;
