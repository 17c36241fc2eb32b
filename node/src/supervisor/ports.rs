//! Whether the ports of a cluster are free, asked before anything is started.

use std::io;
use std::net::TcpListener;

use super::plan::Plan;
use crate::exit::Advice;

/// Looks at each port. Says of the first that is taken whose it would be.
pub(super) fn check_free(plan: &Plan) -> Result<(), Advice> {
    for id in plan.ids() {
        for (purpose, flag, addr) in
            [("clients", "--http-port", plan.http_addr(id)), ("the other nodes", "--peer-port", plan.peer_addr(id))]
        {
            // Listened on and given back at once: the node takes it a moment later.
            if let Err(error) = TcpListener::bind(&addr) {
                return Err(taken(id, purpose, flag, &addr, &error));
            }
        }
    }
    Ok(())
}

fn taken(id: u16, purpose: &str, flag: &str, addr: &str, error: &io::Error) -> Advice {
    let what = format!("node {id} cannot have {addr} for {purpose}");
    if error.kind() == io::ErrorKind::AddrInUse {
        Advice::failed(what)
            .why("something listens there already; it may be another cluster of yours")
            .remedy(format!("stop that (`ss -ltnp` shows who it is), or use other ports ({flag}) with another --dir"))
    } else {
        Advice::failed(what).why(error.to_string()).remedy(format!("choose another port with {flag}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let far = if port > 32_768 { port - 20_000 } else { port + 20_000 };
        let plan = Plan { nodes: 1, http_port: port, peer_port: far, initialised: false };
        let error = check_free(&plan).unwrap_err().to_string();
        assert!(error.contains(&port.to_string()) && error.contains("--http-port"), "{error}");
    }
}
