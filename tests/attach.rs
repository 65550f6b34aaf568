//! A program that knows nothing of loopscope is watched from outside.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

mod common;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, thread};

use common::{STALL, eventually};
use loopscope::attach::Watch;
use loopscope::{Cause, Finding, Terminal};
use tokio::runtime::Builder;

/// The targets print this line when their tasks run.
const READY: &str = "the target is ready";

/// A target: this test program, which runs one of the tests marked `#[ignore]`.
struct Target(Child);

impl Target {
    fn start(scenario: &str) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", scenario, "--ignored", "--nocapture"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.is_ok_and(|line| line.contains(READY))), "the target has ended");
        Self(child)
    }

    fn watch(&self) -> Watch {
        Watch::builder(self.pid()).terminal(Terminal::Never).start().unwrap()
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_in(finding: &Finding, function: &str) -> bool {
    finding.site.as_ref().is_some_and(|site| site.function.ends_with(function))
}

#[inline(never)]
fn sleeps_long() {
    thread::sleep(STALL);
    std::hint::black_box(());
}

/// No wait is as long as the threshold, all of them together are.
#[inline(never)]
fn sleeps_often() {
    for _ in 0..100 {
        thread::sleep(Duration::from_millis(5));
    }
}

#[inline(never)]
fn sleeps_in_the_pool() {
    thread::sleep(STALL);
    std::hint::black_box(());
}

#[test]
#[ignore = "a target"]
fn target_with_blocking_tasks() {
    let runtime = Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap();
    runtime.block_on(async {
        for function in [sleeps_long as fn(), sleeps_often] {
            tokio::spawn(async move {
                loop {
                    function();
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            });
        }
        tokio::spawn(async {
            loop {
                tokio::task::spawn_blocking(sleeps_in_the_pool).await.unwrap();
            }
        });
        println!("{READY}");
        std::future::pending::<()>().await;
    });
}

#[test]
fn blocking_calls_of_a_program_without_loopscope_are_found() {
    let mut target = Target::start("target_with_blocking_tasks");
    let watch = target.watch();
    for function in ["sleeps_long", "sleeps_often"] {
        let finding = eventually(function, || {
            let findings = watch.findings().findings;
            let is_whole = |finding: &Finding| finding.max >= Duration::from_millis(100);
            findings
                .into_iter()
                .find(|finding| is_in(finding, function) && finding.count > 1 && is_whole(finding))
        });
        assert_eq!(finding.cause, Cause::Sleep, "{finding:?}");
        let site = finding.site.as_ref().unwrap();
        assert!(
            site.file.as_deref().is_some_and(|file| Path::new(file).ends_with("tests/attach.rs")),
            "{site:?}"
        );
        assert!(finding.advice.contains("tokio::time::sleep"), "{finding:?}");
    }
    let document = watch.findings();
    assert_eq!(i64::from(document.process.pid), i64::from(target.pid()));
    assert!(!document.findings.iter().any(|finding| is_in(finding, "sleeps_in_the_pool")), "{document:?}");
    assert!(!watch.has_ended());
    target.0.kill().unwrap();
    target.0.wait().unwrap();
    eventually("the end", || watch.has_ended().then_some(()));
    let findings = watch.finish().findings;
    for function in ["sleeps_long", "sleeps_often"] {
        assert!(findings.iter().any(|finding| is_in(finding, function)), "{function}: {findings:?}");
    }
}

#[test]
fn a_process_that_does_not_exist_is_an_error() {
    let mut target = Target::start("target_with_blocking_tasks");
    target.0.kill().unwrap();
    target.0.wait().unwrap();
    let error = Watch::builder(target.pid()).start().unwrap_err();
    assert_eq!(error.to_string(), format!("there is no process {}", target.pid()));
}
