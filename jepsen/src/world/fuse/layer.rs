//! The calls of the kernel, passed on to the folder below unless they are to fail.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags};

use super::Control;
use super::inodes::{Inodes, errno, path_of};
use crate::world::sync::Guarded;

/// How long the kernel may remember attributes and names. Nobody else changes the folder below while a node runs.
const TTL: Duration = Duration::from_secs(1);

/// What is served.
pub(super) struct Layer {
    inodes: Inodes,
    control: Arc<Control>,
    files: Guarded<HashMap<u64, Arc<File>>>,
    folders: Guarded<HashMap<u64, Arc<Vec<Entry>>>>,
    next: AtomicU64,
}

struct Entry {
    number: INodeNo,
    kind: FileType,
    name: OsString,
}

impl Layer {
    pub(super) fn new(below: &Path, control: Arc<Control>) -> std::io::Result<Self> {
        Ok(Self {
            inodes: Inodes::new(below)?,
            control,
            files: Guarded::default(),
            folders: Guarded::default(),
            next: AtomicU64::new(1),
        })
    }

    fn keep(&self, file: File) -> FileHandle {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.files.lock().insert(number, Arc::new(file));
        FileHandle(number)
    }

    fn file(&self, handle: FileHandle) -> Result<Arc<File>, Errno> {
        self.files.lock().get(&handle.0).cloned().ok_or(Errno::EBADF)
    }

    fn sync(&self, handle: FileHandle, data_only: bool) -> Result<(), Errno> {
        self.control.sync()?;
        let file = self.file(handle)?;
        let synced = if data_only { file.sync_data() } else { file.sync_all() };
        synced.map_err(Errno::from)
    }

    fn list(&self, number: INodeNo) -> Result<Vec<Entry>, Errno> {
        let opened = self.inodes.open(number, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::read_from(&opened).map_err(errno)? {
            let entry = entry.map_err(errno)?;
            let kind = match entry.file_type() {
                rustix::fs::FileType::Directory => FileType::Directory,
                rustix::fs::FileType::Symlink => FileType::Symlink,
                _ => FileType::RegularFile,
            };
            let name = OsStr::from_bytes(entry.file_name().to_bytes()).to_owned();
            entries.push(Entry { number: INodeNo(entry.ino()), kind, name });
        }
        Ok(entries)
    }

    fn create_file(&self, parent: INodeNo, name: &OsStr, mode: u32, flags: i32) -> Result<(FileAttr, File), Errno> {
        self.control.room()?;
        let folder = self.inodes.handle(parent)?;
        let flags = open_flags(flags) | OFlags::CREATE | OFlags::CLOEXEC;
        let made = rustix::fs::openat(folder.as_fd(), name, flags, Mode::from_raw_mode(mode)).map_err(errno)?;
        Ok((self.inodes.lookup(parent, name)?, made.into()))
    }

    fn set_attr(
        &self,
        number: INodeNo,
        mode: Option<u32>,
        size: Option<u64>,
        handle: Option<FileHandle>,
    ) -> Result<FileAttr, Errno> {
        if let Some(mode) = mode {
            let path = path_of(&*self.inodes.handle(number)?);
            rustix::fs::chmod(path, Mode::from_raw_mode(mode)).map_err(errno)?;
        }
        if let Some(size) = size {
            self.control.write(false)?;
            match handle {
                Some(handle) => self.file(handle)?.set_len(size)?,
                None => self.inodes.open(number, OFlags::WRONLY)?.set_len(size)?,
            }
        }
        self.inodes.attr(number)
    }
}

/// The flags that an open file keeps below. Appending is the kernel's business: it says where to write.
fn open_flags(flags: i32) -> OFlags {
    OFlags::from_bits_retain(flags.cast_unsigned()) - OFlags::APPEND - OFlags::DIRECT
}

/// Answers with what `outcome` is.
macro_rules! answer {
    ($reply:ident, $outcome:expr, $value:pat => $good:expr) => {
        match $outcome {
            Ok($value) => $good,
            Err(error) => $reply.error(error),
        }
    };
}

impl Filesystem for Layer {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer!(reply, self.inodes.lookup(parent, name), attr => reply.entry(&TTL, &attr, Generation(0)));
    }

