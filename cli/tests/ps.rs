//! `loopscope ps` of a running process.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

mod support;

use std::io::Read;
use std::process::Stdio;

use serde_json::Value;
use support::{Target, assert_valid, command, eventually, outcome};

#[test]
fn the_document_of_a_process_is_valid() {
    let target = Target::tokio();
    let result = outcome(&mut command(&["ps", "--json", &target.pid()]));
    assert_eq!((result.code, &*result.stderr), (Some(0), ""));
    let document: Value = serde_json::from_str(&result.stdout).expect("JSON");
    assert_valid(&document);
    assert_eq!(document["pid"].to_string(), target.pid());
}

#[test]
fn a_process_that_a_signal_has_stopped_is_said() {
    let target = Target::tokio();
    let send = |signal| {
        let pid = i32::try_from(target.0.id()).ok().and_then(rustix::process::Pid::from_raw).expect("an id");
        rustix::process::kill_process(pid, signal).expect("the process runs");
    };
    send(rustix::process::Signal::STOP);
    let stat = || std::fs::read_to_string(format!("/proc/{}/stat", target.pid())).ok();
    eventually("the stop", || stat().filter(|stat| stat.contains(") T ")));
    let result = outcome(&mut command(&["ps", "--json", &target.pid()]));
    send(rustix::process::Signal::CONT);
    assert_eq!((result.code, &*result.stderr), (Some(0), ""));
    let document: Value = serde_json::from_str(&result.stdout).expect("JSON");
    assert_valid(&document);
    let kinds: Vec<_> =
        document["verdicts"].as_array().expect("verdicts").iter().map(|v| &v["kind"]).collect();
    assert_eq!(kinds, ["stopped"]);
}

#[test]
fn the_text_has_colours_only_if_they_are_wanted() {
    let target = Target::tokio();
    let text = |arguments: &[&str]| {
        let result = outcome(&mut command(&[&["ps", &target.pid()], arguments].concat()));
        assert_eq!(result.code, Some(0), "{}", result.stderr);
        result.stdout
    };
    let head = format!("loopscope (process {})", target.pid());
    assert!(text(&[]).starts_with(&head), "stdout is a pipe");
    assert!(text(&["--color", "never"]).starts_with(&head));
    assert!(text(&["--color", "always"]).starts_with("\x1b["));
    assert!(text(&["--width", "40"]).lines().all(|line| line.chars().count() <= 60));
}

#[test]
fn a_reader_that_closes_the_pipe_ends_a_watch_without_an_error() {
    let target = Target::tokio();
    let mut watch = command(&["ps", "--watch", "0.1", &target.pid()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut first = [0; 10];
    watch.stdout.take().expect("a pipe").read_exact(&mut first).expect("text");
    let status = eventually("the end of the watch", || watch.try_wait().expect("a child"));
    let mut stderr = String::new();
    watch.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("text");
    assert_eq!((status.code(), &*stderr), (Some(0), ""));
}

#[test]
fn a_watch_ends_with_the_process() {
    let target = Target::tokio();
    let pid = target.pid();
    let mut watch = command(&["ps", "--json", "--watch", "0.1", &pid])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut stdout = watch.stdout.take().expect("a pipe");
    let mut first = [0; 10];
    stdout.read_exact(&mut first).expect("text");
    drop(target);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("text");
    let output = watch.wait_with_output().expect("the end of the watch");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(stderr, format!("loopscope: process {pid} has ended\n"));
}

#[test]
fn a_wrong_command_line_has_exit_code_2_and_one_sentence() {
    for (arguments, expected) in [
        (
            &["ps"][..],
            "loopscope: the following required arguments were not provided: <PID|NAME>; see --help\n",
        ),
        (&[], "loopscope: the command is missing: use ps, attach or run; see --help\n"),
        (&["ps", "no-program-has-this-name"], "loopscope: no process has the name no-program-has-this-name"),
        (&["run", "sleep", "1"], "loopscope: the command is missing: write it after `--`, such as "),
        (&["ps", ""], "loopscope: the process is missing: give its id, or the name of its program\n"),
        (&["ps", "2147483647"], "loopscope: there is no process 2147483647\n"),
    ] {
        let result = outcome(&mut command(arguments));
        assert_eq!((result.code, &*result.stdout), (Some(2), ""), "{arguments:?}");
        assert!(result.stderr.starts_with(expected), "{}", result.stderr);
    }
    let help = outcome(&mut command(&["ps", "--help"]));
    assert_eq!(help.code, Some(0));
    for part in ["Examples:", "What is read:", "Exit codes:"] {
        assert!(help.stdout.contains(part), "{}", help.stdout);
    }
}
