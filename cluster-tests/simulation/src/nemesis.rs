//! What breaks things: crashes, power cuts, partitions, bad disks, turned clocks, lost data, transfers of leadership.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use turmoil::Sim;

use crate::call::Ask;
use crate::network::Network;
use crate::plan::name;
use crate::seams::Slowness;
use crate::store::{Faults, Role};
use crate::trace;
use crate::world::{World, healthy};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Processes end; their machines stay.
    Kill,
    /// Machines lose power.
    PowerCut,
    /// Links are cut, in some shape.
    Partition,
    /// One link flaps.
    Flap,
    /// Messages take long, or are lost.
    SlowLinks,
    /// Leadership is handed over.
    Promote,
    /// Wall clocks jump.
    Clocks,
    /// Disks fail.
    BadDisk,
    /// A disk is full for a while.
    FullDisk,
    /// Storage is slow for a while.
    SlowDisk,
    /// Bits flip on a minority.
    Flip,
    /// A node loses its data.
    Wipe,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 12] = [
        Self::Kill,
        Self::PowerCut,
        Self::Partition,
        Self::Flap,
        Self::SlowLinks,
        Self::Promote,
        Self::Clocks,
        Self::BadDisk,
        Self::FullDisk,
        Self::SlowDisk,
        Self::Flip,
        Self::Wipe,
    ];
}

/// How a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Runs,
    /// Comes back at this time.
    Down(Duration),
    /// Its disk is damaged: it comes back once its data may be wiped.
    Damaged,
}

/// The nemesis of one run.
pub(crate) struct Nemesis {
    world: Arc<World>,
    rng: SmallRng,
    network: Network,
    lives: BTreeMap<u64, Life>,
    /// Nodes whose disks a bit flip has hit.
    flipped: BTreeMap<u64, bool>,
    /// Nodes that lost their data and have not learned it again.
    amnesiac: BTreeMap<u64, bool>,
    next: Duration,
    /// Passing troubles and when each passes.
    passing: Vec<(Duration, Passing)>,
    over: bool,
}

#[derive(Clone, Copy, Debug)]
enum Passing {
    Disk(u64),
    Slow(u64),
    Flapping { until: Duration, from: u64, to: u64, cut: bool },
    Links,
}

impl Nemesis {
    /// The nemesis of `world`.
    pub(crate) fn new(world: Arc<World>) -> Self {
        let rng = SmallRng::seed_from_u64(world.plan.seed.wrapping_mul(104_729));
        let lives = world.places.keys().map(|id| (*id, Life::Runs)).collect();
        Self {
            rng,
            lives,
            network: Network::default(),
            flipped: BTreeMap::new(),
            amnesiac: BTreeMap::new(),
            next: Duration::from_millis(1_500),
            passing: Vec::new(),
            over: false,
            world,
        }
    }

    /// Called between two steps of the simulation.
    pub(crate) fn step(&mut self, sim: &mut Sim<'_>, now: Duration) {
        self.clear_away(sim, now);
        self.revive(sim, now);
        self.pass(sim, now);
        if !self.over && now >= self.next {
            let pause = self.rng.random_range(20..=self.world.plan.pause_max.as_millis() as u64);
            self.next = now + Duration::from_millis(pause);
            // Healing is as likely as breaking, so that things also work now and then.
            match self.world.plan.kinds.choose(&mut self.rng).copied() {
                Some(kind) if self.network.is_whole() || self.rng.random_bool(0.6) => self.strike(sim, now, kind),
                Some(_) => {
                    trace::note("all links are mended".to_owned());
                    self.network.heal(sim);
                }
                None => {}
            }
        }
    }