    fn forget(&self, _: &Request, number: INodeNo, lookups: u64) {
        self.inodes.forget(number, lookups);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        answer!(reply, self.inodes.attr(number), attr => reply.attr(&TTL, &attr));
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        handle: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        answer!(reply, self.set_attr(number, mode, size, handle), attr => reply.attr(&TTL, &attr));
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        let make = || {
            self.control.room()?;
            let folder = self.inodes.handle(parent)?;
            rustix::fs::mkdirat(folder.as_fd(), name, Mode::from_raw_mode(mode)).map_err(errno)?;
            self.inodes.lookup(parent, name)
        };
        answer!(reply, make(), attr => reply.entry(&TTL, &attr, Generation(0)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let remove = || {
            let folder = self.inodes.handle(parent)?;
            rustix::fs::unlinkat(folder.as_fd(), name, AtFlags::empty()).map_err(errno)
        };
        answer!(reply, remove(), () => reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let remove = || {
            let folder = self.inodes.handle(parent)?;
            rustix::fs::unlinkat(folder.as_fd(), name, AtFlags::REMOVEDIR).map_err(errno)
        };
        answer!(reply, remove(), () => reply.ok());
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let rename = || {
            let (from, to) = (self.inodes.handle(parent)?, self.inodes.handle(new_parent)?);
            let flags = rustix::fs::RenameFlags::from_bits_retain(flags.bits());
            rustix::fs::renameat_with(from.as_fd(), name, to.as_fd(), new_name, flags).map_err(errno)
        };
        answer!(reply, rename(), () => reply.ok());
    }

    fn link(&self, _: &Request, number: INodeNo, new_parent: INodeNo, new_name: &OsStr, reply: ReplyEntry) {
        let link = || {
            self.control.room()?;
            let (file, folder) = (self.inodes.handle(number)?, self.inodes.handle(new_parent)?);
            rustix::fs::linkat(CWD, path_of(&file), folder.as_fd(), new_name, AtFlags::SYMLINK_FOLLOW)
                .map_err(errno)?;
            self.inodes.lookup(new_parent, new_name)
        };
        answer!(reply, link(), attr => reply.entry(&TTL, &attr, Generation(0)));
    }

    fn open(&self, _: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        // Past the page cache: a read that is to fail must come here.
        let opened = self.inodes.open(number, open_flags(flags.0));
        answer!(reply, opened, file => reply.opened(self.keep(file), FopenFlags::FOPEN_DIRECT_IO));
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, flags: i32, reply: ReplyCreate) {
        answer!(reply, self.create_file(parent, name, mode, flags), (attr, file) => {
            reply.created(&TTL, &attr, Generation(0), self.keep(file), FopenFlags::FOPEN_DIRECT_IO);
        });
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = || {
            self.control.read()?;
            let (file, mut bytes) = (self.file(handle)?, vec![0; size as usize]);
            let mut got = 0;
            while got < bytes.len() {
                match file.read_at(&mut bytes[got..], offset + got as u64)? {
                    0 => break,
                    more => got += more,
                }
            }
            bytes.truncate(got);
            Ok::<_, Errno>(bytes)
        };
        answer!(reply, read(), bytes => reply.data(&bytes));
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let write = || {
            let file = self.file(handle)?;
            let longer = offset + data.len() as u64 > file.metadata()?.len();
            self.control.write(longer)?;
            file.write_all_at(data, offset)?;
            Ok::<_, Errno>(())
        };
        let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
        answer!(reply, write(), () => reply.written(size));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.files.lock().remove(&handle.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, handle: FileHandle, data_only: bool, reply: ReplyEmpty) {
        answer!(reply, self.sync(handle, data_only), () => reply.ok());
    }

    fn opendir(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let opened = self.list(number).map(|entries| {
            let handle = self.next.fetch_add(1, Ordering::Relaxed);
            self.folders.lock().insert(handle, Arc::new(entries));
            FileHandle(handle)
        });
        answer!(reply, opened, handle => reply.opened(handle, FopenFlags::empty()));
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let Some(entries) = self.folders.lock().get(&handle.0).cloned() else {
            return reply.error(Errno::EBADF);
        };
        for (place, entry) in entries.iter().enumerate().skip(usize::try_from(offset).unwrap_or(usize::MAX)) {
            if reply.add(entry.number, place as u64 + 1, entry.kind, &entry.name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.folders.lock().remove(&handle.0);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let sync = || {
            self.control.sync()?;
            let folder = self.inodes.open(number, OFlags::RDONLY | OFlags::DIRECTORY)?;
            folder.sync_all().map_err(Errno::from)
        };
        answer!(reply, sync(), () => reply.ok());
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let stat = self.inodes.handle(INodeNo::ROOT).and_then(|root| rustix::fs::fstatvfs(&root).map_err(errno));
        let full = self.control.faults.lock().full;
        answer!(reply, stat, stat => {
            let (free, available) = if full { (0, 0) } else { (stat.f_bfree, stat.f_bavail) };
            let size = |bytes: u64| u32::try_from(bytes).unwrap_or(4_096);
            let (block, name, fragment) = (size(stat.f_bsize), size(stat.f_namemax), size(stat.f_frsize));
            reply.statfs(stat.f_blocks, free, available, stat.f_files, stat.f_ffree, block, name, fragment);
        });
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let allocate = || {
            self.control.room()?;
            let flags = FallocateFlags::from_bits_retain(mode.cast_unsigned());
            rustix::fs::fallocate(&*self.file(handle)?, flags, offset, length).map_err(errno)
        };
        answer!(reply, allocate(), () => reply.ok());
    }
}
