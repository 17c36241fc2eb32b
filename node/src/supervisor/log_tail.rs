//! The last lines of a node's log, as people read them.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use serde_json::Value;

/// How much of the end of a log is looked at.
const TAIL_BYTES_MAX: u64 = 16 * 1024;
/// How many lines are shown.
const TAIL_LINES_MAX: usize = 10;

/// The last lines of a log, from a position on. Empty when there are none, or no log.
pub(super) fn tail(path: &Path, from: u64) -> Vec<String> {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(end.saturating_sub(TAIL_BYTES_MAX).max(from.min(end))))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(TAIL_LINES_MAX)..].iter().map(|line| readable(line)).collect()
}

/// A JSON log line as a sentence; any other line as it is.
fn readable(line: &str) -> String {
    let Ok(Value::Object(mut event)) = serde_json::from_str::<Value>(line) else {
        return line.to_owned();
    };
    let mut take = |name: &str| match event.remove(name) {
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let (time, level, message) = (take("timestamp"), take("level"), take("message"));
    take("target");
    let mut text = format!("{time} {level} {message}").trim().to_owned();
    for (name, value) in &event {
        text.push_str(&format!(" {name}={}", crate::output::cell(Some(value))));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_this_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.log");
        assert!(tail(&path, 0).is_empty());
        let old = "old line\n";
        let new = r#"{"timestamp":"T","level":"ERROR","message":"disk full","target":"x","free":0}"#;
        std::fs::write(&path, format!("{old}{new}\npanicked\n")).unwrap();
        assert_eq!(tail(&path, old.len() as u64), ["T ERROR disk full free=0", "panicked"]);
        std::fs::write(&path, "line\n".repeat(100)).unwrap();
        assert_eq!(tail(&path, 0).len(), TAIL_LINES_MAX);
        assert!(tail(&path, 99_999).is_empty());
    }
}
