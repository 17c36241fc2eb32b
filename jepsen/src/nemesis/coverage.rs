//! What really happened while a nemesis worked: a fault that bit nobody proves nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::world::Ending;

/// Counters of what happened, what should have happened and did not, and what never may.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Counters by name.
    pub counts: BTreeMap<String, u64>,
    /// What this nemesis must have brought about and has not: the fault did not bite, and the run says little.
    pub missing: Vec<String>,
    /// What the product did that no fault excuses, such as a process that ended by itself without a reason of ours.
    pub violations: Vec<String>,
    /// How nodes ended by themselves, in their own words.
    pub endings: Vec<String>,
}

impl Coverage {
    /// Adds to a counter.
    pub fn add(&mut self, name: &str, more: u64) {
        *self.counts.entry(name.to_owned()).or_default() += more;
    }

    /// Both together.
    #[must_use]
    pub(super) fn and(mut self, other: Self) -> Self {
        for (name, more) in other.counts {
            self.add(&name, more);
        }
        self.missing.extend(other.missing);
        self.violations.extend(other.violations);
        self.endings.extend(other.endings);
        self
    }

    /// The value of a counter; what never happened is 0.
    pub fn get(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// Whether the fault bit.
    pub fn has_bitten(&self) -> bool {
        self.missing.is_empty()
    }

    /// Takes in how nodes ended by themselves: `all` endings since the start of the world, of which those that were taken
    /// in before are the first ones.
    pub(crate) fn count_endings(&mut self, all: &[Ending]) {
        for ending in all.iter().skip(self.endings.len()) {
            self.add("ended_by_itself", 1);
            let told = format!("node {} ({}): {}", ending.node, ending.status, ending.reason);
            if !ending.orderly {
                self.violations.push(format!("ended out of order: {told}"));
            } else if ending.excuse.is_none() {
                self.violations.push(format!("ended without a fault of ours: {told}"));
            }
            self.endings.push(told);
        }
    }

    /// Notes which of these counters did not move. `a|b` asks for either.
    pub(super) fn demand(&mut self, names: &[&str]) {
        for name in names {
            if name.split('|').all(|one| self.get(one) == 0) {
                self.missing.push((*name).to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_move_is_missing() {
        let mut coverage = Coverage::default();
        coverage.add("killed", 2);
        coverage.demand(&["killed", "leader_changes", "cut|killed", "a|b"]);
        assert_eq!(coverage.missing, ["leader_changes", "a|b"]);
        assert!(!coverage.has_bitten() && coverage.get("nothing") == 0);
    }
    #[test]
    fn an_ending_after_the_faults_is_taken_in_once() {
        use std::os::unix::process::ExitStatusExt;
        let ending = |raw: i32, excuse: Option<&str>| Ending {
            node: 2,
            status: std::process::ExitStatus::from_raw(raw),
            reason: "error: why".into(),
            orderly: raw > 255,
            excuse: excuse.map(str::to_owned),
        };
        let mut endings = vec![ending(1 << 8, Some("its disk was full"))];
        let mut coverage = Coverage::default();
        coverage.count_endings(&endings);
        assert!(coverage.violations.is_empty() && coverage.endings.len() == 1);
        // An abort while the last digest is computed.
        endings.push(ending(6, Some("its data was damaged")));
        endings.push(ending(1 << 8, None));
        coverage.count_endings(&endings);
        coverage.count_endings(&endings);
        assert!(coverage.violations.len() == 2 && coverage.get("ended_by_itself") == 3, "{coverage:?}");
    }
}
