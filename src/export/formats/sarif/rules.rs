//! The rules, one for each cause, and the notifications, each with what it
//! means and what to do.

use serde_json::{Value, json};

use crate::finding::Cause;

/// The documentation of a cause, before the name of its variant.
const HELP_PAGE: &str = "https://docs.rs/loopscope/latest/loopscope/enum.Cause.html#variant.";

/// The notification of a finding without a location, the first one.
pub(super) const NO_LOCATION: &str = "loopscope/no-location";

/// The notification of observations that were lost, the second one.
pub(super) const LOST_OBSERVATIONS: &str = "loopscope/lost-observations";

/// What a rule says of its cause.
struct RuleText {
    name: &'static str,
    short: &'static str,
    full: &'static str,
    help: &'static str,
    /// How often a result of the rule names the right line.
    precision: &'static str,
}

/// Returns the descriptions of the notifications.
pub(super) fn notifications() -> [Value; 2] {
    let no_location = RuleText {
        name: "FindingWithoutLocation",
        short: "A finding belongs to no known line of the repository.",
        full: "No line of the repository is known for a finding, so it cannot be a result.",
        help: "Compile the program with `debug = \"line-tables-only\"` in its profile.",
        precision: "high",
    };
    let lost_observations = RuleText {
        name: "LostObservations",
        short: "Observations were lost.",
        full: "Long polls, waits or stacks were lost, so the counts of the results are lower bounds.",
        help: "The metric `loopscope_dropped_total` says why.",
        precision: "high",
    };
    let help = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/telemetry.md#sarif");
    [descriptor(NO_LOCATION, &no_location, help), descriptor(LOST_OBSERVATIONS, &lost_observations, help)]
}

/// Returns the id of the rule of a cause.
pub(super) fn id(cause: Cause) -> String {
    format!("blocking/{cause}")
}

/// Returns the index of a cause's rule in [`all`].
pub(super) fn index(cause: Cause) -> usize {
    Cause::ALL.iter().position(|listed| *listed == cause).unwrap_or_default()
}

/// Returns the rules of all causes.
pub(super) fn all() -> Vec<Value> {
    Cause::ALL.iter().copied().map(rule).collect()
}

fn rule(cause: Cause) -> Value {
    let text = rule_text(cause);
    let mut rule = descriptor(&id(cause), &text, &format!("{HELP_PAGE}{cause:?}"));
    rule["properties"] = json!({
        "tags": ["performance", "latency", "async", "tokio"],
        "precision": text.precision,
        "problem.severity": "warning",
    });
    rule
}

/// Returns what rules and notifications have in common.
fn descriptor(id: &str, text: &RuleText, help_uri: &str) -> Value {
    let RuleText { name, short, full, help, .. } = text;
    json!({
        "id": id,
        "name": name,
        "shortDescription": { "text": short },
        "fullDescription": { "text": full },
        "help": {
            "text": format!("{full} {help}"),
            "markdown": format!("{full}\n\n**What to do.** {help}\n\n[Documentation]({help_uri})"),
        },
        "helpUri": help_uri,
        "defaultConfiguration": { "level": "warning" },
    })
}

