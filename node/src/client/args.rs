//! The flags by which client commands find a cluster and prove who asks.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Client, Options, REFUSED_PATIENCE};
use crate::exit::Advice;
use crate::secret::Secret;
use crate::units;

/// Where to look without a URL: `aerodb dev`, then the nodes of `aerodb cluster up`.
const URLS_DEFAULT: [&str; 4] =
    ["http://127.0.0.1:7400", "http://127.0.0.1:7401", "http://127.0.0.1:7402", "http://127.0.0.1:7403"];

/// How long a request of a long piece of work may take: it outlasts an election, and a restart of the cluster.
const PATIENT_TIMEOUT: Duration = Duration::from_secs(120);

/// How a client command reaches a cluster.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectArgs {
    /// A node of the cluster, any one; give several and the others are used when one is away
    /// [default: ports 7400 to 7403 of this machine]
    #[arg(long, env = "AERODB_URL", value_name = "URL", value_delimiter = ',')]
    pub(crate) url: Vec<String>,
    /// The token or API key [default: AERODB_TOKEN, then AERODB_SERVICE_KEY, from the environment]
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// A file that holds the token
    #[arg(long, env = "AERODB_TOKEN_FILE", value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// How long one request may take, retries on other nodes included [default: 30s]
    #[arg(long, env = "AERODB_REQUEST_TIMEOUT", value_name = "TIME", value_parser = units::parse_duration)]
    request_timeout: Option<Duration>,
}

impl ConnectArgs {
    /// The client that these flags describe.
    pub(crate) fn client(&self) -> Result<Client, Advice> {
        Client::new(self.options(&|name| std::env::var(name).ok())?)
    }

    /// A client for long work: it waits for a cluster that is away as long as for one that is slow.
    pub(crate) fn patient_client(&self) -> Result<Client, Advice> {
        let options = self.options(&|name| std::env::var(name).ok())?;
        let timeout = self.request_timeout.unwrap_or(PATIENT_TIMEOUT);
        Client::new(Options { timeout, refused_timeout: timeout, ..options })
    }

    /// The options that result from flags and environment.
    pub(crate) fn options(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<Options, Advice> {
        let given: Vec<&str> = self.url.iter().map(|url| url.trim()).filter(|url| !url.is_empty()).collect();
        let list = if given.is_empty() { &URLS_DEFAULT[..] } else { &given[..] };
        Ok(Options {
            urls: list.iter().map(|url| base_url(url)).collect::<Result<_, _>>()?,
            token: self.token(env)?,
            timeout: self.request_timeout.unwrap_or(Duration::from_secs(30)),
            refused_timeout: self.request_timeout.unwrap_or(REFUSED_PATIENCE),
        })
    }

    fn token(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<Option<Secret>, Advice> {
        if let Some(token) = &self.token {
            return Ok(Some(Secret::new(token)));
        }
        if let Some(path) = &self.token_file {
            return Secret::from_file(path).map(Some);
        }
        let from_env = ["AERODB_TOKEN", "AERODB_SERVICE_KEY"].into_iter().filter_map(env);
        Ok(from_env.map(|token| Secret::new(&token)).find(|token| !token.expose().is_empty()))
    }
}

/// Checks a URL and brings it into the form `http://host:port`, to which a path is added.
fn base_url(text: &str) -> Result<String, Advice> {
    let wrong = |why: &str| {
        Advice::usage(format!("'{text}' is not the URL of a node"))
            .why(why)
            .remedy("write it like http://127.0.0.1:7401")
    };
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = reqwest::Url::parse(&full).map_err(|error| wrong(&error.to_string()))?;
    if url.scheme() != "http" {
        return Err(wrong("this version speaks http only; TLS comes in a later version"));
    }
    if url.host_str().is_none_or(str::is_empty) || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it needs a host and port and nothing after the path"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("it has a user name in it; tokens are given with --token or AERODB_TOKEN"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> ConnectArgs {
        ConnectArgs { url: Vec::new(), token: None, token_file: None, request_timeout: None }
    }

    #[test]
    fn urls_have_a_default_and_one_form() {
        let none = |_: &str| None;
        assert_eq!(args().options(&none).unwrap().urls, URLS_DEFAULT);
        let given = ConnectArgs { url: vec!["127.0.0.1:1".into(), "http://h:2/".into()], ..args() };
        assert_eq!(given.options(&none).unwrap().urls, ["http://127.0.0.1:1", "http://h:2"]);
        for wrong in ["https://h:1", "http://", "http://u:p@h:1", "http://h:1?x=1", "ftp://h"] {
            let given = ConnectArgs { url: vec![wrong.into()], ..args() };
            assert!(given.options(&none).is_err(), "{wrong}");
        }
    }

    #[test]
    fn where_the_token_comes_from() {
        let env = |name: &str| match name {
            "AERODB_TOKEN" => Some("from-token".to_owned()),
            "AERODB_SERVICE_KEY" => Some("from-key".to_owned()),
            _ => None,
        };
        let token = |args: ConnectArgs, env: &dyn Fn(&str) -> Option<String>| {
            args.options(env).unwrap().token.map(|token| token.expose().to_owned())
        };
        assert_eq!(token(args(), &env).as_deref(), Some("from-token"));
        assert_eq!(token(args(), &|name| env(name).filter(|t| t == "from-key")).as_deref(), Some("from-key"));
        assert_eq!(token(ConnectArgs { token: Some("flag".into()), ..args() }, &env).as_deref(), Some("flag"));
        assert_eq!(token(args(), &|_| None), None);
        assert!(!format!("{:?}", args().options(&env).unwrap()).contains("from-token"), "never shown");
    }
}
