//! SIGTERM, Ctrl-C and SIGHUP.

use std::io;
use std::sync::Arc;

use crate::services::certificate::Certificate;

/// The exit code that shells use for a program ended by Ctrl-C.
const EXIT_CODE_INTERRUPTED: i32 = 130;

/// Starts listening for signals. The future completes at the first signal. A
/// second one ends the process at once.
///
/// # Errors
///
/// Returns an error if the system refuses the signal handlers.
pub(crate) fn shutdown() -> io::Result<impl Future<Output = ()>> {
    let mut signals = Signals::new()?;
    let (shutdown_sender, shutdown_receiver) = tokio::sync::oneshot::channel();
    loopscope::spawn("signals", async move {
        signals.next().await;
        tracing::info!("stopping; a second signal ends the process at once");
        let _ = shutdown_sender.send(());
        signals.next().await;
        std::process::exit(EXIT_CODE_INTERRUPTED);
    });
    Ok(async move {
        let _ = shutdown_receiver.await;
    })
}

/// Reads the certificate again at each SIGHUP.
///
/// # Errors
///
/// Returns an error if the system refuses the signal handler.
#[cfg(unix)]
pub(crate) fn reload_on_hangup(certificate: Arc<Certificate>) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangups = signal(SignalKind::hangup())?;
    loopscope::spawn("reload", async move {
        while hangups.recv().await.is_some() {
            certificate.reload().await;
        }
    });
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn reload_on_hangup(_: Arc<Certificate>) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Signals)
    }

    async fn next(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}
