//! `loopscope run`: the command runs as without it.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

mod support;

use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use support::{Target, command, eventually, outcome};

#[test]
fn the_exit_code_of_the_command_is_passed_on() {
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)] {
        let result = outcome(&mut command(&["run", "--", "sh", "-c", script]));
        assert_eq!((result.code, &*result.stdout), (Some(code), ""), "{script}: {}", result.stderr);
    }
}

#[test]
fn a_command_that_cannot_be_started_is_said() {
    let result = outcome(&mut command(&["run", "--", "/no/such/program"]));
    assert_eq!(result.code, Some(2));
    let expected = "loopscope: the command `/no/such/program` cannot be started: ";
    assert!(result.stderr.starts_with(expected), "{}", result.stderr);
}

#[test]
fn the_command_has_the_streams_arguments_and_priority_that_it_has_without_loopscope() {
    let script = ["sh", "-c", "echo \"$1\"; echo err >&2; nice; cat", "name", "--an argument"];
    let with = outcome(command(&["run", "--"]).args(script));
    let without = outcome(Command::new(script[0]).args(&script[1..]));
    let of_command = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with("loopscope: "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!((with.code, with.stdout), (without.code, without.stdout));
    assert_eq!(of_command(&with.stderr), of_command(&without.stderr));
}

fn send(target: &Target, signal: Signal) {
    let pid = i32::try_from(target.0.id()).ok().and_then(Pid::from_raw).expect("an id");
    kill_process(pid, signal).expect("the process runs");
}

/// Programs in the background and under `nohup` ignore signals, and so do the
/// tests that they start.
const NO_SIGNAL_IS_IGNORED: [&str; 2] = ["env", "--default-signal=HUP,INT,QUIT,TERM"];

fn with_signals(script: &str) -> Command {
    let mut command = Command::new(NO_SIGNAL_IS_IGNORED[0]);
    command.args([NO_SIGNAL_IS_IGNORED[1], env!("CARGO_BIN_EXE_loopscope"), "run", "--", "sh", "-c", script]);
    command
}

/// A new session has no terminal, so no signal comes from one.
fn in_new_session(script: &str) -> Command {
    let mut command = Command::new("setsid");
    command.arg("--wait").args(NO_SIGNAL_IS_IGNORED);
    command.args([env!("CARGO_BIN_EXE_loopscope"), "run", "--", "sh", "-c", script]);
    command
}

#[test]
fn a_signal_that_is_ignored_is_ignored_by_the_command_too() {
    let ignored = |option: &str| {
        let mut command = Command::new("env");
        command.args([option, env!("CARGO_BIN_EXE_loopscope"), "run", "--"]);
        let result = outcome(command.args(["grep", "SigIgn", "/proc/self/status"]));
        let set = result.stdout.split_whitespace().nth(1).expect("a set").to_owned();
        u64::from_str_radix(&set, 16).expect("hexadecimal") & 1 == 1
    };
    assert!(ignored("--ignore-signal=HUP"));
    assert!(!ignored("--default-signal=HUP"));
}

#[test]
fn signals_are_passed_on() {
    for (signal, name) in [(Signal::TERM, "TERM"), (Signal::HUP, "HUP")] {
        let script = format!("trap 'exit 5' {name}; echo ready; while :; do sleep 0.01; done");
        let mut target = Target::start(with_signals(&script).stdout(Stdio::piped()));
        assert_eq!(target.wait_for_line(), "ready\n");
        send(&target, signal);
        let status = eventually("the end of the command", || target.0.try_wait().expect("a child"));
        assert_eq!(status.code(), Some(5), "{name}");
    }
}

#[test]
fn an_interrupt_without_a_terminal_is_passed_on() {
    // The command of a shell in the background ignores SIGINT, so the id of
    // loopscope comes from the command itself.
    let script = "trap 'exit 6' INT; kill -INT $PPID; while :; do sleep 0.01; done";
    let result = outcome(&mut in_new_session(script));
    assert_eq!(result.code, Some(6), "{}", result.stderr);
}

#[test]
fn the_state_is_printed_on_request_and_after_a_time() {
    // The command is a Tokio program: loopscope itself.
    let inner = ["sh", "-c", "echo ready; exec sleep 600"];
    let outer = ["run", "--ps-after", "1ms", "--", env!("CARGO_BIN_EXE_loopscope"), "run", "--"];
    let mut command = Command::new(NO_SIGNAL_IS_IGNORED[0]);
    command.args([NO_SIGNAL_IS_IGNORED[1], env!("CARGO_BIN_EXE_loopscope")]).args(outer);
    let mut target = Target::start(command.args(inner).stdout(Stdio::piped()).stderr(Stdio::piped()));
    assert_eq!(target.wait_for_line(), "ready\n");
    let stderr = target.0.stderr.take().expect("a pipe");
    let (head, is_printed) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let lines = std::io::BufRead::lines(std::io::BufReader::new(stderr)).map_while(Result::ok);
        for _ in lines.filter(|line| line.starts_with("loopscope (process ")) {
            let _ = head.send(());
        }
    });
    // The first reading may come before the command is a Tokio program.
    eventually("the state", || {
        send(&target, Signal::QUIT);
        is_printed.recv_timeout(std::time::Duration::from_millis(500)).ok()
    });
    send(&target, Signal::TERM);
    let status = eventually("the end of the command", || target.0.try_wait().expect("a child"));
    assert_eq!(status.code(), Some(143));
}
