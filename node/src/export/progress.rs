//! How far an export is, in a file beside its part: what was asked for, at which revision, and where the next page
//! begins. A later run of the same command goes on there, and ends with the very bytes that one run would have written.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::ExportCommand;
use super::file::Paths;
use super::format::{Format, Writer};
use crate::exit::Advice;
use crate::units;

/// How often it is written at most. What it lacks is read again.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// What decides which documents an export has, and how they are written. A run can only be continued with the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Settings {
    collection: String,
    format: Format,
    filter: Option<String>,
    select: Option<String>,
    as_of: Option<u64>,
}

impl Settings {
    pub(super) fn of(command: &ExportCommand) -> Self {
        Self {
            collection: command.collection.clone(),
            format: command.format,
            filter: command.filter.clone(),
            select: command.select.clone(),
            as_of: command.as_of,
        }
    }
}

/// What a part holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Written {
    pub(super) documents: u64,
    pub(super) bytes: u64,
    /// CSV: the columns of these documents.
    pub(super) columns: BTreeSet<String>,
}

/// How far an export is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The revision that all pages are read at.
    pub(super) revision: Option<u64>,
    /// How many documents there are in all, if that is known.
    pub(super) count: Option<u64>,
    /// Where the next page begins; none behind the last one.
    pub(super) cursor: Option<String>,
    pub(super) written: Written,
}

/// What is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    settings: Settings,
    place: Place,
}

/// The place that an earlier run of the same export came to, if there is one.
pub(super) fn earlier(paths: &Paths, settings: &Settings) -> Result<Option<Place>, Advice> {
    const REMEDY: &str = "use --restart to begin anew, or another --out";
    let unusable =
        |why: String| Advice::usage(format!("cannot go on with {}", paths.part.display())).why(why).remedy(REMEDY);
    let found = std::fs::metadata(&paths.part).map(|part| part.len());
    let state = match std::fs::read(&paths.state) {
        Ok(state) => state,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return match found {
                Ok(bytes) if bytes > 0 => Err(unusable(format!("there is no {} to it", paths.state.display()))),
                _ => Ok(None),
            };
        }
        Err(error) => return Err(unusable(format!("{}: {error}", paths.state.display()))),
    };
    let kept: Result<Kept, _> = serde_json::from_slice(&state);
    let kept = kept.map_err(|error| unusable(format!("{}: {error}", paths.state.display())))?;
    if kept.settings != *settings {
        let done = units::plural(kept.place.written.documents, "document");
        return Err(Advice::usage(format!(
            "an earlier export to this file stopped after {done}, and had other settings"
        ))
        .why(format!("they were {}", serde_json::to_string(&kept.settings).unwrap_or_default()))
        .remedy("use the same flags to continue it, --restart to begin anew, or another --out"));
    }
    match found {
        Ok(bytes) if bytes >= kept.place.written.bytes => Ok(Some(kept.place)),
        Ok(bytes) => {
            Err(unusable(format!("it has {bytes} bytes, and {} were written before", kept.place.written.bytes)))
        }
        Err(error) => Err(unusable(error.to_string())),
    }
}

/// Keeps how far an export is.
pub(super) struct Progress {
    /// None for standard output.
    paths: Option<Paths>,
    settings: Settings,
    saved: Option<Instant>,
}

impl Progress {
    pub(super) fn new(paths: Option<Paths>, settings: Settings) -> Self {
        Self { paths, settings, saved: None }
    }

    /// Whether a later run can go on.
    pub(super) fn is_resumable(&self) -> bool {
        self.paths.is_some()
    }

    /// Notes where the next page begins, if the last time is a while ago.
    pub(super) fn note(&mut self, writer: &mut Writer, place: &Place) -> anyhow::Result<()> {
        match self.saved {
            Some(saved) if saved.elapsed() < SAVE_EVERY => Ok(()),
            _ => self.save(writer, place),
        }
    }

    /// Notes it now: first what is in the part is made safe, then the word of it.
    pub(super) fn save(&mut self, writer: &mut Writer, place: &Place) -> anyhow::Result<()> {
        self.saved = Some(Instant::now());
        let Some(paths) = &self.paths else { return Ok(()) };
        writer.settle()?;
        let kept = Kept { settings: self.settings.clone(), place: place.clone() };
        let mut file = tempfile::NamedTempFile::with_prefix_in(".aerodb-export-", paths.folder())?;
        file.write_all(&serde_json::to_vec(&kept)?)?;
        file.as_file().sync_all()?;
        file.persist(&paths.state)?;
        Ok(())
    }
}
