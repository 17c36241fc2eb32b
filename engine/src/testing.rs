//! What the tests of the engine are made of: a node on real RocksDB that can crash, a leader whose log can delay, lose
//! and void entries, scenarios written as text, and random commands.

mod commands;
mod leader;
mod node;
mod script;
mod sequence;

pub(crate) use commands::{
    Dice, IDS, ack, bootstrap, command, create, create_index, create_with, delete, drop, drop_index, insert, keyed,
    patch, put, random, relate, set_schema, transact, when,
};
pub(crate) use leader::{Leader, START_MS, outcome};
pub(crate) use node::{Node, copy_dir, env, replay};
pub(crate) use script::{check, check_with, show};
pub(crate) use sequence::command_of;
