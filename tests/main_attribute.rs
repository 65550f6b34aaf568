//! The attribute `#[loopscope::main]`, and what it calls.
//!
//! What it says about mistakes is tested in `macros/`.

mod common;

use std::fmt::Display;
use std::process::{Command, ExitCode, Termination};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};
use std::{env, io};

use common::{SCENARIO_TIMEOUT, STALL, run_scenario_of};
use loopscope::{FindingsDocument, Recording, Scope, Terminal};
use tokio::runtime::{Builder, Handle, RuntimeFlavor};

/// A crate that has renamed loopscope.
mod renamed {
    pub(crate) mod watch {
        pub(crate) use loopscope::*;
    }

    #[loopscope::main(crate = "crate::renamed::watch", terminal = "never", signals = "safe")]
    pub(crate) async fn main(scope: &watch::Scope) -> bool {
        tokio::spawn(async {}).await.is_ok() && scope.findings().findings.is_empty()
    }
}

/// A function `main` in a module is an ordinary function.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod blocking {
    use super::*;

    pub(crate) const LINE: u32 = line!() + 6;

    #[loopscope::main(flavor = "current_thread", terminal = "never")]
    pub(crate) async fn main(scope: &Scope) -> FindingsDocument {
        let begin = Instant::now();
        loop {
            thread::sleep(STALL);
            // The poll that blocked ends here. On a busy machine its stall may
            // have no stack.
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_millis(5)).await;
                let mut document = scope.findings();
                document.findings.retain(|finding| !finding.stack.is_empty());
                if !document.findings.is_empty() {
                    return document;
                }
            }
            assert!(begin.elapsed() < SCENARIO_TIMEOUT, "nothing is found");
        }
    }
}

#[test]
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
fn a_call_that_blocks_in_main_is_found_at_its_line() {
    let document = blocking::main();
    let finding = &document.findings[0];
    let site = finding.site.as_ref().unwrap();
    assert_eq!(site.function, "main_attribute::blocking::main");
    assert_eq!(site.line, Some(blocking::LINE));
    assert_eq!(finding.task.kind, "main");
    #[cfg(feature = "diagnostic")]
    {
        // The line of the attribute has called nothing.
        let text = loopscope::report::diagnostics(&document, false);
        assert!(!text.contains("called from"), "{text}");
    }
}

#[test]
fn the_settings_reach_the_runtime_and_the_scope() {
    mod program {
        use super::*;

        #[loopscope::main(threshold = "25ms", worker_threads = 3, name = "api", terminal = "never")]
        pub(super) async fn main(scope: &Scope) -> (Duration, usize, Option<String>) {
            let runtime = Handle::current();
            let threshold = scope.findings().threshold;
            (threshold, runtime.metrics().num_workers(), runtime.name().map(str::to_owned))
        }
    }
    mod detects {
        use super::*;

        #[loopscope::main(recording = "detect", attachable = false, terminal = "never")]
        pub(super) async fn main(scope: &Scope) -> Recording {
            scope.snapshot().recording
        }
    }
    assert_eq!(program::main(), (Duration::from_millis(25), 3, Some("api".to_owned())));
    assert_eq!(detects::main(), Recording::Detect);
}

#[test]
fn each_flavor_is_a_runtime_of_its_kind() {
    #[loopscope::main(terminal = "never")]
    async fn default() -> RuntimeFlavor {
        tokio::spawn(async { Handle::current().runtime_flavor() }).await.unwrap()
    }
    #[loopscope::main(flavor = "current_thread", terminal = "never")]
    async fn current_thread() -> RuntimeFlavor {
        tokio::spawn(async { Handle::current().runtime_flavor() }).await.unwrap()
    }
    #[loopscope::main(flavor = "local", terminal = "never")]
    async fn local(not_send: Rc<u8>) -> u8 {
        tokio::task::spawn_local(async move { *not_send + 1 }).await.unwrap()
    }
    assert_eq!(default(), RuntimeFlavor::MultiThread);
    assert_eq!(current_thread(), RuntimeFlavor::CurrentThread);
    assert_eq!(local(Rc::new(1)), 2);
}

