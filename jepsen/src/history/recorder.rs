//! Where events are recorded while a run goes on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};

use super::{Event, Kind, Process};

/// Records events. Cheap to clone; all clones write to one history.
#[derive(Clone)]
pub struct Recorder(Arc<Shared>);

struct Shared {
    /// When the run began. Monotonic: no clock fault of a node reaches this process.
    began: Instant,
    events: Mutex<Vec<Event>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Recorder {
    /// An empty history that begins now.
    pub fn new() -> Self {
        Self(Arc::new(Shared { began: Instant::now(), events: Mutex::new(Vec::new()) }))
    }

    /// Nanoseconds since the run began.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.0.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Records the begin of an operation. Call it before anything is sent.
    pub fn invoke(&self, process: u64, f: &str, value: Value, node: Option<u64>) {
        self.push(Process::Client(process), Kind::Invoke, f, |event| Event { value, node, ..event });
    }

    /// Records the end of an operation. Call it once the whole answer has arrived.
    pub fn complete(&self, process: u64, kind: Kind, f: &str, answer: Completion) {
        let Completion { value, error, node, revision } = answer;
        self.push(Process::Client(process), kind, f, |event| Event { value, error, node, revision, ..event });
    }

    /// Records that a fault begins or that it is healed.
    pub fn fault(&self, name: &str, begins: bool, detail: Value) {
        let phase = if begins { "begin" } else { "end" };
        let value = json!({ "phase": phase, "detail": detail });
        self.push(Process::Nemesis, Kind::Info, name, |event| Event { value, ..event });
    }

    /// Records something that belongs to the run and is neither an operation nor a fault.
    pub fn note(&self, name: &str, detail: Value) {
        let value = json!({ "phase": "note", "detail": detail });
        self.push(Process::Nemesis, Kind::Info, name, |event| Event { value, ..event });
    }

    /// Everything so far.
    pub fn events(&self) -> Vec<Event> {
        self.lock().clone()
    }

    /// Index and time are drawn under one lock, so that both rise together.
    fn push(&self, process: Process, kind: Kind, f: &str, fill: impl FnOnce(Event) -> Event) {
        let mut events = self.lock();
        let event = Event {
            index: events.len() as u64,
            time_ns: self.now_ns(),
            process,
            kind,
            f: f.to_owned(),
            value: Value::Null,
            error: None,
            node: None,
            revision: None,
        };
        events.push(fill(event));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.0.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How an operation ended.
#[derive(Clone, Debug, Default)]
pub struct Completion {
    /// The answer.
    pub value: Value,
    /// Why there is none.
    pub error: Option<String>,
    /// The node that answered, or that was asked.
    pub node: Option<u64>,
    /// The revision that the answer named.
    pub revision: Option<u64>,
}
