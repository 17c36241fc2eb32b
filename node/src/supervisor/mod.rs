//! `aerodb cluster up`: a cluster of real processes on one machine.
//!
//! One task keeps one node alive; this module starts them, waits until they serve, says what there is, and stops them
//! all when it is told to. What must be the same after a restart (ports, number of nodes) is in `cluster.toml` in the
//! folder of the cluster; everything else is the nodes' own.

mod banner;
mod events;
mod keeper;
mod key;
mod lock;
mod log_tail;
mod plan;
mod ports;
mod ready;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::exit::Advice;
use crate::output::Output;
use crate::{os, units};
use events::{Event, Fate};
use keeper::Stop;
use key::Key;
use plan::Plan;

/// What `aerodb cluster up` takes.
#[derive(Debug, Args)]
pub(crate) struct UpCommand {
    /// How many nodes [default: 3, or what the folder was made with]
    #[arg(long, env = "AERODB_NODES", value_name = "N")]
    nodes: Option<u16>,
    /// Where the nodes keep their data and logs
    #[arg(long, env = "AERODB_DIR", value_name = "DIR", default_value = "./aerodb-cluster")]
    dir: PathBuf,
    /// The first node's port for clients; the others follow [default: 7401]
    #[arg(long, env = "AERODB_HTTP_PORT", value_name = "PORT")]
    http_port: Option<u16>,
    /// The first node's port for the other nodes; the others follow [default: 7501]
    #[arg(long, env = "AERODB_PEER_PORT", value_name = "PORT")]
    peer_port: Option<u16>,
    /// Leave a node that died as it is
    #[arg(long, env = "AERODB_NO_RESTART")]
    no_restart: bool,
    /// How long the nodes may take to get ready before that is said
    #[arg(long, env = "AERODB_READY_TIMEOUT", value_name = "TIME", default_value = "60s", value_parser = units::parse_duration)]
    ready_timeout: Duration,
}

/// A node that dies this often before any is ready will not start by trying again.
const DEATHS_BEFORE_READY_MAX: u32 = 3;

/// Runs the cluster until it is told to stop.
pub(crate) async fn up(command: UpCommand, output: Output) -> anyhow::Result<()> {
    debug_assert_eq!(
        tokio::runtime::Handle::current().runtime_flavor(),
        tokio::runtime::RuntimeFlavor::CurrentThread,
        "the kernel ties children to the thread that starts them, so there must be one, and it must stay"
    );
    let dir = make_dir(&command.dir)?;
    let _lock = lock::take(&dir)?;
    let plan = Plan::settle(Plan::load(&dir)?, command.nodes, command.http_port, command.peer_port)?;
    ports::check_free(&plan)?;
    let key = Key::find(plan.initialised, std::env::var("AERODB_SERVICE_KEY").ok())?;
    plan.save(&dir)?;

    let stop = Stop::default();
    let (events, received) = mpsc::unbounded_channel();
    let mut keepers = JoinSet::new();
    for id in plan.ids() {
        let options = keeper::Options {
            id,
            dir: plan::node_dir(&dir, id),
            plan: plan.clone(),
            service_key: key.secret().cloned(),
            restart: !command.no_restart,
        };
        keepers.spawn(keeper::keep(options, stop.clone(), events.clone()));
    }
    // The keepers hold the only senders, so that the channel closes when the last of them is done.
    drop(events);

    let mut watch = Watch { plan, dir, key, output, stop: stop.clone(), received, restarts: !command.no_restart };
    let outcome = watch.until_stopped(command.ready_timeout).await;
    watch.stop_all(&mut keepers).await;
    outcome
}

fn make_dir(dir: &Path) -> Result<PathBuf, Advice> {
    let made = std::fs::create_dir_all(dir).and_then(|()| dir.canonicalize());
    made.map_err(|error| {
        Advice::failed(format!("cannot make the folder {}", dir.display()))
            .why(error.to_string())
            .remedy("choose another with --dir")
    })
}

