//! Injection site `child`: runs a program for MOTD.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::inject::mistake::Mistake;

/// Runs the program that MOTD waits for.
#[derive(Debug)]
pub(crate) struct MotdProgram {
    mistake: Option<Mistake>,
}

impl MotdProgram {
    pub(crate) fn new(mistake: Option<Mistake>) -> Self {
        Self { mistake }
    }

    /// Returns whether the program succeeded. Without the mistake no program
    /// runs.
    pub(crate) async fn run(&self) -> bool {
        let Some(mistake) = &self.mistake else { return true };
        match mistake.decide() {
            Some(duration) => wrong(duration),
            None => right(mistake.duration()).await,
        }
    }
}

/// Right: starts the program and waits for it on a thread for blocking work.
/// `tokio::process` waits without a thread, but it starts the program on the
/// worker. In a large process, the start takes milliseconds.
async fn right(duration: Duration) -> bool {
    let run = move || program(duration).status().is_ok_and(|status| status.success());
    loopscope::spawn_blocking("motd-program", run).await.unwrap_or(false)
}

/// Wrong: the worker waits for the child to end.
#[inline(never)]
fn wrong(duration: Duration) -> bool {
    let status = program(duration).status(); // THE MISTAKE
    status.is_ok_and(|status| status.success())
}

/// Returns a program that runs for `duration`.
fn program(duration: Duration) -> Command {
    let mut program = Command::new("sleep");
    program.arg(format!("{:.3}", duration.as_secs_f64()));
    program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn right_and_wrong_run_the_program() {
        assert!(right(Duration::from_millis(1)).await);
        assert!(wrong(Duration::from_millis(1)));
        assert!(MotdProgram::new(None).run().await, "nothing to run");
    }
}
