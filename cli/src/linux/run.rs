//! The command `loopscope run`.

use std::future::pending;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context;
use loopscope::report::printable;
use rustix::process::Pid;
use tokio::process::Command;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use crate::linux::args::{OutputArgs, RunArgs};
use crate::linux::{attach, output, reading};

/// What a shell adds to the number of the signal that ended a command.
const SIGNAL_EXIT_CODE: i32 = 128;

/// Starts the command, passes signals on and returns its exit code.
pub(crate) fn run(args: &RunArgs) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(watched(args))?;
    // A reading that is still in progress must not delay the end.
    runtime.shutdown_background();
    Ok(code)
}

async fn watched(args: &RunArgs) -> anyhow::Result<u8> {
    let (program, arguments) = args.command.split_first().context("there is no command after `--`")?;
    // Before the command starts, so that no signal is lost.
    let mut interrupt = Passed::new(SignalKind::interrupt())?;
    let mut terminate = Passed::new(SignalKind::terminate())?;
    let mut hangup = Passed::new(SignalKind::hangup())?;
    let mut quit = Passed::new(SignalKind::quit())?;
    let mut child = Command::new(program).args(arguments).spawn().with_context(|| {
        format!("the command `{}` cannot be started", printable(&program.to_string_lossy()))
    })?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).context("the command has no process id")?;
    // Now: the command must not inherit the priority.
    let watch = match reading::prepare(pid, &args.reading).and_then(|()| attach::begin(pid, &args.watch)) {
        Ok(watch) => Some(watch),
        Err(error) => {
            // The command runs on.
            let _ = writeln!(io::stderr(), "loopscope: the command is not watched: {error:#}");
            None
        }
    };
    let mut state = State::default();
    let mut timer = Box::pin(after(args.ps_after));
    let mut hint = Box::pin(async {
        match &watch {
            Some(watch) => attach::hint(watch).await,
            None => pending().await,
        }
    });
    loop {
        tokio::select! {
            () = &mut hint => {}
            status = child.wait() => {
                drop(hint);
                if let Some(watch) = watch {
                    attach::finish(watch, "the command has ended");
                }
                return Ok(exit_code(status.context("the command cannot be waited for")?));
            }
            _ = terminate.recv() => pass_on(pid, rustix::process::Signal::TERM),
            _ = hangup.recv() => pass_on(pid, rustix::process::Signal::HUP),
            _ = interrupt.recv() => if !is_in_foreground() {
                pass_on(pid, rustix::process::Signal::INT);
            },
            _ = quit.recv() => state.print(pid, &args.output),
            () = &mut timer => {
                state.print(pid, &args.output);
                timer.set(after(None));
            }
        }
    }
}

/// A signal that is handled, unless this process ignores it, as under `nohup`:
/// the command must inherit that.
struct Passed(Option<Signal>);

impl Passed {
    fn new(kind: SignalKind) -> io::Result<Self> {
        let is_ignored = is_ignored(kind.as_raw_value());
        Ok(Self(if is_ignored { None } else { Some(signal(kind)?) }))
    }

    async fn recv(&mut self) {
        match &mut self.0 {
            Some(signal) => {
                signal.recv().await;
            }
            None => pending().await,
        }
    }
}

/// Returns whether this process ignores a signal. Bit 0 of the set is signal 1.
fn is_ignored(number: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0);
    u32::try_from(number - 1).is_ok_and(|bit| set.checked_shr(bit).unwrap_or(0) & 1 == 1)
}

async fn after(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => pending().await,
    }
}

/// Returns whether the terminal sends its signals to this process. Then it
/// sends them to the command, too, which is in the same process group.
fn is_in_foreground() -> bool {
    let Ok(terminal) = std::fs::File::open("/dev/tty") else { return false };
    rustix::termios::tcgetpgrp(&terminal).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// Sends a signal to the command, which has not been waited for, so that its id
/// cannot belong to another process.
fn pass_on(pid: i32, signal: rustix::process::Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Prints the state of the command, one reading at a time.
#[derive(Default)]
struct State(Option<JoinHandle<()>>);

impl State {
    /// Reads the command on another thread, so that signals are passed on
    /// meanwhile. Does nothing while a reading is in progress: it takes seconds
    /// on a busy machine, and many at once would take much longer.
    fn print(&mut self, pid: i32, args: &OutputArgs) {
        if self.0.as_ref().is_some_and(|reading| !reading.is_finished()) {
            return;
        }
        let args = args.clone();
        self.0 = Some(tokio::task::spawn_blocking(move || {
            let text = match loopscope::attach::ps(pid) {
                Ok(document) => output::rendered(&document, &args, &io::stderr()),
                Err(error) => Err(error.into()),
            };
            let text = text.unwrap_or_else(|error| format!("loopscope: {error:#}\n"));
            // An error of stderr cannot be reported anywhere.
            let _ = io::stderr().write_all(text.as_bytes());
        }));
    }
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| SIGNAL_EXIT_CODE + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
