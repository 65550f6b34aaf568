//! A table of functions that block, and what to write instead of each.

use crate::finding::{Cause, FrameKind};

/// Functions that block, with one cause and one piece of advice.
#[derive(Debug)]
pub(super) struct AdviceRule {
    /// The public path of a matching function begins with one of these.
    path_prefixes: &'static [&'static str],
    /// The cause; `None` where the system call decides instead of the name.
    pub(super) cause: Option<Cause>,
    /// What to write instead.
    pub(super) advice: &'static str,
}

const MOVE_WORK_ADVICE: &str = "move the work off the event loop: `tokio::task::spawn_blocking(move || ..).await`, or a rayon pool \
    with a `tokio::sync::oneshot`; a long loop can also call `tokio::task::yield_now().await` regularly";

/// The advice where no thread holds a lock for which a thread waits for long.
pub(super) const FOR_GUARD_OF_SUSPENDED_TASK: &str = "no thread holds this lock, so a task probably keeps its guard across an await: drop the guard before the \
    await, or use `tokio::sync::Mutex`";

/// The first rule that matches decides.
static ADVICE_RULES: &[AdviceRule] = &[
    AdviceRule {
        path_prefixes: &["std::thread::sleep", "std::thread::park_timeout"],
        cause: Some(Cause::Sleep),
        advice: "use `tokio::time::sleep(..).await`",
    },
    AdviceRule {
        path_prefixes: &[
            "std::fs::",
            "<std::fs::",
            "<&std::fs::",
            "std::io::copy",
            "std::io::stdin",
            "std::io::Stdin",
            "<std::io::PipeReader as ",
            "<std::io::PipeWriter as ",
            "<&std::io::Pipe",
        ],
        cause: Some(Cause::File),
        advice: "use `tokio::fs`, or put the whole sequence of file operations into one \
            `tokio::task::spawn_blocking(move || ..).await`",
    },
    AdviceRule {
        path_prefixes: &[
            "<str as std::net::ToSocketAddrs>",
            "<std::string::String as std::net::ToSocketAddrs>",
            "<alloc::string::String as std::net::ToSocketAddrs>",
            "<(&str, u16) as std::net::ToSocketAddrs>",
            "std::net::lookup_host",
            "std::sys::net::connection::socket::lookup_host",
            "std::sys::net::connection::socket::unix::lookup_host",
            "getaddrinfo",
            "gethostbyname",
            "getnameinfo",
            "dns_lookup::",
        ],
        cause: Some(Cause::Dns),
        advice: "use `tokio::net::lookup_host(..).await`; `tokio::net::TcpStream::connect` also accepts a host name",
    },
    AdviceRule {
        path_prefixes: &[
            "std::net::",
            "<std::net::",
            "<&std::net::",
            "std::sys::net::",
            "std::os::unix::net::",
            "<std::os::unix::net::",
        ],
        cause: Some(Cause::Network),
        advice: "use the type of the same name in `tokio::net`",
    },
    AdviceRule {
        path_prefixes: &["std::sync::mpsc::", "std::sync::mpmc::", "crossbeam_channel::"],
        cause: Some(Cause::Channel),
        advice: "use `tokio::sync::mpsc` or `tokio::sync::oneshot` and await the message",
    },
    AdviceRule {
        path_prefixes: &["std::process::"],
        cause: Some(Cause::Child),
        advice: "use `tokio::process::Command` and await the child",
    },
    AdviceRule {
        path_prefixes: &[
            "std::sync::Mutex",
            "std::sync::RwLock",
            "<std::sync::Mutex",
            "std::sys::sync::mutex::",
            "std::sys::sync::rwlock::",
            "parking_lot::",
            "lock_api::",
        ],
        cause: Some(Cause::Lock),
        advice: "this lock is held for too long: do less while holding it, or use `tokio::sync::Mutex` if it \
            must be held across an await",
    },
    AdviceRule {
        path_prefixes: &["futures_executor::", "pollster::", "tokio::runtime::handle::Handle::block_on"],
        cause: Some(Cause::Other),
        advice: "await the future instead of blocking on it",
    },
    AdviceRule {
        path_prefixes: &["std::sync::", "std::sys::sync::", "std::thread::park"],
        cause: Some(Cause::Lock),
        advice: "use the asynchronous counterpart in `tokio::sync` and await it",
    },
    AdviceRule {
        path_prefixes: &["sched_yield", "std::thread::yield_now", "core::hint::spin_loop"],
        cause: Some(Cause::Cpu),
        advice: "do not wait by spinning: await a `tokio::sync::Notify` or `tokio::sync::watch`, or at least \
            call `tokio::task::yield_now().await` in the loop",
    },
    AdviceRule {
        path_prefixes: &["reqwest::blocking::", "ureq::"],
        cause: None,
        advice: "use an asynchronous HTTP client, such as `reqwest::Client`",
    },
    AdviceRule {
        path_prefixes: &["postgres::"],
        cause: None,
        advice: "use `tokio-postgres`, the asynchronous client that this crate wraps",
    },
    AdviceRule {
        path_prefixes: &["std::thread::"],
        cause: Some(Cause::Other),
        advice: "use `tokio::task::spawn_blocking(..).await` instead of waiting for a thread",
    },
];

