//! A network of the kernel's own: each node in a network namespace with a cable (veth) into one bridge, where the clients
//! are too.
//!
//! A node of today takes loopback addresses only for its members (see `node/src/server/validate.rs`). So all nodes know
//! node K as 127.0.1.K, and nft translates that at both ends of the cable: between the nodes there is no program of ours,
//! every connection is the kernel's from one node to the other, and what a fault does to it is what TCP makes of it. Only
//! delay needs our proxy (kernels without `netem` cannot), which then listens as 127.0.1.K inside of each namespace.
//!
//! A packet is dropped where it arrives, before anything else looks at it. Only what goes to the clients is dropped where
//! it leaves, because the clients' end belongs to the machine.

use std::fmt::Write;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::Value;

use super::network::{Faults, Party, Toll};
use super::proxy::Proxy;
use super::slot::Slot;
use super::sync::Guarded;
use super::{process, tool};

/// Where nodes listen for their clients.
pub(crate) const HTTP_PORT: u16 = 7_400;
/// Where nodes listen for each other.
pub(crate) const PEER_PORT: u16 = 7_500;
/// The host number of the clients in the run's subnet.
const CLIENTS: u64 = 254;

/// The namespaces and the bridge between them.
#[derive(Debug)]
pub(crate) struct Kernel {
    slot: Arc<Slot>,
    nodes: Vec<Cable>,
    /// Whether nodes reach each other through our proxy.
    proxied: bool,
    /// What namespaces that are gone had counted.
    past: Guarded<Toll>,
}

#[derive(Debug)]
struct Cable {
    node: u64,
    /// Which namespace of this node it is: a power cut takes the old one with all its connections.
    generation: Guarded<u32>,
    /// Whether it is in. Between a power cut and the new namespace there is none that faults could be done to.
    plugged: Guarded<bool>,
}

impl Kernel {
    /// Makes the bridge and a namespace for each node.
    pub(crate) fn start(slot: Arc<Slot>, nodes: &[u64], proxied: bool) -> Result<Self> {
        let bridge = slot.bridge();
        tool::run(&format!("ip link add {bridge} type bridge"))?;
        tool::run(&format!("ip addr add {}/24 dev {bridge}", slot.addr(CLIENTS)))?;
        tool::run(&format!("ip link set {bridge} up"))?;
        let cables = nodes
            .iter()
            .map(|&node| Cable { node, generation: Guarded::new(0), plugged: Guarded::new(false) })
            .collect();
        let kernel = Self { slot, nodes: cables, proxied, past: Guarded::default() };
        for node in nodes {
            kernel.plug(*node)?;
        }
        Ok(kernel)
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = u64> + use<'_> {
        self.nodes.iter().map(|cable| cable.node)
    }

    /// Where a node is in the bridge's subnet.
    pub(crate) fn addr(&self, node: u64) -> Ipv4Addr {
        self.slot.addr(node)
    }

    /// The file that stands for the node's namespace.
    pub(crate) fn namespace(&self, node: u64) -> PathBuf {
        PathBuf::from("/run/netns").join(self.name(node))
    }

    /// Files that are there as long as this network is.
    pub(crate) fn marks(&self) -> Vec<PathBuf> {
        let bridge = PathBuf::from("/sys/class/net").join(self.slot.bridge());
        self.nodes().map(|node| self.namespace(node)).chain([bridge]).collect()
    }

    fn name(&self, node: u64) -> String {
        let cable = self.nodes.iter().find(|cable| cable.node == node);
        self.slot.namespace(node, cable.map_or(0, |cable| *cable.generation.lock()))
    }

    /// Pulls the node's cable for good. From now on nothing that it sends leaves it, and nothing that its kernel still
    /// holds for its connections ever will.
    pub(crate) fn unplug(&self, node: u64) -> Result<()> {
        let toll = self.count(node).unwrap_or_default();
        self.set_plugged(node, false);
        tool::run(&format!("ip link del {}", self.slot.cable(node)))?;
        let mut past = self.past.lock();
        *past = *past + toll;
        Ok(())
    }

    /// Gives the node a new namespace and a new cable, as a machine that was switched on again.
    pub(crate) fn renew(&self, node: u64) -> Result<()> {
        tool::run(&format!("ip netns del {}", self.name(node)))?;
        if let Some(cable) = self.nodes.iter().find(|cable| cable.node == node) {
            *cable.generation.lock() += 1;
        }
        self.plug(node)
    }

