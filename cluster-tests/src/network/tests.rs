//! The proxy against a small echo server: this process plays node 1, shells play the others.

use std::process::{Command, Stdio};

use anyhow::{bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::process::spawn;
use crate::wait_until;

const SOON: Duration = Duration::from_secs(10);

/// Three nodes; each echoes what it gets and counts the bytes.
struct Lab {
    network: Network,
    received: watch::Receiver<usize>,
}

impl Lab {
    async fn new() -> Self {
        let (count, received) = watch::channel(0);
        let mut nodes = Vec::new();
        for id in 1..=3 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            nodes.push((id, listener.local_addr().unwrap()));
            tokio::spawn(echo(listener, count.clone()));
        }
        let network = Network::start(&nodes).unwrap();
        lock(&network.shared.pids).insert(1, std::process::id());
        Self { network, received }
    }

    /// Connects as node 1.
    async fn connect(&self, to: NodeId) -> TcpStream {
        TcpStream::connect(self.network.addr(to)).await.unwrap()
    }

    /// Connects as node 1, sends a word and returns the answer.
    async fn ask(&self, to: NodeId, word: &[u8; 4]) -> io::Result<[u8; 4]> {
        ask(&mut TcpStream::connect(self.network.addr(to)).await?, word).await
    }

    fn received(&self) -> usize {
        *self.received.borrow()
    }

    /// Starts a shell as node `from` that connects to `to` and sends a line; returns what it gets back, if anything.
    async fn shell_echo(&self, from: NodeId, to: NodeId) -> Option<String> {
        let script = r#"exec 3<>/dev/tcp/127.0.0.1/$0 && echo hello >&3 && read -t 10 answer <&3 && echo "$answer""#;
        let mut command = Command::new("bash");
        command.args(["-c", script, &self.network.addr(to).port().to_string()]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let child = self.network.enter(from, || spawn(command)).unwrap();
        let output = tokio::task::spawn_blocking(|| child.wait_with_output()).await.unwrap().unwrap();
        self.network.leave(from);
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }
}

async fn echo(listener: TcpListener, count: watch::Sender<usize>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let count = count.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                count.send_modify(|sum| *sum += n);
                if stream.write_all(&buffer[..n]).await.is_err() {
                    break;
                }
            }
        });
    }
}

async fn ask(stream: &mut TcpStream, word: &[u8; 4]) -> io::Result<[u8; 4]> {
    stream.write_all(word).await?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn carries_both_ways_and_counts() {
    let lab = Lab::new().await;
    let mut stream = lab.connect(2).await;
    assert_eq!(ask(&mut stream, b"ping").await.unwrap(), *b"ping");
    let (one, two) = (Source::Node(1), Source::Node(2));
    assert_eq!((lab.network.carried_bytes(one, two), lab.network.carried_bytes(two, one)), (4, 4));
}

#[tokio::test]
async fn carries_more_than_any_buffer_holds() {
    let lab = Lab::new().await;
    let (mut read, mut write) = lab.connect(2).await.into_split();
    let sent: Vec<u8> = (0..4_000_000_u32).map(|n| (n % 251) as u8).collect();
    let expected = sent.clone();
    let writer = tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut got = Vec::new();
    // Ends only if the end of one direction is passed on while the other still flows.
    read.read_to_end(&mut got).await.unwrap();
    writer.await.unwrap();
    assert!(got == expected, "{} of {} bytes", got.len(), expected.len());
}

#[tokio::test]
async fn tells_processes_apart() {
    let lab = Lab::new().await;
    assert_eq!(lab.shell_echo(2, 3).await.as_deref(), Some("hello\n"));
    assert_eq!(lab.network.carried_bytes(Source::Node(2), Source::Node(3)), 6);
    assert_eq!(lab.network.carried_bytes(Source::Node(1), Source::Node(3)), 0);

    lab.network.isolate(2);
    assert_eq!(lab.shell_echo(2, 3).await, None, "out of the isolated node");
    let mut stream = lab.connect(3).await;
    assert_eq!(ask(&mut stream, b"ping").await.unwrap(), *b"ping", "past the isolated node");
    assert!(lab.ask(2, b"ping").await.is_err(), "into the isolated node");

    lab.network.rejoin(2);
    assert_eq!(lab.shell_echo(2, 3).await.as_deref(), Some("hello\n"));
    assert_eq!(lab.ask(2, b"ping").await.unwrap(), *b"ping");
}

#[tokio::test]
async fn strangers_are_carried_but_not_into_an_isolated_node() {
    let lab = Lab::new().await;
    lab.network.leave(1);
    assert_eq!(lab.ask(2, b"ping").await.unwrap(), *b"ping");
    assert_eq!(lab.network.carried_bytes(Source::Other, Source::Node(2)), 4);
    lab.network.isolate(2);
    assert!(lab.ask(2, b"ping").await.is_err());
}

#[tokio::test]
async fn reset_breaks_open_connections_and_new_ones() {
    let lab = Lab::new().await;
    let mut stream = lab.connect(2).await;
    ask(&mut stream, b"ping").await.unwrap();
    lab.network.isolate(1);
    let ended = tokio::time::timeout(SOON, stream.read(&mut [0; 1])).await.unwrap();
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert!(lab.ask(2, b"ping").await.is_err());
    assert_eq!(lab.received(), 4, "nothing passed after the cut");

    lab.network.heal();
    assert_eq!(lab.ask(2, b"pong").await.unwrap(), *b"pong");
}

#[tokio::test]
async fn a_directed_reset_spares_the_other_direction() {
    let lab = Lab::new().await;
    lab.network.block(1, 2, Fault::Reset);
    assert!(lab.ask(2, b"ping").await.is_err());
    assert_eq!(lab.shell_echo(2, 1).await.as_deref(), Some("hello\n"));
    lab.network.unblock(1, 2);
    assert_eq!(lab.ask(2, b"ping").await.unwrap(), *b"ping");
}

#[tokio::test]
async fn hold_delivers_late() {
    let lab = Lab::new().await;
    let mut stream = lab.connect(2).await;
    ask(&mut stream, b"ping").await.unwrap();
    lab.network.isolate_with(2, Fault::Hold);
    stream.write_all(b"late").await.unwrap();
    let mut fresh = lab.connect(2).await;
    fresh.write_all(b"also").await.unwrap();
    // Another way round is open meanwhile, and by the time it has answered, the held bytes could have passed too.
    assert_eq!(lab.ask(3, b"pong").await.unwrap(), *b"pong");
    assert_eq!(lab.received(), 8, "ping and pong, nothing of what is held");

    lab.network.heal();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"late");
    fresh.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"also");
}

