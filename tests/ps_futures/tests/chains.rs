//! What `ps` says of the tasks of a program that prints where they wait.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use loopscope::attach::{PsAwait, PsLeaf, PsTask};

const MAX_WAIT: Duration = Duration::from_secs(30);
/// The program spawns so many tasks.
const TASKS: usize = 14;

struct Server {
    child: Child,
    _output: BufReader<ChildStdout>,
    /// The line on which each function waits.
    lines: HashMap<String, u32>,
    facts: HashMap<String, String>,
}

impl Server {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ps-futures"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut output = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let (mut lines, mut facts) = (HashMap::new(), HashMap::new());
        // Each of these functions prints its line before it waits for the first
        // time.
        const FUNCTIONS: usize = 15;
        let mut is_ready = false;
        while !is_ready || lines.len() < FUNCTIONS {
            let mut text = String::new();
            assert!(output.read_line(&mut text).expect("it prints") > 0, "the program ended: {lines:?}");
            match text.split_whitespace().collect::<Vec<_>>()[..] {
                ["waits", function, line] => {
                    lines.insert(function.to_owned(), line.parse().expect("it is a number"));
                }
                ["fact", name, value] => {
                    facts.insert(name.to_owned(), value.to_owned());
                }
                ["ready"] => is_ready = true,
                _ => {}
            }
        }
        Self { child, _output: output, lines, facts }
    }

    /// Returns the tasks by the functions that they run, once all of them wait.
    fn tasks(&self) -> BTreeMap<String, PsTask> {
        let begin = Instant::now();
        loop {
            let pid = i32::try_from(self.child.id()).expect("it is an id");
            let document = loopscope::attach::ps(pid).expect("it can be read");
            let tasks: BTreeMap<_, _> = document
                .tasks
                .into_iter()
                .filter(|task| {
                    task.chain.first().is_some_and(|first| first.function.starts_with("ps_futures::"))
                })
                .map(|task| (task.chain[0].function.clone(), task))
                .collect();
            let is_waiting = |task: &PsTask| task.leaf.is_some();
            if tasks.len() == TASKS && tasks.values().all(is_waiting) {
                return tasks;
            }
            assert!(begin.elapsed() < MAX_WAIT, "{tasks:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asserts that a chain begins with these functions, at their lines.
    fn assert_begins(&self, chain: &[PsAwait], functions: &[&str]) {
        for (at, function) in functions.iter().enumerate() {
            let found = chain.get(at).unwrap_or_else(|| panic!("{function} is missing in {chain:#?}"));
            assert_eq!(found.function, format!("ps_futures::{function}"), "{chain:#?}");
            assert_eq!(found.line, Some(self.lines[*function]), "{chain:#?}");
            assert!(found.file.as_deref().is_some_and(|file| file.ends_with("src/main.rs")), "{chain:#?}");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns what a task waits for.
fn leaf<'t>(tasks: &'t BTreeMap<String, PsTask>, function: &str) -> &'t PsLeaf {
    tasks[&format!("ps_futures::{function}")].leaf.as_ref().expect("the task waits for something")
}

#[test]
fn every_task_waits_at_its_line() {
    let server = Server::start();
    let tasks = server.tasks();
    let chains: [&[&str]; 13] = [
        &["outer", "inner"],
        &["sleeps"],
        &["waits_for_lock"],
        &["waits_for_permit"],
        &["receives"],
        &["receives_one"],
        &["joins"],
        &["reads"],
        &["accepts"],
        &["boxed", "outer", "inner"],
        &["limited", "inner"],
        &["collects"],
        // The line where the macro is used, not one of its own.
        &["selects"],
    ];
    for chain in chains {
        server.assert_begins(&tasks[&format!("ps_futures::{}", chain[0])].chain, chain);
    }
    // The innermost call waits at another line than the others.
    let recursive = &tasks["ps_futures::recursive"].chain;
    server.assert_begins(&recursive[..2], &["recursive", "recursive"]);
    assert_eq!(recursive[2].function, "ps_futures::recursive");
    assert_eq!(recursive[2].line, Some(server.lines["recursive"] + 2));
}

#[test]
fn every_leaf_is_what_the_task_waits_for() {
    let server = Server::start();
    let tasks = server.tasks();
    let left = |leaf: &PsLeaf| match leaf {
        PsLeaf::Sleep { seconds_left } => seconds_left.expect("the deadline is known"),
        other => panic!("not a timer: {other:?}"),
    };
    let seconds = left(leaf(&tasks, "sleeps"));
    assert!((90_000.0..=100_001.0).contains(&seconds), "{seconds}");
    let PsLeaf::Semaphore { of, is_granted, .. } = leaf(&tasks, "waits_for_lock") else {
        panic!("{tasks:#?}")
    };
    assert_eq!((of.as_deref(), *is_granted), (Some("tokio::sync::mutex::Mutex"), Some(false)));
    let PsLeaf::Semaphore { of, .. } = leaf(&tasks, "waits_for_permit") else { panic!("{tasks:#?}") };
    assert_eq!(of.as_deref(), Some("tokio::sync::semaphore::Semaphore"));
    for (function, channel) in [("receives", "tokio::sync::mpsc"), ("receives_one", "tokio::sync::oneshot")] {
        let PsLeaf::Channel { of, address } = leaf(&tasks, function) else { panic!("{tasks:#?}") };
        assert_eq!(of, channel);
        assert!(address.is_some());
    }
    let PsLeaf::Join { task } = leaf(&tasks, "joins") else { panic!("{tasks:#?}") };
    assert_eq!(*task, tasks["ps_futures::sleeps"].address);
    let listener = &server.facts["listener"];
    for (function, expected) in
        [("reads", format!("tcp to {listener}")), ("accepts", format!("tcp on {listener}"))]
    {
        let PsLeaf::Io { fd, object } = leaf(&tasks, function) else { panic!("{tasks:#?}") };
        assert_eq!(object.as_deref(), Some(&*expected));
        assert!(fd.is_some());
    }
    let addresses = ["outer", "boxed", "limited"].map(|function| match leaf(&tasks, function) {
        PsLeaf::Notify { address } => address.expect("the address is known"),
        other => panic!("not a Notify: {other:?}"),
    });
    assert!(addresses.iter().all(|address| *address == addresses[0]), "{addresses:x?}");
}

#[test]
fn each_of_several_futures_is_followed() {
    let server = Server::start();
    let tasks = server.tasks();
    let PsLeaf::Several { of, count, branches } = leaf(&tasks, "selects") else { panic!("{tasks:#?}") };
    assert_eq!((&**of, *count, branches.len()), ("select!", Some(2), 2));
    server.assert_begins(&branches[0].chain, &["inner"]);
    server.assert_begins(&branches[1].chain, &["sleeps"]);
    let PsLeaf::Several { of, count, branches } = leaf(&tasks, "collects") else { panic!("{tasks:#?}") };
    assert_eq!((&**of, *count, branches.len()), ("FuturesUnordered", Some(3), 3));
    for branch in branches {
        server.assert_begins(&branch.chain, &["sleeps"]);
    }
}
