//! Starting a child that cannot outlive us, and sending it signals.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc;

/// Starts `command` so that the kernel kills it when this process ends, however it ends.
///
/// The kernel ties that promise to the *thread* that started the child, and a test's threads come and go. So one
/// thread that lives as long as the process starts all children.
///
/// # Errors
/// When it cannot be started.
pub fn spawn(mut command: Command) -> io::Result<Child> {
    die_with_parent(&mut command);
    let (reply, answer) = mpsc::sync_channel(1);
    starter().send((command, reply)).map_err(io::Error::other)?;
    answer.recv().map_err(io::Error::other)?
}

type Job = (Command, mpsc::SyncSender<io::Result<Child>>);

fn starter() -> &'static mpsc::Sender<Job> {
    static STARTER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    STARTER.get_or_init(|| {
        let (jobs, todo) = mpsc::channel::<Job>();
        let run = move || {
            for (mut command, reply) in todo {
                // Whoever asked may be gone: then the child is dropped unseen, and ends with the process.
                let _ = reply.send(command.spawn());
            }
        };
        std::thread::Builder::new().name("starter".into()).spawn(run).expect("start a thread");
        jobs
    })
}

#[allow(unsafe_code)]
fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    // SAFETY: runs between fork and exec and makes only calls that are safe after a fork: prctl, getppid, _exit.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have ended before the kernel was told.
            if libc::getppid() as u32 != parent {
                libc::_exit(1);
            }
            Ok(())
        });
    }
}

/// Sends `signal` to a child that has not been reaped yet (so `pid` is still its own).
#[allow(unsafe_code)]
pub(crate) fn signal(child: &Child, signal: libc::c_int) -> io::Result<()> {
    let pid = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    // SAFETY: plain system call on numbers; a child that is not reaped keeps its pid.
    if unsafe { libc::kill(pid, signal) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Waits until a child that was sent SIGSTOP stands still with all its threads, or has ended.
#[allow(unsafe_code)]
pub(crate) fn wait_stopped(child: &Child) -> io::Result<()> {
    loop {
        // SAFETY: the structure is plain numbers that the call fills in; with WNOWAIT the child is not reaped here.
        let done = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            libc::waitid(libc::P_PID, child.id(), &raw mut info, libc::WSTOPPED | libc::WEXITED | libc::WNOWAIT)
        };
        if done == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// The number of the user whose process this is.
#[allow(unsafe_code)]
pub(crate) fn user_id() -> u32 {
    // SAFETY: takes nothing, returns a number, cannot fail.
    unsafe { libc::getuid() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_child_survives_the_thread_that_asked_for_it() {
        let mut command = Command::new("sleep");
        command.arg("600");
        let mut child = std::thread::spawn(move || spawn(command).unwrap()).join().unwrap();
        // Were it tied to the thread above, the kernel would have killed it by now or within this yield.
        std::thread::yield_now();
        assert!(child.try_wait().unwrap().is_none());
        signal(&child, libc::SIGKILL).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    }

    #[test]
    fn a_missing_program_is_an_error() {
        assert!(spawn(Command::new("/nonexistent/program")).is_err());
    }
}