/// The supervisor while its nodes run.
struct Watch {
    plan: Plan,
    dir: PathBuf,
    key: Key,
    output: Output,
    stop: Stop,
    received: mpsc::UnboundedReceiver<Event>,
    restarts: bool,
}

impl Watch {
    /// Reports what happens until somebody says stop, or until there is nothing left to watch.
    async fn until_stopped(&mut self, ready_timeout: Duration) -> anyhow::Result<()> {
        self.output.aside(format!(
            "starting {} in {}; this takes a few seconds …",
            units::plural(u64::from(self.plan.nodes), "node"),
            self.dir.display()
        ));
        let mut signals = os::Signals::listen()?;
        let urls = Arc::new(self.plan.urls());
        let mut ready = std::pin::pin!(ready::wait(urls.clone(), ready_timeout));
        let mut waiting = true;
        let mut fates: Vec<Fate> = self.plan.ids().map(Fate::new).collect();
        loop {
            tokio::select! {
                () = signals.stop() => return Ok(()),
                missing = &mut ready, if waiting => {
                    waiting = false;
                    self.announce(&fates, &missing?).await?;
                }
                event = self.received.recv() => match event {
                    Some(event) => {
                        event.tell(self.output)?;
                        events::note(&mut fates, &event);
                        if waiting {
                            self.give_up_if_hopeless(&fates, &event)?;
                        }
                    }
                    None => return Err(Advice::failed("all nodes have ended").why("--no-restart leaves them as they are").into()),
                },
            }
        }
    }

    /// Says what there is. `missing` are the nodes that are not ready, and why.
    async fn announce(&mut self, fates: &[Fate], missing: &[(String, String)]) -> anyhow::Result<()> {
        let first = !self.plan.initialised;
        if missing.is_empty() {
            self.plan.initialised = true;
            self.plan.save(&self.dir)?;
        }
        let key_works = match self.key.secret() {
            Some(key) if missing.is_empty() => ready::key_works(&self.plan.urls(), key).await,
            _ => None,
        };
        let banner =
            banner::Banner { plan: &self.plan, dir: &self.dir, key: &self.key, fates, missing, first, key_works };
        Ok(self.output.result(&banner.value(), || banner.text())?)
    }

    /// A cluster none of whose nodes ever starts is an error to look at, not one to repeat.
    fn give_up_if_hopeless(&self, fates: &[Fate], event: &Event) -> anyhow::Result<()> {
        let Event::Died { id, code, tail, .. } = event else {
            return Ok(());
        };
        let enough = if self.restarts { DEATHS_BEFORE_READY_MAX } else { 1 };
        let hopeless = fates.iter().all(|fate| fate.deaths >= enough);
        // Exit code 2 is the node's word for a wrong configuration; it will be as wrong the next time.
        if hopeless || *code == Some(2) {
            return Err(Advice::failed(format!("node {id} does not start, and trying again would not help"))
                .why(if tail.is_empty() { "it said nothing".to_owned() } else { tail.join("\n       ") })
                .remedy(format!("see {}", plan::log_file(&plan::node_dir(&self.dir, *id)).display()))
                .into());
        }
        Ok(())
    }

    /// Lets all nodes finish what they are at, and waits for them; a second signal ends them at once.
    async fn stop_all(&mut self, keepers: &mut JoinSet<()>) {
        self.stop.gently.cancel();
        self.output.aside("stopping …");
        let Ok(mut signals) = os::Signals::listen() else { return };
        loop {
            tokio::select! {
                joined = keepers.join_next() => if joined.is_none() { break },
                () = signals.stop() => {
                    self.output.aside("killing the nodes at once");
                    self.stop.at_once.cancel();
                }
            }
        }
        while let Ok(event) = self.received.try_recv() {
            // Nobody may be left to read it; the nodes have stopped all the same.
            let _ = event.tell(self.output);
        }
        self.output.aside(format!("all nodes have stopped; the data stays in {}", self.dir.display()));
    }
}
