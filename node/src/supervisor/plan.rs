//! What a local cluster consists of. It is kept in `cluster.toml`, so that the folder starts again as it was.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::exit::Advice;

const FILE: &str = "cluster.toml";
/// More nodes than this on one machine are a mistake.
const NODES_MAX: u16 = 9;

/// The nodes and their ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plan {
    /// How many nodes there are; their ids are 1 to this.
    pub(super) nodes: u16,
    /// The first node's port for clients.
    pub(super) http_port: u16,
    /// The first node's port for the other nodes.
    pub(super) peer_port: u16,
    /// Whether all nodes have been ready once: from then on the cluster has its service key.
    pub(super) initialised: bool,
}

impl Plan {
    /// The plan of a folder, if it has one.
    pub(super) fn load(dir: &Path) -> Result<Option<Self>, Advice> {
        let path = dir.join(FILE);
        let wrong = |why: String| {
            Advice::usage(format!("cannot read {}", path.display()))
                .why(why)
                .remedy("mend the file, or choose another folder with --dir")
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map(Some).map_err(|error| wrong(error.to_string())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(wrong(error.to_string())),
        }
    }

    /// The plan that results from the folder and the flags. Flags may repeat what the folder has, not change it.
    pub(super) fn settle(
        found: Option<Self>,
        nodes: Option<u16>,
        http_port: Option<u16>,
        peer_port: Option<u16>,
    ) -> Result<Self, Advice> {
        let Some(found) = found else {
            let plan = Self {
                nodes: nodes.unwrap_or(3),
                http_port: http_port.unwrap_or(7401),
                peer_port: peer_port.unwrap_or(7501),
                initialised: false,
            };
            return plan.check();
        };
        let given = [
            ("--nodes", nodes, found.nodes),
            ("--http-port", http_port, found.http_port),
            ("--peer-port", peer_port, found.peer_port),
        ];
        for (flag, given, kept) in given {
            if let Some(given) = given.filter(|given| *given != kept) {
                return Err(Advice::usage(format!(
                    "{flag} is {given}, but the cluster in this folder was made with {kept}"
                ))
                .why("nodes know each other by their addresses, which are in their data")
                .remedy(format!("leave {flag} out, or choose another folder with --dir")));
            }
        }
        found.check()
    }

    fn check(self) -> Result<Self, Advice> {
        if self.nodes == 0 || self.nodes > NODES_MAX {
            return Err(Advice::usage(format!("--nodes is {}", self.nodes))
                .why(format!("a local cluster has 1 to {NODES_MAX} nodes"))
                .remedy("3 is what survives the loss of one"));
        }
        let (http, peer) = (u32::from(self.http_port), u32::from(self.peer_port));
        let nodes = u32::from(self.nodes);
        if http == 0 || peer == 0 || http.max(peer) + nodes - 1 > u32::from(u16::MAX) {
            return Err(Advice::usage("the ports leave the range from 1 to 65535")
                .remedy("choose lower first ports with --http-port and --peer-port"));
        }
        if http < peer + nodes && peer < http + nodes {
            return Err(Advice::usage("the ports for clients and those for nodes overlap")
                .why(format!("each node takes one of both, from {http} and from {peer} upwards"))
                .remedy(format!("let --http-port and --peer-port be at least {nodes} apart")));
        }
        Ok(self)
    }

    /// Writes the plan to the folder, whole or not at all.
    pub(super) fn save(&self, dir: &Path) -> Result<(), Advice> {
        let wrong = |why: String| Advice::failed(format!("cannot write {FILE} in {}", dir.display())).why(why);
        let text = toml::to_string(self).map_err(|error| wrong(error.to_string()))?;
        let head =
            "# The cluster in this folder, as `aerodb cluster up` made it. The nodes' data has these ports in it.\n";
        let write = || -> std::io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(dir)?;
            file.write_all(format!("{head}{text}").as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(dir.join(FILE))?;
            Ok(())
        };
        write().map_err(|error| wrong(error.to_string()))
    }

    /// The ids of the nodes.
    pub(super) fn ids(&self) -> impl Iterator<Item = u16> + use<> {
        1..=self.nodes
    }

    /// Where a node listens for clients.
    pub(super) fn http_addr(&self, id: u16) -> String {
        format!("127.0.0.1:{}", self.http_port + id - 1)
    }

    /// Where a node listens for the other nodes.
    pub(super) fn peer_addr(&self, id: u16) -> String {
        format!("127.0.0.1:{}", self.peer_port + id - 1)
    }

    /// The base URLs of the nodes, in the order of their ids.
    pub(super) fn urls(&self) -> Vec<String> {
        self.ids().map(|id| format!("http://{}", self.http_addr(id))).collect()
    }

    /// The value of `--peers`.
    pub(super) fn peers(&self) -> String {
        let peers: BTreeMap<u16, String> = self.ids().map(|id| (id, self.peer_addr(id))).collect();
        peers.iter().map(|(id, addr)| format!("{id}={addr}")).collect::<Vec<_>>().join(",")
    }
}

/// The folder of one node.
pub(super) fn node_dir(dir: &Path, id: u16) -> PathBuf {
    dir.join(format!("node-{id}"))
}

/// Where a node keeps its data, in its folder.
pub(super) fn data_dir(node_dir: &Path) -> PathBuf {
    node_dir.join("data")
}

/// Where a node's log lines go, in its folder.
pub(super) fn log_file(node_dir: &Path) -> PathBuf {
    node_dir.join("server.log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_survives_in_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Plan::load(folder.path()).unwrap(), None);
        let plan = Plan::settle(None, None, None, None).unwrap();
        assert_eq!((plan.nodes, plan.http_port, plan.peer_port), (3, 7401, 7501));
        plan.save(folder.path()).unwrap();
        let found = Plan::load(folder.path()).unwrap();
        assert_eq!(found.as_ref(), Some(&plan));
        assert_eq!(Plan::settle(found.clone(), Some(3), None, Some(7501)).unwrap(), plan);
        let error = Plan::settle(found, Some(5), None, None).unwrap_err().to_string();
        assert!(error.contains("--nodes is 5") && error.contains("made with 3") && error.contains("--dir"), "{error}");
        std::fs::write(folder.path().join(FILE), "nodes = 'many'").unwrap();
        assert!(Plan::load(folder.path()).unwrap_err().to_string().contains("cluster.toml"));
    }

    #[test]
    fn addresses_follow_the_first_ports() {
        let plan = Plan::settle(None, Some(2), Some(8001), Some(9001)).unwrap();
        assert_eq!(plan.urls(), ["http://127.0.0.1:8001", "http://127.0.0.1:8002"]);
        assert_eq!(plan.peers(), "1=127.0.0.1:9001,2=127.0.0.1:9002");
    }

    #[test]
    fn plans_that_cannot_be() {
        for (nodes, http, peer) in
            [(0, 1, 100), (99, 1, 100), (3, 7401, 7402), (3, 7402, 7401), (3, 65534, 7501), (3, 0, 7501)]
        {
            assert!(Plan::settle(None, Some(nodes), Some(http), Some(peer)).is_err(), "{nodes} {http} {peer}");
        }
        assert!(Plan::settle(None, Some(3), Some(7401), Some(7404)).is_ok());
    }
}
