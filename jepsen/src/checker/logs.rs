//! What the nodes wrote in their logs and never may, whatever was done to them.

use super::{Checker, Finding, Run};

/// A panic, which may have taken a task and left the process; and an entry that was void with nothing that explains it.
const NEVER: [&str; 2] = ["panicked at", "was void without a refusal"];

/// Whether this line of a log is one that no node may write.
pub(crate) fn is_complaint(line: &str) -> bool {
    NEVER.iter().any(|words| line.contains(words))
}

/// The nodes' logs.
#[derive(Debug)]
pub struct Logs;

impl Checker for Logs {
    fn name(&self) -> &'static str {
        "logs"
    }

    fn check(&self, run: &Run) -> Finding {
        let mut finding = Finding::new(self.name());
        for line in &run.complaints {
            finding.wrong("never to be logged", line.clone(), Vec::new());
        }
        finding
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::Verdict;

    #[test]
    fn a_panic_is_wrong_even_if_the_process_went_on() {
        let check = |complaints: &[&str]| {
            let complaints = complaints.iter().map(|line| (*line).to_owned()).collect();
            Logs.check(&Run { complaints, ..Run::default() }).verdict
        };
        assert_eq!(check(&[]), Verdict::Valid);
        assert_eq!(check(&["node-1.log: thread 'tokio' panicked at raft/src/lib.rs:1:1"]), Verdict::Invalid);
        assert!(is_complaint("ERROR an entry was void without a refusal before it seq=4"));
        assert!(!is_complaint("INFO a snapshot was installed"));
    }
}
