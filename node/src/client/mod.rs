//! The HTTP client that the commands share: any of several nodes, retries that are safe, errors that can be read.

mod args;
mod call;
mod error;
mod retry;
mod transact;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::redirect::Policy;
use serde::de::DeserializeOwned;

pub(crate) use args::ConnectArgs;
pub(crate) use call::{Call, segment};
pub(crate) use error::{Error, Problem};
pub(crate) use transact::{Done, Place, Seen, resend, transact};

use crate::exit::Advice;
use crate::secret::{self, Secret};
use retry::{Attempt, Pause};

/// How long a connection to one node may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long one attempt may take before another node is tried.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(35);
/// How long to go on when no node even accepts a connection: enough for a restart, short enough for somebody waiting.
const REFUSED_PATIENCE: Duration = Duration::from_secs(2);

/// How to reach a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Base URLs of nodes, any of them; the first that answers is used.
    pub(crate) urls: Vec<String>,
    /// What to authenticate with.
    pub(crate) token: Option<Secret>,
    /// How long one request may take, with all its attempts.
    pub(crate) timeout: Duration,
    /// How long to try when no node accepts connections.
    pub(crate) refused_timeout: Duration,
}

/// A client of one cluster.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    options: Options,
    /// Which of the URLs answered last.
    current: AtomicUsize,
}

/// A successful answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The revision that was written or read at.
    pub(crate) revision: Option<u64>,
    /// The body as it came.
    pub(crate) body: Bytes,
}

impl Answer {
    /// Reads the body as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Error::Strange(format!("the answer is not as expected: {error}")))
    }
}

impl Client {
    /// A client with the given options. Nothing is sent yet.
    pub(crate) fn new(options: Options) -> Result<Self, Advice> {
        if options.urls.is_empty() {
            return Err(Advice::usage("no URL was given"));
        }
        if let Some(token) = &options.token
            && !secret::is_header_safe(token.expose())
        {
            return Err(Advice::usage("the token cannot be sent")
                .why("it has spaces or characters that are not printable ASCII in it"));
        }
        // A node is talked to directly: the proxy of a browser has no business with the keys of a database, and a
        // redirect would hand them to whoever it names.
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .user_agent(concat!("aerodb/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Advice::failed("cannot make an HTTP client").why(error.to_string()))?;
        Ok(Self { http, options, current: AtomicUsize::new(0) })
    }

    /// The nodes that this client was told about.
    pub(crate) fn urls(&self) -> &[String] {
        &self.options.urls
    }

    /// Whether there is anything to authenticate with.
    pub(crate) fn has_token(&self) -> bool {
        self.options.token.is_some()
    }

    /// Sends a request to whichever node answers, until it is answered or its time is over.
    ///
    /// What a node has surely not done is always tried again elsewhere: no connection, 503, 429. What it may have done
    /// (the connection broke, 504) is tried again only if the call says that repeating it is safe.
    pub(crate) async fn send(&self, call: &Call) -> Result<Answer, Error> {
        let begun = Instant::now();
        let timeout = call.timeout.unwrap_or(self.options.timeout);
        let mut pause = Pause::new(self.options.urls.len());
        let mut tried: Vec<(String, String)> = Vec::new();
        let mut answered = false;
        loop {
            let index = self.current.load(Ordering::Relaxed) % self.options.urls.len();
            let url = &self.options.urls[index];
            let left = timeout.saturating_sub(begun.elapsed());
            let (why, retry_after, stay) = match self.attempt(url, call, left.min(ATTEMPT_TIMEOUT)).await {
                Attempt::Done(answer) => return Ok(answer),
                Attempt::Refused(problem) => return Err(Error::Problem(problem)),
                Attempt::NotSent(why) => (why, None, false),
                Attempt::Busy { problem, retry_after } => {
                    answered = true;
                    let stay = problem.status == 429;
                    (problem.to_string(), retry_after, stay)
                }
                Attempt::Unknown(why) if call.repeatable => {
                    answered = true;
                    (why, None, false)
                }
                Attempt::Unknown(why) => return Err(Error::OutcomeUnknown { url: url.clone(), why }),
            };
            tried.retain(|(known, _)| known != url);
            tried.push((url.clone(), why));
            if !stay {
                let next = (index + 1) % self.options.urls.len();
                // Whoever else moved on already chose a node; that one is not passed over.
                let _ = self.current.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
            }
            let wait = pause.after_failure(retry_after, stay);
            let patience = if answered { timeout } else { self.options.refused_timeout.min(timeout) };
            if begun.elapsed() + wait >= patience {
                return Err(Error::Unavailable { tried, waited: begun.elapsed() });
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Asks one node, once. Used where it matters which node answers.
    pub(crate) async fn probe(&self, url: &str, call: &Call, timeout: Duration) -> Result<Answer, String> {
        match self.attempt(url, call, timeout).await {
            Attempt::Done(answer) => Ok(answer),
            Attempt::Refused(problem) | Attempt::Busy { problem, .. } => Err(problem.to_string()),
            Attempt::NotSent(why) | Attempt::Unknown(why) => Err(why),
        }
    }

    async fn attempt(&self, url: &str, call: &Call, timeout: Duration) -> Attempt {
        let mut request = self.http.request(call.method.clone(), format!("{url}{}", call.path)).timeout(timeout);
        if !call.query.is_empty() {
            request = request.query(&call.query);
        }
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        if let Some(token) = &self.options.token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(body) = &call.body {
            request = request.body(body.clone());
        }
        retry::classify(request.send().await).await
    }
}

#[cfg(test)]
pub(crate) mod tests;
