//! The list of all nemeses: what each strikes with, what it needs, and what it must have brought about.

use anyhow::{Context, Result};

use super::clock::{self, Wrong};
use super::disk::{self, Failure};
use super::kill::{self, How};
use super::link::{self, Trouble};
use super::partition::{self, Shape};
use super::snapshot::{self, Meanwhile};
use super::stage::{Stage, Whom};
use super::{corrupt, full, overload, pause, promote};
use crate::world::Needs;
use crate::world::files::Class;

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    End(How, Whom),
    Pause(Whom),
    Partition(Shape),
    Link(Trouble),
    Promotions,
    Snapshot(Meanwhile),
    Clock(Wrong),
    DiskFull,
    Disk(Failure),
    /// Of one class, or of any.
    Corrupt(Option<Class>),
    Overload,
}

/// Names and what they do, as they are shown.
pub(super) const NAMES: &[(&str, &str)] = &{
    let mut names = [("", ""); PLANS.len()];
    let mut at = 0;
    while at < PLANS.len() {
        names[at] = (PLANS[at].name, PLANS[at].about);
        at += 1;
    }
    names
};

/// A nemesis.
pub(super) struct Plan {
    name: &'static str,
    about: &'static str,
    faults: &'static [Fault],
    /// What strikes at the same time, by itself.
    beside: &'static [Fault],
    /// Counters that must have moved.
    must: &'static [&'static str],
}

const fn plan(
    name: &'static str,
    about: &'static str,
    faults: &'static [Fault],
    must: &'static [&'static str],
) -> Plan {
    Plan { name, about, faults, beside: &[], must }
}

const fn mix(
    name: &'static str,
    about: &'static str,
    faults: &'static [Fault],
    beside: &'static [Fault],
    must: &'static [&'static str],
) -> Plan {
    Plan { name, about, faults, beside, must }
}

/// What any machine can do to processes.
const PROCESSES: &[Fault] = &[
    End(Kill, Whom::One),
    End(Kill, Whom::Leader),
    End(Kill, Whom::Majority),
    End(Kill, Whom::All),
    Pause(Whom::One),
    Pause(Whom::Leader),
    Promotions,
];

const KILLS: &[Fault] =
    &[End(Kill, Whom::One), End(Kill, Whom::Leader), End(Kill, Whom::Majority), End(Kill, Whom::All)];

const POWER_CUTS: &[Fault] =
    &[End(PowerCut, Whom::One), End(PowerCut, Whom::Leader), End(PowerCut, Whom::Majority), End(PowerCut, Whom::All)];

/// What any machine can do to the network.
const NETWORKS: &[Fault] = &[
    Partition(Shape::One),
    Partition(Shape::Leader),
    Partition(Shape::Halves),
    Partition(Shape::Ring),
    Partition(Shape::OneWay),
    Partition(Shape::Flapping),
];

use Fault::{Clock, Corrupt, Disk, DiskFull, End, Link, Overload, Partition, Pause, Promotions, Snapshot};
use How::{Kill, PowerCut};