/// Returns the advice for a dependency's synchronous function, which itself
/// makes the blocking call.
pub(super) fn for_dependency(function: &str, blocking_call: &str) -> String {
    format!(
        "`{function}` is synchronous because it calls `{blocking_call}`: use an asynchronous counterpart, or \
         call it in `tokio::task::spawn_blocking(move || ..).await`"
    )
}

/// Returns the rule for a function, by its public path.
pub(super) fn find(function: &str) -> Option<&'static AdviceRule> {
    ADVICE_RULES.iter().find(|rule| rule.path_prefixes.iter().any(|prefix| function.starts_with(prefix)))
}

/// Returns the advice for a cause, where no rule matches the call itself.
pub(super) fn for_cause(cause: Cause, callee: Option<(&str, FrameKind)>) -> String {
    let instead = match cause {
        Cause::Sleep => "use `tokio::time::sleep(..).await`",
        Cause::File => "use `tokio::fs`, or `tokio::task::spawn_blocking(move || ..).await`",
        Cause::Network => "use an asynchronous client, or the types of `tokio::net`",
        Cause::Dns => "use `tokio::net::lookup_host(..).await`",
        Cause::Lock => {
            "do less while holding the lock, or use `tokio::sync::Mutex` if it must be held across an await"
        }
        Cause::Channel => "use `tokio::sync::mpsc` or `tokio::sync::oneshot` and await the message",
        Cause::Child => "use `tokio::process::Command` and await the child",
        Cause::Hog => {
            "no single poll of this task is long, but the task is ready again immediately after each: do less work \
             per poll and await something in between, or move the work off the event loop: `tokio::task::spawn_blocking(move || ..).await`"
        }
        Cause::Unyielding => {
            "everything that this loop awaits is ready immediately, so it never yields: call \
             `tokio::task::coop::consume_budget().await` in the loop"
        }
        _ => MOVE_WORK_ADVICE,
    };
    match callee {
        Some((function, FrameKind::Dependency)) => format!("`{function}` is synchronous: {instead}"),
        _ => instead.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_matching_rule_decides() {
        let cause = |function| find(function).unwrap().cause;
        assert_eq!(cause("std::thread::sleep"), Some(Cause::Sleep));
        assert_eq!(cause("std::sync::mpsc::Receiver<T>::recv"), Some(Cause::Channel));
        assert_eq!(cause("std::sync::Mutex<T>::lock"), Some(Cause::Lock));
        assert_eq!(cause("std::fs::File::sync_all"), Some(Cause::File));
        assert!(find("argon2::Argon2::hash_password_into").is_none());
    }

    #[test]
    fn the_advice_names_a_dependency() {
        let advice = for_cause(Cause::Cpu, Some(("argon2::hash", FrameKind::Dependency)));
        assert!(advice.starts_with("`argon2::hash` is synchronous: move the work off"));
    }
}
