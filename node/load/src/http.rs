//! Sessions over HTTP/1.1, as cheap as they can be made: on a machine that the load generator shares with what it measures,
//! each microsecond of its own is one that is missing there. One write and one read for a request, and no copy that is not
//! needed; the answer's head is parsed by `httparse`, its body is not looked at unless it is an error's.

use std::mem::MaybeUninit;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::target::{Failure, Request, Session, Target};

/// How many headers an answer may have.
const HEADERS_MAX: usize = 64;
/// How much of an error's description is kept.
const PROBLEM_BYTES_MAX: usize = 64 * 1024;

/// How a product is spoken to over HTTP.
pub trait Api: Send + Sync + 'static {
    /// The request, as [`Call::write`] writes it.
    fn call(&self, request: &Request, call: &mut Call<'_>);

    /// A word for the report for an answer that is no success.
    fn refusal(&self, status: u16, body: &[u8]) -> String;
}

/// Where a request is written to.
pub struct Call<'a> {
    out: &'a mut Vec<u8>,
    node: &'a Node,
}

impl Call<'_> {
    /// Writes a request. `path` is in parts, and begins with a slash.
    pub fn write(&mut self, method: &str, path: &[&str], body: Option<&[u8]>) {
        self.write_with(method, path, "", body);
    }

    /// The same, with more header lines, each with its end.
    pub fn write_with(&mut self, method: &str, path: &[&str], lines: &str, body: Option<&[u8]>) {
        let Node { prefix, head, .. } = self.node;
        // By parts, and not by `write!`, which would take a tenth of all that a read costs here.
        let mut add = |text: &str| self.out.extend_from_slice(text.as_bytes());
        [method, " ", prefix].into_iter().chain(path.iter().copied()).for_each(&mut add);
        [" HTTP/1.1\r\n", head, lines].into_iter().for_each(&mut add);
        if let Some(body) = body {
            add(&format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()));
        }
        add("\r\n");
        self.out.extend_from_slice(body.unwrap_or_default());
    }
}

/// A node: where it is, and the headers that each request to it has.
#[derive(Clone, Debug)]
pub struct Node {
    authority: String,
    /// What stands before the path in its URL; most often nothing.
    prefix: String,
    /// Header lines, each with its end.
    head: String,
}

impl Node {
    /// The node at `url`, with more headers for each request. Without a port it is port 80; TLS is not spoken.
    ///
    /// # Errors
    /// When the URL or a header cannot be used; says why.
    pub fn new(url: &str, headers: &[(&str, &str)]) -> Result<Self, String> {
        let rest =
            url.strip_prefix("http://").ok_or_else(|| format!("'{url}' is not a URL that begins with http://"))?;
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if host.is_empty() || host.contains(['@', '?', '#']) {
            return Err(format!("'{url}' names no host"));
        }
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let mut head = format!("host: {host}\r\n");
        for (name, value) in headers {
            if value.contains(|c: char| c.is_control()) {
                return Err(format!("the header {name} cannot be sent: its value has a control character"));
            }
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let authority = if has_port { host.to_owned() } else { format!("{host}:80") };
        Ok(Self { authority, prefix: path.trim_end_matches('/').to_owned(), head })
    }
}

/// Some nodes of a product that speaks HTTP.
pub struct HttpTarget<A> {
    nodes: Arc<[Node]>,
    api: Arc<A>,
}

impl<A: Api> HttpTarget<A> {
    /// These nodes; there must be one at least.
    pub fn new(nodes: Vec<Node>, api: A) -> Self {
        Self { nodes: nodes.into(), api: Arc::new(api) }
    }

    /// The same, whose first session is with the node in this place; the next ones go on from there.
    #[must_use]
    pub fn beginning_with(self, node: usize) -> Self {
        let mut nodes = self.nodes.to_vec();
        let first = node.checked_rem(nodes.len()).unwrap_or(0);
        nodes.rotate_left(first);
        Self { nodes: nodes.into(), ..self }
    }
}

impl<A: Api> Target for HttpTarget<A> {
    type Session = HttpSession<A>;

