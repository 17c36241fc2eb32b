//! What happens to nodes, and what is remembered of it.

use std::time::Duration;

use serde_json::json;

use crate::output::Output;
use crate::units;

/// Something that happened to a node.
#[derive(Debug)]
pub(super) enum Event {
    /// It was started.
    Started { id: u16, pid: u32, again: bool },
    /// It ended by itself. `code` is missing if a signal ended it; `restart_in` if it stays as it is.
    Died { id: u16, pid: u32, how: String, code: Option<i32>, tail: Vec<String>, restart_in: Option<Duration> },
    /// It could not even be started.
    NotStarted { id: u16, why: String, restart_in: Option<Duration> },
    /// It did not stop when asked and was killed.
    Killed { id: u16, after: Duration },
}

impl Event {
    /// Says it: to programs all, to people what is not as it should be.
    pub(super) fn tell(&self, output: Output) -> std::io::Result<()> {
        if output.is_json() {
            return output.json(&self.value());
        }
        match self {
            Self::Started { again: false, .. } => {}
            Self::Started { id, pid, again: true } => output.note(format!("node {id} was started again (pid {pid})")),
            Self::Died { id, pid, how, tail, restart_in, .. } => {
                output.note(format!("node {id} (pid {pid}) {how}; {}", next(*restart_in)));
                for line in tail {
                    output.note(format!("    {line}"));
                }
            }
            Self::NotStarted { id, why, restart_in } => {
                output.note(format!("node {id} could not be started: {why}; {}", next(*restart_in)));
            }
            Self::Killed { id, after } => {
                output.note(format!("node {id} did not stop within {} and was killed", millis(*after)));
            }
        }
        Ok(())
    }

    fn value(&self) -> serde_json::Value {
        let ms = |time: &Option<Duration>| time.map(|time| time.as_millis() as u64);
        match self {
            Self::Started { id, pid, again } => json!({"event": "started", "id": id, "pid": pid, "again": again}),
            Self::Died { id, pid, how, code, tail, restart_in } => json!({
                "event": "died", "id": id, "pid": pid, "how": how, "code": code, "log": tail, "restart_in_ms": ms(restart_in)
            }),
            Self::NotStarted { id, why, restart_in } => {
                json!({"event": "not_started", "id": id, "why": why, "restart_in_ms": ms(restart_in)})
            }
            Self::Killed { id, after } => json!({"event": "killed", "id": id, "after_ms": after.as_millis() as u64}),
        }
    }
}

fn next(restart_in: Option<Duration>) -> String {
    match restart_in {
        Some(wait) => format!("the others go on, and it is started again in {}", millis(wait)),
        None => "it stays as it is (--no-restart); the others go on".to_owned(),
    }
}

fn millis(time: Duration) -> String {
    units::millis(time.as_secs_f64() * 1e3)
}

/// What became of a node so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fate {
    /// Which node.
    pub(super) id: u16,
    /// Its process now, if it has one.
    pub(super) pid: Option<u32>,
    /// How often it ended by itself.
    pub(super) deaths: u32,
}

impl Fate {
    /// A node that was not started yet.
    pub(super) fn new(id: u16) -> Self {
        Self { id, pid: None, deaths: 0 }
    }
}

/// Remembers what happened.
pub(super) fn note(fates: &mut [Fate], event: &Event) {
    let (id, pid, death) = match event {
        Event::Started { id, pid, .. } => (*id, Some(*pid), 0),
        Event::Died { id, .. } | Event::NotStarted { id, .. } => (*id, None, 1),
        Event::Killed { id, .. } => (*id, None, 0),
    };
    if let Some(fate) = fates.iter_mut().find(|fate| fate.id == id) {
        fate.pid = pid;
        fate.deaths += death;
    }
}