    /// Breaks nothing any more, mends everything and starts whoever is down.
    pub(crate) fn heal(&mut self, sim: &mut Sim<'_>, now: Duration) {
        trace::note("everything is healed".to_owned());
        self.over = true;
        self.network.heal(sim);
        self.links_work(sim);
        self.passing.clear();
        let nodes: Vec<u64> = self.lives.keys().copied().collect();
        for id in nodes {
            let place = &self.world.places[&id];
            place.disk.set_faults(healthy(&self.world.plan));
            *place.slowness.lock() = self.world.plan.slowness;
            place.skew_ms.store(0, Ordering::Relaxed);
            if let Some(Life::Down(at)) = self.lives.get_mut(&id) {
                *at = now;
            }
        }
    }

    /// The node starts only then.
    pub(crate) fn start_late(&mut self, sim: &mut Sim<'_>, id: u64, at: Duration) {
        sim.crash(name(id));
        self.lives.insert(id, Life::Down(at));
    }

    fn running(&self) -> Vec<u64> {
        self.lives.iter().filter(|(_, life)| **life == Life::Runs).map(|(id, _)| *id).collect()
    }

    fn all(&self) -> Vec<u64> {
        self.lives.keys().copied().collect()
    }

    fn others(&self, node: u64) -> Vec<u64> {
        self.lives.keys().copied().filter(|id| *id != node).collect()
    }

    fn leader(&self) -> Option<u64> {
        self.world.checker.lock().leader().filter(|leader| self.running().contains(leader))
    }

    /// One node, the leader, a majority or all, of those that run.
    fn victims(&mut self) -> Vec<u64> {
        let mut running = self.running();
        running.shuffle(&mut self.rng);
        let majority = self.world.plan.nodes as usize / 2 + 1;
        match self.rng.random_range(0..10) {
            0..5 => running.into_iter().take(1).collect(),
            5..8 => self.leader().into_iter().collect(),
            8 => running.into_iter().take(majority).collect(),
            _ => running,
        }
    }

    fn strike(&mut self, sim: &mut Sim<'_>, now: Duration, kind: Kind) {
        match kind {
            Kind::Kill => {
                for id in self.victims() {
                    self.crash(sim, now, id, false);
                }
            }
            Kind::PowerCut => {
                for id in self.victims() {
                    self.crash(sim, now, id, true);
                }
            }
            Kind::Partition => self.partition(sim),
            Kind::Flap => self.flap(now),
            Kind::SlowLinks => self.slow_links(sim, now),
            Kind::Promote => self.promote(),
            Kind::Clocks => self.turn_clocks(),
            Kind::BadDisk | Kind::FullDisk => self.spoil_disk(now, kind),
            Kind::SlowDisk => self.slow_disk(now),
            Kind::Flip => self.flip(sim, now),
            Kind::Wipe => self.wipe_one(sim, now),
        }
    }

    fn crash(&mut self, sim: &mut Sim<'_>, now: Duration, id: u64, power: bool) {
        trace::note(format!("n{id} {}", if power { "loses its power" } else { "is killed" }));
        let place = self.world.places[&id].clone();
        *place.inbox.lock() = None;
        *place.handle.lock() = None;
        *place.ended.lock() = None;
        let others = self.others(id);
        if power {
            self.network.silence(sim, id, &others);
        }
        sim.crash(name(id));
        if power {
            self.network.speak(sim, id, &others);
        }
        place.disk.crash();
        self.world.checker.lock().crashed(id);
        let away = *[20, 200, 600, 2_500].choose(&mut self.rng).unwrap_or(&200);
        let away = Duration::from_millis(self.rng.random_range(1..=away));
        self.lives.insert(id, Life::Down(now + away));
    }