    fn plug(&self, node: u64) -> Result<()> {
        let (name, cable, bridge, addr) = (self.name(node), self.slot.cable(node), self.slot.bridge(), self.addr(node));
        tool::run(&format!("ip netns add {name}"))?;
        tool::run(&format!("ip link add {cable} type veth peer name eth0 netns {name}"))?;
        tool::run(&format!("ip link set {cable} master {bridge} up"))?;
        tool::run(&format!("ip -n {name} addr add {addr}/24 dev eth0"))?;
        tool::run(&format!("ip -n {name} link set lo up"))?;
        tool::run(&format!("ip -n {name} link set eth0 up"))?;
        // Else the kernel takes a packet to or from 127.0.0.0/8 on a cable for a forgery.
        process::inside(&self.namespace(node), || fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1"))
            .context("allow loopback addresses on the cable")?;
        self.nft(node, &self.rules(node))?;
        self.set_plugged(node, true);
        Ok(())
    }

    fn set_plugged(&self, node: u64, plugged: bool) {
        for cable in self.nodes.iter().filter(|cable| cable.node == node) {
            *cable.plugged.lock() = plugged;
        }
    }

    fn is_plugged(&self, node: u64) -> bool {
        self.nodes.iter().any(|cable| cable.node == node && *cable.plugged.lock())
    }

    /// The translation of members' addresses, and empty chains for faults.
    fn rules(&self, node: u64) -> String {
        let others = self.nodes().filter(|other| *other != node);
        let map: Vec<_> = others.map(|other| format!("{} : {}", known_as(other), self.addr(other))).collect();
        let outward = match map.is_empty() || self.proxied {
            true => String::new(),
            false => {
                format!("ip daddr 127.0.1.0/24 tcp dport {PEER_PORT} dnat to ip daddr map {{ {} }}", map.join(", "))
            }
        };
        let (own, addr) = (known_as(node), self.addr(node));
        format!(
            "table ip world {{
                chain outward {{
                    type nat hook output priority -100;
                    ip daddr {own} accept
                    {outward}
                }}
                chain name {{
                    type nat hook postrouting priority 100;
                    oifname eth0 ip saddr 127.0.0.0/8 snat to {addr}
                }}
                chain inward {{
                    type nat hook prerouting priority -100;
                    iifname eth0 tcp dport {PEER_PORT} dnat to {own}
                }}
            }}
            table ip faults {{
                counter cut {{ }}
                counter lost {{ }}
                counter dead {{ }}
                chain arriving {{
                    type filter hook prerouting priority -300;
                }}
                chain leaving {{
                    type filter hook output priority -300;
                }}
            }}
            "
        )
    }

    fn nft(&self, node: u64, rules: &str) -> Result<()> {
        tool::run_with_input(&format!("ip netns exec {} nft -f -", self.name(node)), rules).map(drop)
    }

    /// Makes the node's namespace have exactly these faults, in one step. One whose power is off gets them when it is on
    /// again.
    pub(crate) fn apply(&self, node: u64, faults: &Faults) -> Result<()> {
        if !self.is_plugged(node) {
            return Ok(());
        }
        let mut rules = "flush chain ip faults arriving\nflush chain ip faults leaving\n".to_owned();
        let mut add = |way: (Party, Party), what: &str| {
            let place = match way {
                (from, Party::Node(to)) if to == node => format!("arriving ip saddr {}", self.of(from)),
                (Party::Node(from), Party::Clients) if from == node => {
                    format!("leaving ip daddr {}", self.of(Party::Clients))
                }
                _ => return,
            };
            let _ = writeln!(rules, "add rule ip faults {place} {what} drop");
        };
        for way in &faults.cut {
            add(*way, "counter name cut");
        }
        for (way, permille) in &faults.loss_permille {
            add(*way, &format!("numgen random mod 1000 < {permille} counter name lost"));
        }
        for (to, from, from_port, to_port) in faults.dead_connections.iter().filter(|(to, ..)| *to == node) {
            let ports = format!("tcp sport {from_port} tcp dport {to_port} counter name dead");
            add((Party::Node(*from), Party::Node(*to)), &ports);
        }
        self.nft(node, &rules)?;

        let name = self.name(node);
        let shaped = tool::run(&format!("tc -n {name} qdisc show dev eth0"))?.contains("tbf");
        match faults.rate_kbit.get(&node) {
            Some(rate) => {
                let shape = format!("rate {rate}kbit burst 32kb latency 300ms");
                tool::run(&format!("tc -n {name} qdisc replace dev eth0 root tbf {shape}"))?;
            }
            None if shaped => {
                let over_rate = self.over_rate(node);
                self.past.lock().over_rate += over_rate;
                tool::run(&format!("tc -n {name} qdisc del dev eth0 root"))?;
            }
            None => {}
        }
        Ok(())
    }

    fn of(&self, party: Party) -> Ipv4Addr {
        match party {
            Party::Node(node) => self.addr(node),
            Party::Clients => self.slot.addr(CLIENTS),
        }
    }

    /// The connections between this node and the members, as they are on the cable: (sender, its port, our port).
    pub(crate) fn connections(&self, node: u64) -> Result<Vec<(u64, u16, u16)>> {
        // Translation keeps ports unless two clash, so the node's own view of its sockets names them rightly.
        let namespace = self.namespace(node);
        let table = process::inside(&namespace, || fs::read_to_string("/proc/thread-self/net/tcp"))?;
        let mut found = Vec::new();
        for line in table.lines().skip(1) {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let (Some(here), Some(there), Some(state)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let (Some((_, here)), Some((there, port))) = (endpoint(here), endpoint(there)) else { continue };
            let other = self.nodes().find(|other| known_as(*other) == there || self.addr(*other) == there);
            if state == "01"
                && (here == PEER_PORT || port == PEER_PORT)
                && let Some(other) = other.filter(|other| *other != node)
            {
                found.push((other, port, here));
            }
        }
        Ok(found)
    }

    /// Lets the proxy listen inside the node's namespace for all others.
    pub(crate) fn listen_for(&self, node: u64, proxy: &Proxy) -> Result<()> {
        let others: Vec<u64> = self.nodes().filter(|other| *other != node).collect();
        let namespace = self.namespace(node);
        for other in others {
            let addr = SocketAddr::from((known_as(other), PEER_PORT));
            let listener = process::inside(&namespace, || std::net::TcpListener::bind(addr))
                .with_context(|| format!("listen on {addr} for node {node}"))?;
            let target = SocketAddr::from((self.addr(other), PEER_PORT));
            proxy.serve_namespace(listener, namespace.clone(), node, other, target)?;
        }
        Ok(())
    }

    /// What all namespaces counted.
    pub(crate) fn toll(&self) -> Toll {
        let now = self.nodes().map(|node| self.count(node).unwrap_or_default());
        now.fold(*self.past.lock(), |sum, toll| sum + toll)
    }

    fn count(&self, node: u64) -> Result<Toll> {
        let listed = tool::run(&format!("ip netns exec {} nft -j list counters table ip faults", self.name(node)))?;
        let listed: Value = serde_json::from_str(&listed)?;
        let counters = listed["nftables"].as_array().into_iter().flatten().map(|item| &item["counter"]);
        let mut toll = Toll { over_rate: self.over_rate(node), ..Toll::default() };
        for counter in counters {
            let packets = counter["packets"].as_u64().unwrap_or(0);
            match counter["name"].as_str() {
                Some("cut") => toll.cut += packets,
                Some("lost") => toll.lost += packets,
                Some("dead") => toll.dead += packets,
                _ => {}
            }
        }
        Ok(toll)
    }

    fn over_rate(&self, node: u64) -> u64 {
        let listed = tool::run(&format!("tc -n {} -s -j qdisc show dev eth0", self.name(node))).unwrap_or_default();
        let listed: Value = serde_json::from_str(&listed).unwrap_or_default();
        let shaped = listed.as_array().into_iter().flatten().filter(|item| item["kind"] == "tbf");
        shaped.filter_map(|item| item["overlimits"].as_u64()).sum()
    }
}

/// The address by which all nodes know a node.
pub(crate) fn known_as(node: u64) -> Ipv4Addr {
    [127, 0, 1, u8::try_from(node).unwrap_or(u8::MAX)].into()
}

/// An endpoint as /proc/net/tcp writes it: the address as it lies in memory, read as a number, and the port.
fn endpoint(text: &str) -> Option<(Ipv4Addr, u16)> {
    let (addr, port) = text.split_once(':')?;
    let addr = u32::from_str_radix(addr, 16).ok()?;
    Some((Ipv4Addr::from(addr.to_ne_bytes()), u16::from_str_radix(port, 16).ok()?))
}
