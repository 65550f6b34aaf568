//! The end of a child process.

use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::Child;
use tokio::time::timeout;

/// How long the command may take to end after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends SIGTERM, and kills a child if it does not end.
pub(super) async fn end(child: &mut Child) -> std::io::Result<ExitStatus> {
    terminate(child);
    if let Ok(status) = timeout(STOP_TIMEOUT, child.wait()).await {
        return status;
    }
    child.kill().await?;
    child.wait().await
}

#[cfg(unix)]
fn terminate(child: &Child) {
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(id) = id {
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
    }
}

#[cfg(not(unix))]
const fn terminate(_child: &Child) {}
