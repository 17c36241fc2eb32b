//! Addresses of the form `host:port`.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// Splits `host:port`; an IPv6 host stands in brackets.
pub(crate) fn split(addr: &str) -> Result<(&str, u16), String> {
    let wrong = || format!("'{addr}' is not host:port");
    let (host, port) = addr.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    if port == 0 {
        return Err(format!("'{addr}' has port 0, which nobody else could find"));
    }
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let fits = match bare {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
    };
    if fits { Ok((bare.unwrap_or(host), port)) } else { Err(wrong()) }
}

/// The address to listen on. Names are looked up, so that `localhost:7400` works.
pub(crate) fn to_bind(addr: &str) -> Result<SocketAddr, String> {
    split(addr)?;
    if let Ok(addr) = addr.parse() {
        return Ok(addr);
    }
    let found: Vec<SocketAddr> =
        addr.to_socket_addrs().map_err(|error| format!("'{addr}' cannot be looked up: {error}"))?.collect();
    let v4 = found.iter().find(|addr| addr.is_ipv4());
    v4.or(found.first()).copied().ok_or_else(|| format!("'{addr}' has no address"))
}

/// Whether whatever is sent there stays on this machine. Names other than `localhost` are not trusted to.
pub(crate) fn is_loopback(addr: &str) -> bool {
    split(addr).is_ok_and(|(host, _)| {
        host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    })
}

/// Whether an address means all of the addresses of a machine, so that nobody could connect to it by that name.
pub(crate) fn is_unspecified(addr: &str) -> bool {
    split(addr).is_ok_and(|(host, _)| host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port() {
        assert_eq!(split("127.0.0.1:7400"), Ok(("127.0.0.1", 7400)));
        assert_eq!(split("[::1]:7400"), Ok(("::1", 7400)));
        assert_eq!(split("db-1.example:1"), Ok(("db-1.example", 1)));
        for wrong in ["", "7400", ":7400", "host", "host:", "host:99999", "::1:7400", "a b:1", "host:0", "[x]:1"] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn loopback() {
        for addr in ["127.0.0.1:1", "127.9.9.9:1", "localhost:1", "[::1]:1"] {
            assert!(is_loopback(addr), "{addr}");
        }
        for addr in ["0.0.0.0:1", "10.0.0.1:1", "example:1", "[::]:1"] {
            assert!(!is_loopback(addr), "{addr}");
        }
        assert!(is_unspecified("0.0.0.0:1") && is_unspecified("[::]:1") && !is_unspecified("127.0.0.1:1"));
    }
}
