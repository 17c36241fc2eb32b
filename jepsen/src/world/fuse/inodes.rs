//! The files that the kernel knows, each by a descriptor of its own: renames above them do not matter then.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{Errno, FileAttr, FileType, INodeNo};
use rustix::fs::{AtFlags, Mode, OFlags, Stat};

use crate::world::sync::Guarded;

/// All files that the kernel may still name by number.
#[derive(Debug)]
pub(super) struct Inodes {
    root: Arc<OwnedFd>,
    root_number: u64,
    known: Guarded<HashMap<u64, Known>>,
}

#[derive(Debug)]
struct Known {
    /// Opened as a mere path: good for naming it, not for reading.
    handle: Arc<OwnedFd>,
    lookups: u64,
}

impl Inodes {
    pub(super) fn new(below: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(below, flags, Mode::empty())?;
        let root_number = rustix::fs::fstat(&root)?.st_ino;
        Ok(Self { root: Arc::new(root), root_number, known: Guarded::default() })
    }

    pub(super) fn handle(&self, number: INodeNo) -> Result<Arc<OwnedFd>, Errno> {
        if number == INodeNo::ROOT {
            return Ok(self.root.clone());
        }
        self.known.lock().get(&number.0).map(|known| known.handle.clone()).ok_or(Errno::ENOENT)
    }

    /// Looks a name up, and remembers what is there once more.
    pub(super) fn lookup(&self, parent: INodeNo, name: &OsStr) -> Result<FileAttr, Errno> {
        let parent = self.handle(parent)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = rustix::fs::openat(parent.as_fd(), name, flags, Mode::empty()).map_err(errno)?;
        let attr = self.attr_of(&rustix::fs::fstat(&found).map_err(errno)?);
        let mut known = self.known.lock();
        let entry = known.entry(attr.ino.0).or_insert_with(|| Known { handle: Arc::new(found), lookups: 0 });
        entry.lookups += 1;
        Ok(attr)
    }

    pub(super) fn forget(&self, number: INodeNo, lookups: u64) {
        let mut known = self.known.lock();
        if let Some(entry) = known.get_mut(&number.0) {
            entry.lookups = entry.lookups.saturating_sub(lookups);
            if entry.lookups == 0 {
                known.remove(&number.0);
            }
        }
    }

    pub(super) fn attr(&self, number: INodeNo) -> Result<FileAttr, Errno> {
        let handle = self.handle(number)?;
        let stat = rustix::fs::statat(handle.as_fd(), "", AtFlags::EMPTY_PATH).map_err(errno)?;
        Ok(self.attr_of(&stat))
    }

    /// Opens a known file anew.
    pub(super) fn open(&self, number: INodeNo, flags: OFlags) -> Result<File, Errno> {
        let handle = self.handle(number)?;
        let flags = (flags - OFlags::NOFOLLOW - OFlags::CREATE - OFlags::EXCL) | OFlags::CLOEXEC;
        let opened = rustix::fs::open(path_of(&handle), flags, Mode::empty()).map_err(errno)?;
        Ok(opened.into())
    }

    pub(super) fn attr_of(&self, stat: &Stat) -> FileAttr {
        let time = |seconds: i64, nanoseconds: u64| {
            let nanoseconds = u32::try_from(nanoseconds).unwrap_or(0);
            SystemTime::UNIX_EPOCH + Duration::new(u64::try_from(seconds).unwrap_or(0), nanoseconds)
        };
        FileAttr {
            ino: if stat.st_ino == self.root_number { INodeNo::ROOT } else { INodeNo(stat.st_ino) },
            size: u64::try_from(stat.st_size).unwrap_or(0),
            blocks: u64::try_from(stat.st_blocks).unwrap_or(0),
            atime: time(stat.st_atime, stat.st_atime_nsec),
            mtime: time(stat.st_mtime, stat.st_mtime_nsec),
            ctime: time(stat.st_ctime, stat.st_ctime_nsec),
            crtime: SystemTime::UNIX_EPOCH,
            kind: kind_of(stat.st_mode),
            perm: (stat.st_mode & 0o7777) as u16,
            nlink: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
            uid: stat.st_uid,
            gid: stat.st_gid,
            rdev: 0,
            blksize: u32::try_from(stat.st_blksize).unwrap_or(4_096),
            flags: 0,
        }
    }
}

/// A path that leads to what a descriptor is open on.
pub(super) fn path_of(handle: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()))
}

fn kind_of(mode: u32) -> FileType {
    match rustix::fs::FileType::from_raw_mode(mode) {
        rustix::fs::FileType::Directory => FileType::Directory,
        rustix::fs::FileType::Symlink => FileType::Symlink,
        _ => FileType::RegularFile,
    }
}

pub(super) fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_i32(error.raw_os_error())
}
