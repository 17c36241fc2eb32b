//! How far an import is, in a file of its own that is gone once the import is done.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aerodb_records::Position;
use serde::{Deserialize, Serialize};

use super::identity::{self, Identity, Target};
use super::options::{ImportCommand, Input, Settings};
use crate::commands::random_key;
use crate::exit::Advice;

/// How often it is written at most. What it lacks is sent again, and found to be done by its idempotency keys.
const SAVE_EVERY: Duration = Duration::from_millis(500);

/// What is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    file: PathBuf,
    collection: String,
    identity: String,
    /// What makes the keys of a run with `--restart` other ones; kept, so that such a run can be continued too.
    salt: String,
    settings: Settings,
    position: Position,
}

/// The progress of an import.
#[derive(Debug)]
pub(super) struct Progress {
    /// Where it is kept; nothing for standard input, or where there is no place for it.
    path: Option<PathBuf>,
    kept: Kept,
    saved: Instant,
}

impl Progress {
    /// Finds what an earlier run left, or begins at the start. Returns the identity of the import, too.
    pub(super) fn open(input: &Input, target: &Target, command: &ImportCommand) -> Result<(Self, Identity), Advice> {
        let settings = command.settings(input.format);
        let path = place(input, command);
        let earlier = match path.as_deref().filter(|path| path.exists() && !command.restart) {
            Some(path) => Some(read(path)?),
            None => None,
        };
        let salt = match &earlier {
            Some(earlier) => earlier.salt.clone(),
            None if command.restart => random_key(),
            None => String::new(),
        };
        let identity = Identity::new(input, target, &settings, &salt);
        let position = match earlier {
            Some(earlier) => continue_at(earlier, &identity, &settings)?,
            None => Position::START,
        };
        let kept = Kept {
            file: input.file.as_ref().map(|file| file.path.clone()).unwrap_or_default(),
            collection: command.collection.clone(),
            identity: identity.text(),
            salt,
            settings,
            position,
        };
        let progress = Self { path, kept, saved: Instant::now() };
        if command.restart {
            progress.save();
        }
        Ok((progress, identity))
    }

    /// All before this place is dealt with.
    pub(super) fn position(&self) -> &Position {
        &self.kept.position
    }

    /// Whether a later run can go on from here.
    pub(super) fn is_resumable(&self) -> bool {
        self.path.is_some()
    }

    /// Moves on, and writes that down if the last time is a while ago.
    pub(super) fn advance(&mut self, position: Position) {
        debug_assert!(position.offset >= self.kept.position.offset, "an import only moves forward");
        self.kept.position = position;
        if self.saved.elapsed() >= SAVE_EVERY {
            self.save();
            self.saved = Instant::now();
        }
    }

    /// Writes it down now. That it cannot is not worth failing for: the keys still keep all from being done twice.
    pub(super) fn save(&self) {
        let Some(path) = &self.path else { return };
        if let Err(error) = write(path, &self.kept) {
            tracing::warn!(path = %path.display(), %error, "cannot write down how far the import is");
        }
    }

    /// The import is done; there is nothing to go on with.
    pub(super) fn remove(&self) {
        if let Some(path) = &self.path
            && let Err(error) = std::fs::remove_file(path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "cannot remove the progress of an import that is done");
        }
    }
}

/// Where an earlier run stopped, if this one may go on from there.
fn continue_at(earlier: Kept, identity: &Identity, settings: &Settings) -> Result<Position, Advice> {
    if earlier.identity == identity.text() {
        return Ok(earlier.position);
    }
    let begun = format!("an earlier import of this file stopped at line {}", earlier.position.line);
    if earlier.settings != *settings {
        return Err(Advice::usage(format!("{begun}, and had other settings"))
            .why(format!("they were {}", serde_json::to_string(&earlier.settings).unwrap_or_default()))
            .remedy("use the same flags to continue it, or --restart to begin anew"));
    }
    Err(Advice::usage(format!("{begun}, but the file, the cluster or the collection is not the same any more"))
        .why("what was imported before cannot be told from what is still to come")
        .remedy("use --restart to begin anew, with --on-conflict skip if the records have ids"))
}

/// The file that keeps how far an import is, in the user's folder for such things: nothing is left beside the data.
fn place(input: &Input, command: &ImportCommand) -> Option<PathBuf> {
    let name = identity::progress_name(input, &command.collection)?;
    let folder = command.state_dir.clone().unwrap_or_else(|| {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let states = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
        states.unwrap_or_else(std::env::temp_dir).join("aerodb").join("imports")
    });
    Some(folder.join(format!("{name}.json")))
}

fn read(path: &Path) -> Result<Kept, Advice> {
    let wrong = |why: String| {
        Advice::usage(format!("cannot read how far the earlier import was, in {}", path.display()))
            .why(why)
            .remedy("use --restart to begin anew")
    };
    let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))
}

fn write(path: &Path, kept: &Kept) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&serde_json::to_vec(kept)?)?;
    file.persist(path)?;
    Ok(())
}
