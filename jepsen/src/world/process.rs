//! Starting a child that cannot outlive us, inside a network namespace if it is to be in one, and sending it signals.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc;

use rustix::process::{Pid, Signal, WaitIdOptions};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Starts `command` so that the kernel kills it when this process ends, however it ends.
///
/// The kernel ties that promise to the *thread* that started the child, and a runtime's threads come and go. So one
/// thread that lives as long as the process starts all children.
pub(crate) fn spawn(command: Command, namespace: Option<&Path>) -> io::Result<Child> {
    start(command, namespace, libc::SIGKILL)
}

/// Runs another one of our programs to its end. When this process ends meanwhile the kernel tells it to stop, which leaves it
/// the time to take its machines down.
pub(crate) fn run(mut command: Command) -> io::Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    start(command, None, libc::SIGTERM)?.wait_with_output()
}

fn start(mut command: Command, namespace: Option<&Path>, at_our_end: libc::c_int) -> io::Result<Child> {
    let namespace = namespace.map(File::open).transpose()?;
    prepare(&mut command, namespace, at_our_end);
    let (reply, answer) = mpsc::sync_channel(1);
    starter()?.send((command, reply)).map_err(io::Error::other)?;
    answer.recv().map_err(io::Error::other)?
}

type Job = (Command, mpsc::SyncSender<io::Result<Child>>);

fn starter() -> io::Result<mpsc::Sender<Job>> {
    static STARTER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    if let Some(starter) = STARTER.get() {
        return Ok(starter.clone());
    }
    let (jobs, todo) = mpsc::channel::<Job>();
    let run = move || {
        for (mut command, reply) in todo {
            // Whoever asked may be gone: then the child is dropped unseen, and ends with the process.
            let _ = reply.send(command.spawn());
        }
    };
    std::thread::Builder::new().name("starter".into()).spawn(run)?;
    // Another thread may have been quicker; then this starter's loop ends with its channel.
    Ok(STARTER.get_or_init(|| jobs).clone())
}

#[allow(unsafe_code)]
fn prepare(command: &mut Command, namespace: Option<File>, at_our_end: libc::c_int) {
    let parent = std::process::id();
    // SAFETY: runs between fork and exec and makes only calls that are safe after a fork: setns, prctl, getppid, _exit.
    unsafe {
        command.pre_exec(move || {
            if let Some(namespace) = &namespace
                && libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) != 0
            {
                return Err(io::Error::last_os_error());
            }
            if libc::prctl(libc::PR_SET_PDEATHSIG, at_our_end) != 0 {
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

/// Runs `work` on a thread inside the network namespace. Sockets that it makes stay in that namespace, wherever they
/// are used later.
pub(crate) fn inside<T: Send>(namespace: &Path, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let namespace = File::open(namespace)?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            work()
        });
        thread.join().map_err(|_| io::Error::other("the thread inside the namespace panicked"))?
    })
}

/// Sends `signal` to a child that has not been reaped yet (so its pid is still its own).
pub(crate) fn signal(child: &Child, signal: Signal) -> io::Result<()> {
    Ok(rustix::process::kill_process(Pid::from_child(child), signal)?)
}

/// Waits until a child that was sent SIGSTOP stands still with all its threads, or has ended.
pub(crate) fn wait_stopped(child: &Child) -> io::Result<()> {
    let options = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    loop {
        match rustix::process::waitid(rustix::process::WaitId::Pid(Pid::from_child(child)), options) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_child_survives_the_thread_that_asked_for_it() {
        let mut command = Command::new("sleep");
        command.arg("600");
        let mut child = std::thread::spawn(move || spawn(command, None).unwrap()).join().unwrap();
        std::thread::yield_now();
        assert!(child.try_wait().unwrap().is_none());
        signal(&child, Signal::STOP).unwrap();
        wait_stopped(&child).unwrap();
        signal(&child, Signal::KILL).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    }

    #[test]
    fn what_a_program_says_is_kept() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let output = run(command).unwrap();
        assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
        assert_eq!(output.status.code(), Some(3));
    }

    #[test]
    fn a_missing_program_is_an_error() {
        assert!(spawn(Command::new("/nonexistent/program"), None).is_err());
        assert!(spawn(Command::new("true"), Some(Path::new("/nonexistent/namespace"))).is_err());
    }
}
