//! A node that waits for its cluster can be asked why.
// A test may stop at the first surprise, and look at the clock; clippy knows the first of test functions only, not of
// what they call.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);

/// Ends the node with the test, however that ends.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Status and text of an answer; nothing when nobody answers.
fn ask(port: u16, method: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let status = text.split(' ').nth(1)?.parse().ok()?;
    Some((status, text.to_lowercase()))
}

/// Asks until the answer is as it should be, and returns its text.
fn wait_for(port: u16, path: &str, status: u16, says: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask(port, "GET", path);
        if let Some((found, text)) = &answer
            && *found == status
            && text.contains(says)
        {
            return text.clone();
        }
        assert!(Instant::now() < deadline, "{path}: {status} with '{says}' was to come, not {answer:?}");
        std::thread::sleep(LOOK);
    }
}

#[test]
fn a_node_that_waits_for_the_others_says_whom_it_misses() {
    let folder = tempfile::tempdir().unwrap();
    let ports: Vec<u16> = (0..4).map(|_| free_port()).collect();
    let peers = format!("1=127.0.0.1:{},2=127.0.0.1:{},3=127.0.0.1:{}", ports[1], ports[2], ports[3]);
    let http = ports[0];
    let mut command = Command::new(env!("CARGO_BIN_EXE_aerodb"));
    command.args(["server", "--node-id=1", "--peers", &peers, "--data-dir"]).arg(folder.path());
    command.arg(format!("--http-addr=127.0.0.1:{http}")).arg(format!("--peer-addr=127.0.0.1:{}", ports[1]));
    command.env_clear().stderr(Stdio::null()).stdout(Stdio::null());
    let mut node = Node(command.spawn().unwrap());

    let missing = "1 of 3 members are here; a new cluster starts with 2; not here: node 2, node 3";
    for path in ["/health/startup", "/health/ready"] {
        let text = wait_for(http, path, 503, missing);
        assert!(text.contains("retry-after: 1"), "{text}");
    }
    assert_eq!(ask(http, "GET", "/health/live").unwrap().0, 200);
    assert!(ask(http, "GET", "/metrics").unwrap().1.contains("process_resident_memory_bytes"));
    for (method, path) in [("POST", "/api/c"), ("GET", "/cluster"), ("GET", "/nowhere")] {
        let (status, text) = ask(http, method, path).unwrap();
        assert_eq!(status, 503, "{text}");
        assert!(text.contains(r#""code":"starting""#) && text.contains(missing), "{text}");
        assert!(text.contains("retry-after: 1") && text.contains("aerodb-node: 1"), "{text}");
    }

    // It can be stopped while it waits, too.
    let stop = Command::new("kill").args(["-TERM", &node.0.id().to_string()]).status().unwrap();
    assert!(stop.success());
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = node.0.try_wait().unwrap() {
            return assert!(status.success(), "{status}");
        }
        std::thread::sleep(LOOK);
    }
    panic!("it does not end");
}
