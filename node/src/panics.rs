//! What a panic does to this process. One that concerns a single request is logged and the node goes on; any other is a
//! bug that has taken a part of the process away, which then ends at once (A7): a node that lacks a task would go on
//! answering for what it no longer does, and a client tool would take what is missing for done.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;

use crate::os;
use crate::output::{Format, Output};

/// The exit code of a client command that met a bug: the operation failed.
const FAILED: u8 = crate::exit::Exit::Failed as u8;

/// From now on a panic anywhere in this node is judged.
pub(crate) fn judge_in_node() {
    std::panic::set_hook(Box::new(|panic| {
        let (what, place) = (text(panic), place(panic));
        show_backtrace();
        if let Some(contained) = aerodb_api::contained() {
            let request_id = contained.request_id.as_deref();
            tracing::error!(request_id, place, "a bug: a request has panicked: {what}");
            return;
        }
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("without a name");
        if tracing::enabled!(tracing::Level::ERROR) {
            tracing::error!(place, thread, "a bug: this node has panicked and ends: {what}");
        } else {
            say(format!("a bug: this node has panicked and ends: {what} ({place}, thread {thread})"));
        }
        std::process::abort();
    }));
}

/// From now on a panic anywhere in this client command ends it.
pub(crate) fn end_with() {
    std::panic::set_hook(Box::new(|panic| {
        show_backtrace();
        say(format!("error: a bug in this program: {}\n  why: it panicked at {}", text(panic), place(panic)));
        os::end_process(FAILED);
    }));
}

fn text(panic: &PanicHookInfo<'_>) -> String {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it does not say why".to_owned())
}

fn place(panic: &PanicHookInfo<'_>) -> String {
    panic.location().map(ToString::to_string).unwrap_or_default()
}

/// Only where it is asked for (`RUST_BACKTRACE=1`): finding the names takes a second in which the node would live on.
fn show_backtrace() {
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        say(backtrace);
    }
}

fn say(text: impl std::fmt::Display) {
    Output::new(Format::Table).note(text);
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Output};

    use super::*;
    use crate::logs::{self, LogFormat};

    /// Tells the test that follows that it is the child, and what it is to panic in.
    const WHERE: &str = "AERODB_TEST_PANIC_IN";
    const LIVES_ON: &str = "it lives on";

    /// Not a test of its own: what `child` runs in a process that may end.
    #[test]
    fn child_process() {
        let Ok(place) = std::env::var(WHERE) else { return };
        if place == "client" {
            end_with();
            let _ = std::thread::spawn(|| panic!("on purpose")).join();
        } else {
            logs::start(if place == "silent" { "off" } else { "info" }, LogFormat::Json).unwrap();
            judge_in_node();
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            runtime.block_on(panic_in(&place));
        }
        say(LIVES_ON);
    }

    async fn panic_in(place: &str) {
        match place {
            "task" | "silent" => drop(tokio::spawn(async { panic!("on purpose") }).await),
            "blocking" => drop(tokio::task::spawn_blocking(|| panic!("on {}", "purpose")).await),
            "thread" => {
                let work = || futures::executor::block_on(async { panic!("on purpose") });
                let thread = std::thread::Builder::new().name("log writer".into()).spawn(work).unwrap();
                drop(tokio::task::spawn_blocking(|| thread.join()).await);
            }
            other => panic!("nothing is known of {other}"),
        }
    }

    fn child(place: &str) -> (Output, String) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "panics::tests::child_process", "--nocapture"]).env(WHERE, place);
        let output = command.env_remove("RUST_BACKTRACE").output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!text.contains(LIVES_ON), "{place}: {text}");
        let last = text.lines().last().unwrap_or_default().to_owned();
        (output, last)
    }

    #[test]
    fn a_node_ends_with_its_last_word() {
        for place in ["task", "blocking", "thread", "silent"] {
            let (output, last) = child(place);
            assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{place}: {last}");
            assert!(last.contains("this node has panicked and ends: on purpose"), "{place}: {last}");
            assert!(last.contains("panics.rs:"), "{place}: {last}");
            assert!(place == "silent" || last.contains("\"level\":\"ERROR\""), "{place}: {last}");
            assert!(place != "thread" || last.contains("log writer"), "{last}");
        }
    }

    /// A reader thread that is gone would look like the end of its file.
    #[test]
    fn a_client_command_ends_as_failed() {
        let (output, last) = child("client");
        assert_eq!(output.status.code(), Some(1), "{last}");
        assert!(last.contains("panics.rs:"), "{last}");
    }
}
