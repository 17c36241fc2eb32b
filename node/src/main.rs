//! `aerodb`: the whole of AeroDB in one program. A node of a cluster, a local cluster, and the tools that talk to one.
//!
//! This crate stands outside of the replicated state: it may read clocks and draw random numbers.
#![allow(clippy::disallowed_methods)]

mod bench;
mod cli;
mod client;
mod commands;
mod exit;
mod export;
mod import;
mod logs;
mod os;
mod output;
mod panics;
mod secret;
mod server;
mod supervisor;
mod units;

use std::process::ExitCode;

/// A seventh of a write's processor time was spent in the system's allocator. RocksDB goes on using that: in the place of
/// `malloc` itself this one does not get along with `libfaketime`, by which the fault harness sets clocks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