const PLANS: &[Plan] = &[
    plan("none", "no faults at all", &[], &[]),
    plan("kill-one", "kill -9 of one node", &[End(Kill, Whom::One)], &["killed"]),
    plan("kill-leader", "kill -9 of the leader", &[End(Kill, Whom::Leader)], &["leaders_struck", "leader_changes"]),
    plan("kill-majority", "kill -9 of a majority at once", &[End(Kill, Whom::Majority)], &["killed"]),
    plan("kill-all", "kill -9 of all nodes at once", &[End(Kill, Whom::All)], &["all_struck_at_once"]),
    plan("kill", "kill -9 of one, the leader, a majority, all", KILLS, &["killed", "leader_changes"]),
    plan("pause-one", "SIGSTOP of one node, 0.1 to 30 s", &[Pause(Whom::One)], &["paused"]),
    plan("pause-leader", "SIGSTOP of the leader", &[Pause(Whom::Leader)], &["leaders_struck", "leader_changes"]),
    plan("pause", "SIGSTOP of one or the leader", &[Pause(Whom::One), Pause(Whom::Leader)], &["paused"]),
    plan("partition-one", "one node cut off", &[Partition(Shape::One)], &["packets_cut"]),
    plan("partition-leader", "the leader cut off", &[Partition(Shape::Leader)], &["leaders_cut_off", "leader_changes"]),
    plan("partition-halves", "a majority and the rest", &[Partition(Shape::Halves)], &["packets_cut"]),
    plan("partition-ring", "each sees another majority", &[Partition(Shape::Ring)], &["packets_cut"]),
    plan("partition-one-way", "one hears nothing or is not heard", &[Partition(Shape::OneWay)], &["packets_cut"]),
    plan("partition-clients", "no client reaches one node", &[Partition(Shape::Clients)], &["packets_cut"]),
    plan("partition-flapping", "the leader comes and goes", &[Partition(Shape::Flapping)], &["flaps", "packets_cut"]),
    plan(
        "partition",
        "partitions of every shape",
        &[
            Partition(Shape::One),
            Partition(Shape::Leader),
            Partition(Shape::Halves),
            Partition(Shape::Ring),
            Partition(Shape::OneWay),
            Partition(Shape::Flapping),
        ],
        &["packets_cut", "partitions_that_met_traffic"],
    ),
    plan("loss", "2 to 30 % of the packets between nodes lost", &[Link(Trouble::Loss)], &["packets_lost"]),
    plan("rate", "nodes that send 0.2 to 4 Mbit/s", &[Link(Trouble::Rate)], &["packets_slowed_down"]),
    plan("delay", "up to 0.5 s between nodes, with jitter", &[Link(Trouble::Delay)], &["pieces_delayed"]),
    plan(
        "half-open",
        "connections that are dead and nobody is told",
        &[Link(Trouble::HalfOpen)],
        &["connections_deadened", "packets_of_dead_connections"],
    ),
    plan(
        "answers-lost",
        "answers lost with their connection, so that things are sent twice",
        &[Link(Trouble::AnswersLost)],
        &["answers_lost"],
    ),
    plan(
        "link",
        "everything that can be wrong with links that are not cut",
        &[
            Link(Trouble::Loss),
            Link(Trouble::Rate),
            Link(Trouble::Delay),
            Link(Trouble::HalfOpen),
            Link(Trouble::AnswersLost),
        ],
        &["packets_lost|packets_slowed_down|pieces_delayed|connections_deadened|answers_lost"],
    ),
    plan("promotions", "storms of promotions", &[Promotions], &["promoted", "leader_changes"]),
    plan("power-one", "power cut on one node", &[End(PowerCut, Whom::One)], &["power_cut"]),
    plan("power-leader", "power cut on the leader", &[End(PowerCut, Whom::Leader)], &["power_cut", "leader_changes"]),
    plan("power-majority", "power cut on a majority at once", &[End(PowerCut, Whom::Majority)], &["power_cut"]),
    plan("power-all", "power cut on all nodes at once", &[End(PowerCut, Whom::All)], &["all_struck_at_once"]),
    plan("power", "power cut on one, the leader, a majority, all", POWER_CUTS, &["power_cut"]),
    plan(
        "snapshot",
        "nodes that come back by snapshot: wiped, or away while the log was purged",
        &[Snapshot(Meanwhile::Nothing)],
        &["snapshots_installed"],
    ),
    plan(
        "snapshot-partition",
        "the same, cut off again and again while it is on its way",
        &[Snapshot(Meanwhile::Partitions)],
        &["snapshots_installed", "transfers_disturbed"],
    ),
    plan(
        "snapshot-kill",
        "the same, with who sends or who receives killed meanwhile",
        &[Snapshot(Meanwhile::Kills)],
        &["snapshots_installed", "transfers_disturbed"],
    ),
    plan("clock-jump", "wall clocks off by 10 ms to more than a day", &[Clock(Wrong::Jump)], &["clocks_set"]),
    plan("clock-strobe", "wall clocks that jump many times a second", &[Clock(Wrong::Strobe)], &["strobes"]),
    plan("clock-drift", "wall clocks at half to twice the speed", &[Clock(Wrong::Drift)], &["clocks_set"]),
    plan(
        "clock",
        "all that can be wrong with wall clocks",
        &[Clock(Wrong::Jump), Clock(Wrong::Strobe), Clock(Wrong::Drift)],
        &["clocks_set"],
    ),
    plan("disk-full", "no room on the disk of one, the leader, all", &[DiskFull], &["disks_without_room"]),
    plan("fsync-fails", "fsync that fails on one or the leader", &[Disk(Failure::SyncFails)], &["fsyncs_failed"]),
    plan("fsync-slow", "fsync that takes up to 1.5 s longer", &[Disk(Failure::SyncSlow)], &["fsyncs_slowed"]),
    plan(
        "disk-eio",
        "reads and writes that fail with EIO",
        &[Disk(Failure::ReadFails), Disk(Failure::WriteFails)],
        &["reads_failed|writes_failed"],
    ),
    plan("disk-no-room", "ENOSPC from one moment to the next", &[Disk(Failure::NoRoom)], &["calls_without_room"]),
    plan(
        "disk",
        "disks that fail in every way",
        &[
            Disk(Failure::SyncFails),
            Disk(Failure::SyncSlow),
            Disk(Failure::ReadFails),
            Disk(Failure::WriteFails),
            Disk(Failure::NoRoom),
        ],
        &["fsyncs_failed|fsyncs_slowed|reads_failed|writes_failed|calls_without_room"],
    ),
    plan("corrupt", "a flipped bit or a lost end in any file of a minority", &[Corrupt(None)], &["files_damaged"]),
    plan("corrupt-log-table", "in a table of the log", &[Corrupt(Some(Class::LogTable))], &["files_damaged"]),
    plan("corrupt-log-wal", "in the log's write-ahead log", &[Corrupt(Some(Class::LogWal))], &["files_damaged"]),
    plan("corrupt-log-manifest", "in the log's MANIFEST", &[Corrupt(Some(Class::LogManifest))], &["files_damaged"]),
    plan("corrupt-log-current", "in the log's CURRENT", &[Corrupt(Some(Class::LogCurrent))], &["files_damaged"]),
    plan("corrupt-state-table", "in a table of the state", &[Corrupt(Some(Class::StateTable))], &["files_damaged"]),
    plan("corrupt-state-manifest", "in its MANIFEST", &[Corrupt(Some(Class::StateManifest))], &["files_damaged"]),
    plan("corrupt-state-current", "in its CURRENT", &[Corrupt(Some(Class::StateCurrent))], &["files_damaged"]),
    plan(
        "corrupt-pointer",
        "in the pointer to the state in force",
        &[Corrupt(Some(Class::Pointer))],
        &["files_damaged"],
    ),
    plan("corrupt-snapshot", "in a file of a snapshot", &[Corrupt(Some(Class::Snapshot))], &["files_damaged"]),
    mix(
        "mix",
        "kills, pauses, promotions and partitions, at random and at once",
        PROCESSES,
        NETWORKS,
        &["killed|paused|promoted", "packets_cut"],
    ),
    mix(
        "mix-all",
        "everything that a machine with power cuts can suffer, at random and at once",
        &[
            End(Kill, Whom::One),
            End(Kill, Whom::Leader),
            End(Kill, Whom::All),
            End(PowerCut, Whom::One),
            End(PowerCut, Whom::Leader),
            End(PowerCut, Whom::Majority),
            End(PowerCut, Whom::All),
            Pause(Whom::One),
            Pause(Whom::Leader),
            Promotions,
            Snapshot(Meanwhile::Nothing),
            Snapshot(Meanwhile::Partitions),
            Snapshot(Meanwhile::Kills),
            Clock(Wrong::Jump),
            Clock(Wrong::Strobe),
            DiskFull,
            Corrupt(None),
            Overload,
        ],
        &[
            Partition(Shape::One),
            Partition(Shape::Leader),
            Partition(Shape::Halves),
            Partition(Shape::Ring),
            Partition(Shape::OneWay),
            Partition(Shape::Clients),
            Partition(Shape::Flapping),
            Link(Trouble::Loss),
            Link(Trouble::Rate),
            Link(Trouble::Delay),
            Link(Trouble::HalfOpen),
            Link(Trouble::AnswersLost),
        ],
        &[
            "power_cut|killed|paused",
            "packets_cut|packets_lost|packets_slowed_down|pieces_delayed|connections_deadened|answers_lost",
        ],
    ),
    mix(
        "mix-disk",
        "disks that fail, kills and pauses, and partitions at the same time",
        &[
            Disk(Failure::SyncFails),
            Disk(Failure::SyncSlow),
            Disk(Failure::ReadFails),
            Disk(Failure::WriteFails),
            Disk(Failure::NoRoom),
            End(Kill, Whom::Leader),
            End(Kill, Whom::All),
            Pause(Whom::Leader),
        ],
        NETWORKS,
        &["fsyncs_failed|fsyncs_slowed|reads_failed|writes_failed|calls_without_room|killed|paused", "packets_cut"],
    ),
    plan("overload", "bursts of many connections", &[Overload], &["overload_taken"]),
];

