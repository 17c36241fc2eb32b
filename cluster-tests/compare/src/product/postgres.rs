//! PostgreSQL, by itself or with synchronous standbys of which one must have a commit on disk: over its own protocol, with
//! prepared statements, documents as `jsonb`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use aerodb_load::{Failure, Request, Session, Target, id};
use anyhow::{Context, Result, ensure};
use cluster_tests::{PortLease, wait_until};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls, Statement};

use super::{READY_WITHIN, Server};
use crate::packages::{self, run};

/// The user `nobody`: PostgreSQL does not run as root.
const NOBODY: u32 = 65534;

pub(crate) struct Postgres {
    pub(crate) version: String,
    primary: Server,
    standbys: Vec<Server>,
    config: Arc<tokio_postgres::Config>,
    ports: Vec<PortLease>,
    folder: TempDir,
}

/// PostgreSQL's programs, and what they need to run.
struct Programs {
    folder: PathBuf,
    libraries: Option<PathBuf>,
    user: Option<u32>,
}

impl Programs {
    fn find() -> Result<Self> {
        let server = packages::POSTGRES.find()?;
        let folder = server.parent().context("the program lies in no folder")?.to_owned();
        let user = rustix::process::geteuid().is_root().then_some(NOBODY);
        Ok(Self { libraries: packages::libraries(&server), folder, user })
    }

    fn env(&self) -> Vec<(String, String)> {
        let path = self.libraries.iter().map(|path| ("LD_LIBRARY_PATH".to_owned(), path.display().to_string()));
        path.chain([("LC_ALL".to_owned(), "C".to_owned())]).collect()
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(self.folder.join(program));
        command.args(args).envs(self.env()).current_dir("/");
        if let Some(user) = self.user {
            command.uid(user);
        }
        run(&mut command)
    }

    fn serve(&self, data: &Path, port: u16, settings: &[&str]) -> Result<Server> {
        let port = format!("port={port}");
        let fixed = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=400", &port];
        let settings = fixed.iter().chain(settings).flat_map(|setting| ["-c".to_owned(), (*setting).to_owned()]);
        let args = ["-D".to_owned(), data.display().to_string()].into_iter().chain(settings).collect();
        let log = data.with_extension("log");
        Server::start_as(&self.folder.join("postgres"), args, self.env(), self.user, &log)
    }
}

impl Postgres {
    /// Starts a primary and so many standbys, each with these settings beside those that all have.
    pub(crate) async fn start(standbys: usize, settings: &[&str]) -> Result<Self> {
        let programs = Programs::find()?;
        let version = programs.run("postgres", &["--version"])?;
        let version = version.split_whitespace().nth(2).unwrap_or_default().to_owned();
        let folder = tempfile::Builder::new().prefix("aerodb-compare-postgres-").tempdir()?;
        if let Some(user) = programs.user {
            std::os::unix::fs::chown(folder.path(), Some(user), None)?;
        }
        let ports: Vec<PortLease> = (0..=standbys).map(|_| PortLease::take()).collect::<Result<_>>()?;
        let data = folder.path().join("primary");
        programs.run("initdb", &["-D", &data.display().to_string(), "-U", "bench", "--auth=trust"])?;
        let replicated = ["max_wal_senders=8", "wal_keep_size=1GB"].into_iter().filter(|_| standbys > 0);
        let sync = ["fsync=on", "synchronous_commit=on"].into_iter().chain(replicated).chain(settings.iter().copied());
        let primary = programs.serve(&data, ports[0].port(), &sync.collect::<Vec<_>>())?;
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(ports[0].port()).user("bench").dbname("postgres");
        let config = Arc::new(config);
        let client = wait_until(READY_WITHIN, "PostgreSQL to serve", || async { connect(&config).await }).await?;
        let mut postgres = Self { version, primary, standbys: Vec::new(), config, ports, folder };
        if standbys > 0 {
            postgres.add_standbys(&programs, &client, settings).await?;
        }
        Ok(postgres)
    }

