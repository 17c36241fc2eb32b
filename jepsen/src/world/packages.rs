//! What a machine must have for the faults of a run, and how to get it.

use std::path::{Path, PathBuf};

use super::{Needs, tool};

/// Something that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// A Debian package; the program or file that was looked for.
    Package(&'static str, &'static str),
    /// The rights of root.
    Root,
    /// A device of the kernel.
    Device(&'static str),
}

/// What is missing here for these needs, each with its package. Empty: all is there.
pub fn missing(needs: &Needs) -> Vec<Missing> {
    let mut missing = Vec::new();
    let mut program = |wanted: bool, package, program| {
        if wanted && !tool::is_there(program) {
            missing.push(Missing::Package(package, program));
        }
    };
    program(needs.namespaces, "iproute2", "ip");
    program(needs.namespaces, "iproute2", "tc");
    program(needs.namespaces, "nftables", "nft");
    program(needs.power_cut, "btrfs-progs", "mkfs.btrfs");
    program(needs.power_cut, "e2fsprogs", "mkfs.ext4");
    program(needs.power_cut, "mount", "losetup");
    program(needs.fuse, "fuse3", "fusermount3");
    if needs.clock && faketime_library().is_none() {
        missing.push(Missing::Package("libfaketime", "libfaketimeMT.so.1"));
    }
    if needs.fuse && !Path::new("/dev/fuse").exists() {
        missing.push(Missing::Device("/dev/fuse"));
    }
    if needs.power_cut && !Path::new("/dev/loop-control").exists() {
        missing.push(Missing::Device("/dev/loop-control"));
    }
    if (needs.namespaces || needs.power_cut || needs.fuse) && !is_root() {
        missing.push(Missing::Root);
    }
    missing
}

/// What is missing, for a person, with the line that installs it; `None` if nothing is.
pub fn advice(missing: &[Missing]) -> Option<String> {
    if missing.is_empty() {
        return None;
    }
    let mut lines = Vec::new();
    let mut packages: Vec<&str> = Vec::new();
    for what in missing {
        match what {
            Missing::Package(package, file) => {
                lines.push(format!("{file} is not there (package {package})"));
                packages.push(package);
            }
            Missing::Root => lines.push("network namespaces and mounts need root: run it with sudo".to_owned()),
            Missing::Device(device) => lines.push(format!("this kernel offers no {device}")),
        }
    }
    packages.sort_unstable();
    packages.dedup();
    if !packages.is_empty() {
        lines.push(format!("apt-get install -y {}", packages.join(" ")));
    }
    Some(lines.join("\n"))
}

/// Whether this process may do what only root may.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The library that fakes the clock of programs with threads.
pub(crate) fn faketime_library() -> Option<PathBuf> {
    let triple = format!("/usr/lib/{}-linux-gnu/faketime", std::env::consts::ARCH);
    let folders = [triple.as_str(), "/usr/lib64/faketime", "/usr/lib/faketime", "/usr/local/lib/faketime"];
    folders.iter().map(|folder| Path::new(folder).join("libfaketimeMT.so.1")).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_names_each_package_once() {
        assert_eq!(advice(&[]), None);
        let text = advice(&[
            Missing::Package("iproute2", "ip"),
            Missing::Package("iproute2", "tc"),
            Missing::Package("nftables", "nft"),
        ]);
        let text = text.unwrap();
        assert!(text.ends_with("apt-get install -y iproute2 nftables"), "{text}");
        assert!(missing(&Needs::default()).is_empty(), "a plain run needs nothing");
    }
}
