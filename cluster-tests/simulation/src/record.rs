//! The file that a soak can be resumed from: a first line that says of what the results are, then one line for each seed.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

/// What results are of: those of another program, or of other arguments, say nothing about this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Of {
    arguments: Vec<String>,
    /// A hash of the program.
    program: String,
}

impl Of {
    /// Results of `program` with `arguments`.
    pub(crate) fn new(program: &Path, arguments: &[String]) -> Result<Self> {
        let bytes = std::fs::read(program).with_context(|| format!("reading the program {}", program.display()))?;
        Ok(Self { arguments: arguments.to_vec(), program: format!("{:032x}", xxh3_128(&bytes)) })
    }
}

/// What a seed came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) seed: u64,
    pub(crate) hash: String,
    pub(crate) simulated_ms: u64,
    pub(crate) violations: Vec<String>,
}

/// The file, open for more.
pub(crate) struct Record {
    path: PathBuf,
    file: File,
}

impl Record {
    /// Opens the file at `path` for results of `of`, or makes it; gives what is in it.
    ///
    /// # Errors
    /// When it cannot be used, or holds results of something else.
    pub(crate) fn open(path: &Path, of: &Of) -> Result<(Self, BTreeMap<u64, Line>)> {
        let name = path.display();
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            text => text.with_context(|| format!("reading the results in {name}"))?,
        };
        let file = OpenOptions::new().create(true).append(true).open(path);
        let mut record =
            Self { path: path.to_owned(), file: file.with_context(|| format!("opening {name} for results"))? };
        let mut lines = text.lines();
        match lines.next().map(serde_json::from_str::<Of>) {
            None => record.write(&serde_json::to_string(of)?)?,
            Some(Ok(found)) => ensure!(
                found == *of,
                "{name} has results of another program or of other arguments ({:?}, now {:?}): name another file, or \
                 remove that one",
                found.arguments,
                of.arguments
            ),
            Some(Err(_)) => {
                anyhow::bail!(
                    "{name} does not begin with what its results are of: name another file, or remove that one"
                )
            }
        }
        // The last line may be cut short: its seed runs again, and the next line is one of its own.
        if !text.is_empty() && !text.ends_with('\n') {
            record.write("")?;
        }
        let known = lines.filter_map(|line| serde_json::from_str::<Line>(line).ok());
        Ok((record, known.map(|line| (line.seed, line)).collect()))
    }

    /// Adds what a seed came to.
    pub(crate) fn add(&mut self, line: &Line) -> Result<()> {
        self.write(&serde_json::to_string(line)?)
    }

    fn write(&mut self, line: &str) -> Result<()> {
        writeln!(self.file, "{line}").with_context(|| format!("writing to {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(arguments: &[&str]) -> Of {
        Of { arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(), program: "1".to_owned() }
    }

    fn line(seed: u64) -> Line {
        Line { seed, hash: String::new(), simulated_ms: 1, violations: Vec::new() }
    }

    #[test]
    fn results_count_only_for_what_they_are_of() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results");
        Record::open(&path, &of(&["--calm"])).unwrap().0.add(&line(1)).unwrap();
        assert_eq!(Record::open(&path, &of(&["--calm"])).unwrap().1.len(), 1);
        assert!(Record::open(&path, &of(&[])).is_err(), "a calm run is none with faults");
        let other = Of { program: "2".to_owned(), ..of(&["--calm"]) };
        assert!(Record::open(&path, &other).is_err(), "another program");
        std::fs::write(&path, serde_json::to_string(&line(1)).unwrap()).unwrap();
        assert!(Record::open(&path, &of(&[])).is_err(), "of nobody knows what");
        assert!(Record::open(&dir.path().join("no/such/folder"), &of(&[])).is_err());
    }

    #[test]
    fn a_torn_line_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results");
        let (mut record, _) = Record::open(&path, &of(&[])).unwrap();
        record.add(&line(1)).unwrap();
        record.add(&line(2)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 9]).unwrap();
        let (mut record, known) = Record::open(&path, &of(&[])).unwrap();
        assert_eq!(known.into_keys().collect::<Vec<_>>(), [1]);
        record.add(&line(3)).unwrap();
        let (_, known) = Record::open(&path, &of(&[])).unwrap();
        assert_eq!(known.into_keys().collect::<Vec<_>>(), [1, 3]);
    }
}
