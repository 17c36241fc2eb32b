//! What a checker found.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Anomalies that a finding lists at most; the rest is counted.
const ANOMALIES_MAX: usize = 50;

/// The verdict. The worse one is the greater one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything was as it must be.
    Valid,
    /// It cannot be said. Not a pass.
    Unknown,
    /// Something was wrong.
    Invalid,
}

impl Verdict {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Valid => "valid",
            Verdict::Unknown => "unknown",
            Verdict::Invalid => "invalid",
        }
    }
}

/// Something that was wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Anomaly {
    /// The rule that was broken, in a few words.
    pub rule: String,
    /// What happened.
    pub text: String,
    /// The operations that show it, by the index of their invocation.
    pub operations: Vec<u64>,
}

/// What a checker found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Who found it.
    pub checker: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Why it is unknown; empty where nothing is.
    pub reasons: Vec<String>,
    /// What was checked, by name.
    pub counts: BTreeMap<String, u64>,
    /// What was wrong, the first ones.
    pub anomalies: Vec<Anomaly>,
    /// How many there were in all.
    pub anomalies_total: u64,
}

impl Finding {
    /// Nothing wrong so far.
    pub fn new(checker: &str) -> Self {
        Self {
            checker: checker.to_owned(),
            verdict: Verdict::Valid,
            reasons: Vec::new(),
            counts: BTreeMap::new(),
            anomalies: Vec::new(),
            anomalies_total: 0,
        }
    }

    /// One more of `what` was checked.
    pub fn count(&mut self, what: &str) {
        self.add(what, 1);
    }

    /// So many more of `what`.
    pub fn add(&mut self, what: &str, number: u64) {
        *self.counts.entry(what.to_owned()).or_default() += number;
    }

    /// Something was wrong.
    pub fn wrong(&mut self, rule: &str, text: impl Into<String>, operations: Vec<u64>) {
        self.verdict = Verdict::Invalid;
        self.anomalies_total += 1;
        if self.anomalies.len() < ANOMALIES_MAX {
            self.anomalies.push(Anomaly { rule: rule.to_owned(), text: text.into(), operations });
        }
    }

    /// It cannot be said.
    pub fn unknown(&mut self, reason: impl Into<String>) {
        self.verdict = self.verdict.max(Verdict::Unknown);
        self.reasons.push(reason.into());
    }

    /// Nothing was checked that could have been wrong: that is no pass.
    pub fn needs(&mut self, what: &str) {
        if self.counts.get(what).copied().unwrap_or(0) == 0 {
            self.unknown(format!("no {what} to check"));
        }
    }
}
