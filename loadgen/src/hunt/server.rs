//! The embedded chat server, in a process of its own.

use std::ffi::OsString;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// How long the server may take until it listens.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// How long it may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// What the ready line begins with.
const READY_PREFIX: &str = "chat-server ready ";

/// A running server. Its process ends when its standard input does, so also
/// when this process dies without a word; dropped, it is killed.
#[derive(Debug)]
pub(crate) struct EmbeddedServer {
    child: Child,
    said: Arc<Mutex<String>>,
    /// Where it takes chat connections.
    pub(crate) irc: String,
    /// Where its telemetry is.
    pub(crate) telemetry: String,
}

impl EmbeddedServer {
    /// Runs this program again as the server, and waits until it listens.
    pub(crate) async fn start(arguments: &[OsString], verbose: bool) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("this program's own path is not known")?;
        let mut command = Command::new(program);
        command.arg("serve").arg("--").args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // It was meant for the generator's own, and two cannot have one port.
        command.env_remove("LOOPSCOPE_TELEMETRY");
        // A terminal's Ctrl-C is for the generator, which still wants answers.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().context("the embedded chat server cannot be started")?;

        let said = Arc::new(Mutex::new(String::new()));
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(listen(stderr, Arc::clone(&said), verbose));
        }
        let stdout = child.stdout.take().context("the embedded chat server has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let ready = timeout(START_TIMEOUT, ready(&mut lines)).await;
        let Ok(Some((irc, telemetry))) = ready else {
            bail!("the embedded chat server did not start: {}", last_words(&mut child, &said).await);
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { child, said, irc, telemetry })
    }

    /// Ends it; an error if it had ended by itself before.
    pub(crate) async fn stop(mut self) -> Result<(), String> {
        if let Ok(Some(status)) = self.child.try_wait() {
            let words = last_words(&mut self.child, &self.said).await;
            return Err(format!("the embedded chat server died ({status}): {words}"));
        }
        drop(self.child.stdin.take());
        if timeout(STOP_TIMEOUT, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
        Ok(())
    }
}

/// The addresses in the ready line; `None` if the output ends without it.
async fn ready(lines: &mut Lines<BufReader<ChildStdout>>) -> Option<(String, String)> {
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(addresses) = line.strip_prefix(READY_PREFIX) {
            let value = |name: &str| addresses.split(' ').find_map(|word| word.strip_prefix(name));
            return Some((value("irc=")?.to_owned(), value("telemetry=")?.to_owned()));
        }
    }
    None
}

/// Keeps the last line that the server logged; shows all if `verbose`.
async fn listen(stderr: impl AsyncRead + Unpin, said: Arc<Mutex<String>>, verbose: bool) {
    let mut lines = BufReader::new(stderr).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line);
        if verbose {
            eprintln!("{line}");
        }
        if !line.trim().is_empty() {
            line.trim().clone_into(&mut said.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// What a server that has ended, or is ended now, said last.
async fn last_words(child: &mut Child, said: &Mutex<String>) -> String {
    let _ = child.start_kill();
    let _ = timeout(STOP_TIMEOUT, child.wait()).await;
    // Its last line may still be on its way through the pipe.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let said = said.lock().unwrap_or_else(PoisonError::into_inner);
    if said.is_empty() { "it said nothing".to_owned() } else { said.clone() }
}
