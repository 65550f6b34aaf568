//! What blocks, and what to write instead: a table.

use crate::finding::{Cause, FrameKind};

/// A call that is known to block.
#[derive(Debug)]
pub(crate) struct AdviceRule {
    /// Function names begin with one of these.
    prefixes: &'static [&'static str],
    /// What it does, where the name alone decides; else the system call does.
    pub(crate) cause: Option<Cause>,
    /// What to write instead.
    pub(crate) advice: &'static str,
}

const MOVE_OFF: &str = "move the work off the event loop: `tokio::task::spawn_blocking(move || ..).await`, or a rayon pool \
    with a `tokio::sync::oneshot`; a long loop may also `tokio::task::yield_now().await` now and then";

/// The first entry that fits decides.
static TABLE: &[AdviceRule] = &[
    AdviceRule {
        prefixes: &["std::thread::sleep", "std::thread::park_timeout"],
        cause: Some(Cause::Sleep),
        advice: "use `tokio::time::sleep(..).await`",
    },
    AdviceRule {
        prefixes: &[
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
        prefixes: &[
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
        advice: "use `tokio::net::lookup_host(..).await`; Tokio's own `TcpStream::connect` takes a name too",
    },
    AdviceRule {
        prefixes: &[
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
        prefixes: &["std::sync::mpsc::", "std::sync::mpmc::", "crossbeam_channel::"],
        cause: Some(Cause::Channel),
        advice: "use `tokio::sync::mpsc` or `tokio::sync::oneshot` and await the message",
    },
    AdviceRule {
        prefixes: &["std::process::"],
        cause: Some(Cause::Child),
        advice: "use `tokio::process::Command` and await the child",
    },
    AdviceRule {
        prefixes: &[
            "std::sync::Mutex",
            "std::sync::RwLock",
            "<std::sync::Mutex",
            "std::sys::sync::mutex::",
            "std::sys::sync::rwlock::",
            "parking_lot::",
            "lock_api::",
        ],
        cause: Some(Cause::Lock),
        advice: "somebody holds this lock for too long: shorten what the holder does with it, or use \
            `tokio::sync::Mutex` if it has to be held over an await",
    },
    AdviceRule {
        prefixes: &["futures_executor::", "pollster::", "tokio::runtime::handle::Handle::block_on"],
        cause: Some(Cause::Other),
        advice: "await the future instead of blocking on it",
    },
    AdviceRule {
        prefixes: &["std::sync::", "std::sys::sync::", "std::thread::park"],
        cause: Some(Cause::Lock),
        advice: "use the counterpart in `tokio::sync` and await it",
    },
    AdviceRule {
        prefixes: &["sched_yield", "std::thread::yield_now", "core::hint::spin_loop"],
        cause: Some(Cause::Cpu),
        advice: "do not wait by spinning: await a `tokio::sync::Notify` or `tokio::sync::watch`, or at least \
            `tokio::task::yield_now().await` in the loop",
    },
    AdviceRule {
        prefixes: &["reqwest::blocking::", "ureq::"],
        cause: None,
        advice: "use an asynchronous HTTP client, such as `reqwest::Client`",
    },
    AdviceRule {
        prefixes: &["postgres::"],
        cause: None,
        advice: "use `tokio-postgres`, whose synchronous face this crate is",
    },
    AdviceRule {
        prefixes: &["std::thread::"],
        cause: Some(Cause::Other),
        advice: "use `tokio::task::spawn_blocking(..).await` instead of a thread that is waited for",
    },
];

/// What to do about a synchronous call of a dependency, which itself makes the
/// call that blocks.
pub(crate) fn for_dependency(function: &str, blocks_in: &str) -> String {
    format!(
        "`{function}` is synchronous, as it calls `{blocks_in}`: use an asynchronous counterpart, or \
         `tokio::task::spawn_blocking(move || ..).await`"
    )
}

/// The entry for a function, by its public path.
pub(crate) fn find(function: &str) -> Option<&'static AdviceRule> {
    TABLE.iter().find(|entry| entry.prefixes.iter().any(|prefix| function.starts_with(prefix)))
}

/// What to do about a cause where the call itself is not in the table.
pub(crate) fn for_cause(cause: Cause, called: Option<(&str, FrameKind)>) -> String {
    let instead = match cause {
        Cause::Sleep => "use `tokio::time::sleep(..).await`",
        Cause::File => "use `tokio::fs`, or `tokio::task::spawn_blocking(move || ..).await`",
        Cause::Network => "use an asynchronous client, or the types of `tokio::net`",
        Cause::Dns => "use `tokio::net::lookup_host(..).await`",
        Cause::Lock => {
            "shorten what the holder of the lock does with it, or use `tokio::sync::Mutex` if it has to be held \
             over an await"
        }
        Cause::Channel => "use `tokio::sync::mpsc` or `tokio::sync::oneshot` and await the message",
        Cause::Child => "use `tokio::process::Command` and await the child",
        Cause::Hog => {
            "no poll of this task is long, but it is ready again at once: let it do less at a time and wait for \
             something in between, or move the work off the event loop: `tokio::task::spawn_blocking(move || ..).await`"
        }
        Cause::Unyielding => {
            "what this loop awaits is ready at once, so it never yields: \
             `tokio::task::coop::consume_budget().await` in the loop"
        }
        _ => MOVE_OFF,
    };
    match called {
        Some((function, FrameKind::Dependency)) => format!("`{function}` is synchronous: {instead}"),
        _ => instead.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_entry_that_fits_decides() {
        let cause = |function| find(function).unwrap().cause;
        assert_eq!(cause("std::thread::sleep"), Some(Cause::Sleep));
        assert_eq!(cause("std::sync::mpsc::Receiver<T>::recv"), Some(Cause::Channel));
        assert_eq!(cause("std::sync::Mutex<T>::lock"), Some(Cause::Lock));
        assert_eq!(cause("std::fs::File::sync_all"), Some(Cause::File));
        assert!(find("argon2::Argon2::hash_password_into").is_none());
    }

    #[test]
    fn a_dependency_is_named() {
        let advice = for_cause(Cause::Cpu, Some(("argon2::hash", FrameKind::Dependency)));
        assert!(advice.starts_with("`argon2::hash` is synchronous: move the work off"));
    }
}