    fn partition(&mut self, sim: &Sim<'_>) {
        let mut nodes = self.all();
        nodes.shuffle(&mut self.rng);
        self.world.checker.lock().coverage.partitions += 1;
        let shape = self.rng.random_range(0..6);
        match shape {
            0 => {
                let (one, rest) = nodes.split_at(1);
                self.network.part(sim, one, rest);
            }
            1 => {
                if let Some(leader) = self.leader() {
                    self.network.part(sim, &[leader], &self.others(leader));
                }
            }
            2 => {
                let (minority, majority) = nodes.split_at(nodes.len() / 2);
                self.network.part(sim, minority, majority);
            }
            // One way only: the node hears and is not heard, or the other way round.
            3 | 4 => {
                let one = if shape == 3 { nodes[0] } else { self.leader().unwrap_or(nodes[0]) };
                let deaf = self.rng.random_bool(0.5);
                for other in self.others(one) {
                    let (from, to) = if deaf { (other, one) } else { (one, other) };
                    self.network.cut(sim, from, to);
                }
            }
            // A ring: each hears only its neighbours.
            _ => {
                for (at, &a) in nodes.iter().enumerate() {
                    for (other, &b) in nodes.iter().enumerate() {
                        let apart = at.abs_diff(other);
                        if apart != 1 && apart != nodes.len() - 1 {
                            self.network.cut(sim, a, b);
                        }
                    }
                }
                if nodes.len() == 3 {
                    self.network.part(sim, &nodes[..1], &nodes[1..2]);
                }
            }
        }
        trace::note(format!("a partition of shape {shape}, drawn as {nodes:?}"));
    }

    fn flap(&mut self, now: Duration) {
        let mut nodes = self.all();
        nodes.shuffle(&mut self.rng);
        let until = now + Duration::from_millis(self.rng.random_range(300..2_000));
        trace::note(format!("the link between n{} and n{} flaps", nodes[0], nodes[1]));
        self.passing.push((now, Passing::Flapping { until, from: nodes[0], to: nodes[1], cut: false }));
    }

    fn slow_links(&mut self, sim: &mut Sim<'_>, now: Duration) {
        let worst = *[80, 250, 700].choose(&mut self.rng).unwrap_or(&80);
        let lossy = self.rng.random_bool(0.4);
        let mut nodes = self.all();
        nodes.shuffle(&mut self.rng);
        let one = nodes[0];
        let whole = self.rng.random_bool(0.3);
        for a in self.all() {
            for b in self.others(a) {
                if whole || a == one || b == one {
                    sim.set_link_max_message_latency(name(a), name(b), Duration::from_millis(worst));
                    if lossy {
                        sim.set_link_fail_rate(name(a), name(b), 0.01);
                    }
                }
            }
        }
        trace::note(format!("links of n{one} take {worst} ms, whole {whole}, lossy {lossy}"));
        let until = now + Duration::from_millis(self.rng.random_range(200..2_000));
        self.passing.push((until, Passing::Links));
    }

    fn links_work(&mut self, sim: &mut Sim<'_>) {
        for a in self.all() {
            for b in self.others(a) {
                sim.set_link_max_message_latency(name(a), name(b), self.world.plan.latency.1);
                sim.set_link_fail_rate(name(a), name(b), 0.0);
            }
        }
    }

    fn promote(&mut self) {
        let (at, to) =
            (self.rng.random_range(1..=self.world.plan.nodes), self.rng.random_range(1..=self.world.plan.nodes));
        trace::note(format!("n{at} is asked to make n{to} the leader"));
        self.world.checker.lock().coverage.promotions += 1;
        drop(self.world.send(at, Ask::Promote(to, Duration::from_secs(3))));
    }

    fn turn_clocks(&mut self) {
        let id = self.rng.random_range(1..=self.world.plan.nodes);
        let skew = *[-3_600_000, -5_000, -30, 0, 30, 5_000, 3_600_000].choose(&mut self.rng).unwrap_or(&0);
        trace::note(format!("the clock of n{id} is off by {skew} ms"));
        self.world.places[&id].skew_ms.store(skew, Ordering::Relaxed);
    }

    fn spoil_disk(&mut self, now: Duration, kind: Kind) {
        let id = self.rng.random_range(1..=self.world.plan.nodes);
        let usual = healthy(&self.world.plan);
        let faults = match kind {
            Kind::FullDisk => Faults { full: true, ..usual },
            _ => Faults {
                write_fails: *[0.0, 0.02, 0.3].choose(&mut self.rng).unwrap_or(&0.0),
                read_fails: *[0.0, 0.01, 0.1].choose(&mut self.rng).unwrap_or(&0.0),
                ..usual
            },
        };
        trace::note(format!("the disk of n{id}: {faults:?}"));
        self.world.places[&id].disk.set_faults(faults);
        let until = now + Duration::from_millis(self.rng.random_range(10..1_500));
        self.passing.push((until, Passing::Disk(id)));
    }

