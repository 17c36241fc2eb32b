//! Histories as JSON lines: what `check` reads again.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};

use super::Event;

/// Writes one event a line.
///
/// # Errors
/// When the file cannot be written.
pub fn write_jsonl(events: &[Event], path: &Path) -> Result<()> {
    let mut out = BufWriter::new(File::create(path).with_context(|| format!("creating {}", path.display()))?);
    for event in events {
        serde_json::to_writer(&mut out, event)?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

/// Reads what [`write_jsonl`] wrote.
///
/// # Errors
/// When the file cannot be read or a line is no event.
pub fn read_jsonl(path: &Path) -> Result<Vec<Event>> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut events = Vec::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line?;
        let event = serde_json::from_str(&line).with_context(|| format!("{}:{}", path.display(), number + 1))?;
        events.push(event);
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::history::{Completion, Kind, Recorder};

    #[test]
    fn what_is_written_is_read_again() {
        let recorder = Recorder::new();
        recorder.invoke(3, "get", json!({"id": "a"}), Some(1));
        recorder.fault("kill", true, json!({"nodes": [1]}));
        let answer = Completion { value: json!(null), error: Some("timeout".into()), node: Some(1), revision: Some(9) };
        recorder.complete(3, Kind::Info, "get", answer);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        write_jsonl(&recorder.events(), &path).unwrap();
        assert_eq!(read_jsonl(&path).unwrap(), recorder.events());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(r#""process":"nemesis""#) && text.contains(r#""type":"invoke""#), "{text}");
    }
}