fn rule_text(cause: Cause) -> RuleText {
    match cause {
        Cause::Cpu => RuleText {
            name: "BlockingComputation",
            short: "A computation blocks the event loop.",
            full: "The function computed for longer than the blocking threshold without an await that \
                was not ready. Meanwhile its worker polled no other task.",
            help: "Move the computation to another thread with `tokio::task::spawn_blocking`, or to a \
                thread pool that sends the result through a `tokio::sync::oneshot`. A long loop can also \
                call `tokio::task::yield_now().await` regularly.",
            precision: "high",
        },
        Cause::Sleep => RuleText {
            name: "BlockingSleep",
            short: "A synchronous sleep blocks the event loop.",
            full: "The thread slept, not only the task: no other task of this worker was polled until \
                the sleep ended.",
            help: "Replace `std::thread::sleep(duration)` by `tokio::time::sleep(duration).await`.",
            precision: "very-high",
        },
        Cause::File => RuleText {
            name: "BlockingFileAccess",
            short: "A synchronous call on a file blocks the event loop.",
            full: "The call waited for a file, a directory, a pipe or a terminal. No other task of this \
                worker was polled until it returned.",
            help: "Use `tokio::fs` for one call. Put a sequence of file operations into one \
                `tokio::task::spawn_blocking(move || ..).await`.",
            precision: "very-high",
        },
        Cause::Network => RuleText {
            name: "BlockingNetworkAccess",
            short: "A synchronous call on a socket blocks the event loop.",
            full: "The call waited for the network. No other task of this worker was polled until it \
                returned.",
            help: "Use the types of `tokio::net`, or an asynchronous client of the protocol.",
            precision: "very-high",
        },
        Cause::Dns => RuleText {
            name: "BlockingNameLookup",
            short: "A synchronous host name lookup blocks the event loop.",
            full: "The call waited for the resolver, which may take seconds. No other task of this \
                worker was polled until it returned.",
            help: "Use `tokio::net::lookup_host(..).await`. `tokio::net::TcpStream::connect` also \
                accepts a host name.",
            precision: "very-high",
        },
        Cause::Lock => RuleText {
            name: "BlockingLockWait",
            short: "A wait for a lock blocks the event loop.",
            full: "The thread waited for a lock that another thread or a suspended task held. No other \
                task of this worker was polled until it got the lock.",
            help: "Hold the lock for a shorter time, and never across an await. If it must be held \
                across an await, use `tokio::sync::Mutex`.",
            precision: "high",
        },
        Cause::Channel => RuleText {
            name: "BlockingChannelWait",
            short: "A wait on a synchronous channel blocks the event loop.",
            full: "The thread waited for a message, or for space in a channel. No other task of this \
                worker was polled until the wait ended.",
            help: "Use `tokio::sync::mpsc` or `tokio::sync::oneshot` and await the message.",
            precision: "very-high",
        },
        Cause::Child => RuleText {
            name: "BlockingChildWait",
            short: "A wait for a child process blocks the event loop.",
            full: "The thread waited until a child process wrote or ended. No other task of this worker \
                was polled until then.",
            help: "Use `tokio::process::Command` and await the child.",
            precision: "very-high",
        },
        Cause::Uninterruptible => RuleText {
            name: "UninterruptibleCall",
            short: "An uninterruptible system call blocks the event loop.",
            full: "The thread was in uninterruptible sleep in the kernel (state D), for example because \
                of a slow disk or a network file system.",
            help: "Call it in `tokio::task::spawn_blocking(move || ..).await`, and check the disk or the \
                network file system of the machine.",
            precision: "medium",
        },
        Cause::Other => RuleText {
            name: "BlockingCall",
            short: "A synchronous call blocks the event loop.",
            full: "The thread did not return from a poll for longer than the blocking threshold, and \
                the kind of the call is not known.",
            help: "Use an asynchronous counterpart of the call, or put it into \
                `tokio::task::spawn_blocking(move || ..).await`.",
            precision: "medium",
        },
        Cause::Hog => RuleText {
            name: "TaskHogsWorker",
            short: "Many short polls of one task keep other tasks from running.",
            full: "One task was polled again and again, each time for less than the blocking threshold. \
                Together these polls kept the worker from other tasks that were ready.",
            help: "Let the task do less in each poll, or wait for more work before it is woken. The line \
                is the one that was sampled most often.",
            precision: "medium",
        },
        Cause::Unyielding => RuleText {
            name: "TaskNeverYields",
            short: "A task does not yield, because all of its awaits are ready.",
            full: "One poll of the task lasted for longer than the blocking threshold: each await was \
                ready immediately, so the task never returned to its worker.",
            help: "Call `tokio::task::yield_now().await` regularly in the loop. \
                `tokio::task::coop::unconstrained` must not surround it.",
            precision: "medium",
        },
    }
}