#[test]
#[cfg(tokio_unstable)]
fn a_panic_can_shut_the_runtime_down() {
    #[loopscope::main(flavor = "current_thread", unhandled_panic = "shutdown_runtime", terminal = "never")]
    async fn panics() {
        tokio::spawn(async { panic!("expected by the test") });
        std::future::pending::<()>().await;
    }
    assert!(std::panic::catch_unwind(panics).is_err());
}

#[test]
fn a_function_may_return_what_an_async_function_may() {
    #[loopscope::main(terminal = "never")]
    async fn with_question_mark(number: &str) -> Result<u8, Box<dyn std::error::Error>> {
        let number = number.parse()?;
        if number == 0 {
            return Err(io::Error::other("zero").into());
        }
        Ok(number)
    }
    #[loopscope::main(terminal = "never")]
    async fn hidden_type() -> impl Termination {
        ExitCode::SUCCESS
    }
    #[loopscope::main(terminal = "never")]
    async fn never() -> ! {
        panic!("expected by the test")
    }
    assert_eq!(with_question_mark("7").unwrap(), 7);
    assert_eq!(with_question_mark("0").unwrap_err().to_string(), "zero");
    assert!(with_question_mark("x").is_err());
    assert_eq!(hidden_type().report(), ExitCode::SUCCESS);
    assert!(std::panic::catch_unwind(|| never()).is_err());
}

#[test]
fn a_function_keeps_its_arguments_and_type_parameters() {
    struct Server(String);
    impl Server {
        #[loopscope::main(terminal = "never")]
        async fn answer<T>(&self, question: T, mut count: usize) -> Vec<String>
        where
            T: Display + Send,
        {
            #![allow(clippy::while_let_loop)]
            let mut answers = Vec::new();
            while count > 0 {
                answers.push(format!("{}: {question}", self.0));
                count -= 1;
                tokio::task::yield_now().await;
            }
            answers
        }
    }
    #[loopscope::main(terminal = "never")]
    async fn longest<'a>(one: &'a str, other: &'a str) -> &'a str {
        if one.len() > other.len() { one } else { other }
    }
    assert_eq!(Server("a".to_owned()).answer(1, 2), ["a: 1", "a: 1"]);
    assert_eq!(longest("one", "other"), "other");
}

#[test]
fn a_renamed_crate_is_used_by_its_name() {
    assert!(renamed::main());
}

#[test]
fn a_main_future_may_borrow_the_scope_and_what_is_around_it() {
    let name = String::from("loop");
    let mut runtime = Builder::new_current_thread();
    let length = Scope::builder().terminal(Terminal::Never).run(runtime.enable_all(), async |scope| {
        tokio::task::yield_now().await;
        name.len() + scope.snapshot().kinds.len()
    });
    assert!(length >= name.len());
}

/// Runs a scenario of this file with a variable of the environment.
fn run_with(variable: &str, value: &str, scenario: &str) -> String {
    let mut program = Command::new(env::current_exe().unwrap());
    program.env(variable, value);
    run_scenario_of(program, scenario, SCENARIO_TIMEOUT)
}

#[test]
fn a_program_runs_unwatched_if_loopscope_cannot_start() {
    let text = run_with("LOOPSCOPE_THRESHOLD", "10", "the_program_runs");
    let error = "loopscope: LOOPSCOPE_THRESHOLD is `10`, but must be a duration such as `10ms` or `1.5s`; running \
                 unwatched\n";
    assert!(text.contains(error), "{text}");
}

#[test]
fn a_program_runs_if_loopscope_is_switched_off() {
    let text = run_with("LOOPSCOPE", "off", "the_program_runs");
    assert!(!text.contains("unwatched"), "{text}");
}

#[test]
#[ignore = "a scenario"]
fn the_program_runs() {
    #[loopscope::main(flavor = "local")]
    async fn local() -> u8 {
        tokio::task::spawn_local(async { 1 }).await.unwrap()
    }
    mod program {
        use super::*;

        #[loopscope::main]
        pub(super) async fn main(scope: &Scope) -> usize {
            thread::sleep(STALL);
            tokio::spawn(async {}).await.unwrap();
            scope.findings().findings.len() + scope.snapshot().workers.len()
        }
    }
    assert_eq!(local(), 1);
    assert_eq!(program::main(), 0);
}
