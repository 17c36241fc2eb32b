//! A bare axum handler that returns the same bytes for every request: what HTTP alone costs on this machine.

use aerodb_load::Request;
use aerodb_load::http::{Api, Call, HttpTarget, Node};
use anyhow::{Context, Error, Result, ensure};
use axum::Router;
use axum::extract::Path;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::routing::get;
use cluster_tests::{PortLease, wait_until};
use tempfile::TempDir;

use super::{READY_WITHIN, Server};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to listen
    #[arg(long)]
    addr: String,
}

/// Serves documents of as many bytes as the path says.
pub(crate) async fn serve(args: &Args) -> Result<()> {
    let listener = tokio::net::TcpListener::bind(&args.addr).await?;
    let documents: [axum::body::Bytes; 2] = [document(256), document(1024)];
    let handler = move |Path((size, _id)): Path<(usize, String)>| {
        let found = documents.iter().find(|document| document.len() == size).cloned();
        async move {
            let body = found.unwrap_or_else(|| document(size.min(1 << 20)));
            ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body)
        }
    };
    let app = Router::new().route("/{size}/{id}", get(handler));
    axum::serve(listener, app).await.context("serving")
}

fn document(bytes: usize) -> axum::body::Bytes {
    let text = "x".repeat(bytes.saturating_sub(r#"{"text":""}"#.len()));
    format!(r#"{{"text":"{text}"}}"#).into()
}

pub(crate) struct Bare {
    server: Server,
    url: String,
    _port: PortLease,
    _folder: TempDir,
}

impl Bare {
    pub(crate) async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("aerodb-compare-bare-").tempdir()?;
        let port = PortLease::take()?;
        let args = vec!["bare".to_owned(), "--addr".to_owned(), port.addr()];
        let server = Server::start(&std::env::current_exe()?, args, &folder.path().join("log"))?;
        let url = format!("http://{}", port.addr());
        let http = reqwest::Client::builder().no_proxy().build()?;
        wait_until(READY_WITHIN, "the bare handler to serve", || async {
            let status = http.get(format!("{url}/64/x")).send().await?.status();
            ensure!(status.is_success(), "{status}");
            Ok(())
        })
        .await?;
        Ok(Self { server, url, _port: port, _folder: folder })
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.server.pid().into_iter().collect()
    }

    pub(crate) fn target(&self, bytes: u32) -> Result<HttpTarget<Same>> {
        Ok(HttpTarget::new(vec![Node::new(&self.url, &[]).map_err(Error::msg)?], Same { bytes }))
    }
}

/// Asks for a document of a size.
pub(crate) struct Same {
    bytes: u32,
}

impl Api for Same {
    fn call(&self, request: &Request, call: &mut Call<'_>) {
        let number = if let Request::Read { number } = request { *number } else { 0 };
        call.write("GET", &["/", &self.bytes.to_string(), "/", &aerodb_load::id(number)], None);
    }

    fn refusal(&self, status: u16, _: &[u8]) -> String {
        format!("http_{status}")
    }
}