pub(super) fn find(name: &str) -> Result<&'static Plan> {
    PLANS.iter().find(|plan| plan.name == name).with_context(|| {
        let names: Vec<&str> = PLANS.iter().map(|plan| plan.name).collect();
        format!("there is no nemesis named '{name}'; there are: {}", names.join(", "))
    })
}

impl Plan {
    pub(super) fn needs(&self) -> Needs {
        self.faults.iter().chain(self.beside).fold(Needs::default(), |all, fault| all.and(needs_of(*fault)))
    }

    /// Whether every strike takes a majority, so that nothing can succeed while it lasts.
    pub(super) fn is_hopeless(&self) -> bool {
        let takes_majority = |fault: &Fault| matches!(fault, End(_, Whom::Majority | Whom::All));
        !self.faults.is_empty() && self.faults.iter().chain(self.beside).all(takes_majority)
    }

    pub(super) fn must(&self) -> &'static [&'static str] {
        self.must
    }

    /// The faults of the two hands, which strike independently of each other.
    pub(super) fn hands(&self) -> [&'static [Fault]; 2] {
        [self.faults, self.beside]
    }
}

impl Fault {
    /// Whether nothing else may go on: a node that lost its data learns from all the others, and while it does, nobody else
    /// may lose theirs.
    pub(super) fn is_exclusive(self) -> bool {
        matches!(self, Snapshot(_) | Corrupt(_) | Disk(_) | DiskFull)
    }
}