    fn session(&self, worker: u32) -> Result<HttpSession<A>, String> {
        if self.nodes.is_empty() {
            return Err("there are no nodes".to_owned());
        }
        let current = worker as usize % self.nodes.len();
        let (out, answer) = (Vec::new(), Vec::with_capacity(8 * 1024));
        Ok(HttpSession { nodes: self.nodes.clone(), api: self.api.clone(), current, stream: None, out, answer })
    }
}

/// A connection to one of the nodes; to the next one after an error.
pub struct HttpSession<A> {
    nodes: Arc<[Node]>,
    api: Arc<A>,
    current: usize,
    stream: Option<TcpStream>,
    out: Vec<u8>,
    answer: Vec<u8>,
}

impl<A: Api> HttpSession<A> {
    async fn connect(&mut self) -> Result<&mut TcpStream, Failure> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(&self.nodes[self.current].authority).await.map_err(|_| Failure::CONNECT)?;
            stream.set_nodelay(true).map_err(|_| Failure::CONNECT)?;
            self.stream = Some(stream);
        }
        self.stream.as_mut().ok_or(Failure::CONNECT)
    }

    async fn exchange(&mut self, request: &Request) -> Result<(), Failure> {
        self.out.clear();
        self.api.call(request, &mut Call { out: &mut self.out, node: &self.nodes[self.current] });
        self.connect().await?;
        let Self { stream: Some(stream), out, answer, api, .. } = self else { return Err(Failure::CONNECT) };
        stream.write_all(out).await.map_err(|_| Failure::LOST)?;
        answer.clear();
        let head = loop {
            receive(stream, answer).await?;
            if let Some(head) = Head::parse(answer)? {
                break head;
            }
        };
        // What comes next on the connection is the next answer: this one is read to its end.
        let mut body = head.read_body(stream, answer).await?;
        if head.closes {
            self.stream = None;
        }
        if (200..300).contains(&head.status) {
            return Ok(());
        }
        body.truncate(PROBLEM_BYTES_MAX);
        Err(Failure::Refused(api.refusal(head.status, &body)))
    }
}

impl<A: Api> Session for HttpSession<A> {
    async fn open(&mut self) {
        // Whether it works shows in the first request.
        let _ = self.connect().await;
    }

    async fn perform(&mut self, request: &Request) -> Result<(), Failure> {
        self.exchange(request).await
    }

    fn move_on(&mut self) {
        self.stream = None;
        self.current = (self.current + 1) % self.nodes.len();
    }
}

async fn receive(stream: &mut TcpStream, into: &mut Vec<u8>) -> Result<(), Failure> {
    match stream.read_buf(into).await {
        Ok(0) | Err(_) => Err(Failure::LOST),
        Ok(_) => Ok(()),
    }
}

/// What the head of an answer says.
struct Head {
    status: u16,
    /// Bytes of the head.
    length: usize,
    body: Body,
    closes: bool,
}

enum Body {
    Bytes(usize),
    Chunked,
}

impl Head {
    /// Reads a head; none if it is not whole yet.
    fn parse(answer: &[u8]) -> Result<Option<Self>, Failure> {
        let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default()
            .parse_response_with_uninit_headers(&mut response, answer, &mut headers)
            .map_err(|_| Failure::Broken("not_http"))?;
        let httparse::Status::Complete(length) = parsed else { return Ok(None) };
        let status = response.code.unwrap_or(0);
        let (mut body, mut closes) = (Body::Bytes(0), false);
        for header in response.headers.iter() {
            if header.name.eq_ignore_ascii_case("content-length") {
                let bytes = std::str::from_utf8(header.value).ok().and_then(|text| text.trim().parse().ok());
                body = Body::Bytes(bytes.ok_or(Failure::Broken("not_http"))?);
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                body = Body::Chunked;
            } else if header.name.eq_ignore_ascii_case("connection") {
                closes = header.value.eq_ignore_ascii_case(b"close");
            }
        }
        Ok(Some(Self { status, length, body, closes }))
    }

