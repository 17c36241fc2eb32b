//! HTTP/1.1 as bytes: what a proper client refuses to send must be sent too.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// A request line with headers, without the empty line that ends them.
pub fn head(method: &str, target: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n").into_bytes();
    for (name, value) in headers {
        head.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    head
}

/// Sends `bytes` and returns the answer; `None` when the connection was closed without one.
pub async fn send(addr: &str, bytes: Vec<u8>) -> Result<Option<Answer>> {
    tokio::time::timeout(PATIENCE, exchange(addr, bytes)).await.context("no answer in time")?
}

async fn exchange(addr: &str, bytes: Vec<u8>) -> Result<Option<Answer>> {
    let (mut read, mut write) = TcpStream::connect(addr).await?.into_split();
    // The answer may come before all is sent, and the rest may then find nobody who reads it.
    let writing = tokio::spawn(async move {
        let _ = write.write_all(&bytes).await;
        write
    });
    let mut answer = Vec::new();
    // A reset after the answer is no matter: what came is what counts.
    let _ = read.read_to_end(&mut answer).await;
    writing.abort();
    if answer.is_empty() { Ok(None) } else { parse(&answer).map(Some) }
}

/// Sends a part of a request and goes away.
pub async fn send_and_leave(addr: &str, bytes: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(bytes).await?;
    stream.shutdown().await?;
    // Until the node has noticed: it closes, with an answer or without.
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.context("the node does not close")?.ok();
    Ok(())
}

fn parse(bytes: &[u8]) -> Result<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").context("no end of the headers")?;
    let head = std::str::from_utf8(&bytes[..end])?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status")?.parse()?;
    let header =
        |line: &str| line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    let headers: Vec<(String, String)> = lines.filter_map(header).collect();
    let body = &bytes[end + 4..];
    ensure!(!headers.iter().any(|(name, _)| name == "transfer-encoding"), "an error is sent whole: {headers:?}");
    let body = serde_json::from_slice(body).unwrap_or_else(|_| String::from_utf8_lossy(body).into_owned().into());
    Ok(Answer { status, headers, body })
}
