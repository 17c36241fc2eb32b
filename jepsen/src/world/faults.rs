//! What can be done to the machines while they run.

use anyhow::{Context, Result, ensure};

use super::clock::{self, Skew};
use super::fuse::{DiskFaults, DiskToll, Fuse};
use super::network::{Faults, Toll};
use super::{World, blocking};

impl World {
    /// Kills these nodes, all at once, with SIGKILL; says how many ran.
    pub async fn kill(&self, ids: &[u64]) -> Result<usize> {
        let nodes = self.chosen(ids)?;
        let killed = blocking(move || {
            for node in &nodes {
                node.kill_begin()?;
            }
            let mut killed = 0;
            for node in &nodes {
                killed += usize::from(node.kill()?);
            }
            Ok(killed)
        })
        .await?;
        self.tally.lock().killed += killed as u64;
        Ok(killed)
    }

    /// Stops a node with SIGSTOP, if it runs; says whether it did.
    pub async fn pause(&self, id: u64) -> Result<bool> {
        let node = self.node(id)?.clone();
        if !node.is_running() {
            return Ok(false);
        }
        blocking(move || node.pause()).await?;
        self.tally.lock().paused += 1;
        Ok(true)
    }

    /// Lets a node go on after [`World::pause`].
    pub async fn resume(&self, id: u64) -> Result<()> {
        let node = self.node(id)?.clone();
        blocking(move || node.resume()).await
    }

    /// Empties a node's data; kills it before if it runs.
    pub async fn wipe(&self, id: u64) -> Result<()> {
        self.kill(&[id]).await?;
        let node = self.node(id)?.clone();
        blocking(move || node.wipe()).await?;
        self.tally.lock().wiped += 1;
        Ok(())
    }

    /// Cuts the power of these nodes, all at once. They are off then; their data is what their disks had at that instant.
    ///
    /// First their cables are pulled, so that nothing that a node says after the instant is heard; then their disks are
    /// cloned while they still run, in the middle of whatever they do; then they are killed. So what a node has told
    /// others was told before its disk was cloned.
    pub async fn power_cut(&self, ids: &[u64]) -> Result<usize> {
        let disks = self.disks.clone().context("this run has no disks that can lose power")?;
        let (nodes, network) = (self.chosen(ids)?, self.network.clone());
        let nodes: Vec<_> = nodes.into_iter().filter(|node| node.pid().is_some()).collect();
        let count = nodes.len();
        blocking(move || {
            for node in &nodes {
                network.unplug(node.id())?;
            }
            for node in &nodes {
                disks.clone_now(node.id())?;
            }
            for node in &nodes {
                node.kill_begin()?;
            }
            for node in &nodes {
                node.kill()?;
                disks.swap(node.id())?;
                network.renew(node.id())?;
            }
            Ok(())
        })
        .await?;
        self.tally.lock().power_cut += count as u64;
        Ok(count)
    }

    /// Changes what is wrong with the network. When this returns, it is so.
    pub async fn change_network(&self, change: impl FnOnce(&mut Faults) + Send + 'static) -> Result<()> {
        let network = self.network.clone();
        blocking(move || network.change(change)).await
    }

    /// What happened to traffic since the start.
    pub async fn toll(&self) -> Result<Toll> {
        let network = self.network.clone();
        blocking(move || Ok(network.toll())).await
    }

    /// Makes all connections between nodes that are open now at this node dead: nothing arrives on them any more, in
    /// either direction, and neither end is told. New connections work. Says how many there are.
    pub async fn deaden_connections(&self, id: u64) -> Result<usize> {
        let network = self.network.clone();
        blocking(move || {
            let open = network.connections(id)?;
            network.change(|faults| {
                for (other, their_port, our_port) in &open {
                    faults.dead_connections.insert((id, *other, *their_port, *our_port));
                    faults.dead_connections.insert((*other, id, *our_port, *their_port));
                }
            })?;
            Ok(open.len())
        })
        .await
    }

    /// Sets a node's wall clock.
    pub fn set_clock(&self, id: u64, skew: Skew) -> Result<()> {
        ensure!(self.clocks, "the clocks of this run cannot be set");
        clock::set(&clock::file(&self.spec.folder, id), skew)
    }

    /// Fills a node's disk until this many bytes are free.
    pub async fn fill_disk(&self, id: u64, left_bytes: u64) -> Result<u64> {
        let disks = self.disks.clone().context("this run has no disks that can be full")?;
        blocking(move || disks.fill(id, left_bytes)).await
    }

    /// Gives the room back that [`World::fill_disk`] took.
    pub async fn unfill_disk(&self, id: u64) -> Result<()> {
        let disks = self.disks.clone().context("this run has no disks that can be full")?;
        blocking(move || disks.unfill(id)).await
    }

    /// How much room a node's disk has.
    pub fn disk_free_bytes(&self, id: u64) -> Result<u64> {
        let disks = self.disks.as_ref().context("this run has no disks that can be full")?;
        let stat = rustix::fs::statvfs(disks.point(id)?)?;
        Ok(stat.f_bavail * stat.f_frsize)
    }

    /// Sets what is wrong with a node's disk.
    pub fn set_disk(&self, id: u64, faults: DiskFaults) -> Result<()> {
        self.layer(id)?.set(faults);
        Ok(())
    }

    /// How often a node's disk failed since the start.
    pub fn disk_toll(&self, id: u64) -> Result<DiskToll> {
        Ok(self.layer(id)?.toll())
    }

    fn layer(&self, id: u64) -> Result<&Fuse> {
        self.layers.get(&id).context("the disks of this run cannot be told to fail")
    }
}
