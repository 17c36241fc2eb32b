//! Builds of the product and the simulation that have the planted bugs, in a target directory of their own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

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

    /// Whether there is something to run.
    ///
    /// # Errors
    /// When a program is missing; says which, and what makes it.
    pub fn is_there(&self) -> Result<()> {
        for program in [self.server(), self.simulation()] {
            ensure!(program.is_file(), "there is no {}: make it with `jepsen planted --build`", program.display());
        }
        Ok(())
    }

    /// Builds them.
    ///
    /// # Errors
    /// When cargo fails; it has said why.
    pub fn make(&self) -> Result<()> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the root of the repository")?;
        ensure!(
            root.join("Cargo.toml").is_file(),
            "the sources of this program are no longer in {}: build it anew",
            root.display()
        );
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
        Ok(())
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
