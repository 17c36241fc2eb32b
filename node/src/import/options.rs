//! What is imported, and how.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::client::ConnectArgs;
use crate::exit::Advice;

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// One JSON object a line
    Jsonl,
    /// One JSON array of objects
    Json,
    /// Comma-separated values under a row of names
    Csv,
}

/// What to do about a record that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnError {
    /// Stop there; what came before stays
    Stop,
    /// Say which it is and go on
    Skip,
}

/// What to do about a record whose id is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnConflict {
    /// It is a bad record
    Error,
    /// Leave the document as it is
    Skip,
    /// Put the record in its place
    Replace,
}

/// What `aerodb import` takes.
#[derive(Debug, Args)]
pub(crate) struct ImportCommand {
    /// The file; - is standard input
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// The collection that the records go to
    #[arg(long, short, value_name = "NAME")]
    pub(super) collection: String,
    /// The form of the file [default: by the end of its name]
    #[arg(long, short, value_enum)]
    pub(super) format: Option<Format>,
    /// The field that becomes the id; numbers become texts, and an `id` that is there already is replaced
    #[arg(long, value_name = "FIELD")]
    pub(super) id_field: Option<String>,
    /// How many records go in one request
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=5000))]
    pub(super) batch: u16,
    /// What to do about a record that is refused
    #[arg(long, value_enum, default_value = "stop")]
    pub(super) on_error: OnError,
    /// What to do about a record whose id is taken
    #[arg(long, value_enum, default_value = "error")]
    pub(super) on_conflict: OnConflict,
    /// Create the collection if there is none
    #[arg(long)]
    pub(super) create: bool,
    /// Begin at the start of the file, and import again what an earlier run imported
    #[arg(long)]
    pub(super) restart: bool,
    /// Where it is kept how far imports are [default: aerodb/imports in the user's folder for states]
    #[arg(long, env = "AERODB_STATE_DIR", value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,
    /// CSV: keep every value as text, instead of reading numbers, true and false
    #[arg(long)]
    pub(super) csv_strings: bool,
    #[command(flatten)]
    pub(super) connect: ConnectArgs,
}

/// What decides which documents come of a file, and where batches end. A run can only be continued with the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(super) format: Format,
    pub(super) id_field: Option<String>,
    pub(super) batch: u16,
    pub(super) on_conflict: OnConflict,
    pub(super) csv_strings: bool,
}

impl ImportCommand {
    /// The settings of this run.
    pub(super) fn settings(&self, format: Format) -> Settings {
        Settings {
            format,
            id_field: self.id_field.clone(),
            batch: self.batch,
            on_conflict: self.on_conflict,
            csv_strings: self.csv_strings,
        }
    }
}

/// Where the records come from.
#[derive(Clone, Debug)]
pub(super) struct Input {
    /// The file, or nothing for standard input.
    pub(super) file: Option<FileFacts>,
    /// Its form.
    pub(super) format: Format,
}

/// What tells a file from others, and from itself after a change.
#[derive(Clone, Debug)]
pub(super) struct FileFacts {
    /// Where it is, without detours.
    pub(super) path: PathBuf,
    /// How long it is.
    pub(super) bytes: u64,
    /// When it was last changed.
    pub(super) modified_ns: u128,
}

impl Input {
    /// Looks at the file that a command names.
    pub(super) fn open(command: &ImportCommand) -> Result<Self, Advice> {
        let stdin = command.file.as_os_str() == "-";
        let format = match command.format.or_else(|| by_name(&command.file)) {
            Some(format) => format,
            None => {
                return Err(Advice::usage(format!("the form of {} is not clear", command.file.display()))
                    .why("its name does not end in .jsonl, .ndjson, .json or .csv")
                    .remedy("say --format jsonl, json or csv"));
            }
        };
        let file = if stdin { None } else { Some(facts(&command.file)?) };
        Ok(Self { file, format })
    }

    /// The bytes from a position on.
    pub(super) fn bytes_from(&self, offset: u64) -> Result<Box<dyn Read + Send>, Advice> {
        match &self.file {
            None => Ok(Box::new(std::io::stdin())),
            Some(facts) => {
                let open = || -> std::io::Result<File> {
                    let mut file = File::open(&facts.path)?;
                    file.seek(SeekFrom::Start(offset))?;
                    Ok(file)
                };
                Ok(Box::new(open().map_err(|error| unreadable(&facts.path, &error.to_string()))?))
            }
        }
    }
}

fn by_name(path: &Path) -> Option<Format> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "jsonl" | "ndjson" => Some(Format::Jsonl),
        "json" => Some(Format::Json),
        "csv" => Some(Format::Csv),
        _ => None,
    }
}

fn facts(path: &Path) -> Result<FileFacts, Advice> {
    let look = || -> std::io::Result<FileFacts> {
        let path = path.canonicalize()?;
        let metadata = std::fs::metadata(&path)?;
        if !metadata.is_file() {
            return Err(std::io::Error::other("it is not a file"));
        }
        // Without a time of change the length alone has to tell.
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Ok(FileFacts { path, bytes: metadata.len(), modified_ns: modified.unwrap_or_default().as_nanos() })
    };
    look().map_err(|error| unreadable(path, &error.to_string()))
}

fn unreadable(path: &Path, why: &str) -> Advice {
    Advice::usage(format!("cannot read {}", path.display())).why(why)
}
