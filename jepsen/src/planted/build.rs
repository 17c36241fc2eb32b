//! Builds of the product and the simulation that have the planted bugs, in a target directory of their own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use xxhash_rust::xxh3::Xxh3;

/// Programs with planted bugs, which are all off until the environment names one.
#[derive(Clone, Debug)]
pub struct Build {
    /// The target directory.
    folder: PathBuf,
}

impl Build {
    /// Where they lie: a folder `planted` inside of the target directory that this program was built into.
    ///
    /// # Errors
    /// When this program lies in no target directory.
    pub fn beside_this_program() -> Result<Self> {
        let program = std::env::current_exe().context("where this program lies")?;
        let target = program.ancestors().nth(2).context("this program lies in no target directory")?;
        Ok(Self { folder: target.join("planted") })
    }

    /// The server.
    pub fn server(&self) -> PathBuf {
        self.program("aerodb")
    }

    /// The deterministic simulation.
    pub fn simulation(&self) -> PathBuf {
        self.program("simulation")
    }

    fn program(&self, name: &str) -> PathBuf {
        self.folder.join("release").join(name)
    }

    /// Whether there is something to run, built of the sources as they are now.
    ///
    /// # Errors
    /// When a program is missing or of other sources; says which, and what makes it.
    pub fn is_there(&self) -> Result<()> {
        for program in [self.server(), self.simulation()] {
            ensure!(program.is_file(), "there is no {}: make it with `jepsen planted --build`", program.display());
        }
        let built_of = std::fs::read_to_string(self.stamp()).unwrap_or_default();
        ensure!(
            built_of == hash_of_sources(root()?)?,
            "the sources have changed since {} was built: make it again with `jepsen planted --build`",
            self.folder.display()
        );
        Ok(())
    }

    /// Says what the programs were built of.
    fn stamp(&self) -> PathBuf {
        self.folder.join("built-of")
    }

    /// Builds them.
    ///
    /// # Errors
    /// When cargo fails; it has said why.
    pub fn make(&self) -> Result<()> {
        let root = root()?;
        // As they are before: what changes meanwhile makes the build one of other sources.
        let sources = hash_of_sources(root)?;
        self.begin_with_dependencies()?;
        // The whole workspace: other selections give dependencies other features, and RocksDB is compiled once more.
        let status = Command::new("cargo")
            .args(["build", "--release", "--locked", "--workspace", "--bins", "--target-dir"])
            .arg(&self.folder)
            .env("RUSTC_WORKSPACE_WRAPPER", root.join("jepsen/planted-rustc"))
            .current_dir(root)
            .status()
            .context("starting cargo")?;
        ensure!(status.success(), "cargo could not build the planted bugs: {status}");
        Ok(std::fs::write(self.stamp(), sources)?)
    }

    /// Takes over what is built of the dependencies already, which are the same: RocksDB alone takes ten minutes.
    fn begin_with_dependencies(&self) -> Result<()> {
        let (from, to) = (self.folder.with_file_name("release"), self.folder.join("release"));
        if to.exists() || !from.join("deps").is_dir() {
            return Ok(());
        }
        std::fs::create_dir_all(&to).with_context(|| format!("creating {}", to.display()))?;
        let parts = [".fingerprint", "build", "deps"].map(|part| from.join(part));
        // With its times, by which cargo knows what is fresh.
        let status = Command::new("cp").args(["-a", "--reflink=auto"]).args(parts).arg(&to).status()?;
        ensure!(status.success(), "copying what is built already to {}: {status}", to.display());
        Ok(())
    }
}

/// The root of the repository.
fn root() -> Result<&'static Path> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the root of the repository")?;
    ensure!(
        root.join("Cargo.toml").is_file(),
        "the sources of this program are no longer in {}: build it anew",
        root.display()
    );
    Ok(root)
}

/// What the product and the simulation are built of, as one number.
fn hash_of_sources(root: &Path) -> Result<String> {
    let mut files = vec![root.join("Cargo.toml"), root.join("Cargo.lock"), root.join("jepsen/planted-rustc")];
    for member in ["engine", "raft", "api", "node", "proto", "cluster-tests"] {
        files_below(&root.join(member), &mut files)?;
    }
    files.sort();
    let mut hash = Xxh3::new();
    for file in files {
        hash.update(file.strip_prefix(root)?.as_os_str().as_encoded_bytes());
        hash.update(&std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?);
    }
    Ok(format!("{:032x}", hash.digest128()))
}

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type()?.is_dir() && name != "target" {
            files_below(&path, files)?;
        } else if path.extension().is_some_and(|ending| ["rs", "toml", "proto"].iter().any(|known| ending == *known)) {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_of_other_sources_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let build = Build { folder: folder.path().to_owned() };
        assert!(build.is_there().unwrap_err().to_string().contains("there is no"));
        std::fs::create_dir(folder.path().join("release")).unwrap();
        for program in [build.server(), build.simulation()] {
            std::fs::write(program, "").unwrap();
        }
        assert!(build.is_there().unwrap_err().to_string().contains("have changed"));
        std::fs::write(build.stamp(), hash_of_sources(root().unwrap()).unwrap()).unwrap();
        build.is_there().unwrap();
    }
}
