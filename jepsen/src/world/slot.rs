//! The slot of a run: a number that no other run on this machine has, from which all names and addresses follow.
//!
//! A slot is a locked file. The lock goes with the process, however it ends, so a slot that can be locked and still
//! says where its run was belongs to a run that was killed: whoever comes next removes what it left behind.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError, Weak};

use anyhow::{Context, Result, bail};

use super::{clock, tool};

/// How many runs there can be at one time. Slots are bytes of an IPv4 address.
const SLOTS: u8 = 250;

/// A slot that is ours until dropped. Its drop removes every namespace, bridge and mount of the run.
#[derive(Debug)]
pub(crate) struct Slot {
    number: u8,
    folder: PathBuf,
    /// Carries the lock. `None` once all is cleaned up.
    lock: Mutex<Option<File>>,
}

impl Slot {
    /// Removes what runs that were killed left behind, and takes a free slot for a run in `folder`.
    pub(crate) fn take(folder: &Path) -> Result<std::sync::Arc<Self>> {
        let slots = slots_folder()?;
        let mut taken: Option<(u8, File)> = None;
        for number in 1..=SLOTS {
            let path = slots.join(number.to_string());
            if taken.is_some() && !path.exists() {
                continue;
            }
            let mut lock = File::options().create(true).read(true).append(true).open(&path)?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => return Err(error).with_context(|| format!("lock {path:?}")),
            }
            let mut left = String::new();
            lock.read_to_string(&mut left)?;
            if let Some(folder) = left.lines().next() {
                sweep(number, Path::new(folder));
                lock.set_len(0)?;
            }
            if taken.is_none() {
                taken = Some((number, lock));
            }
        }
        let Some((number, mut lock)) = taken else { bail!("all {SLOTS} slots for runs are in use") };
        lock.rewind()?;
        write!(lock, "{}", folder.display())?;
        let slot = Self { number, folder: folder.to_owned(), lock: Mutex::new(Some(lock)) };
        let slot = std::sync::Arc::new(slot);
        clean_when_told_to_stop(&slot);
        Ok(slot)
    }

    /// Takes memory for the disks of this run, if `free_bytes` is enough for them and for what other runs may still need.
    /// Whether it did.
    pub(crate) fn reserve(&self, bytes: u64, free_bytes: u64) -> Result<bool> {
        let slots = slots_folder()?;
        // Two runs that begin at once must not both take what is left.
        let all = File::options().create(true).append(true).open(slots.join("reserve"))?;
        all.lock()?;
        let others = (1..=SLOTS).filter(|number| *number != self.number);
        let others = others.filter_map(|number| fs::read_to_string(slots.join(number.to_string())).ok());
        let taken: u64 = others.filter_map(|slot| slot.lines().nth(1)?.parse::<u64>().ok()).sum();
        if free_bytes < taken.saturating_add(bytes) {
            return Ok(false);
        }
        if let Some(file) = &mut *self.lock.lock().unwrap_or_else(PoisonError::into_inner) {
            write!(file, "\n{bytes}")?;
        }
        Ok(true)
    }

    /// The name of the bridge.
    pub(crate) fn bridge(&self) -> String {
        format!("{}br", prefix(self.number))
    }

    /// The name of the `generation`-th network namespace of `node`.
    pub(crate) fn namespace(&self, node: u64, generation: u32) -> String {
        format!("{}n{node}g{generation}", prefix(self.number))
    }

    /// The name of the end of the node's cable that is in the bridge. At most 15 characters.
    pub(crate) fn cable(&self, node: u64) -> String {
        format!("{}v{node}", prefix(self.number))
    }

    /// The address of a host in the run's own subnet.
    pub(crate) fn addr(&self, host: u64) -> std::net::Ipv4Addr {
        let host = u8::try_from(host).unwrap_or(u8::MAX);
        [10, 213, self.number, host].into()
    }

    /// Removes all that has the slot's name or lies in its folder. Safe to repeat.
    pub(crate) fn clean(&self) {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = lock.take() {
            sweep(self.number, &self.folder);
            let _ = file.set_len(0);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.clean();
    }
}