    fn slow_disk(&mut self, now: Duration) {
        let id = self.rng.random_range(1..=self.world.plan.nodes);
        let slow = Duration::from_millis(*[30, 150, 600].choose(&mut self.rng).unwrap_or(&30));
        trace::note(format!("the disk of n{id} takes up to {} ms", slow.as_millis()));
        *self.world.places[&id].slowness.lock() = Slowness { blocking: slow, log: slow };
        let until = now + Duration::from_millis(self.rng.random_range(100..2_000));
        self.passing.push((until, Passing::Slow(id)));
    }

    /// So many nodes may be damaged or without memory at once.
    fn may_spoil_another(&self) -> bool {
        let spoiled = self.flipped.values().filter(|flipped| **flipped).count()
            + self.amnesiac.values().filter(|amnesiac| **amnesiac).count();
        spoiled < (self.world.plan.nodes as usize - 1) / 2
    }

    fn flip(&mut self, sim: &mut Sim<'_>, now: Duration) {
        let Some(id) = self.running().choose(&mut self.rng).copied() else { return };
        if !self.may_spoil_another() {
            return;
        }
        // Nothing needs to stop for that; and what a leader has, it sends.
        let at_rest = self.leader().unwrap_or(id);
        if self.rng.random_bool(0.4) && self.flip_in_a_snapshot(at_rest) {
            return;
        }
        self.crash(sim, now, id, true);
        let role = if self.rng.random_bool(0.5) { Role::Log } else { Role::State };
        if let Some(hit) = self.world.places[&id].disk.flip(role) {
            trace::note(format!("a bit flips on n{id}, {role:?}: {hit}"));
            self.flipped.insert(id, true);
        }
    }

    /// A bit of a snapshot, finished or on its way into this node. Whether there is one.
    fn flip_in_a_snapshot(&mut self, id: u64) -> bool {
        let files = tables(&self.world.places[&id].dir);
        let Some(path) = files.choose(&mut self.rng) else { return false };
        let Ok(mut bytes) = std::fs::read(path) else { return false };
        if bytes.is_empty() {
            return false;
        }
        let at = self.rng.random_range(0..bytes.len());
        bytes[at] ^= 1 << self.rng.random_range(0..8);
        trace::note(format!("a bit flips in a snapshot on n{id}, in byte {at} of {}", bytes.len()));
        self.world.checker.lock().coverage.snapshots_damaged += 1;
        self.flipped.insert(id, true);
        std::fs::write(path, bytes).is_ok()
    }

    fn wipe_one(&mut self, sim: &mut Sim<'_>, now: Duration) {
        let Some(id) = self.running().choose(&mut self.rng).copied() else { return };
        // A member that lost its data before anything was written is like one that was never there.
        if self.may_spoil_another() && self.world.checker.lock().canon.revision() > 0 {
            self.crash(sim, now, id, true);
            self.wipe(id);
        }
    }

    fn wipe(&mut self, id: u64) {
        trace::note(format!("n{id} has lost its data"));
        let place = &self.world.places[&id];
        place.disk.wipe();
        if let Err(error) = std::fs::remove_dir_all(&place.dir) {
            trace::note(format!("n{id}: {error}"));
        }
        self.world.checker.lock().wiped(id);
        self.flipped.insert(id, false);
        self.amnesiac.insert(id, true);
    }