    /// Each begins as a copy of the primary; from then on one of them must have what is committed.
    async fn add_standbys(&mut self, programs: &Programs, client: &Client, settings: &[&str]) -> Result<()> {
        let at = format!("host=127.0.0.1 port={} user=bench", self.ports[0].port());
        for (number, port) in self.ports.iter().enumerate().skip(1) {
            let data = self.folder.path().join(format!("standby{number}"));
            // With the slot's name and where the primary is, for the standby to begin from.
            programs.run("pg_basebackup", &["-D", &data.display().to_string(), "-R", "-X", "stream", "-d", &at])?;
            let name = format!("primary_conninfo={at} application_name=standby{number}");
            self.standbys.push(programs.serve(&data, port.port(), &[settings, &[&name]].concat())?);
        }
        client.batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'").await?;
        client.batch_execute("SELECT pg_reload_conf()").await?;
        let wanted = i64::try_from(self.standbys.len())?;
        wait_until(READY_WITHIN, "all standbys to be in the quorum", || async {
            let quorum = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum' AND state = 'streaming'";
            let count: i64 = client.query_one(quorum, &[]).await?.get(0);
            ensure!(count == wanted, "{count} of them");
            Ok(())
        })
        .await
    }

    /// A connection of its own.
    pub(crate) async fn connect(&self) -> Result<Client> {
        connect(&self.config).await
    }

    /// How it is connected to.
    pub(crate) fn config(&self) -> Arc<tokio_postgres::Config> {
        self.config.clone()
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.standbys.iter().chain([&self.primary]).filter_map(Server::pid).collect()
    }

    /// Makes the table of documents of this size.
    pub(crate) async fn create(&self, bytes: u32) -> Result<()> {
        let table = format!("CREATE TABLE bench{bytes} (id text PRIMARY KEY, doc jsonb NOT NULL)");
        Ok(self.connect().await?.batch_execute(&table).await?)
    }

    pub(crate) fn target(&self, bytes: u32) -> Table {
        Table { config: self.config.clone(), bytes }
    }
}

impl Drop for Postgres {
    /// Standbys first. Killed they would leave their shared memory behind.
    fn drop(&mut self) {
        self.standbys.iter_mut().chain([&mut self.primary]).for_each(Server::interrupt);
    }
}

/// A connection, driven by the runtime that this is called in.
pub(crate) async fn connect(config: &tokio_postgres::Config) -> Result<Client> {
    let (client, connection) = config.connect(NoTls).await?;
    // Its end shows in the next statement.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

/// A table of documents, at the primary.
pub(crate) struct Table {
    config: Arc<tokio_postgres::Config>,
    bytes: u32,
}

impl Target for Table {
    type Session = Rows;

    fn session(&self, _worker: u32) -> Result<Rows, String> {
        Ok(Rows { config: self.config.clone(), bytes: self.bytes, open: None })
    }
}

/// A connection with its prepared statements.
pub(crate) struct Rows {
    config: Arc<tokio_postgres::Config>,
    bytes: u32,
    open: Option<Open>,
}

struct Open {
    client: Client,
    read: Statement,
    write: Statement,
}

impl Rows {
    async fn connect(&mut self) -> Result<&Open> {
        if self.open.is_none() {
            let client = connect(&self.config).await?;
            let table = format!("bench{}", self.bytes);
            let read = client.prepare(&format!("SELECT doc::text FROM {table} WHERE id = $1")).await?;
            let write = format!(
                "INSERT INTO {table} (id, doc) VALUES ($1, ($2::text)::jsonb) \
                 ON CONFLICT (id) DO UPDATE SET doc = excluded.doc"
            );
            let write = client.prepare(&write).await?;
            self.open = Some(Open { client, read, write });
        }
        self.open.as_ref().context("no connection")
    }
}

/// What an error is to the load generator.
pub(crate) fn failure(error: tokio_postgres::Error) -> Failure {
    match error.code() {
        Some(code) => Failure::Refused(code.code().to_owned()),
        None => Failure::LOST,
    }
}

impl Session for Rows {
    async fn open(&mut self) {
        // Whether it works shows in the first statement.
        let _ = self.connect().await;
    }

    async fn perform(&mut self, request: &Request) -> Result<(), Failure> {
        let open = self.connect().await.map_err(|_| Failure::CONNECT)?;
        let done = match request {
            Request::Read { number } => open.client.query_one(&open.read, &[&id(*number)]).await.map(drop),
            Request::Write { number, document } => {
                let document = std::str::from_utf8(document).unwrap_or_default();
                open.client.execute(&open.write, &[&id(*number), &document]).await.map(drop)
            }
            Request::Insert { .. } => return Err(Failure::Refused("not_compared".to_owned())),
        };
        done.map_err(failure)
    }

    fn move_on(&mut self) {
        self.open = None;
    }
}
