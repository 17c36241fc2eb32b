//! Where an export goes. A file appears under its name only when it is whole; until then it grows in a part beside it,
//! which a later run can go on with.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Seek, Stdout, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::exit::Advice;

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 1 << 18;

/// The names that belong to an export to a file.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    /// The file itself, once it is whole.
    pub(super) out: PathBuf,
    /// What there is of it.
    pub(super) part: PathBuf,
    /// How far that is.
    pub(super) state: PathBuf,
}

impl Paths {
    /// The names for `--out`; none for standard output, which nobody can go on with.
    pub(super) fn of(out: Option<&Path>) -> Option<Self> {
        let out = out.filter(|path| path.as_os_str() != "-")?;
        let with = |ending: &str| {
            let mut name = out.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        };
        Some(Self { out: out.to_owned(), part: with(".part"), state: with(".part.json") })
    }

    /// The folder that all of them are in.
    pub(super) fn folder(&self) -> &Path {
        self.out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// The part is whole: it takes its name.
    pub(super) fn publish(&self) -> anyhow::Result<()> {
        std::fs::rename(&self.part, &self.out)?;
        self.forget()
    }

    /// `file` is what the export was for; the part was only a step towards it.
    pub(super) fn publish_instead(&self, file: NamedTempFile) -> anyhow::Result<()> {
        file.as_file().sync_all()?;
        file.persist(&self.out)?;
        std::fs::remove_file(&self.part)?;
        self.forget()
    }

    fn forget(&self) -> anyhow::Result<()> {
        match std::fs::remove_file(&self.state) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        Ok(File::open(self.folder())?.sync_all()?)
    }
}

/// A place that documents are written to, one after the other.
pub(super) enum Target {
    /// Standard output.
    Stdout(BufWriter<Stdout>),
    /// A file: the part of an export, or one without a name that is gone with the process.
    File(BufWriter<File>),
}

impl Target {
    /// Standard output.
    pub(super) fn stdout() -> Self {
        Self::Stdout(BufWriter::new(io::stdout()))
    }

    /// A file without a name.
    pub(super) fn unnamed() -> io::Result<Self> {
        Ok(Self::File(BufWriter::with_capacity(BUFFER_BYTES, tempfile::tempfile()?)))
    }

    /// The part of an export with the first `bytes` of what it holds. Only its owner may read it: what is in a database
    /// is not public by itself.
    pub(super) fn part(paths: &Paths, bytes: u64) -> Result<Self, Advice> {
        let cannot = |why: String| {
            Advice::usage(format!("cannot write {}", paths.part.display())).why(why).remedy("choose another --out")
        };
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&paths.part);
        let mut file = open.map_err(|error| cannot(error.to_string()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(cannot("another export is writing it now".to_owned())),
            Err(TryLockError::Error(error)) => return Err(cannot(error.to_string())),
        }
        let mut cut = || {
            file.set_len(bytes)?;
            file.seek(io::SeekFrom::Start(bytes))
        };
        cut().map_err(|error| cannot(error.to_string()))?;
        Ok(Self::File(BufWriter::with_capacity(BUFFER_BYTES, file)))
    }

    /// Writes out what was gathered; what is in a file is on disk then.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(writer) => writer.flush(),
            Self::File(writer) => {
                writer.flush()?;
                writer.get_ref().sync_data()
            }
        }
    }

    /// The file, to be read from its start; standard output cannot be read.
    pub(super) fn into_file(self) -> anyhow::Result<File> {
        let Self::File(writer) = self else { anyhow::bail!("standard output cannot be read again") };
        let mut file = writer.into_inner().map_err(|error| error.into_error())?;
        file.rewind()?;
        Ok(file)
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(writer) => writer.write(bytes),
            Self::File(writer) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(writer) => writer.flush(),
            Self::File(writer) => writer.flush(),
        }
    }
}