    /// Clears away nodes that ended by themselves, as their supervisor does.
    fn clear_away(&mut self, sim: &mut Sim<'_>, now: Duration) {
        for id in self.all() {
            let ended = self.world.places[&id].ended.lock().clone();
            if ended.is_none() {
                continue;
            }
            self.world.checker.lock().coverage.fences += 1;
            let failed = self.world.places[&id].disk.has_failed();
            self.crash(sim, now, id, false);
            let reason = ended.unwrap_or_default();
            let flipped = self.flipped.get(&id).copied().unwrap_or(false);
            if flipped {
                self.lives.insert(id, Life::Damaged);
            }
            if !is_excused(&reason, failed, flipped) {
                let disk = match (failed, flipped) {
                    (false, false) => "whole",
                    (true, false) => "failing",
                    (false, true) => "damaged",
                    (true, true) => "failing and damaged",
                };
                let problem = format!("n{id} ended by itself on a disk that was {disk}: {reason}");
                self.world.checker.lock().violate(problem);
            }
        }
    }

    /// Starts nodes whose time has come, and wipes those that the operator must wipe.
    fn revive(&mut self, sim: &mut Sim<'_>, now: Duration) {
        for id in self.all() {
            let learned = self.amnesiac.get(&id).copied().unwrap_or(false) && self.has_learned(id);
            if learned {
                trace::note(format!("n{id} has learned everything again"));
                self.amnesiac.insert(id, false);
            }
        }
        for (id, life) in self.lives.clone() {
            match life {
                Life::Down(at) if at <= now => {
                    sim.bounce(name(id));
                    self.lives.insert(id, Life::Runs);
                }
                Life::Damaged => {
                    self.wipe(id);
                    self.lives.insert(id, Life::Down(now));
                }
                _ => {}
            }
        }
    }

    fn has_learned(&self, id: u64) -> bool {
        self.world.places[&id].disk.has_learned()
    }

    fn pass(&mut self, sim: &mut Sim<'_>, now: Duration) {
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.passing).into_iter().partition(|(at, _)| *at <= now);
        self.passing = later;
        for (_, trouble) in due {
            match trouble {
                Passing::Disk(id) => self.world.places[&id].disk.set_faults(healthy(&self.world.plan)),
                Passing::Slow(id) => *self.world.places[&id].slowness.lock() = self.world.plan.slowness,
                Passing::Links => self.links_work(sim),
                Passing::Flapping { until, from, to, cut } => {
                    if cut || now >= until {
                        self.network.mend(sim, from, to);
                    } else {
                        self.network.part(sim, &[from], &[to]);
                    }
                    if now < until {
                        let at = now + Duration::from_millis(self.rng.random_range(5..150));
                        self.passing.push((at, Passing::Flapping { until, from, to, cut: !cut }));
                    }
                }
            }
        }
    }
}

/// Whether a node may end for that reason: its disk gave it cause, and it says so. `failed`: its disk did in this life;
/// `flipped`: a bit flip has hit it.
fn is_excused(reason: &str, failed: bool, flipped: bool) -> bool {
    let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    (failed && says(&["input/output error", "no space left on device", "an earlier write has failed"]))
        || (flipped && says(&["checksum"]))
        // Said by who notices first that replication stopped, which the disk may have made it do.
        || ((failed || flipped) && says(&["replication has stopped by itself"]))
}

/// The tables of all snapshots below `dir`, in an order that is the same in each run.
fn tables(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(tables(&path));
        } else if path.extension().is_some_and(|extension| extension == "sst") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::is_excused;

    #[test]
    fn a_node_may_end_only_for_what_its_disk_did() {
        let (full, damage) = ("writing: no space left on device", "reading: block checksum mismatch");
        assert!(is_excused(full, true, false));
        assert!(is_excused(damage, false, true));
        assert!(!is_excused(full, false, true), "the disk was not full");
        assert!(!is_excused(damage, true, false), "damage that came from elsewhere");
        for (failed, flipped) in [(false, false), (true, false), (false, true), (true, true)] {
            assert!(!is_excused("the log does not fit the state: the log has a hole", failed, flipped));
        }
        assert!(!is_excused("replication has stopped by itself", false, false));
    }
}