#[tokio::test]
async fn swallow_loses_and_never_leaves_a_hole() {
    let lab = Lab::new().await;
    let mut stream = lab.connect(2).await;
    ask(&mut stream, b"ping").await.unwrap();
    lab.network.block(1, 2, Fault::Swallow);
    stream.write_all(b"lost").await.unwrap();
    assert_eq!(lab.ask(3, b"pong").await.unwrap(), *b"pong");
    assert_eq!(lab.received(), 8, "ping and pong, nothing of what is lost");

    lab.network.heal();
    // The proxy may not have taken "lost" out of the socket before the healing; then it is only late.
    let mut answer = [0; 4];
    let outcome = async {
        stream.write_all(b"more").await?;
        stream.read_exact(&mut answer).await
    };
    match tokio::time::timeout(SOON, outcome).await.unwrap() {
        Ok(_) => assert_eq!(&answer, b"lost", "a hole in the stream"),
        Err(error) => assert!(matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)),
    }
}

#[tokio::test]
async fn a_directed_hold_stops_answers_only() {
    let lab = Lab::new().await;
    let mut stream = lab.connect(2).await;
    ask(&mut stream, b"ping").await.unwrap();
    lab.network.block(2, 1, Fault::Hold);
    stream.write_all(b"pong").await.unwrap();
    wait_until(SOON, "the request to arrive", || async {
        ensure!(lab.received() == 8, "{} bytes", lab.received());
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(lab.network.carried_bytes(Source::Node(2), Source::Node(1)), 4, "the answer is held");
    lab.network.unblock(2, 1);
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"pong");
}

#[tokio::test]
async fn split_cuts_between_groups_only() {
    let lab = Lab::new().await;
    lab.network.split(&[1], &[2, 3], Fault::Reset);
    assert!(lab.ask(2, b"ping").await.is_err());
    assert_eq!(lab.shell_echo(2, 3).await.as_deref(), Some("hello\n"));
    assert_eq!(lab.shell_echo(2, 1).await, None);
}

#[tokio::test]
async fn nothing_passes_once_a_cut_has_returned() {
    let lab = Lab::new().await;
    for _ in 0..50 {
        let mut stream = lab.connect(2).await;
        ask(&mut stream, b"ping").await.unwrap();
        let (read, mut write) = stream.into_split();
        let sender = tokio::spawn(async move {
            let _open = read;
            while write.write_all(b"flood").await.is_ok() {}
        });
        let (one, two) = (Source::Node(1), Source::Node(2));
        let before = lab.network.carried_bytes(one, two);
        wait_until(SOON, "a flood", || async {
            if lab.network.carried_bytes(one, two) == before {
                bail!("nothing carried yet");
            }
            Ok(())
        })
        .await
        .unwrap();
        lab.network.isolate(2);
        let after = lab.network.carried_bytes(one, two);
        sender.await.unwrap();
        assert!(lab.ask(2, b"ping").await.is_err());
        assert_eq!(lab.network.carried_bytes(one, two), after);
        lab.network.heal();
    }
}
