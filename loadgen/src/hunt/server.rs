//! The embedded chat server, in a separate process.

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

/// How long the server may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// The beginning of the line that the server prints when it listens.
const READY_PREFIX: &str = "chat-server ready ";

/// A running server. Its process ends when its standard input closes, which
/// also happens if this process is killed. When this value is dropped, the
/// server is killed.
#[derive(Debug)]
pub(crate) struct EmbeddedServer {
    child: Child,
    last_line: Arc<Mutex<String>>,
    /// The address for chat connections.
    pub(crate) irc: String,
    /// The address for chat connections with TLS, if it has any.
    pub(crate) ircs: Option<String>,
    /// The address of its telemetry.
    pub(crate) telemetry: String,
}

impl EmbeddedServer {
    /// Starts this program again as the server, and waits until it listens.
    pub(crate) async fn start(arguments: &[OsString], verbose: bool) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("the path of this program is unknown")?;
        let mut command = Command::new(program);
        command.arg("serve").arg("--").args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // The variable is for the generator's own telemetry, and two processes
        // cannot listen on one port.
        command.env_remove("LOOPSCOPE_TELEMETRY");
        // Ctrl-C on a terminal must end the generator only, which still needs
        // answers from the server.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().context("the embedded chat server cannot be started")?;

        let last_line = Arc::new(Mutex::new(String::new()));
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(read_log(stderr, Arc::clone(&last_line), verbose));
        }
        let stdout = child.stdout.take().context("the embedded chat server has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let ready = timeout(START_TIMEOUT, ready(&mut lines)).await;
        let Ok(Some(Addresses { irc, ircs, telemetry })) = ready else {
            bail!("the embedded chat server did not start: {}", last_log_line(&mut child, &last_line).await);
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { child, last_line, irc, ircs, telemetry })
    }

    /// Stops the server.
    ///
    /// # Errors
    ///
    /// If the server had ended by itself before.
    pub(crate) async fn stop(mut self) -> Result<(), String> {
        if let Ok(Some(status)) = self.child.try_wait() {
            let line = last_log_line(&mut self.child, &self.last_line).await;
            return Err(format!("the embedded chat server died ({status}): {line}"));
        }
        drop(self.child.stdin.take());
        if timeout(STOP_TIMEOUT, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
        Ok(())
    }
}

/// Where a server listens.
struct Addresses {
    irc: String,
    ircs: Option<String>,
    telemetry: String,
}

/// Returns the addresses in the ready line; `None` if the output ends without
/// it.
async fn ready(lines: &mut Lines<BufReader<ChildStdout>>) -> Option<Addresses> {
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(addresses) = line.strip_prefix(READY_PREFIX) {
            let value =
                |name: &str| addresses.split(' ').find_map(|word| word.strip_prefix(name)).map(str::to_owned);
            return Some(Addresses {
                irc: value("irc=")?,
                ircs: value("ircs="),
                telemetry: value("telemetry=")?,
            });
        }
    }
    None
}

/// Keeps the last line that the server logged; prints all lines if `verbose`.
async fn read_log(stderr: impl AsyncRead + Unpin, last_line: Arc<Mutex<String>>, verbose: bool) {
    let mut lines = BufReader::new(stderr).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line);
        if verbose {
            eprintln!("{line}");
        }
        if !line.trim().is_empty() {
            line.trim().clone_into(&mut last_line.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// Kills the server if it still runs. Returns the last line that it logged.
async fn last_log_line(child: &mut Child, last_line: &Mutex<String>) -> String {
    let _ = child.start_kill();
    let _ = timeout(STOP_TIMEOUT, child.wait()).await;
    // Its last line may still be on its way through the pipe.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let last_line = last_line.lock().unwrap_or_else(PoisonError::into_inner);
    if last_line.is_empty() {
        return "it logged nothing".to_owned();
    }
    // The server is this program, which begins an error with its own name.
    last_line.strip_prefix("loadgen: ").unwrap_or(&last_line).to_owned()
}
