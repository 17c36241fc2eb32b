//! One event of a history.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// Who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Process {
    /// A client that does one thing after the other. Once the outcome of an operation is unknown its number is never
    /// used again: that operation may take effect at any later time, beside whatever the same worker does next.
    Client(u64),
    /// What injects faults.
    Nemesis,
}

/// What sort of event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The operation begins.
    Invoke,
    /// It took effect, and this is its answer.
    Ok,
    /// It had no effect.
    Fail,
    /// Whether it took effect is unknown; for the nemesis: something that it did.
    Info,
}

/// One event. The names in files are Jepsen's (`type`, `time`), so that its tools can read them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the order of events, from 0.
    pub index: u64,
    /// Nanoseconds since the run began, by a clock that no fault touches.
    #[serde(rename = "time")]
    pub time_ns: u64,
    /// Who did it.
    pub process: Process,
    /// What sort of event it is.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What was done, by name.
    pub f: String,
    /// With an invocation what was asked, with a completion the answer.
    #[serde(default)]
    pub value: Value,
    /// Why it failed or why nobody knows: a code of the product's published list, or what the connection did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The node that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<u64>,
    /// The revision that the answer named: the one written, or the one read at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
}

impl Serialize for Process {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Process::Client(number) => serializer.serialize_u64(*number),
            Process::Nemesis => serializer.serialize_str("nemesis"),
        }
    }
}

impl<'de> Deserialize<'de> for Process {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(name) if name == "nemesis" => Ok(Process::Nemesis),
            Value::Number(number) => number.as_u64().map(Process::Client).ok_or_else(|| D::Error::custom("a process")),
            other => Err(D::Error::custom(format!("{other} is no process"))),
        }
    }
}
