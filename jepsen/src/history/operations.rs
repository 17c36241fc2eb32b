//! A history as the checkers look at it: operations with begin and end, and faults with theirs.

use std::collections::HashMap;

use serde_json::Value;

use super::{Event, Kind, Process};

/// An operation: its invocation together with its completion.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// The process that did it.
    pub process: u64,
    /// What was done.
    pub f: String,
    /// What was asked.
    pub asked: Value,
    /// The answer, where there is one.
    pub answer: Value,
    /// [`Kind::Ok`], [`Kind::Fail`] or [`Kind::Info`]; an operation that the run's end cut off is `Info`.
    pub kind: Kind,
    /// Why it did not succeed.
    pub error: Option<String>,
    /// The node that was asked.
    pub node: Option<u64>,
    /// The revision that the answer named.
    pub revision: Option<u64>,
    /// Index of the invocation.
    pub begin: u64,
    /// Index of the completion. `u64::MAX` where the operation may still take effect after everything else.
    pub end: u64,
    /// When it was invoked.
    pub begin_ns: u64,
    /// When it completed, or when it was given up.
    pub end_ns: u64,
}

/// A fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Its name.
    pub name: String,
    /// What it was done to.
    pub detail: Value,
    /// When it began.
    pub begin_ns: u64,
    /// When it was healed, or the end of the history.
    pub end_ns: u64,
}

/// Everything that happened in a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// All operations, in the order of their invocations.
    pub operations: Vec<Operation>,
    /// All faults, in the order in which they began.
    pub faults: Vec<Fault>,
    /// What the run said about itself: name, time, detail.
    pub notes: Vec<(String, u64, Value)>,
    /// The time of the last event.
    pub end_ns: u64,
}

impl History {
    /// Pairs what belongs together.
    pub fn new(events: &[Event]) -> Self {
        let end_ns = events.last().map_or(0, |event| event.time_ns);
        let mut history = Self { end_ns, ..Self::default() };
        let mut open: HashMap<u64, usize> = HashMap::new();
        for event in events {
            match event.process {
                Process::Nemesis => history.nemesis(event),
                Process::Client(process) if event.kind == Kind::Invoke => {
                    open.insert(process, history.operations.len());
                    history.operations.push(begun(event, process, end_ns));
                }
                Process::Client(process) => {
                    if let Some(operation) = open.remove(&process).map(|place| &mut history.operations[place]) {
                        complete(operation, event);
                    }
                }
            }
        }
        history
    }

    fn nemesis(&mut self, event: &Event) {
        let detail = event.value["detail"].clone();
        match event.value["phase"].as_str() {
            Some("begin") => {
                let (begin_ns, end_ns) = (event.time_ns, self.end_ns);
                self.faults.push(Fault { name: event.f.clone(), detail, begin_ns, end_ns });
            }
            Some("end") => {
                // The same fault may be injected many times: an end belongs to the last begin that is still open.
                let open = self.faults.iter_mut().rev().find(|f| f.name == event.f && f.end_ns == self.end_ns);
                if let Some(fault) = open {
                    fault.end_ns = event.time_ns;
                }
            }
            _ => self.notes.push((event.f.clone(), event.time_ns, detail)),
        }
    }

    /// When the last fault was healed; `None` when there was none.
    pub fn healed_ns(&self) -> Option<u64> {
        self.faults.iter().map(|fault| fault.end_ns).max()
    }
}

fn begun(event: &Event, process: u64, end_ns: u64) -> Operation {
    Operation {
        process,
        f: event.f.clone(),
        asked: event.value.clone(),
        answer: Value::Null,
        kind: Kind::Info,
        error: Some("the run ended first".into()),
        node: event.node,
        revision: None,
        begin: event.index,
        end: u64::MAX,
        begin_ns: event.time_ns,
        end_ns,
    }
}

fn complete(operation: &mut Operation, event: &Event) {
    operation.answer = event.value.clone();
    operation.kind = event.kind;
    operation.error = event.error.clone();
    operation.node = event.node.or(operation.node);
    operation.revision = event.revision;
    operation.end = if event.kind == Kind::Info { u64::MAX } else { event.index };
    operation.end_ns = event.time_ns;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::history::{Completion, Recorder};

    #[test]
    fn begin_and_end_are_paired_and_what_is_unknown_never_ends() {
        let recorder = Recorder::new();
        recorder.invoke(0, "put", json!(1), Some(1));
        recorder.fault("kill", true, json!({"node": 1}));
        recorder.invoke(1, "get", json!(2), Some(2));
        recorder.complete(1, Kind::Ok, "get", Completion { value: json!(3), revision: Some(4), ..Default::default() });
        recorder.complete(0, Kind::Info, "put", Completion { error: Some("timeout".into()), ..Default::default() });
        recorder.fault("kill", false, json!(null));
        recorder.invoke(2, "put", json!(5), None);
        let history = History::new(&recorder.events());
        let ends: Vec<_> = history.operations.iter().map(|op| (op.process, op.kind, op.begin, op.end)).collect();
        assert_eq!(ends, [(0, Kind::Info, 0, u64::MAX), (1, Kind::Ok, 2, 3), (2, Kind::Info, 6, u64::MAX)]);
        assert_eq!(history.operations[1].revision, Some(4));
        let [fault] = &history.faults[..] else { panic!("one fault") };
        assert!(fault.begin_ns <= fault.end_ns && history.healed_ns() == Some(fault.end_ns));
    }
}
