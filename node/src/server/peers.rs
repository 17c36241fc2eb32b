//! The nodes that a cluster starts with: `1=host:port,2=host:port`, or a table in TOML.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Peer addresses by node id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peers(pub(crate) BTreeMap<u64, String>);

impl Peers {
    fn insert(&mut self, id: &str, addr: &str) -> Result<(), String> {
        let id: u64 = id.trim().parse().map_err(|_| format!("'{}' is not a node id (a number from 1)", id.trim()))?;
        match self.0.insert(id, addr.trim().to_owned()) {
            None => Ok(()),
            Some(_) => Err(format!("node {id} is named twice")),
        }
    }
}

impl FromStr for Peers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut peers = Self::default();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let (id, addr) = part.split_once('=').ok_or_else(|| {
                format!("'{}' is not id=host:port; write 1=127.0.0.1:7501,2=127.0.0.1:7502", part.trim())
            })?;
            peers.insert(id, addr)?;
        }
        Ok(peers)
    }
}

impl<'de> Deserialize<'de> for Peers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Peers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of addresses by node id, or a text like 1=host:port,2=host:port")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Peers, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Peers, A::Error> {
                let mut peers = Peers::default();
                while let Some((id, addr)) = map.next_entry::<String, String>()? {
                    peers.insert(&id, &addr).map_err(A::Error::custom)?;
                }
                Ok(peers)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list() {
        let peers: Peers = "1=127.0.0.1:7501, 2=localhost:7502".parse().unwrap();
        assert_eq!(peers.0[&2], "localhost:7502");
        for (wrong, why) in
            [("127.0.0.1:7501", "not id=host:port"), ("x=a:1", "not a node id"), ("1=a:1,1=b:1", "twice")]
        {
            let error = wrong.parse::<Peers>().unwrap_err();
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }
}
