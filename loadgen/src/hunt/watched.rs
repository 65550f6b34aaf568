//! A server without loopscope in it, which is watched from outside.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use loopscope::Terminal;
use loopscope::attach::Watch;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::child;

/// How long the command may take until its server accepts connections.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_INTERVAL: Duration = Duration::from_millis(50);

/// A server that is watched, and its command if this program has started it.
#[derive(Debug)]
pub(crate) struct WatchedServer {
    watch: Watch,
    child: Option<Child>,
}

impl WatchedServer {
    /// Watches the process with the id `pid`.
    pub(crate) fn attach(pid: i32) -> anyhow::Result<Self> {
        Ok(Self { watch: watch(pid)?, child: None })
    }

    /// Starts a command by the shell, and watches it once its server accepts
    /// connections at `target`.
    pub(crate) async fn start(command: &str, target: &str) -> anyhow::Result<Self> {
        let mut child = Command::new("/bin/sh")
            .arg("-c")
            // The shell becomes the command, so that its process is watched.
            .arg(format!("exec {command}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("the command `{command}` cannot be started"))?;
        let begin = Instant::now();
        while !matches!(timeout(START_TIMEOUT, TcpStream::connect(target)).await, Ok(Ok(_))) {
            if let Some(status) = child.try_wait()? {
                bail!("the command `{command}` has ended ({status}) before {target} accepted a connection");
            }
            if begin.elapsed() > START_TIMEOUT {
                bail!(
                    "the command `{command}` accepts no connection at {target} after {START_TIMEOUT:?}; give its \
                     address with --target"
                );
            }
            sleep(CONNECT_INTERVAL).await;
        }
        let pid =
            child.id().and_then(|pid| i32::try_from(pid).ok()).context("the command has no process id")?;
        Ok(Self { watch: watch(pid)?, child: Some(child) })
    }

    /// Returns the URL at which the findings of the server are served.
    pub(crate) fn telemetry(&self) -> anyhow::Result<String> {
        let address = self.watch.telemetry_address().context("the findings are not served")?;
        Ok(format!("http://{address}"))
    }

    /// Ends the watch, and the command.
    ///
    /// # Errors
    ///
    /// If the server had ended before.
    pub(crate) async fn stop(self) -> Result<(), String> {
        let has_ended = self.watch.has_ended();
        drop(self.watch);
        if let Some(mut command) = self.child {
            let _ = child::end(&mut command).await;
        }
        if has_ended { Err("the server ended during the load".to_owned()) } else { Ok(()) }
    }
}

fn watch(pid: i32) -> anyhow::Result<Watch> {
    let any_port = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    Ok(Watch::builder(pid).terminal(Terminal::Never).telemetry(any_port).start()?)
}
