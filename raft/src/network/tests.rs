//! Both sides over real loopback connections, with a Raft that is made up.

mod fake;

mod appends;
mod guards;
mod snapshots;
mod votes;
