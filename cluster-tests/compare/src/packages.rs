//! Programs of others, out of Debian's packages. Only the files are taken: installing a package would start a service.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A program that is looked for.
pub(crate) struct Program {
    /// What it is called.
    pub(crate) name: &'static str,
    /// Where the package has it.
    pub(crate) path: &'static str,
    /// The packages that it needs to run, itself first.
    pub(crate) packages: &'static [&'static str],
}

/// etcd's server.
pub(crate) const ETCD: Program = Program { name: "etcd", path: "usr/bin/etcd", packages: &["etcd-server"] };
/// PostgreSQL's server; its other programs lie beside it.
pub(crate) const POSTGRES: Program = Program {
    name: "postgres",
    path: "usr/lib/postgresql/15/bin/postgres",
    packages: &["postgresql-15", "postgresql-client-15", "libpq5"],
};

impl Program {
    /// The program: where it is installed, or else unpacked into `tools/peers` of the target directory.
    pub(crate) fn find(&self) -> Result<PathBuf> {
        let installed = Path::new("/").join(self.path);
        if installed.is_file() {
            return Ok(installed);
        }
        let folder = folder()?;
        let path = folder.join(self.path);
        if !path.is_file() {
            self.unpack(&folder).with_context(|| {
                format!("{} is not here; `apt-get install {}` brings it", self.name, self.packages.join(" "))
            })?;
        }
        ensure!(path.is_file(), "the packages {:?} have no {}", self.packages, self.path);
        Ok(path)
    }

    fn unpack(&self, folder: &Path) -> Result<()> {
        let packed = tempfile::tempdir()?;
        run(Command::new("apt-get").args(["download", "-qq"]).args(self.packages).current_dir(packed.path()))?;
        for file in std::fs::read_dir(packed.path())? {
            run(Command::new("dpkg-deb").arg("-x").arg(file?.path()).arg(folder))?;
        }
        Ok(())
    }
}

/// The folder of shared libraries that were unpacked with a program, if it was.
pub(crate) fn libraries(program: &Path) -> Option<PathBuf> {
    let usr = program.ancestors().find(|folder| folder.ends_with("usr"))?;
    let found = std::fs::read_dir(usr.join("lib")).ok()?.flatten().map(|entry| entry.path());
    let unpacked = usr.parent() != Some(Path::new("/"));
    unpacked.then(|| found.into_iter().find(|path| path.to_string_lossy().ends_with("-linux-gnu"))).flatten()
}

fn folder() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(2).context("this program lies in no target directory")?;
    let folder = target.join("tools/peers");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Runs a command to its end; the error has what it said.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("starting {:?}", command.get_program()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{:?} ended with {}: {}", command.get_program(), output.status, said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