fn prefix(number: u8) -> String {
    format!("aj{number}")
}

fn slots_folder() -> Result<PathBuf> {
    let user = rustix::process::getuid().as_raw();
    let folder = std::env::temp_dir().join(format!("aerodb-jepsen-slots-{user}"));
    fs::create_dir_all(&folder).with_context(|| format!("create {folder:?}"))?;
    Ok(folder)
}

/// Removes what a run left: processes inside its namespaces, mounts in its folder, namespaces, the bridge. Whatever is
/// gone already is fine.
fn sweep(number: u8, folder: &Path) {
    if tool::is_there("ip") {
        let (prefix, nodes) = (prefix(number), format!("{}n", prefix(number)));
        let listed = tool::run("ip netns list").unwrap_or_default();
        let names = listed.lines().filter_map(|line| line.split_ascii_whitespace().next());
        let names: Vec<&str> = names.filter(|name| name.starts_with(&nodes)).collect();
        for name in &names {
            for pid in tool::run(&format!("ip netns pids {name}")).unwrap_or_default().lines() {
                let _ = tool::run(&format!("kill -9 {}", pid.trim()));
            }
        }
        for name in &names {
            let _ = tool::run(&format!("ip netns del {name}"));
        }
        // A namespace lives on while a connection in it does, and its cable with it.
        let cables = format!("{prefix}v");
        for link in fs::read_dir("/sys/class/net").into_iter().flatten().flatten() {
            let link = link.file_name();
            if let Some(link) =
                link.to_str().filter(|link| link.starts_with(&cables) || **link == format!("{prefix}br"))
            {
                let _ = tool::run(&format!("ip link del {link}"));
            }
        }
    }
    unmount_under(folder);
    clock::forget_dead();
}

/// Unmounts everything in `folder`, the innermost first.
pub(crate) fn unmount_under(folder: &Path) {
    let Ok(table) = fs::read_to_string("/proc/self/mountinfo") else { return };
    // id parent major:minor root mount-point …; spaces in paths are written \040, and our folders have none.
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    let mut points: Vec<&Path> = points.map(Path::new).filter(|point| point.starts_with(folder)).collect();
    points.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
    for point in points {
        let point = point.display();
        if tool::run(&format!("umount {point}")).is_err() {
            // Busy, or a FUSE mount whose server is gone: out of sight at least, and gone with its last user.
            let _ = tool::run(&format!("umount -l {point}"));
        }
    }
}

/// Cleans up all slots of this process when it is told to stop, and ends it. SIGKILL is left to the next run's sweep.
fn clean_when_told_to_stop(slot: &std::sync::Arc<Slot>) {
    static SLOTS: Mutex<Vec<Weak<Slot>>> = Mutex::new(Vec::new());
    static LISTENS: OnceLock<()> = OnceLock::new();
    SLOTS.lock().unwrap_or_else(PoisonError::into_inner).push(std::sync::Arc::downgrade(slot));
    LISTENS.get_or_init(|| {
        let listen = || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
            runtime.block_on(told_to_stop());
            for slot in SLOTS.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade) {
                slot.clean();
            }
            std::process::exit(130);
        };
        // Without this thread the next run cleans up.
        let _ = std::thread::Builder::new().name("signals".into()).spawn(listen);
    });
}

async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let mut signals: Vec<_> = kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect();
    let any = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
    futures::future::select_all(any).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_have_two_slots_and_names_fit() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (Slot::take(folder.path()).unwrap(), Slot::take(folder.path()).unwrap());
        assert_ne!(a.bridge(), b.bridge());
        assert_ne!(a.addr(1), b.addr(1));
        assert!(a.cable(99).len() <= 15 && a.bridge().len() <= 15);
        let name = a.namespace(1, 0);
        assert!(name.starts_with("aj"));
        // What one takes the other has no more; with its end it is free again.
        let mine = 1 << 50;
        assert!(a.reserve(mine, mine * 3 / 2).unwrap() && !b.reserve(mine, mine * 3 / 2).unwrap());
        drop(a);
        assert!(b.reserve(mine, mine * 3 / 2).unwrap());
        b.clean();
        b.clean();
    }
}
