//! A program of the user's that is asked what to write.

use std::process::Stdio;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::BODY_BYTES_MAX;
use crate::client::Seen;
use crate::exit::Advice;
use crate::units;

/// Runs a shell command, gives it what was seen, and returns what it prints. What it says on standard error is shown as
/// it says it.
///
/// # Errors
/// When it cannot be run, ends with another code than 0, or prints what is too long or no text.
pub(super) async fn ask(command: &str, seen: &Seen) -> Result<String, Advice> {
    let failed = |why: String| Advice::failed("the program that --build names failed; nothing was written").why(why);
    let run = async {
        // A loop that ends, by Ctrl-C too, leaves no program behind.
        let mut child = Command::new("sh")
            .args(["-c", command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (mut stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let give = async {
            if let Some(stdin) = &mut stdin {
                // A program need not read what it has no use for.
                let _ = stdin.write_all(&serde_json::to_vec(seen)?).await;
            }
            drop(stdin.take());
            Ok::<_, std::io::Error>(())
        };
        let take = async {
            let mut printed = Vec::new();
            if let Some(stdout) = stdout {
                stdout.take(BODY_BYTES_MAX + 1).read_to_end(&mut printed).await?;
            }
            Ok(printed)
        };
        let ((), printed) = tokio::try_join!(give, take)?;
        // It may have more to say than is taken: it is not waited for then.
        let status = if printed.len() as u64 > BODY_BYTES_MAX { None } else { Some(child.wait().await?) };
        Ok::<_, std::io::Error>((printed, status))
    };
    let (printed, status) = run.await.map_err(|error| failed(error.to_string()))?;
    match status {
        None => Err(failed(format!("it printed more than {}", units::bytes(BODY_BYTES_MAX)))),
        Some(status) if !status.success() => Err(failed(format!("it ended with {status}"))),
        Some(_) => String::from_utf8(printed).map_err(|error| failed(format!("what it printed is no text: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(command: &str) -> Result<String, String> {
        let seen = Seen { revision: 7, documents: Vec::new() };
        ask(command, &seen).await.map_err(|advice| advice.to_string())
    }

    #[tokio::test]
    async fn a_program_is_asked() {
        assert_eq!(check("cat").await.unwrap(), r#"{"revision":7,"documents":[]}"#);
        assert_eq!(check("echo '[]'").await.unwrap(), "[]\n");
        assert!(check("echo '[]'; exit 3").await.unwrap_err().contains("exit status: 3"));
        assert!(check("printf '\\377'").await.unwrap_err().contains("no text"));
        assert!(check("/no/such/program").await.unwrap_err().contains("exit status: 127"));
    }
}