    /// Reads the rest of the answer. Gives its body if it is an error's.
    async fn read_body(&self, stream: &mut TcpStream, answer: &mut Vec<u8>) -> Result<Vec<u8>, Failure> {
        let is_error = !(200..300).contains(&self.status);
        match self.body {
            Body::Bytes(bytes) => {
                while answer.len() < self.length + bytes {
                    receive(stream, answer).await?;
                }
                Ok(if is_error { answer[self.length..self.length + bytes].to_vec() } else { Vec::new() })
            }
            Body::Chunked => {
                let (mut at, mut body) = (self.length, Vec::new());
                loop {
                    match httparse::parse_chunk_size(&answer[at..]) {
                        Ok(httparse::Status::Complete((head, size))) => {
                            let (from, size) = (at + head, usize::try_from(size).unwrap_or(usize::MAX));
                            // Each chunk ends with a line's end, and so does the list of trailers, which is empty.
                            let end = from.saturating_add(size).saturating_add(2);
                            while answer.len() < end {
                                receive(stream, answer).await?;
                            }
                            if size == 0 {
                                return Ok(body);
                            }
                            if is_error {
                                body.extend_from_slice(&answer[from..from + size]);
                            }
                            at = end;
                        }
                        Ok(httparse::Status::Partial) => receive(stream, answer).await?,
                        Err(_) => return Err(Failure::Broken("not_http")),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    struct Echo;

    impl Api for Echo {
        fn call(&self, _: &Request, call: &mut Call<'_>) {
            call.write("PUT", &["/", "x"], Some(b"{}"));
        }

        fn refusal(&self, status: u16, body: &[u8]) -> String {
            format!("{status} {}", String::from_utf8_lossy(body))
        }
    }

    /// Gives these answers, each piece by itself, on one connection; gives back what was sent to it.
    async fn ask(answers: Vec<Vec<&'static str>>) -> (Vec<Result<(), Failure>>, String) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/base/", listener.local_addr().unwrap());
        let questions = answers.len();
        let serve = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_nodelay(true).unwrap();
            let mut seen = String::new();
            for answer in answers {
                let mut bytes = [0; 1024];
                let n = stream.read(&mut bytes).unwrap();
                seen.push_str(std::str::from_utf8(&bytes[..n]).unwrap());
                for piece in answer {
                    stream.write_all(piece.as_bytes()).unwrap();
                    std::thread::yield_now();
                }
            }
            seen
        });
        let target = HttpTarget::new(vec![Node::new(&url, &[("authorization", "Bearer t")]).unwrap()], Echo);
        let mut session = target.session(7).unwrap();
        let mut results = Vec::new();
        for _ in 0..questions {
            results.push(session.perform(&Request::Read { number: 1 }).await);
        }
        (results, serve.join().unwrap())
    }

    #[tokio::test]
    async fn answers_are_read_to_their_end() {
        let (results, seen) = ask(vec![
            vec!["HTTP/1.1 200 OK\r\nContent-Le", "ngth: 5\r\n\r\nab", "cde"],
            vec!["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", "2\r\nde", "\r\n0\r\n", "\r\n"],
            vec!["HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nlate"],
            vec!["HTTP/1.1 404 No\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n1\r\n!\r\n0\r\n\r\n"],
            vec!["HTTP/1.1 204 None\r\n\r\n"],
            vec!["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"],
        ])
        .await;
        let refused = |text: &str| Err(Failure::Refused(text.to_owned()));
        let expected = [Ok(()), Ok(()), refused("503 late"), refused("404 no!"), Ok(()), Err(Failure::LOST)];
        assert_eq!(results, expected);
        let first = "PUT /base/x HTTP/1.1\r\nhost: ";
        assert!(seen.starts_with(first) && seen.contains("\r\nauthorization: Bearer t\r\n"), "{seen}");
        assert!(seen.contains("content-length: 2\r\n\r\n{}PUT"), "{seen}");
    }

    #[test]
    fn urls_that_cannot_be_used_are_refused() {
        for url in ["https://a", "a:1", "http://", "http:///x", "http://u@h"] {
            assert!(Node::new(url, &[]).is_err(), "{url}");
        }
        assert!(Node::new("http://a", &[("x", "a\r\nb: c")]).is_err());
        assert_eq!(Node::new("http://a/b/", &[]).unwrap().authority, "a:80");
    }
}
