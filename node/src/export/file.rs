//! Where an export goes. A file appears under its name only when it is whole.

use std::io::{self, BufWriter, Stdout, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::exit::Advice;

/// A file that is being written, or standard output.
pub(super) enum Target {
    /// Standard output.
    Stdout(BufWriter<Stdout>),
    /// A temporary file beside the one that it will become.
    File { writer: BufWriter<NamedTempFile>, path: PathBuf },
}

impl Target {
    /// Opens the target; nothing, or `-`, is standard output.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, Advice> {
        let Some(path) = path.filter(|path| path.as_os_str() != "-") else {
            return Ok(Self::Stdout(BufWriter::new(io::stdout())));
        };
        let temporary = NamedTempFile::with_prefix_in(".aerodb-export-", folder(path)).map_err(|error| {
            Advice::usage(format!("cannot write {}", path.display()))
                .why(error.to_string())
                .remedy("choose another --out")
        })?;
        Ok(Self::File { writer: BufWriter::with_capacity(1 << 18, temporary), path: path.to_owned() })
    }

    /// The folder in which something that grows may be kept meanwhile.
    pub(super) fn folder(&self) -> PathBuf {
        match self {
            Self::Stdout(_) => std::env::temp_dir(),
            Self::File { path, .. } => folder(path).to_owned(),
        }
    }

    /// Ends the export: what was written is there, under its name and on disk. Only its owner may read it, as is usual
    /// for temporary files: what is in a database is not public by itself.
    pub(super) fn commit(self) -> anyhow::Result<()> {
        match self {
            Self::Stdout(mut writer) => Ok(writer.flush()?),
            Self::File { writer, path } => {
                let file = writer.into_inner().map_err(|error| error.into_error())?;
                file.as_file().sync_all()?;
                file.persist(&path)?;
                Ok(std::fs::File::open(folder(&path))?.sync_all()?)
            }
        }
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(writer) => writer.write(bytes),
            Self::File { writer, .. } => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(writer) => writer.flush(),
            Self::File { writer, .. } => writer.flush(),
        }
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
