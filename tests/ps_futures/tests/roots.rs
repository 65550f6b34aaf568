//! What `ps` says of the futures of `block_on`.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use loopscope::attach::{PsDocument, PsLeaf, PsRoot, PsVerdictKind};

const MAX_WAIT: Duration = Duration::from_secs(30);

struct Program {
    child: Child,
    /// The line on which it waits.
    line: u32,
}

impl Program {
    fn start(case: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ps-roots"))
            .arg(case)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut text = String::new();
        let output = child.stdout.take().expect("it is a pipe");
        BufReader::new(output).read_line(&mut text).expect("it prints");
        let line = text.trim().strip_prefix("waits ").expect("it prints its line");
        Self { child, line: line.parse().expect("it is a number") }
    }

    /// Returns the state once a document is as expected.
    fn state(&self, is_expected: impl Fn(&PsDocument) -> bool) -> PsDocument {
        let pid = i32::try_from(self.child.id()).expect("it is an id");
        let begin = Instant::now();
        loop {
            let document = loopscope::attach::ps(pid).expect("it can be read");
            if is_expected(&document) {
                return document;
            }
            assert!(begin.elapsed() < MAX_WAIT, "{:#?}", document.roots);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn has_leaf(document: &PsDocument) -> bool {
    document.roots.first().is_some_and(|root| root.leaf.is_some())
}

fn assert_sleeps(case: &str, first: &str) {
    let program = Program::start(case);
    let document = program.state(has_leaf);
    let [root] = &document.roots[..] else { panic!("{:#?}", document.roots) };
    let PsRoot { kind, site, chain, leaf, chain_missing, .. } = root;
    assert_eq!(kind, "ps_roots::waits");
    let functions: Vec<_> = chain.iter().map(|step| step.function.as_str()).collect();
    let own = functions.iter().position(|function| *function == "ps_roots::waits").expect("it is there");
    assert_eq!(functions[0], first);
    assert_eq!(functions[own..], ["ps_roots::waits", "ps_roots::sleeps"]);
    assert_eq!(chain.last().and_then(|step| step.line), Some(program.line), "{chain:#?}");
    assert!(matches!(leaf, Some(PsLeaf::Sleep { seconds_left: Some(left) }) if *left > 90_000.0), "{leaf:?}");
    assert_eq!(chain_missing, &None);
    let site = site.as_ref().expect("the line of the call is known");
    assert_eq!(site.function, "ps_roots::main");
}

#[test]
fn the_future_of_a_multi_thread_runtime_is_shown() {
    assert_sleeps("multi_thread", "ps_roots::waits");
}

#[test]
fn the_future_of_a_current_thread_runtime_is_shown() {
    assert_sleeps("current_thread", "ps_roots::waits");
}

#[test]
fn the_future_of_a_handle_is_shown() {
    assert_sleeps("handle", "ps_roots::waits");
}

#[test]
fn the_future_of_a_local_set_is_shown() {
    assert_sleeps("local_set", "tokio::task::local::LocalSet::run_until");
}

#[test]
fn a_future_that_has_a_lock_and_is_not_polled_is_suspected() {
    let program = Program::start("futurelock");
    let document = program.state(|document| !document.verdicts.is_empty());
    let [verdict] = &document.verdicts[..] else { panic!("{:#?}", document.verdicts) };
    assert_eq!((verdict.kind, verdict.is_certain), (PsVerdictKind::Futurelock, false));
    assert!(verdict.reason.contains("was granted to its own future `first`"), "{}", verdict.reason);
    assert_eq!(verdict.threads, [document.roots[0].tid]);
    assert_eq!(document.roots[0].chain[0].line, Some(program.line), "{:#?}", document.roots);
}
