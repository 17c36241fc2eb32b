//! Which process opened a connection: from /proc, so without help of the process.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

/// The pid among `pids` that holds the socket whose own address is `local` and whose other end is `remote`.
///
/// `None` if the connection is already gone or belongs to none of them.
pub(crate) fn owner(local: SocketAddr, remote: SocketAddr, pids: &[u32]) -> Option<u32> {
    // The kernel may skip a line of the table while others come and go, so one look is not proof of absence.
    let inode = (0..3).find_map(|_| inode(local, remote))?;
    let wanted = format!("socket:[{inode}]");
    pids.iter().copied().find(|pid| holds(*pid, &wanted))
}

fn inode(local: SocketAddr, remote: SocketAddr) -> Option<String> {
    let (SocketAddr::V4(local), SocketAddr::V4(remote)) = (local, remote) else {
        return None;
    };
    let (local, remote) = (hex(*local.ip(), local.port()), hex(*remote.ip(), remote.port()));
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    // sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …
    table.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let matches = fields.next()? == local && fields.next()? == remote;
        matches.then(|| fields.nth(6).map(str::to_owned))?
    })
}

/// An address as /proc/net/tcp writes it: the IP as it lies in memory, read as a number.
fn hex(ip: Ipv4Addr, port: u16) -> String {
    format!("{:08X}:{port:04X}", u32::from_ne_bytes(ip.octets()))
}

fn holds(pid: u32, socket: &str) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    open.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == socket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn finds_who_connected() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, from) = listener.accept().unwrap();
        let us = std::process::id();
        assert_eq!(owner(from, server.local_addr().unwrap(), &[1, us]), Some(us));
        assert_eq!(owner(from, server.local_addr().unwrap(), &[]), None, "not among those asked for");
        drop(client);
        assert_eq!(owner("127.0.0.1:1".parse().unwrap(), from, &[us]), None, "no such connection");
    }
}