fn needs_of(fault: Fault) -> Needs {
    let none = Needs::default();
    match fault {
        Partition(Shape::Clients) | Link(Trouble::Loss | Trouble::Rate | Trouble::HalfOpen) => {
            Needs { namespaces: true, ..none }
        }
        Link(Trouble::Delay | Trouble::AnswersLost) => Needs { proxy: true, ..none },
        End(PowerCut, _) => Needs { namespaces: true, power_cut: true, ..none },
        Disk(_) => Needs { fuse: true, ..none },
        DiskFull => Needs { power_cut: true, ..none },
        Clock(_) => Needs { clock: true, ..none },
        // Else there is no snapshot to damage, and no table of the state.
        Snapshot(_) | Corrupt(_) => Needs { snapshots: true, ..none },
        End(Kill, _) | Pause(_) | Partition(_) | Promotions | Overload => none,
    }
}

pub(super) async fn strike(fault: Fault, stage: &mut Stage<'_>) -> Result<()> {
    match fault {
        End(how, whom) => kill::strike(how, whom, stage).await,
        Pause(whom) => pause::strike(whom, stage).await,
        Partition(shape) => partition::strike(shape, stage).await,
        Link(trouble) => link::strike(trouble, stage).await,
        Promotions => promote::strike(stage).await,
        Snapshot(meanwhile) => snapshot::strike(meanwhile, stage).await,
        Clock(wrong) => clock::strike(wrong, stage).await,
        Disk(failure) => disk::strike(failure, stage).await,
        DiskFull => full::strike(stage).await,
        Corrupt(class) => corrupt::strike(class, stage).await,
        Overload => overload::strike(stage).await,
    }
}
