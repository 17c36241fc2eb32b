//! Ports that no other test on this machine is given.
//!
//! Binding port 0 and letting go of it again is not enough here: a node that is killed and started again needs the
//! *same* port, and in between the kernel may hand it to another test or to an outgoing connection. So ports come from
//! below the range of outgoing connections, and each is held by a file lock for as long as the lease lives. The lock
//! goes with the process, however it ends.

use std::fs::{self, File, TryLockError};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process;

/// Where leases begin: above what is usually taken by services.
const FIRST: u16 = 10_000;
/// Where leases end if the kernel does not say where the range of outgoing connections starts.
const LAST: u16 = 32_000;

/// The right to use one port of 127.0.0.1, until dropped.
#[derive(Debug)]
pub struct PortLease {
    port: u16,
    /// Carries the lock. Closed on exec, so a child never keeps it.
    _lock: File,
}

impl PortLease {
    /// Leases a port on which nothing listens now.
    pub fn take() -> Result<Self> {
        let folder = folder()?;
        let last = outgoing_from().unwrap_or(LAST).max(FIRST + 1_000);
        let span = last - FIRST;
        // Starting anywhere keeps tests that start together from walking over each other's locks.
        let start = rand::random_range(0..span);
        for step in 0..span {
            let port = FIRST + (start + step) % span;
            if let Some(lease) = Self::try_take(&folder, port)? {
                return Ok(lease);
            }
        }
        bail!("no free port between {FIRST} and {last}")
    }

    fn try_take(folder: &Path, port: u16) -> Result<Option<Self>> {
        let path = folder.join(port.to_string());
        let lock = File::options().create(true).append(true).open(&path).with_context(|| format!("open {path:?}"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error).with_context(|| format!("lock {path:?}")),
        }
        // Someone who knows nothing of our locks may be there already.
        let free = TcpListener::bind(("127.0.0.1", port)).is_ok();
        Ok(free.then_some(Self { port, _lock: lock }))
    }

    /// The leased port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:port`
    pub fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// The folder of the lock files: one for each user, whose rights to it are then never in question.
fn folder() -> Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("aerodb-test-ports-{}", process::user_id()));
    fs::create_dir_all(&folder).with_context(|| format!("create {folder:?}"))?;
    Ok(folder)
}

/// The first port that the kernel gives to outgoing connections.
fn outgoing_from() -> Option<u16> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    range.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn leases_do_not_collide() {
        let threads: Vec<_> = (0..8)
            .map(|_| std::thread::spawn(|| (0..20).map(|_| PortLease::take().unwrap()).collect::<Vec<_>>()))
            .collect();
        let leases: Vec<_> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
        let ports: HashSet<_> = leases.iter().map(PortLease::port).collect();
        assert_eq!(ports.len(), leases.len());
    }

    #[test]
    fn a_lease_ends_with_its_drop() {
        let folder = folder().unwrap();
        let lease = PortLease::take().unwrap();
        let port = lease.port();
        assert!(PortLease::try_take(&folder, port).unwrap().is_none(), "held");
        drop(lease);
        // Another test may lease it right now, but then it is theirs and not stuck with us.
        if let Some(again) = PortLease::try_take(&folder, port).unwrap() {
            assert_eq!(again.port(), port);
        }
    }

    #[test]
    fn a_port_in_use_is_not_leased() {
        let folder = folder().unwrap();
        let lease = PortLease::take().unwrap();
        let port = lease.port();
        let _listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        drop(lease);
        assert!(PortLease::try_take(&folder, port).unwrap().is_none());
    }

    #[test]
    fn leases_lie_below_outgoing_ports() {
        let lease = PortLease::take().unwrap();
        if let Some(first) = outgoing_from().filter(|first| *first > FIRST + 1_000) {
            assert!(lease.port() < first);
        }
    }
}
