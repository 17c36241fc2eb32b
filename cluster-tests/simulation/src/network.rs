//! The links between the nodes: which are cut, in which direction.

use std::collections::BTreeSet;

use turmoil::Sim;

use crate::plan::name;

/// The links that are cut. A link has two directions, each cut by itself.
#[derive(Default)]
pub(crate) struct Network {
    /// From, to.
    cut: BTreeSet<(u64, u64)>,
}

impl Network {
    /// Cuts the link from `from` to `to`; what is under way on it is lost.
    pub(crate) fn cut(&mut self, sim: &Sim<'_>, from: u64, to: u64) {
        if from != to && self.cut.insert((from, to)) {
            sim.partition_oneway(name(from), name(to));
        }
    }

    /// Cuts all links between `left` and `right`, in both directions.
    pub(crate) fn part(&mut self, sim: &Sim<'_>, left: &[u64], right: &[u64]) {
        for &a in left {
            for &b in right {
                self.cut(sim, a, b);
                self.cut(sim, b, a);
            }
        }
    }

    /// Mends the link between two nodes.
    pub(crate) fn mend(&mut self, sim: &Sim<'_>, a: u64, b: u64) {
        for (from, to) in [(a, b), (b, a)] {
            if self.cut.remove(&(from, to)) {
                sim.repair_oneway(name(from), name(to));
            }
        }
    }

    /// Loses all that is under way from and to `node`, and whatever its end makes it send: its power is gone.
    pub(crate) fn silence(&self, sim: &Sim<'_>, node: u64, others: &[u64]) {
        for &other in others {
            sim.partition(name(node), name(other));
        }
    }

    /// Undoes [`Network::silence`]: only what is cut stays so.
    pub(crate) fn speak(&self, sim: &Sim<'_>, node: u64, others: &[u64]) {
        for &other in others {
            for (from, to) in [(node, other), (other, node)] {
                if !self.cut.contains(&(from, to)) {
                    sim.repair_oneway(name(from), name(to));
                }
            }
        }
    }

    /// Mends everything.
    pub(crate) fn heal(&mut self, sim: &Sim<'_>) {
        for (from, to) in std::mem::take(&mut self.cut) {
            sim.repair_oneway(name(from), name(to));
        }
    }

    /// True when no link is cut.
    pub(crate) fn is_whole(&self) -> bool {
        self.cut.is_empty()
    }
}
