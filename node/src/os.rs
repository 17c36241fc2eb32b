//! What this program asks of the operating system directly: signals to children, their death with their parent, and its
//! own end.

use std::io;

use rustix::process::{Resource, Rlimit};
use tokio::process::Command;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ends a child with its parent, however the parent ends: a supervisor that was killed leaves no node behind that holds
/// the ports. SIGKILL, because a node survives that by design and because a paused one hears nothing else.
#[allow(unsafe_code)]
pub(crate) fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    let set = move || {
        // SAFETY: prctl and getppid only set and read attributes of the calling process. Both are async-signal-safe, as
        // what runs between fork and exec must be; nothing here allocates or locks.
        let (result, parent_now) =
            unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong, 0, 0, 0), libc::getppid()) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        // The parent may have ended before the line above; then nobody would tell this child.
        if parent_now as u32 != parent {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(())
    };
    // SAFETY: the closure does nothing but what is said above.
    unsafe {
        command.pre_exec(set);
    }
}

/// Has the system's allocator, which RocksDB uses, keep what is freed for what is asked next: 64 MiB at the end of each of its
/// heaps, and all that lies before something in use. Otherwise every
/// memtable is given back to the system and its successor pays a page fault for each 4 KiB: six of ten that a write cost.
#[allow(unsafe_code)]
pub(crate) fn keep_freed_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes two numbers and may be called at any time; where it refuses nothing changes.
    unsafe {
        // RocksDB takes memtables in blocks of 1 MiB, which would be mapped and unmapped one by one.
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 64 << 20);
    }
}

/// Has memory handed out by pages of 4 KiB, not of 2 MiB. Of what is taken for buffers a part is never touched: with huge pages an
/// idle node takes a third more memory, and an idle connection three quarters more.
#[allow(unsafe_code)]
pub(crate) fn use_small_pages() {
    // SAFETY: prctl takes numbers and sets an attribute of this process; where it refuses nothing changes.
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, 1 as libc::c_ulong, 0, 0, 0);
    }
}

/// Instructions that a build for `x86_64-unknown-linux-gnu` takes (`.cargo/config.toml` gives them to RocksDB) and this processor does
/// not have: models of virtual machines that stand for any processor leave them out.
pub(crate) fn lacking_instructions() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let known = [
        ("SSE 4.2", is_x86_feature_detected!("sse4.2")),
        ("POPCNT", is_x86_feature_detected!("popcnt")),
        ("PCLMULQDQ", is_x86_feature_detected!("pclmulqdq")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let known: [(&str, bool); 0] = [];
    known.into_iter().filter(|(_, there)| !there).map(|(name, _)| name).collect()
}

/// Lets this process open as many files as it may. The usual limit, 1,024, is for programs that use `select`, and a node has a
/// file for each connection and each table.
pub(crate) fn raise_open_files() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, current = limit.current, "the number of open files could not be raised");
    }
}

/// Asks a child to finish. The caller has not waited for it yet, so the number cannot be another process's.
#[allow(unsafe_code)]
pub(crate) fn terminate(pid: u32) {
    let Ok(pid) = libc::pid_t::try_from(pid) else { return };
    // SAFETY: kill takes two numbers and touches no memory of ours.
    unsafe {
        libc::kill(pid, libc::SIGTERM);
    }
}

/// The signals that mean stop.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Takes the signals from now on.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for any of them.
    pub(super) async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

/// Ends this process now, without closing what is still open. RocksDB takes down what its own threads still use when a
/// process ends the usual way, and aborts; a node has made everything durable that it wants to keep by then.
#[allow(unsafe_code)]
pub(crate) fn end_process(code: u8) -> ! {
    // SAFETY: _exit takes a number, touches no memory of ours and does not return.
    unsafe { libc::_exit(i32::from(code)) }
}
