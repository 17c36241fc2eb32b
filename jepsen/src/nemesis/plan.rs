//! The list of all nemeses: what each strikes with, what it needs, and what it must have brought about.

use anyhow::{Context, Result};

use super::kill::{self, How};
use super::link::{self, Trouble};
use super::partition::{self, Shape};
use super::stage::{Stage, Whom};
use super::{pause, promote};
use crate::world::Needs;

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    End(How, Whom),
    Pause(Whom),
    Partition(Shape),
    Link(Trouble),
    Promotions,
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
    /// Counters that must have moved.
    must: &'static [&'static str],
}

const fn plan(
    name: &'static str,
    about: &'static str,
    faults: &'static [Fault],
    must: &'static [&'static str],
) -> Plan {
    Plan { name, about, faults, must }
}

use Fault::{End, Link, Partition, Pause, Promotions};
use How::{Kill, PowerCut};

const PLANS: &[Plan] = &[
    plan("none", "no faults at all", &[], &[]),
    plan("kill-one", "kill -9 of one node", &[End(Kill, Whom::One)], &["killed"]),
    plan("kill-leader", "kill -9 of the leader", &[End(Kill, Whom::Leader)], &["leaders_struck", "leader_changes"]),
    plan("kill-majority", "kill -9 of a majority at once", &[End(Kill, Whom::Majority)], &["killed"]),
    plan("kill-all", "kill -9 of all nodes at once", &[End(Kill, Whom::All)], &["all_struck_at_once"]),
    plan("pause-one", "SIGSTOP of one node, 0.1 to 30 s", &[Pause(Whom::One)], &["paused"]),
    plan("pause-leader", "SIGSTOP of the leader", &[Pause(Whom::Leader)], &["leaders_struck", "leader_changes"]),
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
    plan("rate", "nodes that send 0.2 to 4 Mbit/s", &[Link(Trouble::Rate)], &["packets_over_rate"]),
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
    plan("promotions", "storms of promotions", &[Promotions], &["promoted", "leader_changes"]),
    plan("power-one", "power cut on one node", &[End(PowerCut, Whom::One)], &["power_cut"]),
    plan("power-leader", "power cut on the leader", &[End(PowerCut, Whom::Leader)], &["power_cut", "leader_changes"]),
    plan("power-majority", "power cut on a majority at once", &[End(PowerCut, Whom::Majority)], &["power_cut"]),
    plan("power-all", "power cut on all nodes at once", &[End(PowerCut, Whom::All)], &["all_struck_at_once"]),
];

pub(super) fn find(name: &str) -> Result<&'static Plan> {
    PLANS.iter().find(|plan| plan.name == name).with_context(|| {
        let names: Vec<&str> = PLANS.iter().map(|plan| plan.name).collect();
        format!("there is no nemesis named '{name}'; there are: {}", names.join(", "))
    })
}

impl Plan {
    pub(super) fn needs(&self) -> Needs {
        self.faults.iter().fold(Needs::default(), |all, fault| all.and(needs_of(*fault)))
    }

    pub(super) fn must(&self) -> &'static [&'static str] {
        self.must
    }

    /// The next fault.
    pub(super) fn choose(&self, stage: &mut Stage<'_>) -> Option<Fault> {
        stage.pick(self.faults)
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
        End(Kill, _) | Pause(_) | Partition(_) | Promotions => none,
    }
}

pub(super) async fn strike(fault: Fault, stage: &mut Stage<'_>) -> Result<()> {
    match fault {
        End(how, whom) => kill::strike(how, whom, stage).await,
        Pause(whom) => pause::strike(whom, stage).await,
        Partition(shape) => partition::strike(shape, stage).await,
        Link(trouble) => link::strike(trouble, stage).await,
        Promotions => promote::strike(stage).await,
    }
}
