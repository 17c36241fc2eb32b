//! The network of a run, and what is wrong with it now.
//!
//! Nodes in namespaces talk over the kernel's own TCP and bridge ([`Kernel`]); without root they share the loopback and
//! talk through our proxy ([`Proxy`]). Both are told the same [`Faults`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result};

use super::kernel::Kernel;
use super::proxy::Proxy;
use super::sync::Guarded;

/// Who is at one end of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// A node of the cluster.
    Node(u64),
    /// The clients, all of them: they are in this process.
    Clients,
}

/// A way from one party to another.
pub type Way = (Party, Party);

/// How bytes fare on a way that goes through our proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Treatment {
    /// How long each piece takes at least.
    pub delay: Duration,
    /// How much longer it may take, drawn for each piece. Pieces of one connection stay in order; those of different
    /// connections overtake each other.
    pub jitter: Duration,
    /// Of 1,000 pieces of answers (what flows back on a connection), how many are lost with their connection: what was
    /// asked has arrived, and whoever asked never hears of it and asks again.
    pub answers_lost_permille: u32,
}

/// All that is wrong with the network. The default is a network without faults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Ways on which nothing arrives. What TCP sends again arrives after the healing.
    pub cut: BTreeSet<Way>,
    /// Of 1,000 packets on a way, how many are lost.
    pub loss_permille: BTreeMap<Way, u32>,
    /// Nodes whose sending is slowed down to so many kbit/s.
    pub rate_kbit: BTreeMap<u64, u32>,
    /// Connections between nodes that are dead while newer ones are not: packets of these are lost, by node that
    /// receives, sender, and the two ports (from, to).
    pub dead_connections: BTreeSet<(u64, u64, u16, u16)>,
    /// Ways through our proxy that are not as good as they could be.
    pub treatment: BTreeMap<(u64, u64), Treatment>,
}

impl Faults {
    /// Cuts every way between a node of `left` and one of `right`, both directions.
    pub fn split(&mut self, left: &[u64], right: &[u64]) {
        for &a in left {
            for &b in right {
                self.cut.insert((Party::Node(a), Party::Node(b)));
                self.cut.insert((Party::Node(b), Party::Node(a)));
            }
        }
    }

    /// Whether nothing is wrong.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// What the network did to traffic since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Toll {
    /// Packets (in our proxy: pieces) that met a cut.
    pub cut: u64,
    /// Packets that were lost by chance.
    pub lost: u64,
    /// Packets of dead connections.
    pub dead: u64,
    /// How often the slowed-down sending had to wait.
    pub over_rate: u64,
    /// Pieces that were delayed by our proxy.
    pub delayed: u64,
    /// Answers that were lost with their connection.
    pub answers_lost: u64,
}

impl std::ops::Add for Toll {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            cut: self.cut + other.cut,
            lost: self.lost + other.lost,
            dead: self.dead + other.dead,
            over_rate: self.over_rate + other.over_rate,
            delayed: self.delayed + other.delayed,
            answers_lost: self.answers_lost + other.answers_lost,
        }
    }
}

/// The network of a run.
#[derive(Debug)]
pub struct Network {
    faults: Guarded<Faults>,
    pub(crate) kernel: Option<Kernel>,
    pub(crate) proxy: Option<Proxy>,
}

impl Network {
    pub(crate) fn new(kernel: Option<Kernel>, proxy: Option<Proxy>) -> Self {
        Self { faults: Guarded::default(), kernel, proxy }
    }

    /// Changes what is wrong. When this returns, it is so. Blocks for some milliseconds.
    pub fn change(&self, change: impl FnOnce(&mut Faults)) -> Result<()> {
        let mut faults = self.faults.lock();
        let before = faults.clone();
        change(&mut faults);
        if *faults == before {
            return Ok(());
        }
        self.apply(&before, &faults)
    }

    /// Ends all that is wrong.
    pub fn heal(&self) -> Result<()> {
        self.change(|faults| *faults = Faults::default())
    }

    /// What is wrong now.
    pub fn faults(&self) -> Faults {
        self.faults.lock().clone()
    }

    /// Pulls a node's cable for good, as [`Kernel::unplug`] does. No change of the faults comes in between.
    pub(crate) fn unplug(&self, node: u64) -> Result<()> {
        let kernel = self.kernel.as_ref().context("a power cut needs network namespaces")?;
        let _faults = self.faults.lock();
        kernel.unplug(node)
    }

    /// The connections between this node and the members; none while its power is off.
    pub(crate) fn connections(&self, node: u64) -> Result<Vec<(u64, u16, u16)>> {
        let kernel = self.kernel.as_ref().context("dead connections need network namespaces")?;
        let _faults = self.faults.lock();
        kernel.connections(node)
    }

    /// Tells a namespace that is new what is wrong.
    pub(crate) fn renew(&self, node: u64) -> Result<()> {
        let Some(kernel) = &self.kernel else { return Ok(()) };
        // Held over all of it, so that no change can come in between.
        let faults = self.faults.lock();
        kernel.renew(node)?;
        if let Some(proxy) = &self.proxy {
            kernel.listen_for(node, proxy)?;
        }
        kernel.apply(node, &faults)
    }

    /// What happened to traffic since the start.
    pub fn toll(&self) -> Toll {
        let kernel = self.kernel.as_ref().map(Kernel::toll).unwrap_or_default();
        kernel + self.proxy.as_ref().map(Proxy::toll).unwrap_or_default()
    }

    fn apply(&self, before: &Faults, faults: &Faults) -> Result<()> {
        if let Some(proxy) = &self.proxy {
            // Cuts are the kernel's where there is one: it drops packets, which is what a real network does.
            proxy.set(faults, self.kernel.is_none());
        }
        let Some(kernel) = &self.kernel else { return Ok(()) };
        for node in kernel.nodes() {
            if concerns(before, node) != concerns(faults, node) {
                kernel.apply(node, faults)?;
            }
        }
        Ok(())
    }
}

/// The part of the faults that one node's namespace carries out.
fn concerns(faults: &Faults, node: u64) -> Faults {
    let here = |way: &Way| way.1 == Party::Node(node) || *way == (Party::Node(node), Party::Clients);
    let mut faults = faults.clone();
    faults.cut.retain(here);
    faults.loss_permille.retain(|way, _| here(way));
    faults.rate_kbit.retain(|slowed, _| *slowed == node);
    faults.dead_connections.retain(|(to, ..)| *to == node);
    faults.treatment.clear();
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_cuts_both_ways_and_nothing_inside() {
        let mut faults = Faults::default();
        assert!(faults.is_none());
        faults.split(&[1], &[2, 3]);
        assert_eq!(faults.cut.len(), 4);
        assert!(!faults.cut.contains(&(Party::Node(2), Party::Node(3))));
        assert_eq!(concerns(&faults, 1).cut.len(), 2, "each node drops what arrives at it");
    }
}
